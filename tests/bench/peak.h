/*
 * What this machine could do, measured in the process that benches, because shared machines change
 * by the minute; and the clock and medians that benches need.
 */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

#include "engine/ops/ops.h"

#include <stdbool.h>

/* Monotonic. */
double seconds(void);

/*
 * GFLOP/s of all threads together with operands in registers, the best of some runs: of float32
 * multiply-adds, of AVX512_BF16's dot products, of AMX's tiles. 0 where the machine has none.
 */
struct peaks {
    double f32, bf16, amx;
};
void measure_peaks(int threads, bool quick, struct peaks *ret_peaks);

/* The one that a backend's products are measured against. */
double peak_of(const struct peaks *p, const struct ops *o);

/* Bytes per second, in GB/s, of all threads together copying what is far larger than the second
 * caches: read and written ones. */
double measure_copy(int threads, bool quick);

/* Of n values, which are sorted. */
double median(double *values, int n);

#endif
