/*
 * exp, erf and the activations on sixteen floats. Our own polynomials, because libm's results
 * differ between versions and machines, and bytes must not.
 */
#ifndef ENGINE_OPS_CPU_FUNCTIONS_H
#define ENGINE_OPS_CPU_FUNCTIONS_H

#include "engine/ops/cpu/simd.h"
#include "engine/ops/ops.h"

/*
 * e^x, relative error below 2e-7 for x in -87.3..88.3; x is clamped to that range, NaN stays.
 * x = n ln 2 + r with |r| <= ln 2 / 2, then Taylor's series to r^7 / 7!, whose next term is below
 * 6e-9.
 */
SIMD v16 v_exp(v16 x)
{
    static const float terms[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                  1.0f / 6,    0.5f,       1.0f,       1.0f};
    v16 n, r, sum;

    x = v_min(v_set(88.3f), v_max(v_set(-87.3f), x));
    n = v_round(v_mul(x, v_set(1.44269504089f)));
    /* ln 2 in two parts: the first has few bits, so that n times it is exact. */
    r = v_fma(n, v_set(-0.693359375f), x);
    r = v_fma(n, v_set(2.12194440055e-4f), r);
    sum = v_set(terms[0]);
    for (int i = 1; i < 8; i++)
        sum = v_fma(sum, r, v_set(terms[i]));
    return v_times_power_of_2(sum, n);
}

/*
 * 2^x for x <= 0, relative error below 2e-7 for x >= -126, the least result; NaN stays. Taylor's
 * series of 2^r for |r| <= 1/2 to r^7.
 */
SIMD v16 v_exp2(v16 x)
{
    static const float terms[] = {
        1.525273380e-5f, 1.540353039e-4f, 1.333355815e-3f, 9.618129108e-3f,
        5.550410866e-2f, 2.402265070e-1f, 6.931471806e-1f, 1.0f};
    v16 n, r, sum = v_set(terms[0]);

    x = v_max(v_set(-126), x);
    n = v_round(x);
    r = v_sub(x, n);
    for (int i = 1; i < 8; i++)
        sum = v_fma(sum, r, v_set(terms[i]));
    return v_times_power_of_2(sum, n);
}

/*
 * The normal distribution's integral from |x| to infinity, erfc(z)/2 with z = |x| / sqrt 2:
 * relative error below 1e-6 while it is a normal float. erfc(z) = t e^(-z^2) P(t) with
 * t = 1 / (1 + z/2); P fits e^(z^2) erfc(z) / t to 6e-9 (Remez exchange on t in 0.12..1, relative
 * error), beyond which erfc is zero in float.
 */
SIMD v16 v_tail(v16 x)
{
    static const float p[] = {0.04096224304f, -0.2214053671f, 0.4590897471f,  -0.4037115892f,
                              0.08442539189f, -0.0301458261f, 0.08182940154f, 0.1783172824f,
                              0.2464105899f,  0.2821348081f,  0.2820933237f};
    v16 t = v_div(v_set(1), v_fma(v_abs(x), v_set(0.35355339059f), v_set(1)));
    v16 half = v_mul(x, v_set(0.5f)), square = v_mul(half, x); /* z^2 = x^2 / 2 */
    v16 minus = v_sub(v_set(0), square), lost = v_fma(half, x, minus), sum = v_set(p[0]), e;

    for (int i = 1; i < 11; i++)
        sum = v_fma(sum, t, v_set(p[i]));
    /* The rounding of z^2 grows with z^2 in the exponential: e^-(s + l) = e^-s (1 - l). */
    e = v_exp(minus);
    e = v_fma(v_sub(v_set(0), e), lost, e);
    return v_mul(v_mul(t, v_set(0.5f)), v_mul(sum, e));
}

/* x times the normal distribution's integral up to x; nothing cancels for x < 0. */
SIMD v16 v_gelu(v16 x)
{
    v16 tail = v_tail(x);

    return v_mul(x, v_if_negative(x, tail, v_sub(v_set(1), tail)));
}

/* x / (1 + e^(-slope x)) */
SIMD v16 v_swish(v16 x, float slope)
{
    return v_div(x, v_add(v_set(1), v_exp(v_mul(x, v_set(-slope)))));
}

SIMD v16 v_activate(v16 x, enum activation act)
{
    switch (act) {
    case ACT_SILU:
        return v_swish(x, 1);
    case ACT_GELU:
        return v_gelu(x);
    case ACT_QUICK_GELU:
        return v_swish(x, 1.702f);
    default:
        return x;
    }
}

#endif
