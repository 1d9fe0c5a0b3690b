/*
 * The inner loops of the cpu backend, once per instruction set. All tables compute the same bytes;
 * they differ in speed alone. Pure functions, any thread.
 *
 * A matrix w [depth, cols] is packed into panels of 16 columns, each [depth, 16], zeros behind the
 * last column, so that a step along depth is one load.
 */
#ifndef ENGINE_OPS_CPU_KERNELS_H
#define ENGINE_OPS_CPU_KERNELS_H

#include "engine/ops/ops.h"

#include <stddef.h>

#define PANEL        16 /* columns of a panel */
#define GROUP_PANELS 3  /* panels that one call of multiply takes at most */
#define GROUP        (PANEL * GROUP_PANELS)

/*
 * Two ranges of memory that later calls will read, with their bytes. multiply asks for them along
 * the way, a part with each tile of rows; no byte of a result depends on it.
 */
struct ahead {
    const char *at[2];
    size_t bytes[2];
};

struct kernels {
    const char *name;

    /*
     * sum[r, 0..16*panels-1] (rows ld apart) += rows[r][at .. at+depth-1] * w, where panel i is at
     * w + i * w_stride. Each number is one chain of fused multiply-adds in order of depth that
     * begins with sum, so cutting depth into several calls changes no bit. ahead: NULL for none.
     */
    void (*multiply)(float *sum, size_t ld, const float *const *rows, size_t at, int n_rows,
                     size_t depth, const float *w, size_t w_stride, int panels,
                     const struct ahead *ahead);

    /* y[r, 0..cols-1] (rows ld_y apart) = act(sum[r]) + residual[r] (like y; NULL: none) */
    void (*finish)(float *y, size_t ld_y, const float *sum, size_t ld, int n_rows, int cols,
                   enum activation act, const float *residual);

    /* y[n] = act(x[n]) */
    void (*activate)(float *y, const float *x, size_t n, enum activation act);

    /* y[c] = a[c] * gelu(b[c]) */
    void (*geglu)(float *y, const float *a, const float *b, size_t c);

    /* sum[c], squares[c] += the columns of x [rows, c] and their squares, row after row */
    void (*column_sums)(double *sum, double *squares, const float *x, size_t rows, size_t c);

    /* y[rows, c] = act(x * scale[c] + shift[c]), fused */
    void (*scale_shift)(float *y, const float *x, size_t rows, size_t c, const float *scale,
                        const float *shift, enum activation act);

    /* One row: y[c] = normalised x * gamma + beta */
    void (*layer_norm)(float *y, const float *x, size_t c, const float *gamma, const float *beta,
                       float eps);

    /*
     * One block of keys of one softmax row, to the base 2. On entry scores[n] are logits; on
     * return they are 2^(logit - top), zeros up to the next multiple of 16, to where scores must
     * reach. top and total carry over blocks (begin with -INFINITY and 0). Returns what sums of
     * earlier blocks must be multiplied with.
     */
    float (*softmax)(float *scores, size_t n, float *top, float *total);

    /*
     * Winograd's transforms (winograd.h), of 36 positions, step floats apart in v, u and sum.
     * input: v[position][0..n-1] of 36 pixels' channels at.., zeros up to the next multiple of 16.
     * weights: u[position][depth][16] of a panel's 9 taps, tap_step floats apart.
     * output: 16 pixels (NULL: outside) of 36 sums, plus start and residual (NULL: none); start and
     * sum reach to the next multiple of 16 behind cols.
     */
    void (*winograd_input)(float *v, size_t step, const float *const *pixels, size_t at, size_t n);
    void (*winograd_weights)(float *u, size_t step, const float *w, size_t tap_step, size_t depth);
    void (*winograd_output)(float *const *y, const float *const *residual, const float *sum,
                            size_t step, const float *start, int cols);

    /* y[n] = x[n] * factor */
    void (*scale)(float *y, const float *x, size_t n, float factor);
};

extern const struct kernels kernels_plain;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;
#endif

#endif
