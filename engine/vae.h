/*
 * The decoder of diffusers' AutoencoderKL: latent to picture, any number of levels.
 * One thread at a time; works in the backend's arena and leaves nothing there.
 *
 *     TRY(vae_open(&part.source, o, budget, &bytes, &v, e));
 *     TRY(vae_decode(v, picture, latent, &extent, e));
 *     vae_close(v);
 */
#ifndef ENGINE_VAE_H
#define ENGINE_VAE_H

#include "engine/config.h"
#include "engine/layer.h"

struct vae;

struct vae_config {
    int latent_channels;
    int levels; /* the picture is 2^(levels - 1) times the latent */
    int channels[CONFIG_LEVELS_MAX];
    int layers; /* resnets per encoder block; decoder blocks have one more */
    int groups;
    enum activation act;
    double scaling_factor; /* the U-Net works on (latent - shift) * scaling_factor */
    double shift_factor;   /* 0 unless the file has one */
    bool post_quant_conv, mid_attention;
};

/* Arguments and errors as unet_open(). */
int vae_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
             struct vae **ret_vae, struct err *e);
void vae_close(struct vae *v);

const struct vae_config *vae_config(const struct vae *v);

/* Pixels per latent pixel and side: 8 for Stable Diffusion. */
int vae_factor(const struct vae *v);

/*
 * y[n, h * factor, w * factor, 3], about -1..1, from z[n, h, w, latent_channels], which is already
 * divided by the scaling factor.
 */
int vae_decode(const struct vae *v, float *y, const float *z, const struct extent *s,
               struct err *e);

#endif
