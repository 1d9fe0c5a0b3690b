#include "tests/bench/peak.h"

#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#if defined(__x86_64__)
/* Twelve independent chains of fused multiply-adds, as many as hide their latency. Returns FLOPs.
 */
__attribute__((target("avx512f"))) static double spin_avx512(int64_t n, float *ret_sink)
{
    __m512 acc[12], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);

    for (int i = 0; i < 12; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (int64_t k = 0; k < n; k++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            acc[i] = _mm512_fmadd_ps(acc[i], x, y);
    for (int i = 1; i < 12; i++)
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    *ret_sink = _mm512_reduce_add_ps(acc[0]);
    return 2.0 * 16 * 12 * (double)n;
}

__attribute__((target("avx2,fma"))) static double spin_avx2(int64_t n, float *ret_sink)
{
    __m256 acc[12], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
    float lanes[8];

    for (int i = 0; i < 12; i++)
        acc[i] = _mm256_set1_ps((float)i);
    for (int64_t k = 0; k < n; k++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            acc[i] = _mm256_fmadd_ps(acc[i], x, y);
    for (int i = 1; i < 12; i++)
        acc[0] = _mm256_add_ps(acc[0], acc[i]);
    _mm256_storeu_ps(lanes, acc[0]);
    *ret_sink = lanes[0];
    return 2.0 * 8 * 12 * (double)n;
}

static double spin(int64_t n, float *ret_sink)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        return spin_avx512(n, ret_sink);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return spin_avx2(n, ret_sink);
    *ret_sink = 0;
    return 0;
}
#else
static double spin(int64_t n, float *ret_sink)
{
    (void)n;
    *ret_sink = 0;
    return 0;
}
#endif

double measure_peak(int threads, bool quick)
{
    double best = 0;

    for (int i = 0; i < (quick ? 3 : 9); i++) {
        double flops = 0, start = seconds(), rate;

#pragma omp parallel num_threads(threads) reduction(+ : flops)
        {
            float sink;
            volatile float keep;

            flops += spin(quick ? 200000 : 2000000, &sink);
            keep = sink;
            (void)keep;
        }
        rate = flops / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}
