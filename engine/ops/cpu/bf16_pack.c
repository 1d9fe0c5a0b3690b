/*
 * Operands in the layouts that bf16.h's products want. Compiled with AVX512_BF16's flag
 * (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* The first n (1..32) numbers of any float dtype, anywhere, as bf16; zeros behind. */
INLINE __m512i convert(const char *x, const enum dtype dtype, int n)
{
    __mmask32 some = n >= STEP ? 0xffffffff : (1u << n) - 1;
    __m512 low, high;
    __m512bh pairs;
    __m512i bits;

    if (dtype == DTYPE_BF16)
        return _mm512_maskz_loadu_epi16(some, x);
    if (dtype == DTYPE_F32) {
        low = _mm512_maskz_loadu_ps((__mmask16)some, x);
        high = _mm512_maskz_loadu_ps((__mmask16)(some >> 16), x + 16 * sizeof(float));
    } else {
        bits = _mm512_maskz_loadu_epi16(some, x);
        low = _mm512_cvtph_ps(_mm512_castsi512_si256(bits));
        high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(bits, 1));
    }
    pairs = _mm512_cvtne2ps_pbh(high, low);
    memcpy(&bits, &pairs, sizeof bits);
    return bits;
}

/* Sixteen rows of sixteen pairs to sixteen columns of them. */
INLINE void turn(uint16_t *y, __m512i v[16])
{
    __m512i w[16];

#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        w[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        w[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        v[i] = _mm512_unpacklo_epi64(w[i], w[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(w[i], w[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(w[i + 1], w[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(w[i + 1], w[i + 3]);
    }
    /* v[4 g + j] holds pairs j, j + 4, j + 8, j + 12 of rows 4 g..4 g + 3, one in each quarter. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);
        __m512i b = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
        __m512i c = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd);
        __m512i d = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);

        _mm512_storeu_si512(y + j * 2 * PANEL, _mm512_shuffle_i32x4(a, b, 0x88));
        _mm512_storeu_si512(y + (j + 4) * 2 * PANEL, _mm512_shuffle_i32x4(c, d, 0x88));
        _mm512_storeu_si512(y + (j + 8) * 2 * PANEL, _mm512_shuffle_i32x4(a, b, 0xdd));
        _mm512_storeu_si512(y + (j + 12) * 2 * PANEL, _mm512_shuffle_i32x4(c, d, 0xdd));
    }
}

#define TAPS_MAX 9 /* that are packed at once: all of a 3x3 convolution */

/* What is read of one row: channels of n numbers each, which lie taps apart. */
INLINE void read_row(uint16_t *y, const char *from, const enum dtype dtype, int channels, int taps,
                     int n)
{
    size_t one = dtype_size(dtype);
    int runs = n == taps ? 1 : channels, run = n == taps ? channels * taps : n;

    for (int i = 0; i < runs; i++, from += (size_t)taps * one, y += n)
        for (int at = 0; at < run; at += STEP)
            _mm512_storeu_si512(y + at, convert(from + (size_t)at * one, dtype, run - at));
}

/* Channels of n taps to taps of channels, PANEL rows apart. */
INLINE void sort_row(uint16_t *y, const uint16_t *line, int channels, const int n)
{
    for (int c = 0; c < channels; c++)
#pragma GCC unroll 9
        for (int t = 0; t < n; t++)
            y[t * PANEL_STEP + c] = line[c * n + t];
}

/* Taps first.. of them, n, at most TAPS_MAX. */
INLINE void pack_taps(uint16_t *y, const char *w, const enum dtype dtype, size_t row, int n_rows,
                      int channels, int taps, int n)
{
    _Alignas(64) uint16_t sorted[TAPS_MAX * PANEL_STEP]; /* [taps][PANEL][STEP] */
    uint16_t line[TAPS_MAX * STEP + STEP];
    __m512i v[PANEL];

    if (channels < STEP || n_rows < PANEL)
        memset(sorted, 0, sizeof sorted);
    for (int r = 0; r < n_rows; r++) {
        read_row(line, w + (size_t)r * row, dtype, channels, taps, n);
        if (n == TAPS_MAX)
            sort_row(sorted + r * STEP, line, channels, TAPS_MAX);
        else
            sort_row(sorted + r * STEP, line, channels, n);
    }
    for (int t = 0; t < n; t++, y += PANEL_STEP) {
        for (int r = 0; r < PANEL; r++)
            v[r] = _mm512_load_si512(sorted + t * PANEL_STEP + r * STEP);
        turn(y, v);
    }
}

