/*
 * What this machine's FMA units could do in float32, measured in the process that benches, because
 * shared machines change by the minute; and the clock and medians that benches need.
 */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

#include <stdbool.h>

/* Monotonic. */
double seconds(void);

/* GFLOP/s of all threads together, the best of some runs; 0 where there is no loop for this
 * machine. */
double measure_peak(int threads, bool quick);

/* Of n values, which are sorted. */
double median(double *values, int n);

#endif
