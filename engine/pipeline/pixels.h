/*
 * Pictures of 8 bits a channel before and after a render: resizing, cropping, blurring, and laying
 * a repainted part over the original. Grey masks are pictures of one channel, white is repainted.
 *
 * Bytes equal those of the systems whose arithmetic it is, on the arrays recorded in
 * tests/golden/pixels: Pillow's Image.resize, GaussianBlur, paste and alpha_composite; OpenCV's
 * GaussianBlur of 8-bit pictures; AUTOMATIC1111's resize_image, crop regions, fill and overlay.
 *
 * Memory comes from an arena. While the arena only plans (it has no memory), functions take what
 * they would take and touch no pixel. Scratch is given back before a function returns. Functions
 * with an arena fail only with ERR_INTERNAL: the plan was too small. One thread at a time per
 * arena.
 *
 *     TRY(pixels_new(a, 512, 512, 3, &p, e));
 *     TRY(pixels_fit(a, &p, &init, RESIZE_CROP, e));
 */
#ifndef ENGINE_PIPELINE_PIXELS_H
#define ENGINE_PIPELINE_PIXELS_H

#include "engine/ops/arena.h"
#include "proto/err.h"
#include "proto/terms.h"

#include <stdbool.h>
#include <stdint.h>

struct pixels {
    int width, height, channels; /* 1: grey, 3: RGB, 4: RGBA */
    uint8_t *data;               /* [height, width, channels] */
};

/* Pixels of columns left..right - 1 and rows top..bottom - 1. */
struct box {
    int left, top, right, bottom;
};

/* Sides from 1. The content is not set. */
int pixels_new(struct arena *a, int width, int height, int channels, struct pixels *ret_p,
               struct err *e);

/* Whether functions are to touch no pixel. */
bool pixels_planning(const struct arena *a);

enum resample { RESAMPLE_BICUBIC, RESAMPLE_LANCZOS };

/*
 * The part `box` of `in` (NULL: all of it) at the size of `out`, as Pillow's Image.resize(size,
 * resample, box) of Pillow 13: two passes in 22 bits of fixed point, in its order (older ones
 * differ where the height shrinks much more than the width). Equal sizes are a copy. A box may have
 * width or height 0: then its edge is drawn out, as Pillow does.
 */
int pixels_resize(struct arena *a, struct pixels *out, const struct pixels *in,
                  const struct box *box, enum resample resample, struct err *e);

/*
 * `in` at the size of `out` as AUTOMATIC1111's images.resize_image with Pillow's Lanczos:
 * stretched; or scaled to cover and cropped in the middle; or scaled to fit, its edges drawn out.
 * ERR_INPUT: one side would come to nothing.
 */
int pixels_fit(struct arena *a, struct pixels *out, const struct pixels *in, enum resize_mode mode,
               struct err *e);

/* out = the part of `in` that starts at (left, top), which lies inside. */
void pixels_crop(struct pixels *out, const struct pixels *in, int left, int top);

/* Puts `in` onto p at (left, top); what lies outside is cut off. */
void pixels_paste(struct pixels *p, const struct pixels *in, int left, int top);

void pixels_copy(struct pixels *out, const struct pixels *in);
void pixels_invert(struct pixels *p);

/* Pixels outside `inside` become the nearest pixel inside: its edges drawn out to all sides. */
void pixels_extend(struct pixels *p, const struct box *inside);

/*
 * Gaussian blur of a mask as AUTOMATIC1111 has it: cv2.GaussianBlur along rows, then along columns,
 * with 2 * int(2.5 * sigma + 0.5) + 1 weights in 8 bits of fixed point; beyond the edge the picture
 * is mirrored about its outermost pixels. sigma: pixels, 0 (nothing happens) or more.
 */
int mask_blur(struct arena *a, struct pixels *mask, double sigma, struct err *e);

/*
 * The smallest box with every pixel that is not 0, widened by `padding` pixels inside the mask;
 * false if there is none. As AUTOMATIC1111's get_crop_region_v2.
 */
bool mask_box(const struct pixels *mask, int padding, struct box *ret_box);

/*
 * box widened or heightened to the ratio of render_width to render_height where the picture allows
 * it, as AUTOMATIC1111's expand_crop_region.
 */
void box_expand(struct box *box, int render_width, int render_height, int width, int height);

/*
 * RGB colours from around the mask in place of what is under it, as AUTOMATIC1111's masking.fill:
 * ever sharper blurs of what is not masked, one over the other.
 */
int pixels_fill_masked(struct arena *a, struct pixels *picture, const struct pixels *mask,
                       struct err *e);

/*
 * Lays the original over the RGB picture where the mask is not white, as AUTOMATIC1111's
 * apply_overlay. Where the mask is 0 the original's pixels are kept to the bit.
 */
void pixels_overlay(struct pixels *picture, const struct pixels *original,
                    const struct pixels *mask);

/*
 * Pillow's ImageFilter.GaussianBlur(radius): three box blurs along rows and three along columns,
 * each rounded to 8 bits.
 */
int pixels_gaussian(struct arena *a, struct pixels *p, double radius, struct err *e);

#endif
