/*
 * Sixteen floats as one value, whatever the machine's registers: one AVX-512 register, two of AVX2,
 * or an array. Every function gives the same bits on all three: products and sums are fused where
 * the name says so and nowhere else, and v_sum adds in one fixed order. So a kernel written with
 * them computes the same bytes on every machine (ARCHITECTURE.md, decision 9).
 *
 * For the kernels_*.c files alone, which choose by SIMD_AVX512 or SIMD_AVX2.
 */
#ifndef ENGINE_OPS_CPU_SIMD_H
#define ENGINE_OPS_CPU_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 16

#if defined(SIMD_AVX512) || defined(SIMD_AVX2)
#define SIMD static inline __attribute__((always_inline))
#else
#define SIMD static inline
#endif

#if defined(SIMD_AVX512)

#include <immintrin.h>

typedef __m512 v16;

SIMD v16 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

SIMD void v_store(float *p, v16 a)
{
    _mm512_storeu_ps(p, a);
}

/* The first n (0..16) floats, zeros behind; reads no others. */
SIMD v16 v_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

SIMD void v_store_n(float *p, v16 a, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
}

SIMD v16 v_set(float x)
{
    return _mm512_set1_ps(x);
}

SIMD v16 v_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}

SIMD v16 v_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}

SIMD v16 v_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}

SIMD v16 v_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}

/* a * b + c, rounded once */
SIMD v16 v_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* a > b ? a : b, so b if either is NaN */
SIMD v16 v_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}

/* a < b ? a : b */
SIMD v16 v_min(v16 a, v16 b)
{
    return _mm512_min_ps(a, b);
}

/* The first n lanes of a, the others of b. */
SIMD v16 v_first(v16 a, v16 b, int n)
{
    return _mm512_mask_blend_ps((__mmask16)((1u << n) - 1), b, a);
}

/* a < 0 ? b : c */
SIMD v16 v_if_negative(v16 a, v16 b, v16 c)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_LT_OQ), c, b);
}

SIMD v16 v_abs(v16 a)
{
    return _mm512_abs_ps(a);
}

/* Nearest whole number, ties to even. */
SIMD v16 v_round(v16 a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* a * 2^n for whole n in -126..127 */
SIMD v16 v_times_power_of_2(v16 a, v16 n)
{
    return _mm512_scalef_ps(a, n);
}

SIMD __m256 v_halves(v16 a, int upper)
{
    __m512d pairs = _mm512_castps_pd(a);

    return _mm256_castpd_ps(upper ? _mm512_extractf64x4_pd(pairs, 1)
                                  : _mm512_castpd512_pd256(pairs));
}

#elif defined(SIMD_AVX2)

#include <immintrin.h>

typedef struct {
    __m256 a, b;
} v16;

SIMD v16 v_load(const float *p)
{
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

SIMD void v_store(float *p, v16 a)
{
    _mm256_storeu_ps(p, a.a);
    _mm256_storeu_ps(p + 8, a.b);
}

/* All bits of the first n lanes of eight. */
SIMD __m256i v_mask(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

SIMD v16 v_load_n(const float *p, int n)
{
    return (v16){_mm256_maskload_ps(p, v_mask(n)), _mm256_maskload_ps(p + 8, v_mask(n - 8))};
}

SIMD void v_store_n(float *p, v16 a, int n)
{
    _mm256_maskstore_ps(p, v_mask(n), a.a);
    _mm256_maskstore_ps(p + 8, v_mask(n - 8), a.b);
}

SIMD v16 v_set(float x)
{
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

SIMD v16 v_add(v16 a, v16 b)
{
    return (v16){_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)};
}

SIMD v16 v_sub(v16 a, v16 b)
{
    return (v16){_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b)};
}

SIMD v16 v_mul(v16 a, v16 b)
{
    return (v16){_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)};
}

SIMD v16 v_div(v16 a, v16 b)
{
    return (v16){_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b)};
}

SIMD v16 v_fma(v16 a, v16 b, v16 c)
{
    return (v16){_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}

SIMD v16 v_max(v16 a, v16 b)
{
    return (v16){_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)};
}

SIMD v16 v_min(v16 a, v16 b)
{
    return (v16){_mm256_min_ps(a.a, b.a), _mm256_min_ps(a.b, b.b)};
}

SIMD v16 v_first(v16 a, v16 b, int n)
{
    return (v16){_mm256_blendv_ps(b.a, a.a, _mm256_castsi256_ps(v_mask(n))),
                 _mm256_blendv_ps(b.b, a.b, _mm256_castsi256_ps(v_mask(n - 8)))};
}

SIMD v16 v_if_negative(v16 a, v16 b, v16 c)
{
    __m256 zero = _mm256_setzero_ps();

    return (v16){_mm256_blendv_ps(c.a, b.a, _mm256_cmp_ps(a.a, zero, _CMP_LT_OQ)),
                 _mm256_blendv_ps(c.b, b.b, _mm256_cmp_ps(a.b, zero, _CMP_LT_OQ))};
}

