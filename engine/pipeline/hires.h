/*
 * Hires fix: a second pass of the sampler over an enlarged picture. Sizes as AUTOMATIC1111 1.10
 * computes them; what the pass starts from as it enlarges it:
 *
 *   latent, latent_nearest   the first pass' final latent, by torch's interpolate
 *   lanczos                  its decoded picture by Pillow's Lanczos, and encoded again
 *
 * The second pass is a picture to picture pass with the render's seeds at the new size: a new
 * stream from the same seed, in which the encoder (lanczos) draws first. It runs int(strength *
 * steps) of its steps, as all passes from a picture do; AUTOMATIC1111 runs as many as are asked
 * for, on a schedule that is longer.
 */
#ifndef ENGINE_PIPELINE_HIRES_H
#define ENGINE_PIPELINE_HIRES_H

#include "engine/pipeline/pass.h"

struct hires_size {
    int width, height; /* of the second pass' picture, pixels; multiples of 8 */
    /* What the first picture is enlarged to; the rest is cut off, half on each side. */
    int full_width, full_height;
};

/* False: the render has no second pass, or sizes that the engine refuses (see check_render). */
bool hires_size(const struct render *r, struct hires_size *ret_size);

/* What the second pass starts from, in the host's arena: one of the two. */
struct hires_start {
    struct pixels picture; /* without data: the latent */
    float *latent;         /* [second->size] */
};

/* Memory for it; before the first pass, which then stands over as much as the second. */
int hires_take(const struct pass *second, const struct hires_size *size,
               struct hires_start *ret_start, struct err *e);

/*
 * Fills `start` from the i-th final latent of `first`, and ret_start with what leads to it. Errors
 * as engine_render().
 */
int hires_begin(struct pass *first, size_t i, const struct pass *second,
                const struct hires_size *size, struct hires_start *start,
                struct pass_start *ret_start, struct err *e);

#endif
