#include "engine/pipeline/hires.h"

#include "engine/pipeline/latent.h"

#define CELL 8 /* pixels of a latent pixel, which sizes are whole multiples of */

static int whole(int64_t side)
{
    return (int)(side - side % CELL);
}

bool hires_size(const struct render *r, struct hires_size *ret_size)
{
    const struct hires *h = &r->hires;
    int64_t w = r->width, t = r->height, full_w, full_h;

    if (w < 1 || t < 1)
        return false;
    if (h->width == 0 && h->height == 0) {
        if (!(h->scale > 0 && h->scale <= HIRES_SCALE_MAX))
            return false;
        full_w = (int64_t)((double)w * h->scale);
        full_h = (int64_t)((double)t * h->scale);
    } else if (h->height == 0 ||
               (h->width != 0 && (double)w / (double)t < (double)h->width / (double)h->height)) {
        full_w = h->width;
        full_h = full_w * t / w;
    } else {
        full_h = h->height;
        full_w = full_h * w / t;
    }
    ret_size->full_width = whole(full_w);
    ret_size->full_height = whole(full_h);
    ret_size->width = h->width != 0 && h->height != 0 ? h->width : ret_size->full_width;
    ret_size->height = h->width != 0 && h->height != 0 ? h->height : ret_size->full_height;
    return true;
}

/* The first pass' latent, enlarged. */
static int enlarge_latent(const struct pass *first, size_t i, const struct pass *second,
                          const struct hires_size *size, struct pass_start *ret_start,
                          struct err *e)
{
    const struct latent_window window = {
        .full_h = size->full_height / CELL,
        .full_w = size->full_width / CELL,
        .top = (size->full_height - size->height) / CELL / 2,
        .left = (size->full_width - size->width) / CELL / 2,
    };
    struct ops *o = first->model->ops;
    float *latent;
    int rc = 0;

    TRY(host_scratch(o, second->size, &latent, e));
    if (!o->planning)
        latent_enlarge(latent, second->extent.h, second->extent.w,
                       first->x + (int64_t)i * first->size, first->extent.h, first->extent.w,
                       first->channels, &window, first->common->hires.upscaler == UPSCALER_LATENT);
    ret_start->latent = latent;
out:
    return rc;
}

/* The first pass' picture, enlarged. */
static int enlarge_picture(struct pass *first, size_t i, const struct hires_size *size,
                           struct pass_start *ret_start, struct pixels *ret_picture, struct err *e)
{
    struct arena *a = first->model->ops->host;
    struct pixels small, full;
    size_t mark;
    bool black;
    int rc = 0;

    TRY(pixels_new(a, size->width, size->height, 3, ret_picture, e));
    mark = arena_mark(a);
    TRY(pixels_new(a, first->width, first->height, 3, &small, e));
    TRY(pass_decode(first, i, &small, &black, e));
    TRY(pixels_new(a, size->full_width, size->full_height, 3, &full, e));
    TRY(pixels_fit(a, &full, &small, RESIZE_STRETCH, e));
    if (!pixels_planning(a))
        pixels_crop(ret_picture, &full, (size->full_width - size->width) / 2,
                    (size->full_height - size->height) / 2);
    arena_release(a, mark);
    ret_start->picture = ret_picture;
out:
    return rc;
}

int hires_begin(struct pass *first, size_t i, const struct pass *second,
                const struct hires_size *size, struct pass_start *ret_start,
                struct pixels *ret_picture, struct err *e)
{
    *ret_start = (struct pass_start){0};
    if (first->common->hires.upscaler == UPSCALER_LANCZOS)
        return enlarge_picture(first, i, size, ret_start, ret_picture, e);
    return enlarge_latent(first, i, second, size, ret_start, e);
}