SIMD v16 v_abs(v16 a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);

    return (v16){_mm256_andnot_ps(sign, a.a), _mm256_andnot_ps(sign, a.b)};
}

SIMD v16 v_round(v16 a)
{
    return (v16){_mm256_round_ps(a.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                 _mm256_round_ps(a.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

SIMD __m256 v_power_of_2_half(__m256 n)
{
    __m256i bits = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);

    return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}

SIMD v16 v_times_power_of_2(v16 a, v16 n)
{
    return v_mul(a, (v16){v_power_of_2_half(n.a), v_power_of_2_half(n.b)});
}

SIMD __m256 v_halves(v16 a, int upper)
{
    return upper ? a.b : a.a;
}

#else

typedef struct {
    float x[LANES];
} v16;

#define EACH_LANE for (int i = 0; i < LANES; i++)

SIMD v16 v_load(const float *p)
{
    v16 a;

    memcpy(a.x, p, sizeof a.x);
    return a;
}

SIMD void v_store(float *p, v16 a)
{
    memcpy(p, a.x, sizeof a.x);
}

SIMD v16 v_load_n(const float *p, int n)
{
    v16 a;

    EACH_LANE a.x[i] = i < n ? p[i] : 0;
    return a;
}

SIMD void v_store_n(float *p, v16 a, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = a.x[i];
}

SIMD v16 v_set(float x)
{
    v16 a;

    EACH_LANE a.x[i] = x;
    return a;
}

SIMD v16 v_add(v16 a, v16 b)
{
    EACH_LANE a.x[i] += b.x[i];
    return a;
}

SIMD v16 v_sub(v16 a, v16 b)
{
    EACH_LANE a.x[i] -= b.x[i];
    return a;
}

SIMD v16 v_mul(v16 a, v16 b)
{
    EACH_LANE a.x[i] *= b.x[i];
    return a;
}

SIMD v16 v_div(v16 a, v16 b)
{
    EACH_LANE a.x[i] /= b.x[i];
    return a;
}

SIMD v16 v_fma(v16 a, v16 b, v16 c)
{
    EACH_LANE a.x[i] = fmaf(a.x[i], b.x[i], c.x[i]);
    return a;
}

SIMD v16 v_max(v16 a, v16 b)
{
    EACH_LANE a.x[i] = a.x[i] > b.x[i] ? a.x[i] : b.x[i];
    return a;
}

SIMD v16 v_min(v16 a, v16 b)
{
    EACH_LANE a.x[i] = a.x[i] < b.x[i] ? a.x[i] : b.x[i];
    return a;
}

SIMD v16 v_first(v16 a, v16 b, int n)
{
    EACH_LANE a.x[i] = i < n ? a.x[i] : b.x[i];
    return a;
}

SIMD v16 v_if_negative(v16 a, v16 b, v16 c)
{
    EACH_LANE a.x[i] = a.x[i] < 0 ? b.x[i] : c.x[i];
    return a;
}

SIMD v16 v_abs(v16 a)
{
    EACH_LANE a.x[i] = fabsf(a.x[i]);
    return a;
}

SIMD v16 v_round(v16 a)
{
    EACH_LANE a.x[i] = rintf(a.x[i]);
    return a;
}

SIMD v16 v_times_power_of_2(v16 a, v16 n)
{
    EACH_LANE
    {
        int32_t bits = n.x[i] >= -126 && n.x[i] <= 127 ? (int32_t)n.x[i] : 0; /* NaN: any */
        float power;

        bits = (bits + 127) * (1 << 23);
        memcpy(&power, &bits, sizeof power);
        a.x[i] *= power;
    }
    return a;
}

#endif

/* Asks for a line of memory, any address, into the second cache. */
SIMD void v_ahead(const char *p)
{
#if defined(SIMD_AVX512)
    _mm_prefetch(p, _MM_HINT_T1);
#else
    (void)p;
#endif
}

/* The sum of all lanes, always as a tree of halves: i + (i+8), then 4, 2, 1 apart. */
SIMD float v_sum(v16 a)
{
#if defined(SIMD_AVX512) || defined(SIMD_AVX2)
    __m256 s8 = _mm256_add_ps(v_halves(a, 0), v_halves(a, 1));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));

    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
#else
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a.x[i] += a.x[i + n];
    return a.x[0];
#endif
}

/* The largest lane, in the same tree. */
SIMD float v_top(v16 a)
{
#if defined(SIMD_AVX512) || defined(SIMD_AVX2)
    __m256 m8 = _mm256_max_ps(v_halves(a, 0), v_halves(a, 1));
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));

    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_shuffle_ps(m2, m2, 1)));
#else
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a.x[i] = a.x[i] > a.x[i + n] ? a.x[i] : a.x[i + n];
    return a.x[0];
#endif
}

#endif
