/* A linear layer on the device; convolutions of 1x1 are one too (conv.c). */
#ifndef ENGINE_OPS_CUDA_LINEAR_H
#define ENGINE_OPS_CUDA_LINEAR_H

#include "engine/ops/cuda/cuda.h"

struct product;

struct linear {
    int64_t in, out;
    void *w, *bias; /* device, of the backend's type; bias NULL: none */
    size_t bytes;
    struct product *product; /* the backend's, for all layers of this shape */
};

/* As cuda_linear_new(), of any w whose first two sides are out and in and whose others are 1. */
int linear_new(struct cuda *c, const struct tensor *w, const struct tensor *bias,
               struct linear **ret_l, struct err *e);

#endif
