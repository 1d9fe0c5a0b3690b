/*
 * Softmax of a block of scores, for the attend() of bf16_kernels: maxima by transposing, so that
 * all bookkeeping of sixteen rows is one vector each. For bf16_*.c files alone.
 *
 * A weight is 2^(score - m) with m a whole number not below the row's maximum so far, so rescaling
 * what was summed before is exact.
 */
#ifndef ENGINE_OPS_CPU_BF16_SOFTMAX_H
#define ENGINE_OPS_CPU_BF16_SOFTMAX_H

#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* What is kept of QUERIES rows from block to block. */
struct rows {
    _Alignas(64) float minus[QUERIES]; /* -m */
    float keep[QUERIES];               /* 2^(earlier m - m) */
};

INLINE void rows_begin(struct rows *rows)
{
    for (int r = 0; r < QUERIES; r++)
        rows->minus[r] = INFINITY;
}

/* Lane r of the result is the largest lane of v[r]. */
INLINE __m512 maxima(__m512 v[16])
{
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2)
        v[i] =
            _mm512_max_ps(_mm512_unpacklo_ps(v[i], v[i + 1]), _mm512_unpackhi_ps(v[i], v[i + 1]));
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        __m512d a = _mm512_castps_pd(v[i]), b = _mm512_castps_pd(v[i + 2]);

        v[i] = _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 16; i += 8)
        v[i] = _mm512_max_ps(_mm512_shuffle_f32x4(v[i], v[i + 4], 0x44),
                             _mm512_shuffle_f32x4(v[i], v[i + 4], 0xee));
    return _mm512_max_ps(_mm512_shuffle_f32x4(v[0], v[8], 0x88),
                         _mm512_shuffle_f32x4(v[0], v[8], 0xdd));
}

/* Which keys of a block a row sees: all, the first of each row alike, or each row its own. */
enum sight { SEES_ALL, SEES_FIRST, SEES_PAST };

INLINE enum sight sight_of(const struct attend *a, int64_t key)
{
    if (a->causal && a->first < key + KEYS)
        return SEES_PAST;
    return a->n_keys - key < KEYS ? SEES_FIRST : SEES_ALL;
}

/* Of the sixteen keys from `key` on, those that row r sees. */
INLINE __mmask16 seen(const struct attend *a, int64_t key, int r, const enum sight sight)
{
    int64_t end = sight == SEES_PAST && a->first + r + 1 < a->n_keys ? a->first + r + 1 : a->n_keys;
    int64_t n = end - key;

    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* Maxima of a block of scores that begins at `key`, for rows first..first + 15. */
INLINE __m512 block_maxima(const struct attend *a, int64_t key, int first, const enum sight sight)
{
    __m512 v[16], lowest = _mm512_set1_ps(-INFINITY);

#pragma GCC unroll 16
    for (int r = 0; r < 16; r++)
        v[r] = lowest;
    for (int i = 0; i < KEYS; i += 16) {
        __mmask16 mask = seen(a, key + i, 0, sight);

#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) {
            __m512 s = _mm512_load_ps(a->scores + (first + r) * KEYS + i);

            if (sight == SEES_PAST)
                mask = seen(a, key + i, first + r, sight);
            if (sight != SEES_ALL)
                s = _mm512_mask_blend_ps(mask, lowest, s);
            v[r] = _mm512_max_ps(s, v[r]);
        }
    }
    return maxima(v);
}

