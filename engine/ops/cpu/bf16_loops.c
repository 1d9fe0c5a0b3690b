/*
 * Loops over activations that are stored as bf16; see bf16.h. Compiled with AVX512_BF16's flag
 * (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#define SIMD_AVX512
#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/functions.h"
#include "engine/ops/cpu/kernels.h"

#define FETCH_AHEAD 2048 /* bytes */

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

void bf16_finish(struct finishing *f, int n)
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
