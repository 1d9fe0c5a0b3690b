/*
 * What the original code of Stable Diffusion (CompVis latent-diffusion, Stability AI
 * generative-models) calls the modules of a U-Net that diffusers names otherwise:
 * down_blocks.1.attentions.0.proj_in is input_blocks.4.1.proj_in there. There all blocks of a
 * direction are counted through, with conv_in as number 0.
 */
#ifndef ENGINE_SGM_NAMES_H
#define ENGINE_SGM_NAMES_H

#include "engine/unet_config.h"

/* Writes the original name, with NUL. False: the original code has no such module. */
bool sgm_unet_name(const struct unet_config *c, const char *name, char *ret_name, size_t size);

#endif
