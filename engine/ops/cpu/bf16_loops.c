/*
 * Loops over activations that are stored as bf16; see bf16.h. Compiled with AVX512_BF16's flag
 * (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#define SIMD_AVX512
#include "engine/ops/cpu/bf16_finish.h"

#define FETCH_AHEAD 2048 /* bytes */

void bf16_from_f32(uint16_t *y, const float *x, size_t n)
{
    EACH(n, y, load_floats(x + at, left));
}

void bf16_to_f32(float *y, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        int left = n - i < 16 ? (int)(n - i) : 16;

        _mm512_mask_storeu_ps(y + i, first_lanes(left), load_n(x + i, left));
    }
}

void bf16_spread(uint16_t *y, size_t block, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i += STEP, y += block) {
        __mmask32 there = n - i >= STEP ? 0xffffffffu : (1u << (n - i)) - 1;

        _mm512_storeu_si512(y, _mm512_maskz_loadu_epi16(x ? there : 0, x ? x + i : x));
    }
}

void bf16_finish(struct finishing *f, int n)
{
    finish_some(f, n);
}

void bf16_scale(uint16_t *y, const float *x, size_t n, float factor)
{
    EACH(n, y, v_mul(load_floats(x + at, left), v_set(factor)));
}

void bf16_activate(uint16_t *y, const uint16_t *x, size_t n, enum activation act)
{
#define ACTIVATE(act) EACH(n, y, activation(load_n(x + at, left), act))
    FOR_ACT(act, ACTIVATE);
#undef ACTIVATE
}

void bf16_add(uint16_t *y, const uint16_t *a, const uint16_t *b, size_t n)
{
    EACH(n, y, v_add(load_n(a + at, left), load_n(b + at, left)));
}

void bf16_geglu(uint16_t *y, const uint16_t *a, const uint16_t *b, size_t c)
{
    EACH(c, y, v_mul(load_n(a + at, left), gelu(load_n(b + at, left))));
}

/* sum[16] += x */
SIMD void add_doubles(double *sum, v16 x, int n)
{
    for (int i = 0; i < 2 && n > 8 * i; i++) {
        __mmask8 there = n - 8 * i >= 8 ? 0xff : (__mmask8)((1u << (n - 8 * i)) - 1);
        __m512d before = _mm512_maskz_loadu_pd(there, sum + 8 * i);

        _mm512_mask_storeu_pd(sum + 8 * i, there,
                              _mm512_add_pd(before, _mm512_cvtps_pd(v_halves(x, i))));
    }
}

/* Of 32 columns, n of which are there. */
SIMD void strip_sums(double *sum, double *squares, const uint16_t *x, size_t rows, size_t c,
                     const int n)
{
    __mmask32 there = n >= 32 ? 0xffffffffu : (1u << n) - 1;
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    v16 s[2] = {v_set(0), v_set(0)}, q[2] = {v_set(0), v_set(0)};

    for (size_t r = 0; r < rows; r++, x += c) {
        __m512i both = n >= 32 ? _mm512_loadu_si512(x) : _mm512_maskz_loadu_epi16(there, x);
        v16 even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        v16 odd = _mm512_castsi512_ps(_mm512_and_si512(both, upper));

        _mm_prefetch((const char *)(x + SUM_ROWS * c), _MM_HINT_T0);
        s[0] = v_add(s[0], even);
        s[1] = v_add(s[1], odd);
        q[0] = v_fma(even, even, q[0]);
        q[1] = v_fma(odd, odd, q[1]);
    }
    add_doubles(sum, _mm512_permutex2var_ps(s[0], low, s[1]), n);
    add_doubles(sum + 16, _mm512_permutex2var_ps(s[0], high, s[1]), n - 16);
    add_doubles(squares, _mm512_permutex2var_ps(q[0], low, q[1]), n);
    add_doubles(squares + 16, _mm512_permutex2var_ps(q[0], high, q[1]), n - 16);
}

void bf16_column_sums(double *sum, double *squares, const uint16_t *x, size_t rows, size_t c)
{
    for (size_t r = 0; r < rows; r += SUM_ROWS) {
        size_t n = rows - r < SUM_ROWS ? rows - r : SUM_ROWS, i = 0;

        for (; i + 32 <= c; i += 32)
            strip_sums(sum + i, squares + i, x + r * c + i, n, c, 32);
        if (i < c)
            strip_sums(sum + i, squares + i, x + r * c + i, n, c, (int)(c - i));
    }
}

/* The processor fetches no further ahead than a small page. */
SIMD v16 load_ahead(const uint16_t *p, int n)
{
    _mm_prefetch((const char *)p + FETCH_AHEAD, _MM_HINT_T0);
    return load_n(p, n);
}

void bf16_scale_shift(uint16_t *y, const uint16_t *x, size_t rows, size_t c, const float *scale,
                      const float *shift, enum activation act)
{
#define SCALE_SHIFT(act)                                                                           \
    for (size_t r = 0; r < rows; r++)                                                              \
    EACH(c, y + r * c,                                                                             \
         activation(v_fma(load_ahead(x + r * c + at, left), load_floats(scale + at, left),         \
                          load_floats(shift + at, left)),                                          \
                    act))
    FOR_ACT(act, SCALE_SHIFT);
#undef SCALE_SHIFT
}

/* Four chains of sixteen lanes, of x - centre or its squares. */
SIMD float sum_of(const uint16_t *x, size_t c, float centre, const bool square)
{
    v16 sums[4] = {v_set(0), v_set(0), v_set(0), v_set(0)}, minus = v_set(-centre);
    size_t i = 0;

    for (; i + 64 <= c; i += 64)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            v16 value = v_add(load(x + i + (size_t)k * 16), minus);

            sums[k] = square ? v_fma(value, value, sums[k]) : v_add(sums[k], value);
        }
    for (; i < c; i += 16) {
        int left = c - i < 16 ? (int)(c - i) : 16;
        v16 value = v_first(v_add(load_n(x + i, left), minus), v_set(0), left);

        sums[0] = square ? v_fma(value, value, sums[0]) : v_add(sums[0], value);
    }
    return v_sum(v_add(v_add(sums[0], sums[1]), v_add(sums[2], sums[3])));
}

void bf16_layer_norm(uint16_t *y, const uint16_t *x, size_t c, const float *gamma,
                     const float *beta, float eps)
{
    float mean = sum_of(x, c, 0, false) / (float)c;
    float factor = 1 / sqrtf(sum_of(x, c, mean, true) / (float)c + eps);
    v16 minus = v_set(-mean), by = v_set(factor);

    EACH(c, y,
         v_fma(v_mul(v_add(load_n(x + at, left), minus), by), load_floats(gamma + at, left),
               load_floats(beta + at, left)));
}
#endif
