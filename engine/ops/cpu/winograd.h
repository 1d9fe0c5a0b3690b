/*
 * 3x3 convolutions of stride 1 with a quarter of the multiplications: Winograd's F(4x4, 3x3) as of
 * Lavin and Gray 2015 (arXiv:1509.09308). A tile of 6x6 input pixels becomes 36 numbers a channel,
 * 36 products run over the channels, and 4x4 output pixels are made of the 36 sums.
 *
 * Weights are transformed when they are used, a block at a time into the second cache, from the
 * same packed weights that the direct product has: no second copy of them (four times as large)
 * exists.
 *
 * Interpolation points are 0, +-5/8, +-3/2 and infinity, exact in binary and about as far apart as
 * their reciprocals: relative L2 error 1.6e-6 at 320 channels, where a direct chain of float32 has
 * 0.9e-6 and the usual 0, +-1, +-2 have 3.5e-6.
 */
#ifndef ENGINE_OPS_CPU_WINOGRAD_H
#define ENGINE_OPS_CPU_WINOGRAD_H

#include "engine/ops/cpu/layer.h"

/* A function of the layer and the size of one sample's map alone: a batch has its samples' bytes.
 */
bool winograd_suits(const struct product *p);

/* The product; while planning it only takes its scratch. */
int winograd_product(struct cpu *cpu, const struct product *p, struct err *e);

#endif
