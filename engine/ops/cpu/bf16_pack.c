/*
 * float32 to bf16, in the layouts that bf16.h's products want. Compiled with AVX512_BF16's flag
 * (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* The first n (0 or less to 16) of sixteen floats, zeros behind. */
INLINE __m512 load_some(const float *x, int64_t n)
{
    return _mm512_maskz_loadu_ps(n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1), x);
}

INLINE void store_pairs(uint16_t *y, __m512 low, __m512 high)
{
    __m512bh pairs = _mm512_cvtne2ps_pbh(high, low);

    memcpy(y, &pairs, sizeof pairs);
}

/* Sixteen floats as bf16, each in the lower half of its lane. */
INLINE __m512i lower_halves(__m512 x)
{
    __m256bh rounded = _mm512_cvtneps_pbh(x);
    __m256i bits;

    memcpy(&bits, &rounded, sizeof bits);
    return _mm512_cvtepu16_epi32(bits);
}

void bf16_round(uint16_t *y, size_t block, const float *x, size_t n)
{
    size_t i = 0;

    for (; i + STEP <= n; i += STEP, y += block)
        store_pairs(y, _mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i + 16));
    if (i < n)
        store_pairs(y, load_some(x + i, (int64_t)(n - i)),
                    load_some(x + i + 16, (int64_t)(n - i) - 16));
}

/* n numbers of any float dtype, anywhere. */
static void convert(uint16_t *y, const char *x, enum dtype dtype, size_t n)
{
    size_t size = dtype_size(dtype);

    if (dtype == DTYPE_BF16) {
        memcpy(y, x, n * size);
        return;
    }
    for (size_t i = 0; i < n; i += 16) {
        float f[16] = {0};
        uint16_t h[16] = {0};
        size_t left = n - i < 16 ? n - i : 16;
        __m512 floats;
        __m256bh rounded;

        if (dtype == DTYPE_F32) {
            memcpy(f, x + i * size, left * size);
            floats = _mm512_loadu_ps(f);
        } else {
            memcpy(h, x + i * size, left * size);
            floats = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)h));
        }
        rounded = _mm512_cvtneps_pbh(floats);
        memcpy(y + i, &rounded, left * sizeof *y);
    }
}

void bf16_pack(uint16_t *y, const void *w, enum dtype dtype, size_t row, int n_rows, int channels,
               int taps)
{
    uint16_t numbers[STEP * 16];

    memset(y, 0, (size_t)(taps * PANEL_STEP) * sizeof *y);
    for (int column = 0; column < n_rows; column++) {
        const char *from = (const char *)w + (size_t)column * row;
        int left = channels * taps, channel = 0, tap = 0, n;

        for (; left > 0; left -= n, from += (size_t)n * dtype_size(dtype)) {
            n = left < STEP * 16 ? left : STEP * 16;
            convert(numbers, from, dtype, (size_t)n);
            for (int i = 0; i < n; i++) {
                y[tap * PANEL_STEP + (channel / 2 * PANEL + column) * 2 + channel % 2] = numbers[i];
                if (++tap == taps) {
                    tap = 0;
                    channel++;
                }
            }
        }
    }
}

/* Depth steps of one key, into the column of its panel. */
static void pack_key(uint16_t *keys, const float *k, int dim)
{
    for (int i = 0; i < dim; i += STEP, keys += PANEL_STEP) {
        uint16_t numbers[STEP];

        store_pairs(numbers, load_some(k + i, dim - i), load_some(k + i + 16, dim - i - 16));
        for (int pair = 0; pair < STEP / 2; pair++)
            memcpy(keys + pair * 2 * PANEL, numbers + 2 * pair, 2 * sizeof *keys);
    }
}

/* Sixteen values of key j, and one behind the last. */
INLINE __m512 values_of(const float *v, size_t ld, int j, int n, int at, int dim)
{
    __m512 x;

    if (j >= n)
        return _mm512_setzero_ps();
    x = load_some(v + (size_t)j * ld + at, dim - at);
    return dim - at < PANEL
               ? _mm512_mask_mov_ps(x, (__mmask16)(1u << (dim - at)), _mm512_set1_ps(1))
               : x;
}

void bf16_pack_block(uint16_t *block, const float *k, const float *v, size_t ld, int n, int dim)
{
    int depth = (dim + STEP - 1) / STEP, panels = dim / PANEL + 1;
    uint16_t *to = block + KEYS / PANEL * depth * PANEL_STEP;

    memset(block, 0, (size_t)(to - block) * sizeof *block);
    for (int j = 0; j < n; j++)
        pack_key(block + j / PANEL * depth * PANEL_STEP + j % PANEL * 2, k + (size_t)j * ld, dim);
    for (int at = 0; at < panels * PANEL; at += PANEL)
        for (int j = 0; j < KEYS; j += STEP)
            for (int pair = j; pair < j + 16; pair++, to += 2 * PANEL) {
                __m512i low = lower_halves(values_of(v, ld, pair, n, at, dim));
                __m512i high = lower_halves(values_of(v, ld, pair + 16, n, at, dim));

                _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
}

void bf16_scale(uint16_t *y, const float *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i += STEP) {
        int64_t left = (int64_t)(n - i);
        __m512 by = _mm512_set1_ps(factor);

        store_pairs(y + i, _mm512_mul_ps(by, load_some(x + i, left)),
                    _mm512_mul_ps(by, load_some(x + i + 16, left - 16)));
    }
}
#endif
