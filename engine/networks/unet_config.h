/*
 * What unet/config.json says: diffusers' UNet2DConditionModel as Stable Diffusion 1, 2 and XL and
 * their inpainting models use it.
 */
#ifndef ENGINE_NETWORKS_UNET_CONFIG_H
#define ENGINE_NETWORKS_UNET_CONFIG_H

#include "engine/weights/config.h"

#define UNET_TIME_IDS 6 /* numbers of SDXL's size conditioning */

struct unet_config {
    int in_channels; /* of the latent; inpainting: with mask and masked picture, 9 */
    int out_channels;
    int levels;
    int channels[CONFIG_LEVELS_MAX];           /* block_out_channels */
    int layers[CONFIG_LEVELS_MAX];             /* resnets per down block; up blocks have one more */
    int heads[CONFIG_LEVELS_MAX];              /* attention heads, where there is attention */
    int transformer_blocks[CONFIG_LEVELS_MAX]; /* per transformer */
    bool down_attention[CONFIG_LEVELS_MAX];    /* CrossAttnDownBlock2D */
    bool up_attention[CONFIG_LEVELS_MAX];      /* CrossAttnUpBlock2D; entry 0 is the lowest level */
    int text_width;                            /* cross_attention_dim */
    int groups;
    float eps;
    enum activation act;
    int time_width; /* of the time embedding after its two linears */
    bool cos_first; /* flip_sin_to_cos */
    float freq_shift;
    /* addition_embed_type "text_time": SDXL's pooled text and sizes, added to the time embedding.
     */
    int pooled_width;       /* 0: the U-Net has no such thing */
    int added_time_width;   /* of the sinusoids of each of the UNET_TIME_IDS sizes */
    int downsample_padding; /* 0: one row and column of zeros below and right */
    int conv_in_kernel, conv_out_kernel;
};

/*
 * root: what the file unet/config.json at `path` holds. Missing keys take the defaults of
 * diffusers' class. ERR_INPUT names file, key and value for anything that the engine would not
 * honour.
 */
int unet_config_read(const char *path, const json_t *root, struct unet_config *ret_config,
                     struct err *e);

#endif
