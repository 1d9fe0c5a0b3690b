#include "engine/pipeline/batch.h"

#include "engine/pipeline/canvas.h"
#include "engine/pipeline/hires.h"

#include <math.h>

static int check_size(const struct model *m, const struct render *r, struct err *e)
{
    int factor = vae_factor(m->vae), width, height;

    if (r->width < factor || r->height < factor || r->width > RENDER_SIDE_MAX ||
        r->height > RENDER_SIDE_MAX || r->width % factor != 0 || r->height % factor != 0)
        return err_set(e, ERR_INPUT,
                       "a picture of %d x %d: both sides must be multiples of %d up to %d",
                       r->width, r->height, factor, RENDER_SIDE_MAX);
    if (r->seed_resize_width < 0 || r->seed_resize_width > RENDER_SIDE_MAX ||
        r->seed_resize_height < 0 || r->seed_resize_height > RENDER_SIDE_MAX)
        return err_set(e, ERR_INPUT, "seed resize from %d x %d: sides are 0 to %d",
                       r->seed_resize_width, r->seed_resize_height, RENDER_SIDE_MAX);
    if (r->vae_tile != 0 && (r->vae_tile < 64 || r->vae_tile % 64 != 0))
        return err_set(e, ERR_INPUT, "vae_tile is %d: it must be 0 or a multiple of 64",
                       r->vae_tile);
    render_size(r, &width, &height);
    if (width > RENDER_SIDE_MAX || height > RENDER_SIDE_MAX)
        return err_set(e, ERR_INPUT, "the picture would have %d x %d pixels; a side has at most %d",
                       width, height, RENDER_SIDE_MAX);
    return 0;
}

static int check_numbers(const struct render *r, struct err *e)
{
    if (!(r->subseed_strength >= 0 && r->subseed_strength <= 1))
        return err_set(e, ERR_INPUT, "subseed_strength is %g: it must lie between 0 and 1",
                       r->subseed_strength);
    if (!(r->guidance_rescale >= 0 && r->guidance_rescale <= 1))
        return err_set(e, ERR_INPUT, "guidance_rescale is %g: it must lie between 0 and 1",
                       r->guidance_rescale);
    if (!isfinite(r->cfg_scale))
        return err_set(e, ERR_INPUT, "cfg_scale must be a finite number");
    return 0;
}

static bool asks_for_hires(const struct render *r)
{
    return r->hires.scale != 0 || r->hires.width != 0 || r->hires.height != 0;
}

static int check_hires(const struct model *m, const struct render *r, struct err *e)
{
    const struct hires *h = &r->hires;
    int factor = vae_factor(m->vae);
    struct hires_size size;

    if (r->init.pixels != NULL)
        return err_set(e, ERR_INPUT,
                       "hires fix is of text to picture: it does not go with an "
                       "init_image");
    if (h->width < 0 || h->height < 0 || h->width > RENDER_SIDE_MAX ||
        h->height > RENDER_SIDE_MAX || h->width % factor != 0 || h->height % factor != 0)
        return err_set(e, ERR_INPUT, "hires fix to %d x %d: sides are multiples of %d up to %d",
                       h->width, h->height, factor, RENDER_SIDE_MAX);
    if (h->width == 0 && h->height == 0 && !(h->scale >= 1 && h->scale <= HIRES_SCALE_MAX))
        return err_set(e, ERR_INPUT, "hr_scale is %g: it must lie between 1 and %d", h->scale,
                       HIRES_SCALE_MAX);
    if (!hires_size(r, &size) || size.full_width < factor || size.full_height < factor ||
        size.full_width > RENDER_SIDE_MAX || size.full_height > RENDER_SIDE_MAX)
        return err_set(e, ERR_INPUT, "hires fix: the enlarged picture has no size from %d to %d",
                       factor, RENDER_SIDE_MAX);
    return 0;
}

static int check_strength(const struct render *r, struct err *e)
{
    if (r->denoising_strength > 0 && r->denoising_strength <= 1)
        return 0;
    return err_set(e, ERR_INPUT,
                   "denoising_strength is %g: it must be more than 0 and at most 1 where a pass "
                   "starts from a picture",
                   r->denoising_strength);
}

static int check_render(const struct model *m, const struct render *r, struct err *e)
{
    int rc = 0;

    if (r->prompt == NULL)
        return err_set(e, ERR_ARG, "a render needs a prompt");
    TRY(check_numbers(r, e));
    TRY(canvas_check(r, e));
    if (asks_for_hires(r))
        TRY(check_hires(m, r, e));
    TRY(check_size(m, r, e));
    if (asks_for_hires(r) || r->init.pixels != NULL)
        TRY(check_strength(r, e));
out:
    return rc;
}

static bool same_number(const struct optional *a, const struct optional *b)
{
    return a->set == b->set && (!a->set || a->value == b->value);
}

static bool same_hires(const struct hires *a, const struct hires *b)
{
    return a->scale == b->scale && a->width == b->width && a->height == b->height &&
           a->upscaler == b->upscaler && a->steps == b->steps;
}

static bool same_canvas(const struct render *a, const struct render *b)
{
    return a->width == b->width && a->height == b->height && a->outpaint_left == b->outpaint_left &&
           a->outpaint_right == b->outpaint_right && a->outpaint_top == b->outpaint_top &&
           a->outpaint_bottom == b->outpaint_bottom &&
           (a->init.pixels != NULL) == (b->init.pixels != NULL) && a->vae_tile == b->vae_tile;
}

bool render_batches(const struct render *a, const struct render *b)
{
    return same_canvas(a, b) && a->gang == b->gang && a->sampler == b->sampler &&
           a->scheduler == b->scheduler && a->steps == b->steps && same_number(&a->eta, &b->eta) &&
           same_number(&a->s_noise, &b->s_noise) &&
           a->rescale_betas_zero_snr == b->rescale_betas_zero_snr &&
           a->denoising_strength == b->denoising_strength && same_hires(&a->hires, &b->hires);
}

int batch_check_count(const struct batch *b, struct err *e)
{
    if (b->n >= 1 && b->n <= ENGINE_BATCH_MAX)
        return 0;
    return err_set(e, ERR_ARG, "a batch of %zu pictures: 1 to %d are possible", b->n,
                   ENGINE_BATCH_MAX);
}

int batch_check(const struct model *m, const struct batch *b, struct err *e)
{
    int rc = 0;

    TRY(batch_check_count(b, e));
    for (size_t i = 0; i < b->n; i++) {
        TRY(check_render(m, b->renders[i], e));
        if (!render_batches(b->renders[0], b->renders[i]))
            TRY(err_set(e, ERR_ARG, "render %zu does not go together with the first", i));
    }
out:
    return rc;
}
