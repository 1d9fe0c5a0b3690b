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

int hires_take(const struct pass *second, const struct hires_size *size,
               struct hires_start *ret_start, struct err *e)
{
    struct ops *o = second->model->ops;

    *ret_start = (struct hires_start){0};
    if (second->common->hires.upscaler == UPSCALER_LANCZOS)
        return pixels_new(o->host, size->width, size->height, 3, &ret_start->picture, e);
    return host_scratch(o, second->size, &ret_start->latent, e);
}

/* The first pass' latent, enlarged. */
static int enlarge_latent(const struct pass *first, size_t i, const struct pass *second,
                          const struct hires_size *size, float *latent, struct err *e)
{
    const struct latent_window window = {
        .full_h = size->full_height / CELL,
        .full_w = size->full_width / CELL,
        .top = (size->full_height - size->height) / CELL / 2,
        .left = (size->full_width - size->width) / CELL / 2,
    };
    struct ops *o = first->model->ops;
    size_t mark = arena_mark(o->host);
    float *small;
    int rc = 0;

    TRY(host_scratch(o, first->size, &small, e));
    TRY(pass_latent(first, i, small, e));
    if (!o->planning)
        latent_enlarge(latent, second->extent.h, second->extent.w, small, first->extent.h,
                       first->extent.w, first->channels, &window,
                       first->common->hires.upscaler == UPSCALER_LATENT);
out:
    arena_release(o->host, mark);
    return rc;
}

/* The first pass' picture, enlarged. */
static int enlarge_picture(struct pass *first, size_t i, const struct hires_size *size,
                           struct pixels *picture, struct err *e)
{
    struct arena *a = first->model->ops->host;
    size_t mark = arena_mark(a);
    struct pixels small, full;
    int rc = 0;

    TRY(pixels_new(a, first->width, first->height, 3, &small, e));
    TRY(pass_decode(first, i, &small, e));
    TRY(pixels_new(a, size->full_width, size->full_height, 3, &full, e));
    TRY(pixels_fit(a, &full, &small, RESIZE_STRETCH, e));
    if (!pixels_planning(a))
        pixels_crop(picture, &full, (size->full_width - size->width) / 2,
                    (size->full_height - size->height) / 2);
out:
    arena_release(a, mark);
    return rc;
}

int hires_begin(struct pass *first, size_t i, const struct pass *second,
                const struct hires_size *size, struct hires_start *start,
                struct pass_start *ret_start, struct err *e)
{
    bool lanczos = first->common->hires.upscaler == UPSCALER_LANCZOS;

    *ret_start = (struct pass_start){.picture = lanczos ? &start->picture : NULL,
                                     .latent = lanczos ? NULL : start->latent};
    return lanczos ? enlarge_picture(first, i, size, &start->picture, e)
                   : enlarge_latent(first, i, second, size, start->latent, e);
}
