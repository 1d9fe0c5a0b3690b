/*
 * Guidance: what the U-Net says for several texts, made one answer. Pure function, float32 in
 * torch's order.
 */
#ifndef ENGINE_PIPELINE_GUIDE_H
#define ENGINE_PIPELINE_GUIDE_H

#include "engine/text/conditioning.h"

struct guide {
    double scale;   /* cfg_scale; 1 or less: 1 */
    double rescale; /* guidance_rescale, 0..1; 0: none */
};

/*
 * out[size] = negative + sum of weight_i * scale * (part_i - negative): Ho and Salimans 2022
 * (arXiv:2207.12598) as diffusers has it, for several parts Liu et al. 2022 (arXiv:2206.01714) as
 * AUTOMATIC1111 has it. outputs: [1 + n_parts, size], the negative prompt's first; size from 2.
 *
 * With rescale the result keeps the standard deviation of the answer without guidance (scale 1), in
 * that proportion: Lin et al. 2023 (arXiv:2305.08891), eq. 15 and 16; diffusers'
 * rescale_noise_cfg.
 */
void guide(float *out, const float *outputs, int64_t size, const struct guidance *parts,
           const struct guide *g);

#endif
