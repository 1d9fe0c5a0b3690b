/*
 * The pixels around a render: the initial picture and its mask as the sampler starts from them, and
 * the repainted part back on the original. Text to picture has an empty canvas.
 *
 * What equals what. A whole picture that is repainted under a hard mask (no blur, no full_res, no
 * outpainting) is diffusers' StableDiffusionInpaintPipeline, and what is decoded is the result: the
 * VAE changes pixels outside the mask a little. In all other inpainting the original is laid over
 * the result as AUTOMATIC1111 does it (pixels_overlay), so that it stays to the bit where the
 * blurred mask is black. Always: the mask is inverted, blurred and resized as AUTOMATIC1111 does
 * it; the sampler sees it as diffusers does (from 128 on is repainted, latent_mask).
 *
 *   full_res   the part around the mask, with padding and of the render's ratio, is rendered at the
 *              render's size, brought back to its own, and laid under the original. The result has
 *              the initial picture's size.
 *   outpaint   the initial picture lies on a larger canvas, whose border is the drawn-out edge. The
 *              mask is white on the border and 2 * blur pixels into the picture on that side (as
 *              AUTOMATIC1111's "Poor man's outpainting"), and as given elsewhere.
 *
 * Memory comes from the arena and stays in use until the caller's mark is released.
 *
 *     TRY(canvas_open(&c, arena, render, e));
 *     ... encode c.picture, sample, decode ...
 *     TRY(canvas_finish(&c, arena, pixels, ret_pixels, e));
 */
#ifndef ENGINE_PIPELINE_CANVAS_H
#define ENGINE_PIPELINE_CANVAS_H

#include "engine/pipeline/pixels.h"
#include "engine/pipeline/render.h"

struct canvas {
    int width, height;     /* of what is rendered, pixels */
    struct pixels picture; /* RGB, of that size; data is NULL: there is none */
    struct pixels mask;    /* grey, of that size; data is NULL: everything is repainted */

    /* For canvas_finish. */
    bool overlaid;          /* the original is laid over the result */
    bool cropped;           /* what is rendered is `crop` of the original */
    struct box crop;        /* in the original */
    struct pixels original; /* RGB, of the result's size */
    struct pixels overlay;  /* grey, of the result's size: where it is black the original stays */
};

/* ERR_INPUT for pictures, masks and borders that do not go together, with the reason. */
int canvas_check(const struct render *r, struct err *e);

/*
 * r: checked. Works while planning; with full_res it then reads the mask, which decides the sizes:
 * a mask with nothing to repaint stands for one that is not known yet, and the whole picture is
 * planned for. ERR_INPUT for such a mask when it is run, and for pictures too narrow to come to
 * size.
 */
int canvas_open(struct canvas *c, struct arena *a, const struct render *r, struct err *e);

/*
 * ret_pixels: RGB of render_size(), from the rendered pixels of the canvas' size, which are used
 * up.
 */
int canvas_finish(const struct canvas *c, struct arena *a, struct pixels *rendered,
                  struct pixels *ret_pixels, struct err *e);

#endif
