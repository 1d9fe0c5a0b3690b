/*
 * Inside of the cpu backend: ops.h's members by file. Work is cut into items that threads share;
 * an item's bytes depend on no other item, and no sum crosses items, so neither threads nor the cut
 * nor batch mates show in the result.
 */
#ifndef ENGINE_OPS_CPU_CPU_H
#define ENGINE_OPS_CPU_CPU_H

#include "engine/ops/cpu/bf16.h"
#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/level.h"
#include "engine/ops/host.h"

struct cpu {
    struct ops ops; /* first, so that a struct ops of this backend is a struct cpu */
    const struct kernels *kernels;
    const struct bf16_kernels *bf16; /* of products; NULL: they are f32 */
    int threads;
    size_t stage_bytes; /* of the second cache, for the operand that is walked often */
};

/* ops_cpu_new() at a level, which the machine must have, for tests. */
int cpu_new(enum cpu_level level, enum precision precision, int threads, struct ops **ret_o,
            struct err *e);

/* Threads worth waking for so much work: 1 below about 20 microseconds. */
int cpu_threads(const struct cpu *cpu, int64_t items, double multiplications);

/* layer.c */
int cpu_linear_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                   struct linear **ret_l, struct err *e);
void cpu_linear_free(struct ops *o, struct linear *l);
int cpu_conv_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                 struct conv **ret_c, struct err *e);
void cpu_conv_free(struct ops *o, struct conv *c);
int cpu_linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l, int64_t m,
               enum activation act, const struct act *residual, struct err *e);
int cpu_conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c, int64_t n,
               int64_t h, int64_t w, int stride, const int pad[4], const struct act *per_sample,
               const struct act *residual, struct err *e);

/* norm.c */
int cpu_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                   struct err *e);
int cpu_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                        int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                        const struct norm_whole *whole, struct err *e);
int cpu_layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t m, int64_t c, float eps, struct err *e);

/*
 * Adds up column sums [blocks][2][c] (sums, squares) of a sample's p rows in order, and makes of
 * mean, variance, gamma and beta one line [2][c] of scale and shift: y = x * scale + shift.
 */
void norm_lines(double *sums, int64_t blocks, int64_t p, int64_t c, int groups, double eps,
                const float *gamma, const float *beta, float *line);

/* The same of a sample's part of a map: its sums become those of the whole first. */
int norm_lines_part(double *sums, int64_t blocks, int64_t c, int groups, double eps,
                    const struct norm *norm, const struct norm_whole *whole, float *line,
                    struct err *e);

/* attention.c */
int cpu_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                  const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads, int head_dim,
                  float scale, bool causal, struct err *e);

#endif
