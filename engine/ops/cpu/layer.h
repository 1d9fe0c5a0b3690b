/*
 * Packed weights of linear layers and convolutions, and one call of either as a product. A
 * convolution is a product whose rows are pixels under a kernel's taps; a linear layer has one tap.
 */
#ifndef ENGINE_OPS_CPU_LAYER_H
#define ENGINE_OPS_CPU_LAYER_H

#include "engine/ops/cpu/cpu.h"

#include <stdint.h>

struct linear {
    int64_t in, out, kh, kw;
    int64_t panels; /* of PANEL columns, zeros behind the last column */
    /* One of both, owned, 64-byte aligned, as all behind it. */
    float *w;       /* f32: [panels][kh * kw][in][PANEL] */
    uint16_t *bf16; /* [panels][in / STEP, rounded up][kh * kw][PANEL_STEP], see bf16.h */
    float *bias;    /* [panels * PANEL], zeros where there is none */
    float *zeros;   /* [in], what lies outside of a picture */
    size_t bytes;   /* of all of these; counted in the backend's weight_bytes */
};

/* Both are the same thing; ops.h tells them apart for the networks' sake. */
struct conv {
    struct linear layer;
};

struct product {
    const struct linear *l;
    float *y;
    const float *x, *per_sample, *residual;
    enum activation act;
    int64_t n, h, w, ho, wo; /* a linear layer is n = 1, h = m, w = 1 */
    int stride, top, left;
};

/* f32_layer.c */
void f32_product(const struct cpu *cpu, const struct product *p);

/* Groups of three panels; four are cut in two twos, since one alone runs at half speed. */
int64_t product_groups(int64_t panels);
void product_group(int64_t panels, int64_t groups, int64_t g, int64_t *ret_first, int *ret_n);

#endif
