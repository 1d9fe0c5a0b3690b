/*
 * What backends share that compute on the host with float32 activations: memory, copies, the
 * numbers of norms, and steps.
 */
#ifndef ENGINE_OPS_HOST_H
#define ENGINE_OPS_HOST_H

#include "engine/ops/ops.h"

struct norm {
    int64_t channels;
    float *gamma, *beta; /* [channels], owned: one block */
};

/* As ops.h has them. */
int host_memory_new(struct ops *o, size_t n_bytes, void **ret_memory, struct err *e);
void host_memory_free(struct ops *o, void *memory);
int host_put(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e);
int host_get(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e);
int host_norm_new(struct ops *o, const struct tensor *gamma, const struct tensor *beta,
                  struct norm **ret_n, struct err *e);
void host_norm_free(struct ops *o, struct norm *n);

/* A step's operations, over o->put and o->get: host_step.c. */
extern const struct step_ops host_step_ops;

/* Activations of a backend that holds float32. */
static inline float *f32(struct act *x)
{
    return (float *)x;
}

static inline const float *f32_in(const struct act *x)
{
    return (const float *)x;
}

#endif
