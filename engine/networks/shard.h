/*
 * Tensor parallel: several members of a gang hold a part of each large layer and compute a part of
 * each block, after Megatron-LM (Shoeybi et al. 2019, arXiv:1909.08053). The first half of a block
 * is cut by its outputs, the second by its inputs; what the second gives is a partial sum, and one
 * sum over the members ends the block. The bias enters once, with rank 0. The residual is every
 * member's own and is added to the sum, so that it is rounded once, as on one device: within a
 * partial sum it would be rounded with that and again with the sum.
 *
 *   attention      heads are dealt: q, k, v by output, the projection back by input
 *   feed-forward   by inner width; GEGLU's two halves are cut alike
 *   text encoders  their attention and feed-forward likewise
 *   ResNet         conv1, the time embedding's projection and norm2 by whole groups, conv2 by
 *                  input; the shortcut is every member's, since it is a residual
 *
 * What remains (norms, projections in and out, samplers, the U-Net's ends) every member computes
 * for itself, from equal bytes to equal bytes. Where there are fewer heads or groups than members,
 * the last members hold nothing and add zeros.
 *
 *     struct range own = shard_range(o, heads, 1);
 *     ...
 *     TRY(shard_add(o, y, x, part, n, e));
 */
#ifndef ENGINE_NETWORKS_SHARD_H
#define ENGINE_NETWORKS_SHARD_H

#include "engine/ops/ops.h"

struct range {
    int64_t begin, n;
};

/*
 * This backend's part of n numbers, dealt in units of `unit` (n is a multiple of it): the first
 * members get one unit more where they do not divide, so that rank 0 has the most.
 */
struct range shard_range(const struct ops *o, int64_t n, int64_t unit);

static inline bool shard_is_cut(const struct ops *o)
{
    return o->shard.size > 1;
}

/*
 * y[n] = x[n] + the sum of all members' part[n], which ends as that sum; y may be x. Of layers that
 * are cut; others have their residual within the product.
 */
int shard_add(struct ops *o, struct act *y, const struct act *x, struct act *part, int64_t n,
              struct err *e);

/* y[n] = 0, of a member that holds nothing. */
int shard_zero(struct ops *o, struct act *y, int64_t n, struct err *e);

#endif
