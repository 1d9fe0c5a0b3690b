#include "tests/bench/peak.h"

#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/level.h"

#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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

__attribute__((target("avx512f,avx512bf16"))) static double spin_bf16(int64_t n, float *ret_sink)
{
    __m512 acc[12];
    __m512bh x, y;

    memset(&x, 0x3c, sizeof x);
    memset(&y, 0x3d, sizeof y);
    for (int i = 0; i < 12; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (int64_t k = 0; k < n; k++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            acc[i] = _mm512_dpbf16_ps(acc[i], x, y);
    for (int i = 1; i < 12; i++)
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    *ret_sink = _mm512_reduce_add_ps(acc[0]);
    return 2.0 * 32 * 12 * (double)n;
}

__attribute__((target("amx-tile,amx-bf16"))) static double spin_amx(int64_t n, float *ret_sink)
{
    static const _Alignas(64) float zeros[16 * 16];

    bf16_amx.enter();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, zeros, 64);
    _tile_loadd(5, zeros, 64);
    _tile_loadd(6, zeros, 64);
    _tile_loadd(7, zeros, 64);
    for (int64_t k = 0; k < n; k++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    bf16_amx.leave();
    *ret_sink = 0;
    return 4.0 * 2 * 16 * 16 * 32 * (double)n;
}

static double spin_f32(int64_t n, float *ret_sink)
{
    return level_of_machine() >= LEVEL_AVX512 ? spin_avx512(n, ret_sink) : spin_avx2(n, ret_sink);
}
#endif

typedef double spin(int64_t n, float *ret_sink);

static double measure(spin *run, int64_t n, int threads, bool quick)
{
    double best = 0;

    for (int i = 0; i < (quick ? 3 : 9); i++) {
        double flops = 0, start = seconds(), rate;

#pragma omp parallel num_threads(threads) reduction(+ : flops)
        {
            float sink;
            volatile float keep;

            flops += run(quick ? n / 10 : n, &sink);
            keep = sink;
            (void)keep;
        }
        rate = flops / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

void measure_peaks(int threads, bool quick, struct peaks *ret_peaks)
{
    *ret_peaks = (struct peaks){0};
#if defined(__x86_64__)
    enum cpu_level level = level_of_machine();

    if (level >= LEVEL_AVX2)
        ret_peaks->f32 = measure(spin_f32, 2000000, threads, quick);
    if (level >= LEVEL_AVX512_BF16)
        ret_peaks->bf16 = measure(spin_bf16, 1000000, threads, quick);
    if (level >= LEVEL_AMX)
        ret_peaks->amx = measure(spin_amx, 1000000, threads, quick);
#endif
}

double peak_of(const struct peaks *p, const struct ops *o)
{
    if (o->precision != PRECISION_BF16)
        return p->f32;
    return strcmp(o->device_class, "cpu-amx") == 0 ? p->amx : p->bf16;
}

double measure_copy(int threads, bool quick)
{
    size_t half = quick ? 4u << 20 : 64u << 20, part = half / (size_t)threads / 64 * 64;
    char *memory = malloc(2 * half);
    double best = 0;

    if (memory == NULL)
        return 0;
    memset(memory, 1, 2 * half);
    for (int i = 0; i < 7; i++) {
        double start = seconds(), rate;

#pragma omp parallel num_threads(threads)
        {
            size_t at = (size_t)omp_get_thread_num() * part;

            memcpy(memory + half + at, memory + at, part);
        }
        rate = 2 * (double)part * threads / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    free(memory);
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
