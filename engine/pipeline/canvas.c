#include "engine/pipeline/canvas.h"

#include <math.h>
#include <string.h>

#define BLUR_MAX    64 /* pixels; AUTOMATIC1111's slider ends there */
#define PADDING_MAX 4096

static bool outpaints(const struct render *r)
{
    return r->outpaint_left != 0 || r->outpaint_right != 0 || r->outpaint_top != 0 ||
           r->outpaint_bottom != 0;
}

static struct pixels view(const struct picture_in *in, int channels)
{
    /* Nothing writes to a view. */
    return (struct pixels){in->width, in->height, channels, (uint8_t *)(uintptr_t)in->pixels};
}

/* ---- what goes together */

static int check_outpaint(const struct render *r, struct err *e)
{
    const int sides[] = {r->outpaint_left, r->outpaint_right, r->outpaint_top, r->outpaint_bottom};

    for (int i = 0; i < 4; i++)
        if (sides[i] < 0 || sides[i] % 8 != 0 || sides[i] > RENDER_SIDE_MAX)
            return err_set(e, ERR_INPUT,
                           "outpaint by %d pixels: it must be a multiple of 8 up to %d", sides[i],
                           RENDER_SIDE_MAX);
    if (r->init.pixels == NULL)
        return err_set(e, ERR_INPUT, "outpaint needs an init_image to go on from");
    if (r->inpaint.full_res)
        return err_set(e, ERR_INPUT,
                       "outpaint and inpaint_full_res do not go together: one needs the whole "
                       "picture, the other a part of it");
    return 0;
}

static int check_mask(const struct render *r, struct err *e)
{
    const struct inpaint *i = &r->inpaint;

    if (i->mask.pixels != NULL && r->init.pixels == NULL)
        return err_set(e, ERR_INPUT, "a mask needs an init_image");
    if (i->mask.pixels != NULL &&
        (i->mask.width != r->init.width || i->mask.height != r->init.height))
        return err_set(e, ERR_INPUT, "the mask has %d x %d pixels, its init_image %d x %d",
                       i->mask.width, i->mask.height, r->init.width, r->init.height);
    if (i->mask.pixels == NULL && i->full_res)
        return err_set(e, ERR_INPUT, "inpaint_full_res needs a mask");
    if (!(i->blur >= 0 && i->blur <= BLUR_MAX))
        return err_set(e, ERR_INPUT, "mask_blur is %g: it must lie between 0 and %d", i->blur,
                       BLUR_MAX);
    if (i->full_res_padding < 0 || i->full_res_padding > PADDING_MAX)
        return err_set(e, ERR_INPUT, "inpaint_full_res_padding is %d: it must lie between 0 and %d",
                       i->full_res_padding, PADDING_MAX);
    return 0;
}

int canvas_check(const struct render *r, struct err *e)
{
    int rc = 0;

    if (r->init.pixels != NULL &&
        (r->init.width < 1 || r->init.height < 1 || r->init.width > RENDER_SIDE_MAX ||
         r->init.height > RENDER_SIDE_MAX))
        TRY(err_set(e, ERR_INPUT, "an init_image of %d x %d pixels: a side has 1 to %d",
                    r->init.width, r->init.height, RENDER_SIDE_MAX));
    if (outpaints(r))
        TRY(check_outpaint(r, e));
    TRY(check_mask(r, e));
out:
    return rc;
}

/* ---- masks */

/* ret_mask: the mask at its own size, inverted and blurred. */
static int given_mask(struct arena *a, const struct inpaint *i, double blur,
                      struct pixels *ret_mask, struct err *e)
{
    struct pixels in = view(&i->mask, 1);
    int rc = 0;

    TRY(pixels_new(a, in.width, in.height, 1, ret_mask, e));
    if (!pixels_planning(a)) {
        pixels_copy(ret_mask, &in);
        if (i->invert)
            pixels_invert(ret_mask);
    }
    TRY(mask_blur(a, ret_mask, blur, e));
out:
    return rc;
}

/*
 * The part that full_res renders. It decides sizes, so it is found in memory of its own, also while
 * planning.
 */
