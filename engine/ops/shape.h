/*
 * Checks and sizes that every backend of ops.h needs. Pure functions.
 */
#ifndef ENGINE_OPS_SHAPE_H
#define ENGINE_OPS_SHAPE_H

#include "engine/ops/tensor.h"
#include "proto/err.h"

/* w [out, in, ...] of the given rank and bias [out] (or NULL), both of a float dtype: else
 * ERR_ARG. */
int shape_check_layer(const struct tensor *w, int rank, const struct tensor *bias, struct err *e);

/* Output side of a convolution, ERR_ARG if the kernel does not fit the padded side. */
int shape_conv_side(int64_t side, int before, int after, int64_t kernel, int stride,
                    int64_t *ret_side, struct err *e);

/* groups > 0 and dividing c: else ERR_ARG. */
int shape_check_groups(int64_t c, int groups, struct err *e);

#endif
