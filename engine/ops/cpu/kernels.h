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

/*
 * sum[r, 16 panels' columns] += rows[r][at .. at+depth-1] * w. Each number is one chain of fused
 * multiply-adds in order of depth that begins with sum, or with zero, so cutting depth into several
 * calls changes no bit.
 */
struct multiply {
    float *sum;
    size_t ld, sum_stride; /* floats from row to row, from panel to panel */
    bool fresh;            /* begin with zero */
    const float *const *rows;
    size_t at;
    int n_rows, panels;
    size_t depth;
    const float *w; /* panel i is at w + i * w_stride */
    size_t w_stride;
    struct ahead ahead;
};

struct kernels {
    const char *name;

    void (*multiply)(const struct multiply *m);

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
     * One block of keys in the softmax of 16 queries, to the base 2. scores [n_keys][16] are logits
     * on entry and 2^(logit - top) on return. Query i sees the first seen + i + 1 keys of the
     * block, all others become 0. top[16] and total[16] carry over blocks (begin with -INFINITY and
     * 0). keep[16]: what sums of earlier blocks must be multiplied with.
     */
    void (*softmax)(float *scores, size_t n_keys, int64_t seen, float *top, float *total,
                    float *keep);

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

    /* sums[rows][GROUP] *= factors[GROUP] */
    void (*scale)(float *sums, size_t rows, const float *factors);
};

extern const struct kernels kernels_plain;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;
#endif

#endif
