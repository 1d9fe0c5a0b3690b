/*
 * The plans of the backend's convolutions, one engine for each shape of a sample, shared by all
 * layers of the shape. A batch is one call of cuDNN where a trial (trial.h) has shown that its
 * engine gives each sample, whatever its place and its neighbours, the bytes that it has alone;
 * otherwise sample by sample.
 *
 *     TRY(plans_get(c, &shape, n, &p, e));
 *     if (p.whole != NULL) ... else for each sample ... p.one
 */
#ifndef ENGINE_OPS_CUDA_PLANS_H
#define ENGINE_OPS_CUDA_PLANS_H

#include "engine/ops/cuda/plan.h"

struct plans;

int plans_new(struct plans **ret_p, struct err *e);
void plans_free(struct plans *p);

/* Layers that are alive: with the last one all plans go. */
void plans_join(struct plans *p);
void plans_leave(struct plans *p);

struct plans_pair {
    struct plan *one;
    struct plan *whole; /* of n samples; NULL: one by one */
};

/* Borrowed. Makes them while the backend plans; later it takes what is there, but for `one`. Memory
 * that is not there for the trial leaves the batch one by one, to be tried again. */
int plans_get(struct cuda *c, const struct plan_shape *s, int64_t n, struct plans_pair *ret_pair,
              struct err *e);

#endif
