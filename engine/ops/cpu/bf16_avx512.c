/*
 * bf16 products by AVX512_BF16's dot product of pairs: eight rows against three panels, as in f32.
 * Compiled with its flag (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define ROWS   8 /* of a tile at a time: 24 sums, 3 columns and 1 row fill the 32 registers */

static void nothing(void)
{
}

INLINE __m512bh load_pairs(const uint16_t *p)
{
    __m512i bits = _mm512_loadu_si512(p);
    __m512bh pairs;

    memcpy(&pairs, &bits, sizeof pairs);
    return pairs;
}

INLINE __m512bh repeat_pair(const uint16_t *p)
{
    int32_t two;
    __m512i bits;
    __m512bh pairs;

    memcpy(&two, p, sizeof two);
    bits = _mm512_set1_epi32(two);
    memcpy(&pairs, &bits, sizeof pairs);
    return pairs;
}

/* One step: 16 pairs of depth. */
INLINE void step(__m512 sums[ROWS][PANELS_MAX], const uint16_t *a, size_t row,
                 const uint16_t *const *panels, size_t at, const int n_panels)
{
    for (int pair = 0; pair < STEP / 2; pair++) {
        __m512bh b[PANELS_MAX];

#pragma GCC unroll 3
        for (int p = 0; p < n_panels; p++)
            b[p] = load_pairs(panels[p] + at + (size_t)pair * 2 * PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            __m512bh x = repeat_pair(a + (size_t)r * row + pair * 2);

#pragma GCC unroll 3
            for (int p = 0; p < n_panels; p++)
                sums[r][p] = _mm512_dpbf16_ps(sums[r][p], x, b[p]);
        }
    }
}

INLINE void product(float *sum, size_t ld, const struct walk *w, const uint16_t *a,
                    const uint16_t *const *panels, const float *begin, const int n_panels)
{
    __m512 sums[ROWS][PANELS_MAX];
    const char *ahead = w->ahead;
    size_t at = 0;

#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int p = 0; p < n_panels; p++)
            sums[r][p] = _mm512_loadu_ps((begin ? begin : sum + (size_t)r * ld) + PANEL * p);
    for (int block = 0; block < w->blocks; block++, a += w->block)
        for (int tap = 0; tap < w->taps; tap++, at += PANEL_STEP) {
            step(sums, a + w->tap[tap], w->row, panels, at, n_panels);
            for (int i = 0; i < w->ahead_per_step; i++, ahead += 64)
                _mm_prefetch(ahead, _MM_HINT_T1);
        }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int p = 0; p < n_panels; p++)
            _mm512_storeu_ps(sum + (size_t)r * ld + PANEL * p, sums[r][p]);
}

static void multiply(float *const *sums, size_t ld, const struct walk *w,
                     const uint16_t *const *tiles, int n_tiles, const uint16_t *const *panels,
                     int n_panels, const float *const *begin)
{
    struct walk walk = *w;

    for (int i = 0; i < n_tiles * (TILE / ROWS); i++) {
        const uint16_t *a = tiles[i / (TILE / ROWS)] + (size_t)(i % (TILE / ROWS) * ROWS) * w->row;
        const float *first = begin ? begin[i / (TILE / ROWS)] : NULL;
        float *to = sums[i / (TILE / ROWS)] + (size_t)(i % (TILE / ROWS) * ROWS) * ld;

        if (n_panels == 3)
            product(to, ld, &walk, a, panels, first, 3);
        else if (n_panels == 2)
            product(to, ld, &walk, a, panels, first, 2);
        else
            product(to, ld, &walk, a, panels, first, 1);
        walk.ahead_per_step = 0;
    }
}

void bf16_round(uint16_t *y, size_t block, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += STEP) {
        size_t left = n - i;
        __m512 low, high;
        __m512bh pairs;

        if (left >= STEP) {
            low = _mm512_loadu_ps(x + i);
            high = _mm512_loadu_ps(x + i + 16);
        } else {
            uint32_t mask = (1u << left) - 1;

            low = _mm512_maskz_loadu_ps((__mmask16)mask, x + i);
            high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + i + 16);
        }
        pairs = _mm512_cvtne2ps_pbh(high, low);
        memcpy(y + i / STEP * block, &pairs, sizeof pairs);
    }
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

const struct bf16_kernels bf16_avx512 = {
    .device_class = "cpu-avx512-bf16",
    .panels = 3,
    .enter = nothing,
    .leave = nothing,
    .multiply = multiply,
};
#endif
