/*
 * What is added to a layer without touching its weights: y = layer(x) + up(down(x)), the low-rank
 * adaptation of Hu et al. 2021 (arXiv:2106.09685). For a convolution, down is one of the same
 * kernel, stride and padding, and up is 1x1. Several adaptations of a layer are one adapter: their
 * downs and ups are stacked along the rank, which sums them.
 *
 * Without adapter a layer computes what it did before there was one, byte for byte. With one, a
 * layer takes scratch for [rows, rank] in the backend's arena, which plans find like all else.
 * Belongs to the thread of the backend.
 *
 *     TRY(adapter_new_linear(o, layer, &(struct low_rank){rank, down, up}, &a, e));
 *     layer->adapter = a;        // until adapter_free(o, a); layer->adapter = NULL;
 */
#ifndef ENGINE_NETWORKS_ADAPTER_H
#define ENGINE_NETWORKS_ADAPTER_H

#include "engine/networks/layer.h"

struct adapter;

/* Numbers of an adapter, every factor folded in. Borrowed for the call. */
struct low_rank {
    int64_t rank;      /* 1..ADAPTER_RANK_MAX */
    const float *down; /* [rank, in], of a convolution [rank, in, kernel, kernel] */
    const float *up;   /* [out, rank] */
};

#define ADAPTER_RANK_MAX 65536 /* of all that is added to one layer */

/*
 * In and out are the whole layer's; of a layer of which a part is held the same part is taken, NULL
 * if it is empty. ERR_OOM. Caller frees.
 */
int adapter_new_linear(struct ops *o, const struct linear_layer *l, const struct low_rank *numbers,
                       struct adapter **ret_a, struct err *e);
int adapter_new_conv(struct ops *o, const struct conv_layer *c, const struct low_rank *numbers,
                     struct adapter **ret_a, struct err *e);
void adapter_free(struct ops *o, struct adapter *a);

/* The layers' forward passes with their adapters; for layer.c. Arguments as ops.h has them. */
int adapter_linear(struct ops *o, struct act *y, const struct act *x, const struct linear_layer *l,
                   int64_t m, enum activation act, const struct act *residual, struct err *e);
int adapter_conv(struct ops *o, struct act *y, const struct act *x, const struct conv_layer *c,
                 const struct extent *s, int stride, const int pad[4], const struct act *per_sample,
                 const struct act *residual, struct err *e);

#endif
