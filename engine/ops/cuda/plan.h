/*
 * A convolution of n samples as cuDNN 9 runs it: an operation graph of one node and an engine's
 * plan for it. The engine, with its knobs, is chosen for a sample's shape, not for n: the one that
 * the heuristics put first, for two samples (a picture with and without its prompt), among those
 * that always add in the same order (and, of float32, round no operand). The choice depends on
 * device, library and shape; nothing is timed.
 *
 *     TRY(plan_choose(c, &shape, &engine, &one, e));
 *     TRY(plan_new(c, &shape, 8, &engine, &eight, e));
 *     workspace = arena_bytes(o->arena, plan_workspace(eight));
 *     TRY(plan_run(c, eight, y, x, w, workspace, e));
 *
 * Whether `eight` gives each sample the bytes of `one` is not said here: plans.h.
 */
#ifndef ENGINE_OPS_CUDA_PLAN_H
#define ENGINE_OPS_CUDA_PLAN_H

#include "engine/ops/cuda/cuda.h"

/* y[ho, wo, out] from x[h, w, in], w[out, kh, kw, in]; in and out are multiples of 16 bytes. */
struct plan_shape {
    int64_t in, out, kh, kw, h, w;
    int64_t stride, pad_h, pad_w; /* the same before and behind */
};

static inline int64_t plan_rows(const struct plan_shape *s)
{
    return (s->h + 2 * s->pad_h - s->kh) / s->stride + 1;
}

static inline int64_t plan_columns(const struct plan_shape *s)
{
    return (s->w + 2 * s->pad_w - s->kw) / s->stride + 1;
}

struct plan_engine {
    int64_t index; /* cuDNN's own number */
    int64_t n_knobs;
    cudnnBackendKnobType_t knobs[CUDNN_KNOB_TYPE_COUNTS];
    int64_t values[CUDNN_KNOB_TYPE_COUNTS];
};

struct plan;

/* The engine for the shape, and its plan for one sample. ERR_INTERNAL if no engine takes it. Caller
 * frees the plan. */
int plan_choose(struct cuda *c, const struct plan_shape *s, struct plan_engine *ret_engine,
                struct plan **ret_one, struct err *e);

/* That engine's plan for n samples; *ret_p NULL if it has none within the workspace allowed. */
int plan_new(struct cuda *c, const struct plan_shape *s, int64_t n,
             const struct plan_engine *engine, struct plan **ret_p, struct err *e);
void plan_free(struct plan *p);

size_t plan_workspace(const struct plan *p); /* bytes of device memory that a run needs */

/* Queues it. All are device memory, 16-byte aligned. */
int plan_run(struct cuda *c, struct plan *p, void *y, const void *x, const void *w, void *workspace,
             struct err *e);

#endif
