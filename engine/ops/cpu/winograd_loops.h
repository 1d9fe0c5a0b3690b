/*
 * Winograd's transforms in sixteen lanes, part of loops.h. One line of each is a product with the
 * matrix of the paper for the points 0, +-A, +-B and infinity; tiles are transformed along columns,
 * then along rows. Every constant but the weights' divisors is exact.
 */
#ifndef ENGINE_OPS_CPU_WINOGRAD_LOOPS_H
#define ENGINE_OPS_CPU_WINOGRAD_LOOPS_H

#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/simd.h"

#include <stddef.h>

#define POINT_A  0.625f
#define POINT_B  1.5f
#define SQUARE_A (POINT_A * POINT_A)
#define SQUARE_B (POINT_B * POINT_B)
/* Products of a point's distances from all others. */
#define FROM_0 (SQUARE_A * SQUARE_B)
#define FROM_A (2 * SQUARE_A * (SQUARE_A - SQUARE_B))
#define FROM_B (2 * SQUARE_B * (SQUARE_B - SQUARE_A))

#if defined(SIMD_AVX512) || defined(SIMD_AVX2)
#define UNROLLED _Pragma("GCC unroll 6")
#else
#define UNROLLED
#endif

/* Six numbers x, step apart, become six: (x^2 - A^2)(x^2 - B^2) and its like as polynomials. */
SIMD void input_line(v16 *to, int to_step, const v16 *x, int step)
{
    v16 even = v_fma(x[2 * step], v_set(-SQUARE_B), x[4 * step]);
    v16 odd = v_fma(x[step], v_set(-SQUARE_B), x[3 * step]);

    to[to_step] = v_fma(odd, v_set(POINT_A), even);
    to[2 * to_step] = v_fma(odd, v_set(-POINT_A), even);
    even = v_fma(x[2 * step], v_set(-SQUARE_A), x[4 * step]);
    odd = v_fma(x[step], v_set(-SQUARE_A), x[3 * step]);
    to[3 * to_step] = v_fma(odd, v_set(POINT_B), even);
    to[4 * to_step] = v_fma(odd, v_set(-POINT_B), even);
    even = v_fma(x[2 * step], v_set(-(SQUARE_A + SQUARE_B)), x[4 * step]);
    odd = v_fma(x[3 * step], v_set(-(SQUARE_A + SQUARE_B)), x[5 * step]);
    to[0] = v_fma(x[0], v_set(FROM_0), even);
    to[5 * to_step] = v_fma(x[step], v_set(FROM_0), odd);
}

/* Three weights become their polynomial's values at the points, over the points' distances. */
SIMD void weight_line(v16 *to, int to_step, v16 w0, v16 w1, v16 w2)
{
    v16 even = v_mul(v_fma(w2, v_set(SQUARE_A), w0), v_set(1 / FROM_A));

    to[0] = v_mul(w0, v_set(1 / FROM_0));
    to[to_step] = v_fma(w1, v_set(POINT_A / FROM_A), even);
    to[2 * to_step] = v_fma(w1, v_set(-POINT_A / FROM_A), even);
    even = v_mul(v_fma(w2, v_set(SQUARE_B), w0), v_set(1 / FROM_B));
    to[3 * to_step] = v_fma(w1, v_set(POINT_B / FROM_B), even);
    to[4 * to_step] = v_fma(w1, v_set(-POINT_B / FROM_B), even);
    to[5 * to_step] = w2;
}

/* Six sums, step apart, become four results: powers 0 to 3 of the points. */
SIMD void output_line(v16 *to, int to_step, const v16 *m, int step)
{
    v16 sum_a = v_add(m[step], m[2 * step]), rest_a = v_sub(m[step], m[2 * step]);
    v16 sum_b = v_add(m[3 * step], m[4 * step]), rest_b = v_sub(m[3 * step], m[4 * step]);

    to[0] = v_add(v_add(m[0], sum_a), sum_b);
    to[to_step] = v_fma(rest_b, v_set(POINT_B), v_mul(rest_a, v_set(POINT_A)));
    to[2 * to_step] = v_fma(sum_b, v_set(SQUARE_B), v_mul(sum_a, v_set(SQUARE_A)));
    to[3 * to_step] = v_fma(rest_b, v_set(POINT_B * SQUARE_B),
                            v_fma(rest_a, v_set(POINT_A * SQUARE_A), m[5 * step]));
}

static void winograd_input(float *v, size_t step, const float *const *pixels, size_t at, size_t n)
{
    v16 x[36], half[36];

    for (size_t c = 0; c < n; c += LANES) {
        int lanes = n - c < LANES ? (int)(n - c) : LANES;

        for (int i = 0; i < 36; i++)
            x[i] = v_load_n(pixels[i] + at + c, lanes);
        UNROLLED
        for (int i = 0; i < 6; i++)
            input_line(half + i, 6, x + i, 6);
        UNROLLED
        for (int i = 0; i < 6; i++) {
            input_line(x, 1, half + 6 * i, 1);
            UNROLLED
            for (int j = 0; j < 6; j++)
                v_store(v + (size_t)(6 * i + j) * step + c, x[j]);
        }
    }
}

static void winograd_weights(float *u, size_t step, const float *w, size_t tap_step, size_t depth)
{
    v16 half[18], line[6];

    for (size_t k = 0; k < depth; k++) {
        const float *from = w + k * PANEL;

        UNROLLED
        for (int i = 0; i < 3; i++) /* half[row][column i] */
            weight_line(half + i, 3, v_load(from + (size_t)i * tap_step),
                        v_load(from + (size_t)(3 + i) * tap_step),
                        v_load(from + (size_t)(6 + i) * tap_step));
        UNROLLED
        for (int i = 0; i < 6; i++) {
            weight_line(line, 1, half[3 * i], half[3 * i + 1], half[3 * i + 2]);
            UNROLLED
            for (int j = 0; j < 6; j++)
                v_store(u + (size_t)(6 * i + j) * step + k * PANEL, line[j]);
        }
    }
}

static void winograd_output(float *const *y, const float *const *residual, const float *sum,
                            size_t step, const float *start, int cols)
{
    v16 m[36], half[24], line[4];

    for (int c = 0; c < cols; c += LANES) {
        int lanes = cols - c < LANES ? cols - c : LANES;
        v16 first = v_load(start + c);

        for (int i = 0; i < 36; i++)
            m[i] = v_load(sum + (size_t)i * step + c);
        UNROLLED
        for (int i = 0; i < 6; i++)
            output_line(half + i, 6, m + i, 6);
        for (int i = 0; i < 4; i++) {
            output_line(line, 1, half + 6 * i, 1);
            for (int j = 0; j < 4; j++) {
                v16 value = v_add(line[j], first);

                if (!y[4 * i + j])
                    continue;
                if (residual)
                    value = v_add(value, v_load_n(residual[4 * i + j] + c, lanes));
                v_store_n(y[4 * i + j] + c, value, lanes);
            }
        }
    }
}

#endif