static int find_crop(const struct render *r, bool planning, struct box *ret_crop, struct err *e)
{
    const struct inpaint *i = &r->inpaint;
    struct arena plan, own = {0};
    struct pixels mask;
    int rc = 0;

    arena_plan(&plan);
    TRY(given_mask(&plan, i, i->blur, &mask, e));
    TRY(arena_init(&own, plan.peak, e));
    TRY(given_mask(&own, i, i->blur, &mask, e));
    if (!mask_box(&mask, i->full_res_padding, ret_crop)) {
        if (!planning)
            TRY(err_set(e, ERR_INPUT, "inpaint_full_res: the mask has nothing to repaint"));
        *ret_crop = (struct box){0, 0, mask.width, mask.height};
    }
    box_expand(ret_crop, r->width, r->height, mask.width, mask.height);
out:
    arena_done(&own);
    return rc;
}

/* Where 8-bit masks of half strength or more keep nothing of the original. */
static void double_mask(struct pixels *mask)
{
    size_t n = (size_t)mask->width * (size_t)mask->height;

    for (size_t i = 0; i < n; i++)
        mask->data[i] = mask->data[i] > 127 ? 255 : (uint8_t)(2 * mask->data[i]);
}

/* ---- the ways to start */

/* ret_part: `crop` of in, at the render's size. */
static int fit_part(struct arena *a, const struct render *r, const struct pixels *in,
                    const struct box *crop, struct pixels *ret_part, struct err *e)
{
    struct pixels part;
    size_t mark;
    int rc = 0;

    TRY(pixels_new(a, r->width, r->height, in->channels, ret_part, e));
    mark = arena_mark(a);
    TRY(pixels_new(a, crop->right - crop->left, crop->bottom - crop->top, in->channels, &part, e));
    if (!pixels_planning(a))
        pixels_crop(&part, in, crop->left, crop->top);
    TRY(pixels_fit(a, ret_part, &part, RESIZE_FILL, e));
    arena_release(a, mark);
out:
    return rc;
}

static int open_part(struct canvas *c, struct arena *a, const struct render *r, struct err *e)
{
    int rc = 0;

    c->original = view(&r->init, 3);
    c->overlaid = c->cropped = true;
    TRY(find_crop(r, pixels_planning(a), &c->crop, e));
    TRY(given_mask(a, &r->inpaint, r->inpaint.blur, &c->overlay, e));
    TRY(fit_part(a, r, &c->original, &c->crop, &c->picture, e));
    TRY(fit_part(a, r, &c->overlay, &c->crop, &c->mask, e));
out:
    return rc;
}

/* The mask of the whole picture, at the render's size. */
static int open_mask(struct canvas *c, struct arena *a, const struct render *r, double blur,
                     struct pixels *ret_mask, struct err *e)
{
    struct pixels given;
    size_t mark;
    int rc = 0;

    TRY(pixels_new(a, r->width, r->height, 1, ret_mask, e));
    mark = arena_mark(a);
    TRY(given_mask(a, &r->inpaint, blur, &given, e));
    TRY(pixels_fit(a, ret_mask, &given, r->resize, e));
    arena_release(a, mark);
    c->overlaid = blur > 0;
out:
    return rc;
}

static int open_picture(struct arena *a, const struct render *r, struct pixels *ret_picture,
                        struct err *e)
{
    struct pixels in = view(&r->init, 3);
    int rc = 0;

    TRY(pixels_new(a, r->width, r->height, 3, ret_picture, e));
    TRY(pixels_fit(a, ret_picture, &in, r->resize, e));
out:
    return rc;
}

/* Whites out the border and `overlap` pixels of the picture beside it. */
static void whiten_border(struct pixels *mask, const struct render *r, int overlap)
{
    int left = r->outpaint_left > 0 ? r->outpaint_left + overlap : 0;
    int right = mask->width - (r->outpaint_right > 0 ? r->outpaint_right + overlap : 0);
    int top = r->outpaint_top > 0 ? r->outpaint_top + overlap : 0;
    int bottom = mask->height - (r->outpaint_bottom > 0 ? r->outpaint_bottom + overlap : 0);

    for (int y = 0; y < mask->height; y++)
        for (int x = 0; x < mask->width; x++)
            if (x < left || x >= right || y < top || y >= bottom)
                mask->data[(size_t)y * (size_t)mask->width + (size_t)x] = 255;
}

