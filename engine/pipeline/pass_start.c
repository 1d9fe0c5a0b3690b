#include "engine/pipeline/pass_start.h"

#include "engine/pipeline/latent.h"

int pass_cancelled(const struct pass *p, struct err *e)
{
    if (p->render->cancel == NULL || !atomic_load(p->render->cancel))
        return 0;
    return err_set(e, ERR_CANCELLED, "the render was cancelled");
}

void pass_draw(struct pass *p, float *out)
{
    noise_next(&p->noise, p->draw);
    nhwc_from_nchw(out, p->draw, p->channels, extent_pixels(&p->extent));
}

/* Under a mask with full strength nothing of the initial latent is in the start. */
static bool starts_from_noise(const struct pass *p, const struct pass_start *from)
{
    bool inpaints = from->mask != NULL || p->model->masked;

    return (from->picture == NULL && from->latent == NULL) || (inpaints && p->strength == 1);
}

/* Whether the initial picture's latent is of use: for the start, or for blending. */
static bool encodes(const struct pass *p, const struct pass_start *from)
{
    return from->picture != NULL && (!starts_from_noise(p, from) || !p->model->masked);
}

static void open_noise(struct pass *p, const struct pass_start *from)
{
    const struct render *r = p->render;
    int factor = vae_factor(p->model->vae);

    noise_init(&p->noise, &(struct noise_options){.rng = r->rng,
                                                  .seed = r->seed,
                                                  .subseed = r->subseed,
                                                  .subseed_strength = r->subseed_strength,
                                                  .before = encodes(p, from) ? 1 : 0,
                                                  .channels = p->channels,
                                                  .h = p->extent.h,
                                                  .w = p->extent.w,
                                                  .resize_h = r->seed_resize_height / factor,
                                                  .resize_w = r->seed_resize_width / factor});
}

/*
 * out[size]: a sample of the latent of `picture` (NULL: of one that is 0 everywhere), of which what
 * `mask` covers is 0 first (NULL: nothing). Draws once.
 */
static int encode(struct pass *p, const struct pixels *picture, const struct pixels *mask,
                  float *out, struct err *e)
{
    struct ops *o = p->model->ops;
    struct vae *v = p->model->vae;
    struct extent pixels = {1, p->height, p->width};
    size_t mark = arena_mark(o->host), n = (size_t)p->height * (size_t)p->width;
    int tile = p->render->vae_tile, rc = 0;
    float *values, *moments;

    TRY(pass_cancelled(p, e));
    TRY(host_scratch(o, 2 * p->size, &moments, e));
    TRY(host_scratch(o, 3 * (int64_t)n, &values, e));
    if (!o->planning && picture != NULL)
        floats_from_pixels(values, picture->data, 3 * n);
    if (!o->planning && picture == NULL)
        memset(values, 0, 3 * n * sizeof *values);
    if (!o->planning && mask != NULL)
        mask_floats(values, mask->data, n);
    TRY(tile > 0 ? vae_encode_tiled(v, moments, values, &pixels, tile, e)
                 : vae_encode(v, moments, values, &pixels, e));
    if (o->planning)
        goto out;
    pass_draw(p, out);
    latent_from_moments(out, moments, out, extent_pixels(&p->extent), vae_config(v));
    if (!all_finite(out, p->size))
        TRY(err_set(e, ERR_OUTPUT, "the VAE's encoder gave NaN or Inf"));
out:
    arena_release(o->host, mark);
    return rc;
}

/* Other things than the picture's own latent under the mask. */
static void fill_clean(struct pass *p, enum mask_fill fill)
{
    int64_t pixels = extent_pixels(&p->extent), n = p->channels;

    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < n && p->mask[i] != 0; k++) {
            if (fill == FILL_LATENT_NOISE)
                p->clean[i * n + k] = p->start[i * n + k];
            if (fill == FILL_LATENT_NOTHING)
                p->clean[i * n + k] = 0;
        }
}

/* The mask over the latent; all of it where there is none. */
static void fill_mask(struct pass *p, const struct pixels *mask)
{
    if (mask != NULL)
        latent_mask(p->mask, p->extent.h, p->extent.w, mask->data, mask->height, mask->width);
    for (int64_t i = 0; i < extent_pixels(&p->extent) && mask == NULL; i++)
        p->mask[i] = 1;
}

static int take(struct pass *p, const struct pass_start *from, struct err *e)
{
    struct ops *o = p->model->ops;
    bool inpaints = from->mask != NULL || p->model->masked;
    int64_t first = (int64_t)noise_scratch_floats(&p->noise.options);
    int rc = 0;

    p->clean = p->mask = p->masked = NULL;
    TRY(host_scratch(o, p->size + first, &p->draw, e));
    TRY(host_scratch(o, p->size, &p->start, e));
    if (from->picture != NULL || from->latent != NULL)
        TRY(host_scratch(o, p->size, &p->clean, e));
    if (inpaints)
        TRY(host_scratch(o, extent_pixels(&p->extent), &p->mask, e));
    if (p->model->masked)
        TRY(host_scratch(o, p->size, &p->masked, e));
out:
    return rc;
}

/* p->x: the start noise at full strength, or laid on the initial latent. */
static void mix_start(struct pass *p, const struct pass_start *from)
{
    const struct schedule *s = &p->schedule;

    if (!starts_from_noise(p, from)) {
        schedule_add_noise(s, s->first, p->x, p->clean, p->start, (size_t)p->size);
        return;
    }
    for (int64_t i = 0; i < p->size; i++)
        p->x[i] = p->start[i] * s->init_noise_sigma;
}

/* The picture without what is masked; where the U-Net does not look at it, only its noise. */
static int encode_masked(struct pass *p, const struct pass_start *from, struct err *e)
{
    const struct pixels *seen = from->mask != NULL ? from->picture : NULL;

    if (p->masked != NULL)
        return encode(p, seen, from->mask, p->masked, e);
    if (p->mask != NULL && !p->model->ops->planning)
        noise_next(&p->noise, p->draw);
    return 0;
}

int pass_begin(struct pass *p, const struct pass_start *from, struct err *e)
{
    bool planning = p->model->ops->planning;
    int rc = 0;

    open_noise(p, from);
    TRY(take(p, from, e));
    if (encodes(p, from))
        TRY(encode(p, from->picture, NULL, p->clean, e));
    if (!planning) {
        noise_first(&p->noise, p->draw, p->draw + p->size);
        nhwc_from_nchw(p->start, p->draw, p->channels, extent_pixels(&p->extent));
        if (from->latent != NULL)
            memcpy(p->clean, from->latent, (size_t)p->size * sizeof *p->clean);
        if (p->mask != NULL)
            fill_mask(p, from->mask);
        if (p->mask != NULL && p->clean != NULL)
            fill_clean(p, from->fill);
        mix_start(p, from);
    }
    TRY(encode_masked(p, from, e));
out:
    return rc;
}
