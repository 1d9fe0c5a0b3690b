/*
 * Latents on their way into and out of a pass of the sampler: drawn from what the encoder says,
 * scaled, masked, enlarged. Plain arithmetic on [h, w, channels] in float32, as torch has it; pure
 * functions, any thread. Masks of latents are 1 where the picture is repainted, else 0.
 */
#ifndef ENGINE_PIPELINE_LATENT_H
#define ENGINE_PIPELINE_LATENT_H

#include "engine/networks/vae_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * out[h, w, channels] = (mean + exp(logvar / 2) * noise - shift) * scale, of moments [h, w, 2 *
 * channels]: a sample of the encoder's normal distribution, as the U-Net has it. diffusers'
 * DiagonalGaussianDistribution, which clamps logvar to -30..20. pixels: h * w.
 */
void latent_from_moments(float *out, const float *moments, const float *noise, int64_t pixels,
                         const struct vae_config *c);

/* In place, from the U-Net's latent to the VAE's: x / scale + shift. */
void latent_for_vae(float *x, int64_t n, const struct vae_config *c);

/*
 * out[h, w] = 1 where the grey mask [height, width] is 128 or more: diffusers' mask processor (from
 * 0.5 on is 1), then torch's nearest interpolation. Returns whether any is 1.
 */
bool latent_mask(float *out, int64_t h, int64_t w, const uint8_t *mask, int64_t height,
                 int64_t width);

/* A part of a larger latent, [full_h, full_w, channels]. */
struct latent_window {
    int64_t full_h, full_w; /* the larger latent */
    int64_t top, left;      /* of the part within it */
};

/*
 * out[h, w, channels]: x [in_h, in_w, channels] enlarged to the window's size, of which the window
 * is taken: torch's interpolate, nearest or bilinear (align_corners and antialias off).
 */
void latent_enlarge(float *out, int64_t h, int64_t w, const float *x, int64_t in_h, int64_t in_w,
                    int64_t channels, const struct latent_window *window, bool bilinear);

/* Pixels to -1..1, [n] numbers, as diffusers' image processor; and what is masked becomes 0. */
void floats_from_pixels(float *out, const uint8_t *pixels, size_t n);
void mask_floats(float *picture, const uint8_t *mask, size_t pixels);

/*
 * Values of about -1..1 to 8 bits, as diffusers: halves are rounded to even. Returns whether any is
 * above 0.
 */
bool pixels_from_floats(uint8_t *out, const float *values, size_t n);

/* No NaN and no Inf among them. */
bool all_finite(const float *values, int64_t n);

#endif
