/*
 * Families of Stable Diffusion: what a checkpoint in one file is by its tensors' names and shapes,
 * and what is published of its family (engine/data).
 *
 * Recognized as diffusers' single_file_utils, AUTOMATIC1111's sd_models_config and ComfyUI's
 * supported_models do it: SDXL by its second text encoder or label_emb, SD 2 by OpenCLIP's text
 * tower, else SD 1. That an SD 2 model predicts v is seen by the published models' last
 * transformer, the standard deviation of whose first norm's shift passes 0.09 (ComfyUI's rule; its
 * U-Nets of nine channels never do); tensors "v_pred" and "ztsnr" state v-prediction and zero
 * terminal SNR for any family (ComfyUI). SD-Turbo and SDXL-Turbo have no mark: their configuration
 * must be named.
 */
#ifndef ENGINE_CHECKPOINT_FAMILY_H
#define ENGINE_CHECKPOINT_FAMILY_H

#include "engine/weights/weights.h"
#include "proto/json.h"

/* How a checkpoint in one file is made. All names are static. */
struct family_layout {
    const char *family; /* "sd1", "sd2", "sd2-v", "sdxl" */
    const char *unet_prefix, *vae_prefix;
    const char *text_prefix[2];  /* [1]: XL's second encoder, else NULL */
    bool text_open[2];           /* OpenCLIP's names */
    bool v_prediction, zero_snr; /* marked so */
};

/*
 * ERR_INPUT: no checkpoint that this engine renders, with what it is where that can be told: SD 3,
 * Flux, SDXL's refiner, a LoRA, a ControlNet, a VAE alone, ...
 */
int family_recognize(const struct weights *w, struct family_layout *ret_layout, struct err *e);

/* Whether family_open() has it. */
bool family_is_known(const char *name);

/* "sd-turbo, sd1, ..."; writes at most size bytes with NUL, returns text. */
const char *family_names(char *text, size_t size);

/*
 * {"rules": .., "unet": .., "vae": .., "text_encoder": .., "scheduler": ..}, with text_encoder_2
 * for XL, as engine/data/README.md says. Caller releases with json_decref. ERR_INPUT:
 * there is no such family.
 */
int family_open(const char *name, json_t **ret_family, struct err *e);

#endif
