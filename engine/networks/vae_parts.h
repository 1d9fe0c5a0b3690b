/* The VAE's inside, for the files vae*.c alone. */
#ifndef ENGINE_NETWORKS_VAE_PARTS_H
#define ENGINE_NETWORKS_VAE_PARTS_H

#include "engine/networks/resnet.h"
#include "engine/networks/vae.h"

#define VAE_EPS 1e-6f /* of all its group norms; diffusers sets it in code */

/* Two resnets around one head of attention, at the latent's size. */
struct vae_mid {
    struct resnet resnets[2];
    struct norm *norm;
    struct linear_layer *q, *k, *v, *out; /* NULL without mid_attention */
};

struct vae_level {
    int64_t in, out;        /* channels */
    struct resnet *resnets; /* [n_resnets], owned */
    int n_resnets;
    struct conv_layer *sampler; /* to the next level; NULL at the last one */
};

/* Encoder or decoder. */
struct vae_half {
    struct conv_layer *quant; /* 1x1 on the latent's side; NULL without */
    struct conv_layer *conv_in, *conv_out;
    struct vae_mid mid;
    struct vae_level levels[CONFIG_LEVELS_MAX]; /* in the order of their use */
    struct norm *norm_out;
};

struct vae {
    struct vae_config config;
    struct ops *ops; /* borrowed */
    struct vae_half encoder, decoder;
};

/* y[n, h, w, channels of the lowest level]: the decoder up to its first level. In the backend's
 * arena. */
int vae_decode_middle(const struct vae *v, struct act *y, const float *z, const struct extent *s,
                      struct err *e);

#endif
