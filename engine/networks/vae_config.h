/* What vae/config.json says: diffusers' AutoencoderKL, any number of levels. */
#ifndef ENGINE_NETWORKS_VAE_CONFIG_H
#define ENGINE_NETWORKS_VAE_CONFIG_H

#include "engine/weights/config.h"

struct vae_config {
    int latent_channels;
    int levels; /* the picture is 2^(levels - 1) times the latent */
    int channels[CONFIG_LEVELS_MAX];
    int layers; /* resnets per encoder block; decoder blocks have one more */
    int groups;
    enum activation act;
    double scaling_factor; /* the U-Net works on (latent - shift) * scaling_factor */
    double shift_factor;   /* 0 unless the file has one */
    bool quant_conv, post_quant_conv, mid_attention;
    bool
        force_upcast; /* its values pass float16's range; f32 and bf16 have room, as in diffusers */
};

/*
 * root: what the file vae/config.json at `path` holds. Missing keys take the defaults of diffusers'
 * class. ERR_INPUT names file, key and value for anything that the engine would not honour.
 */
int vae_config_read(const char *path, const json_t *root, struct vae_config *ret_config,
                    struct err *e);

#endif