/* Takes a block's maxima into account; sums * keep is exact. */
INLINE void rows_next(struct rows *rows, const struct attend *a, int64_t key,
                      const enum sight sight)
{
    __mmask16 changed = 0;

    for (int r = 0; r < QUERIES; r += 16) {
        __m512 minus = _mm512_load_ps(rows->minus + r), next, keep;

        next = _mm512_mul_ps(block_maxima(a, key, r, sight), _mm512_set1_ps(a->factor));
        next = _mm512_roundscale_ps(next, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
        next = _mm512_min_ps(minus, _mm512_sub_ps(_mm512_setzero_ps(), next));
        keep = _mm512_scalef_ps(_mm512_set1_ps(1), _mm512_sub_ps(next, minus));
        changed |= _mm512_cmp_ps_mask(keep, _mm512_set1_ps(1), _CMP_NEQ_UQ);
        _mm512_store_ps(rows->minus + r, next);
        _mm512_store_ps(rows->keep + r, keep);
    }
    for (int i = 0; i < QUERIES * a->panels && changed && key > 0; i++) {
        float *sum = a->sums + i * PANEL;

        _mm512_store_ps(
            sum, _mm512_mul_ps(_mm512_load_ps(sum), _mm512_set1_ps(rows->keep[i / a->panels])));
    }
}

/*
 * 2^x. 2^r for the part r in 0..1 behind the point is a polynomial of degree 3, relative error
 * below 9e-5 (Remez exchange), a ninetieth of what cutting to bf16 may lose.
 */
INLINE __m512i weight_bits(__m512 x)
{
    __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(0.0770670420f), r, _mm512_set1_ps(0.227644991f));

    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.695116786f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1));
    return _mm512_castps_si512(_mm512_scalef_ps(sum, x));
}

/*
 * Weights of row r and the STEP keys from `at` of the block, cut to bf16: the number at 2 i is of
 * key i, that at 2 i + 1 of key i + 16. Zeros for keys that it does not see.
 */
INLINE void weigh(const struct rows *rows, const struct attend *a, int r, int at, const bool masked,
                  __mmask16 low_seen, __mmask16 high_seen)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    const float *scores = a->scores + r * KEYS + at;
    __m512 minus = _mm512_set1_ps(rows->minus[r]);
    __m512 factor = _mm512_set1_ps(a->factor);
    __m512i low = weight_bits(_mm512_fmadd_ps(_mm512_load_ps(scores), factor, minus));
    __m512i high = weight_bits(_mm512_fmadd_ps(_mm512_load_ps(scores + 16), factor, minus));

    if (masked) {
        low = _mm512_maskz_mov_epi32(low_seen, low);
        high = _mm512_maskz_mov_epi32(high_seen, high);
    }
    low = _mm512_ternarylogic_epi32(_mm512_srli_epi32(low, 16), high, upper, 0xd8);
    _mm512_store_si512(a->weights + r * KEYS + at, low); /* upper ? high : low >> 16 */
}

INLINE void weigh_step(const struct rows *rows, const struct attend *a, int64_t key, int at,
                       const enum sight sight)
{
    __mmask16 low = seen(a, key + at, 0, sight), high = seen(a, key + at + 16, 0, sight);

    for (int r = 0; r < QUERIES; r += 4)
#pragma GCC unroll 4
        for (int i = r; i < r + 4; i++) {
            if (sight == SEES_PAST) {
                low = seen(a, key + at, i, sight);
                high = seen(a, key + at + 16, i, sight);
            }
            weigh(rows, a, i, at, sight != SEES_ALL, low, high);
        }
}

/* Scores to weights, of the block that begins at `key`. */
INLINE void weigh_block(struct rows *rows, const struct attend *a, int64_t key)
{
    switch (sight_of(a, key)) {
    case SEES_ALL:
        rows_next(rows, a, key, SEES_ALL);
        for (int at = 0; at < KEYS; at += STEP)
            weigh_step(rows, a, key, at, SEES_ALL);
        break;
    case SEES_FIRST:
        rows_next(rows, a, key, SEES_FIRST);
        for (int at = 0; at < KEYS; at += STEP)
            weigh_step(rows, a, key, at, SEES_FIRST);
        break;
    case SEES_PAST:
        rows_next(rows, a, key, SEES_PAST);
        for (int at = 0; at < KEYS; at += STEP)
            weigh_step(rows, a, key, at, SEES_PAST);
        break;
    }
}

/* A block's keys; its values are behind them, and the next block. */
INLINE const uint16_t *block_at(const struct attend *a, int64_t key)
{
    return a->blocks + (size_t)(key / KEYS) * bf16_block_size(a->depth, a->panels);
}

/* Steps of the block of keys that begins at `key`; 0: no row sees any of it. */
INLINE int attend_steps(const struct attend *a, int64_t key)
{
    int64_t end = a->causal && a->first + QUERIES < a->n_keys ? a->first + QUERIES : a->n_keys;
    int64_t left = end - key;

    return left >= KEYS ? KEYS / STEP : left <= 0 ? 0 : (int)((left + STEP - 1) / STEP);
}

#endif
