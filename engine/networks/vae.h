/*
 * diffusers' AutoencoderKL, both ways: latent to picture and picture to latent, whole or in tiles.
 * One thread at a time; works in the backend's arena and leaves nothing there.
 *
 *     TRY(vae_open(&part.source, o, budget, &bytes, &v, e));
 *     TRY(vae_decode(v, picture, latent, &extent, e));
 *     vae_close(v);
 *
 * Samples are independent: bytes of one do not depend on the others of its batch.
 */
#ifndef ENGINE_NETWORKS_VAE_H
#define ENGINE_NETWORKS_VAE_H

#include "engine/networks/layer.h"
#include "engine/networks/vae_config.h"

struct vae;

/*
 * Arguments and errors as unet_open(). Encoder and decoder are both loaded: which renders will come
 * is not known when a model is opened, and what it weighs should not depend on them.
 */
int vae_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
             struct vae **ret_vae, struct err *e);
void vae_close(struct vae *v);

const struct vae_config *vae_config(const struct vae *v);

/* Pixels per latent pixel and side: 8 for Stable Diffusion. */
int vae_factor(const struct vae *v);

/*
 * y[n, h * factor, w * factor, 3], about -1..1, from z[n, h, w, latent_channels], which is already
 * divided by the scaling factor. s: of z.
 */
int vae_decode(const struct vae *v, float *y, const float *z, const struct extent *s,
               struct err *e);

/*
 * The same of the backend's x, a latent of the U-Net's scale, to the 8-bit pixels of a picture:
 * ret_pixels[n, h * factor, w * factor, 3] on the host; NULL while planning. ret_finite: the values
 * have no NaN and no Inf, without which pixels mean nothing; ret_any: some number is not 0. All
 * three are the backend's until its step->settle(ret_pixels) (engine/ops/step.h).
 */
int vae_decode_pixels(const struct vae *v, uint8_t *ret_pixels, const struct latent *x,
                      const struct extent *s, bool *ret_finite, bool *ret_any, struct err *e);

/*
 * The same picture of one sample (s->n is 1), decoded by all members of a gang, each of them a
 * range of rows; all call with equal z. Sums of norms are rounded otherwise, and a convolution may
 * choose another way for a part: equal within float32's rounding. y: of rank 0; the others' may be
 * NULL.
 */
int vae_decode_rows(const struct vae *v, float *y, const float *z, const struct extent *s,
                    struct gang *g, struct err *e);

/* Whether it can be: the backend's maps may be split, and every member has a row of the latent. */
bool vae_shares_rows(const struct vae *v, const struct extent *s, const struct gang *g);

/* The rows of a latent of height h that a member decodes. */
struct range vae_rows_of(int64_t h, int rank, int size);

/*
 * y[n, h / factor, w / factor, 2 * latent_channels], means and then logarithms of variances as the
 * encoder gives them (diffusers clamps the latter to -30..20), not yet multiplied by the scaling
 * factor; from x[n, h, w, 3], -1..1. s: of x, multiples of the factor, else ERR_INPUT.
 */
int vae_encode(const struct vae *v, float *y, const float *x, const struct extent *s,
               struct err *e);

/*
 * The same in tiles of tile_px pixels a side, a multiple of 4 * factor (else ERR_INPUT), which
 * overlap by a quarter and are blended: scratch grows with the tile, not with the picture. Equal to
 * diffusers' AutoencoderKL with tiling enabled; not to the untiled result, since norms and
 * attention see one tile. What is no larger than a tile is coded whole.
 */
int vae_decode_tiled(const struct vae *v, float *y, const float *z, const struct extent *s,
                     int tile_px, struct err *e);
int vae_encode_tiled(const struct vae *v, float *y, const float *x, const struct extent *s,
                     int tile_px, struct err *e);

#endif
