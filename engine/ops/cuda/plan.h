/*
 * A convolution of one sample as cuDNN 9 runs it: an operation graph of one node, the engine that
 * the heuristics put first among those that always add in the same order, and its plan. The choice
 * depends on device, library and shape; nothing is timed.
 *
 *     TRY(plan_new(c, &shape, &p, e));
 *     workspace = arena_bytes(o->arena, plan_workspace(p));
 *     TRY(plan_run(c, p, y, x, w, workspace, e));
 */
#ifndef ENGINE_OPS_CUDA_PLAN_H
#define ENGINE_OPS_CUDA_PLAN_H

#include "engine/ops/cuda/cuda.h"

/* y[ho, wo, out] from x[h, w, in], w[out, kh, kw, in]; in and out are multiples of 8. */
struct plan_shape {
    int64_t in, out, kh, kw, h, w;
    int64_t stride, pad_h, pad_w; /* the same before and behind */
};

struct plan;

/* ERR_INTERNAL if no engine takes the shape. Caller frees. */
int plan_new(struct cuda *c, const struct plan_shape *s, struct plan **ret_p, struct err *e);
void plan_free(struct plan *p);

size_t plan_workspace(const struct plan *p); /* bytes of device memory that a run needs */

/* Queues it. All are device memory, 16-byte aligned. */
int plan_run(struct cuda *c, struct plan *p, void *y, const void *x, const void *w, void *workspace,
             struct err *e);

#endif
