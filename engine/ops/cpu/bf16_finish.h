/*
 * Activations sixteen at a time, and what ends sums on their way to them (bf16.h's finishing):
 * inlined into the loops of bf16_loops.c and between the tiles of bf16_amx.c, where a call for each
 * step would cost as much as the rows that it ends. For files that are compiled with AVX512_BF16's
 * flag and define SIMD_AVX512.
 */
#ifndef ENGINE_OPS_CPU_BF16_FINISH_H
#define ENGINE_OPS_CPU_BF16_FINISH_H

#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/functions.h"
#include "engine/ops/cpu/kernels.h"

SIMD __mmask16 first_lanes(int n)
{
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

SIMD v16 widen(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

SIMD v16 load(const uint16_t *p)
{
    return widen(_mm256_loadu_si256((const __m256i *)p));
}

/* The first n numbers (0 or less to 16), zeros behind; reads no others. */
SIMD v16 load_n(const uint16_t *p, int n)
{
    return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

SIMD v16 load_floats(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

SIMD void store_n(uint16_t *p, v16 x, int n)
{
    __m256bh rounded = _mm512_cvtneps_pbh(x);
    __m256i bits;

    memcpy(&bits, &rounded, sizeof bits);
    _mm256_mask_storeu_epi16(p, first_lanes(n), bits);
}

SIMD void store_two(uint16_t *p, v16 low, v16 high)
{
    __m512bh rounded = _mm512_cvtne2ps_pbh(high, low);

    memcpy(p, &rounded, sizeof rounded);
}

/* y[i..] = f(i, n) for all of 0..n_all-1, sixteen numbers at a time; f sees at and left. */
#define EACH(n_all, y, f)                                                                          \
    do {                                                                                           \
        size_t at = 0;                                                                             \
        for (; at + 32 <= (n_all); at += 32) {                                                     \
            v16 low_, high_;                                                                       \
            {                                                                                      \
                enum { left = 16 };                                                                \
                low_ = (f);                                                                        \
                at += 16;                                                                          \
                high_ = (f);                                                                       \
                at -= 16;                                                                          \
            }                                                                                      \
            store_two((y) + at, low_, high_);                                                      \
        }                                                                                          \
        for (; at < (n_all); at += 16) {                                                           \
            const int left = (n_all)-at < 16 ? (int)((n_all)-at) : 16;                             \
            store_n((y) + at, (f), left);                                                          \
        }                                                                                          \
    } while (0)

/*
 * 1 / x for x in 1..2^126: a first guess that is off by an eighth at most, from the bits, and three
 * of Newton's steps, each of which squares the error. Fewer cycles than a division, and unlike the
 * processors' own estimates the same on all of them.
 */
SIMD v16 inverse(v16 x)
{
    v16 y = _mm512_castsi512_ps(
        _mm512_sub_epi32(_mm512_set1_epi32(0x7ef311c7), _mm512_castps_si512(x)));

#pragma GCC unroll 3
    for (int i = 0; i < 3; i++)
        y = v_fma(y, v_fma(v_sub(v_set(0), x), y, v_set(1)), y);
    return y;
}

/* 2^x for x in -126..126, relative error below 3e-6: Taylor's series to r^5 for |r| <= 1/2. */
SIMD v16 power_of_2(v16 x)
{
    static const float terms[] = {1.333355815e-3f, 9.618129108e-3f, 5.550410866e-2f,
                                  2.402265070e-1f, 6.931471806e-1f, 1.0f};
    v16 n = v_round(x), r = v_sub(x, n), sum = v_set(terms[0]);

#pragma GCC unroll 5
    for (int i = 1; i < 6; i++)
        sum = v_fma(sum, r, v_set(terms[i]));
    return v_times_power_of_2(sum, n);
}

/* x / (1 + e^(-slope x)) */
SIMD v16 swish(v16 x, float slope)
{
    v16 power = v_mul(x, v_set(slope * -1.44269504089f));

    power = v_max(v_set(-115), v_min(v_set(115), power));
    return v_mul(x, inverse(v_add(v_set(1), power_of_2(power))));
}

/*
 * x times the normal distribution's integral up to x, as x / (1 + 2^-t): t, the logarithm of that
 * integral's odds, is an odd function that x P(x^2) fits so that the result's relative error is
 * below 1.1e-4 for |x| <= 5 (least squares, weighted until the errors were level). Beyond, the
 * integral is taken to be what it is at 5, one but for 3e-7.
 */
SIMD v16 gelu(v16 x)
{
    static const float p[] = {1.842326957657292e-9f, -1.7552375197738e-7f,  6.5138310674229e-6f,
                              -1.0412908159196e-4f,  -3.93814843846485e-4f, 1.05524368584156e-1f,
                              2.301758289337158f};
    v16 z = v_max(v_set(-5), v_min(v_set(5), x)), square = v_mul(z, z), sum = v_set(p[0]);

#pragma GCC unroll 6
    for (int i = 1; i < 7; i++)
        sum = v_fma(sum, square, v_set(p[i]));
    sum = v_mul(v_sub(v_set(0), z), sum);
    return v_mul(x, inverse(v_add(v_set(1), power_of_2(sum))));
}

SIMD v16 activation(v16 x, const enum activation act)
{
    switch (act) {
    case ACT_SILU:
        return swish(x, 1);
    case ACT_GELU:
        return gelu(x);
    case ACT_QUICK_GELU:
        return swish(x, 1.702f);
    default:
        return x;
    }
}

/* call(act) with a constant, so that each gets loops of its own. */
#define FOR_ACT(act, call)                                                                         \
    do {                                                                                           \
        if ((act) == ACT_SILU)                                                                     \
            call(ACT_SILU);                                                                        \
        else if ((act) == ACT_GELU)                                                                \
            call(ACT_GELU);                                                                        \
        else if ((act) == ACT_QUICK_GELU)                                                          \
            call(ACT_QUICK_GELU);                                                                  \
        else                                                                                       \
            call(ACT_NONE);                                                                        \
    } while (0)

SIMD void finish_rows(const struct finishing *f, const struct run *r, int n,
                      const enum activation act)
{
    const float *sum = r->sum;
    const uint16_t *residual = r->residual;
    uint16_t *y = r->y;

    for (int i = 0; i < n; i++, sum += f->ld, y += f->ld_y) {
        if (residual == NULL) {
            EACH((size_t)f->cols, y, activation(load_floats(sum + at, left), act));
            continue;
        }
        EACH((size_t)f->cols, y,
             v_add(activation(load_floats(sum + at, left), act), load_n(residual + at, left)));
        residual += f->ld_y;
    }
}

/* Half of a row's columns are gates. */
SIMD void finish_gated(const struct finishing *f, const struct run *r, int n)
{
    const float *sum = r->sum;

    for (int i = 0; i < n; i++, sum += f->ld)
        store_n(r->y + (size_t)i * f->ld_y, v_mul(v_load(sum), gelu(v_load(sum + PANEL))), PANEL);
}

/* bf16_finish() */
SIMD void finish_some(struct finishing *f, int n)
{
    while (n > 0 && f->n_runs > 0) {
        struct run *r = f->runs;
        int some = n < r->n_rows ? n : r->n_rows;

#define FINISH(act) finish_rows(f, r, some, act)
        if (f->gated)
            finish_gated(f, r, some);
        else
            FOR_ACT(f->act, FINISH);
#undef FINISH
        n -= some;
        r->n_rows -= some;
        r->sum += (size_t)some * f->ld;
        r->y += (size_t)some * f->ld_y;
        if (r->residual)
            r->residual += (size_t)some * f->ld_y;
        if (r->n_rows == 0) {
            f->runs++;
            f->n_runs--;
        }
    }
}

#endif