INLINE void pack(uint16_t *y, const char *w, const enum dtype dtype, size_t row, int n_rows,
                 int channels, int taps)
{
    __m512i v[PANEL];

    for (int first = 0, n; taps > 1 && first < taps; first += n) {
        n = taps - first < TAPS_MAX ? taps - first : TAPS_MAX;
        pack_taps(y + first * PANEL_STEP, w + (size_t)first * dtype_size(dtype), dtype, row, n_rows,
                  channels, taps, n);
    }
    if (taps > 1)
        return;
    for (int r = 0; r < PANEL; r++)
        v[r] = r < n_rows ? convert(w + (size_t)r * row, dtype, channels) : _mm512_setzero_si512();
    turn(y, v);
}

void bf16_pack(uint16_t *y, const void *w, enum dtype dtype, size_t row, int n_rows, int channels,
               int taps)
{
    if (dtype == DTYPE_F16)
        pack(y, w, DTYPE_F16, row, n_rows, channels, taps);
    else if (dtype == DTYPE_F32)
        pack(y, w, DTYPE_F32, row, n_rows, channels, taps);
    else
        pack(y, w, DTYPE_BF16, row, n_rows, channels, taps);
}

/* The first n (0 or less to STEP) numbers, zeros behind; reads no others. */
INLINE __m512i load_numbers(const uint16_t *x, int n)
{
    return _mm512_maskz_loadu_epi16(n >= STEP ? 0xffffffffu : n <= 0 ? 0 : (1u << n) - 1, x);
}

/* A panel of up to sixteen keys: pairs of depth are lanes of a key's row. */
INLINE void pack_keys(uint16_t *panel, const uint16_t *k, size_t ld, int n, int dim)
{
    for (int at = 0; at < dim; at += STEP, panel += PANEL_STEP) {
        __m512i v[16];

#pragma GCC unroll 16
        for (int j = 0; j < 16; j++)
            v[j] = j < n ? load_numbers(k + (size_t)j * ld + at, dim - at) : _mm512_setzero_si512();
        turn(panel, v);
    }
}

/* Sixteen values of key j, each in the lower half of its lane, and one behind the last. */
INLINE __m512i values_of(const uint16_t *v, size_t ld, int j, int n, int at, int dim)
{
    int left = dim - at;
    __mmask16 there = left >= PANEL ? 0xffff : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
    __m512i x;

    if (j >= n)
        return _mm512_setzero_si512();
    x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, v + (size_t)j * ld + at));
    return left < PANEL
               ? _mm512_mask_mov_epi32(x, (__mmask16)(1u << left), _mm512_set1_epi32(0x3f80))
               : x;
}

void bf16_pack_block(uint16_t *block, const uint16_t *k, const uint16_t *v, size_t ld, int n,
                     int dim)
{
    int depth = (dim + STEP - 1) / STEP, panels = dim / PANEL + 1;
    uint16_t *to = block + KEYS / PANEL * depth * PANEL_STEP;

    for (int j = 0; j < KEYS; j += PANEL)
        pack_keys(block + j / PANEL * depth * PANEL_STEP, k + (size_t)j * ld, ld, n - j, dim);
    for (int at = 0; at < panels * PANEL; at += PANEL)
        for (int j = 0; j < KEYS; j += STEP)
            for (int pair = j; pair < j + 16; pair++, to += 2 * PANEL) {
                __m512i low = values_of(v, ld, pair, n, at, dim);
                __m512i high = values_of(v, ld, pair + 16, n, at, dim);

                _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
}
#endif
