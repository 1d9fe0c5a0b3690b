/*
 * Parts of the reference backend that live in files of their own; the contracts are those of the
 * members of struct ops.
 */
#ifndef ENGINE_OPS_REF_REF_H
#define ENGINE_OPS_REF_REF_H

#include "engine/ops/host.h"

double ref_activate(double x, enum activation act);

int ref_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                   struct err *e);
int ref_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                        int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                        const struct norm_whole *whole, struct err *e);
int ref_layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t m, int64_t c, float eps, struct err *e);
int ref_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                  const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads, int head_dim,
                  float scale, bool causal, struct err *e);

#endif