/* Puts `part` at its place on the canvas; the border is not set. */
static int lay_on_canvas(struct canvas *c, struct arena *a, const struct render *r,
                         const struct pixels *part, struct pixels *ret_whole, struct err *e)
{
    int rc = pixels_new(a, c->width, c->height, part->channels, ret_whole, e);

    if (rc == 0 && !pixels_planning(a))
        pixels_paste(ret_whole, part, r->outpaint_left, r->outpaint_top);
    return rc;
}

static int open_border(struct canvas *c, struct arena *a, const struct render *r, struct err *e)
{
    double blur = r->inpaint.blur;
    struct box old = {r->outpaint_left, r->outpaint_top, r->outpaint_left + r->width,
                      r->outpaint_top + r->height};
    struct pixels picture, mask;
    int rc = 0;

    TRY(open_picture(a, r, &picture, e));
    TRY(lay_on_canvas(c, a, r, &picture, &c->picture, e));
    if (r->inpaint.mask.pixels != NULL) {
        TRY(open_mask(c, a, r, 0, &mask, e));
    } else {
        TRY(pixels_new(a, r->width, r->height, 1, &mask, e));
        if (!pixels_planning(a))
            memset(mask.data, 0, (size_t)mask.width * (size_t)mask.height);
    }
    TRY(lay_on_canvas(c, a, r, &mask, &c->mask, e));
    if (!pixels_planning(a)) {
        pixels_extend(&c->picture, &old);
        whiten_border(&c->mask, r, (int)ceil(2 * blur));
    }
    TRY(mask_blur(a, &c->mask, blur, e));
    c->overlaid = true;
out:
    return rc;
}

/* Copies for the end of what the start will change. */
static int keep_whole(struct canvas *c, struct arena *a, struct err *e)
{
    int rc = 0;

    TRY(pixels_new(a, c->width, c->height, 3, &c->original, e));
    TRY(pixels_new(a, c->width, c->height, 1, &c->overlay, e));
    if (pixels_planning(a))
        goto out;
    pixels_copy(&c->original, &c->picture);
    pixels_copy(&c->overlay, &c->mask);
    double_mask(&c->overlay);
out:
    return rc;
}

int canvas_open(struct canvas *c, struct arena *a, const struct render *r, struct err *e)
{
    int rc = 0;

    *c = (struct canvas){.width = r->width + r->outpaint_left + r->outpaint_right,
                         .height = r->height + r->outpaint_top + r->outpaint_bottom};
    if (r->init.pixels == NULL)
        goto out;
    if (r->inpaint.full_res) {
        TRY(open_part(c, a, r, e));
    } else if (outpaints(r)) {
        TRY(open_border(c, a, r, e));
    } else {
        TRY(open_picture(a, r, &c->picture, e));
        if (r->inpaint.mask.pixels != NULL)
            TRY(open_mask(c, a, r, r->inpaint.blur, &c->mask, e));
    }
    if (c->overlaid && !c->cropped)
        TRY(keep_whole(c, a, e));
    if (c->mask.data != NULL && r->inpaint.fill == FILL_FILL)
        TRY(pixels_fill_masked(a, &c->picture, &c->mask, e));
out:
    return rc;
}

/* ret_pixels: the rendered part at its place; what is around it is not set. */
static int uncrop(const struct canvas *c, struct arena *a, const struct pixels *rendered,
                  struct pixels *ret_pixels, struct err *e)
{
    size_t mark = arena_mark(a);
    struct pixels part;
    int rc = 0;

    TRY(pixels_new(a, c->crop.right - c->crop.left, c->crop.bottom - c->crop.top, 3, &part, e));
    TRY(pixels_fit(a, &part, rendered, RESIZE_CROP, e));
    if (!pixels_planning(a)) {
        /* Outside the part the mask is black: what stands there does not show. */
        pixels_copy(ret_pixels, &c->original);
        pixels_paste(ret_pixels, &part, c->crop.left, c->crop.top);
    }
out:
    arena_release(a, mark);
    return rc;
}

int canvas_finish(const struct canvas *c, struct arena *a, struct pixels *rendered,
                  struct pixels *ret_pixels, struct err *e)
{
    int rc = 0;

    if (c->cropped)
        TRY(uncrop(c, a, rendered, ret_pixels, e));
    else if (!pixels_planning(a))
        pixels_copy(ret_pixels, rendered);
    if (c->overlaid && !pixels_planning(a))
        pixels_overlay(ret_pixels, &c->original, &c->overlay);
out:
    return rc;
}
