/*
 * The kernels' launchers, C from outside. Each puts its kernels into the stream and returns without
 * waiting: cudaSuccess, or why a launch was refused. Tensors are device memory of the number type
 * given, NHWC, dense; sizes are positive and checked by the caller. All sums run in float, in an
 * order that depends on the shape of one sample alone: no atomics, no sum across samples.
 *
 * Any thread that may use the stream.
 */
#ifndef ENGINE_OPS_CUDA_KERNELS_H
#define ENGINE_OPS_CUDA_KERNELS_H

#include "engine/ops/step.h"

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kernel_number { KERNEL_F16, KERNEL_BF16, KERNEL_F32 };

/* The values of enum activation (ops.h), which C++ need not see. */
enum kernel_activation { KERNEL_NONE, KERNEL_SILU, KERNEL_GELU, KERNEL_QUICK_GELU };

/* y[n] from float x[n], and back. */
cudaError_t kernels_from_float(cudaStream_t s, enum kernel_number type, void *y, const float *x,
                               int64_t n);
cudaError_t kernels_to_float(cudaStream_t s, enum kernel_number type, float *y, const void *x,
                             int64_t n);

/*
 * Weights as a file has them, x[rows, in, taps], to y[rows, taps, in_wide], rounded; zeros in the
 * channels behind `in`.
 */
struct kernel_weights {
    void *y;
    const void *x;
    enum kernel_number to, from;
    int64_t rows, in, taps, in_wide;
};
cudaError_t kernels_weights(cudaStream_t s, const struct kernel_weights *w);

/* y[n] = act(x[n]) + residual[n] (NULL: none). y may be either. */
cudaError_t kernels_activate(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                             const void *residual, int64_t n, enum kernel_activation act);

/* y[n] = a[n] + b[n]. y may be a or b. */
cudaError_t kernels_add(cudaStream_t s, enum kernel_number type, void *y, const void *a,
                        const void *b, int64_t n);

/* y[m, c] = x[m, 0..c-1] * gelu(x[m, c..2c-1]). */
cudaError_t kernels_geglu(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                          int64_t m, int64_t c);

/* y[m, width_y], whose first c columns get x[m, c]; the others stay. */
cudaError_t kernels_rows(cudaStream_t s, enum kernel_number type, void *y, int64_t width_y,
                         const void *x, int64_t m, int64_t c);

/* y[n, hp, wp, cp]: x[n, h, w, c] at row `top` and column `left`, zeros around and in the channels
 * behind. */
struct kernel_pad {
    void *y;
    const void *x;
    int64_t n, h, w, c, hp, wp, cp, top, left;
};
cudaError_t kernels_pad(cudaStream_t s, enum kernel_number type, const struct kernel_pad *p);

/* Nearest: y[n, ho, wo, c], source row floor(i * h / ho). */
cudaError_t kernels_upsample(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                             int64_t n, int64_t h, int64_t w, int64_t c, int64_t ho, int64_t wo);

/*
 * What follows a convolution: y[n, p, c] = x[n, p, width_x] + bias[c] + per_sample[n, c] (NULL:
 * none) + residual[n, p, c] (NULL: none; may be y), c <= width_x. x may be y if the widths agree.
 */
struct kernel_finish {
    void *y;
    const void *x, *per_sample, *residual;
    const float *bias; /* [c]; NULL: none */
    int64_t n, p, c, width_x;
};
cudaError_t kernels_finish(cudaStream_t s, enum kernel_number type, const struct kernel_finish *f);

/*
 * y[n, p, c] = act(group_norm(x)); y may be x. Two levels: mean and squared deviations of pieces of
 * KERNEL_NORM_ROWS rows, each from the mean of its piece, then put together by Chan's formula in
 * double. scratch: kernels_group_norm_scratch() bytes.
 */
#define KERNEL_NORM_ROWS 64
struct kernel_group_norm {
    void *y;
    const void *x;
    const float *gamma, *beta; /* [c] */
    void *scratch;
    int64_t n, p, c;
    int groups;
    float eps;
    enum kernel_activation act;
};
int64_t kernels_group_norm_scratch(int64_t n, int64_t p, int groups);
cudaError_t kernels_group_norm(cudaStream_t s, enum kernel_number type,
                               const struct kernel_group_norm *g);

/*
 * The two halves of it, for a map of which only a part is here: sums[n, 2, groups] of the numbers
 * and of their squares, in double, from the pieces; and y from moments[n, groups, 2], the mean and
 * 1/deviation.
 */
cudaError_t kernels_group_sums(cudaStream_t s, enum kernel_number type,
                               const struct kernel_group_norm *g, double *sums);
cudaError_t kernels_group_apply(cudaStream_t s, enum kernel_number type,
                                const struct kernel_group_norm *g, const float *moments);

/* y[m, c], one warp per row, variance from the mean. y may be x. */
cudaError_t kernels_layer_norm(cudaStream_t s, enum kernel_number type, void *y, const void *x,
                               const float *gamma, const float *beta, int64_t m, int64_t c,
                               float eps);

/*
 * Attention after Dao et al. 2022 (arXiv:2205.14135): softmax(q k^T * scale) v by blocks of keys,
 * with running maximum and sum, sums in float; products on tensor cores, of float without them,
 * since those have no products of 24 bits. Shapes as ops.h. head_dim: 1..KERNEL_HEAD_MAX.
 */
#define KERNEL_HEAD_MAX 512
struct kernel_attention {
    void *y;
    const void *q, *k, *v;
    int64_t n, tq, tk, heads, head_dim;
    float scale;
    int causal; /* 0 or 1 */
};
cudaError_t kernels_attention(cudaStream_t s, enum kernel_number type,
                              const struct kernel_attention *a);

/* trial.h: its pattern; *flag = 1 if a[n] and b[n] differ in any bit. */
cudaError_t kernels_pattern(cudaStream_t s, enum kernel_number type, void *y, int64_t rows,
                            int64_t width, uint32_t seed, int turned);
cudaError_t kernels_differ(cudaStream_t s, enum kernel_number type, uint32_t *flag, const void *a,
                           const void *b, int64_t n);

/* A step of the sampler: step.h's operations. */
cudaError_t kernels_noise(cudaStream_t s, const struct step_place *at);
cudaError_t kernels_input(cudaStream_t s, enum kernel_number type, const struct step_place *at,
                          void *in, int64_t first, int64_t n);
cudaError_t kernels_time(cudaStream_t s, enum kernel_number type, const struct step_place *at,
                         void *row, const struct sinusoids *sinusoids);
cudaError_t kernels_update(cudaStream_t s, enum kernel_number type, const struct step_place *at,
                           const void *outputs, bool rescales);
cudaError_t kernels_for_vae(cudaStream_t s, enum kernel_number type, void *y, const float *x,
                            int64_t n, float divisor, float shift);

/* y[n] = x[n] as 8 bits; what it saw of them: a NaN or Inf, a byte that is not 0. */
struct kernel_seen {
    int32_t bad, any; /* 0 or 1 */
};
cudaError_t kernels_bytes(cudaStream_t s, enum kernel_number type, uint8_t *y, const void *x,
                          int64_t n, struct kernel_seen *seen);

#ifdef __cplusplus
}
#endif

#endif
