/*
 * Names of the original checkpoints (CompVis latent-diffusion, Stability's generative-models,
 * OpenCLIP) for the names of diffusers and transformers that the networks ask for. Each function is
 * the place() of a weights_naming. Pure; any thread.
 *
 *     struct ldm_vae_names names = {.prefix = "first_stage_model.", .levels = 4};
 *     struct weights_naming naming = {.place = ldm_vae_place, .user = &names};
 *     TRY(weights_view(file, &naming, &w, e));
 */
#ifndef ENGINE_CHECKPOINT_LDM_NAMES_H
#define ENGINE_CHECKPOINT_LDM_NAMES_H

#include "engine/networks/unet_config.h"
#include "engine/weights/weights.h"

/*
 * UNet2DConditionModel to openaimodel.UNetModel, whose blocks are numbered through: each down block
 * has its resnets and a downsampler, each up block one resnet more; the upsampler stands behind the
 * transformer where there is one.
 */
struct ldm_unet_names {
    const char *prefix; /* borrowed */
    int levels;
    int layers[CONFIG_LEVELS_MAX];        /* resnets of a down block */
    bool up_attention[CONFIG_LEVELS_MAX]; /* entry 0 is the lowest level */
};
bool ldm_unet_place(const void *names, const char *name, struct weights_place *ret_place);

/* AutoencoderKL to ldm's Encoder and Decoder, whose levels up are counted from the picture. */
struct ldm_vae_names {
    const char *prefix; /* borrowed */
    int levels;
};
bool ldm_vae_place(const void *names, const char *name, struct weights_place *ret_place);

/*
 * CLIPTextModel. open: OpenCLIP's text tower, which packs queries, keys and values and has the
 * projection the other way round (ldm_clip_transposed); else transformers' own names. Without
 * projection its matrix has no place, whether the file holds it or not.
 */
struct ldm_clip_names {
    const char *prefix; /* borrowed */
    bool open, projection;
};
bool ldm_clip_place(const void *names, const char *name, struct weights_place *ret_place);
extern const char *const ldm_clip_transposed[];

#endif
