/*
 * The cpu backend with activations stored as bf16: the members of ops.h by file, and what they
 * share. For bf16_*.c files.
 */
#ifndef ENGINE_OPS_CPU_BF16_OPS_H
#define ENGINE_OPS_CPU_BF16_OPS_H

#include "engine/ops/cpu/layer.h"

/* One call of a linear layer or a convolution. A linear layer is n = 1, h = 1, w = m. */
struct bf16_product {
    const struct linear *l;
    uint16_t *y;
    const uint16_t *x, *per_sample, *residual;
    enum activation act;
    int64_t n, h, w, ho, wo;
    int stride, top, left;
    bool gated; /* of a linear layer: y [m, out / 2] is columns 0.. times gelu of columns out / 2..
                 */
};

/* bf16_ops.c: puts the bf16 members into the table of a backend that has kernels for them. */
void bf16_ops(struct ops *o);

/* bf16_linear.c: rows are read where they are. One tap, stride 1, n = h = 1, in % STEP == 0. */
int bf16_rows(struct cpu *cpu, const struct bf16_product *p, struct err *e);

/* bf16_conv.c: any product; pixels are gathered in a stage. Both only take scratch in planning. */
int bf16_pixels(struct cpu *cpu, const struct bf16_product *p, struct err *e);

/* bf16_attention.c */
int bf16_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                   const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads, int head_dim,
                   float scale, bool causal, struct err *e);

/* bf16_norm.c; whole NULL: as group_norm */
int bf16_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                         int64_t n, int64_t p, int64_t c, int groups, float eps,
                         enum activation act, const struct norm_whole *whole, struct err *e);
int bf16_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                    int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                    struct err *e);

static inline uint16_t *bf16(struct act *x)
{
    return (uint16_t *)x;
}

static inline const uint16_t *bf16_in(const struct act *x)
{
    return (const uint16_t *)x;
}

static inline int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
