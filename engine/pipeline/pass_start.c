#include "engine/pipeline/pass_start.h"

#include "engine/pipeline/latent.h"

int pass_cancelled(const struct pass *p, struct err *e)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct render *r = p->samples[i].render;

        if (r->cancel != NULL && atomic_load(r->cancel))
            return err_set(e, ERR_CANCELLED, "the render was cancelled");
    }
    return 0;
}

void pass_draw(struct pass *p, struct sample *s, float *out)
{
    noise_next(&s->noise, p->draw);
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

static void open_noise(struct pass *p, struct sample *s, const struct pass_start *from)
{
    const struct render *r = s->render;
    int factor = vae_factor(p->model->vae);

    noise_init(&s->noise, &(struct noise_options){.rng = r->rng,
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
static int encode(struct pass *p, struct sample *s, const struct pixels *picture,
                  const struct pixels *mask, float *out, struct err *e)
{
    struct ops *o = p->model->ops;
    struct vae *v = p->model->vae;
    struct extent pixels = {1, p->height, p->width};
    size_t mark = arena_mark(o->host), n = (size_t)p->height * (size_t)p->width;
    int tile = p->common->vae_tile, rc = 0;
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
    pass_draw(p, s, out);
    latent_from_moments(out, moments, out, extent_pixels(&p->extent), vae_config(v));
    if (!all_finite(out, p->size))
        TRY(err_set(e, ERR_OUTPUT, "the VAE's encoder gave NaN or Inf"));
out:
    arena_release(o->host, mark);
    return rc;
}

/* Other things than the picture's own latent under the mask. */
static void fill_clean(const struct pass *p, struct sample *s, enum mask_fill fill)
{
    int64_t pixels = extent_pixels(&p->extent), n = p->channels;

    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < n && s->mask[i] != 0; k++) {
            if (fill == FILL_LATENT_NOISE)
                s->clean[i * n + k] = s->start[i * n + k];
            if (fill == FILL_LATENT_NOTHING)
                s->clean[i * n + k] = 0;
        }
}

/* The mask over the latent; all of it where there is none. */
static void fill_mask(const struct pass *p, struct sample *s, const struct pixels *mask)
{
    if (mask != NULL)
        latent_mask(s->mask, p->extent.h, p->extent.w, mask->data, mask->height, mask->width);
    for (int64_t i = 0; i < extent_pixels(&p->extent) && mask == NULL; i++)
        s->mask[i] = 1;
}

static int take(struct pass *p, struct sample *s, const struct pass_start *from, struct err *e)
{
    struct ops *o = p->model->ops;
    bool inpaints = from->mask != NULL || p->model->masked;
    int rc = 0;

    s->clean = s->mask = s->masked = NULL;
    TRY(host_scratch(o, p->size, &s->start, e));
    if (from->picture != NULL || from->latent != NULL)
        TRY(host_scratch(o, p->size, &s->clean, e));
    if (inpaints)
        TRY(host_scratch(o, extent_pixels(&p->extent), &s->mask, e));
    if (p->model->masked)
        TRY(host_scratch(o, p->size, &s->masked, e));
out:
    return rc;
}

/* s->x: the start noise at full strength, or laid on the initial latent. */
static void mix_start(const struct pass *p, struct sample *s, const struct pass_start *from)
{
    const struct schedule *schedule = &p->schedule;

    if (!starts_from_noise(p, from)) {
        schedule_add_noise(schedule, schedule->first, s->x, s->clean, s->start, (size_t)p->size);
        return;
    }
    for (int64_t i = 0; i < p->size; i++)
        s->x[i] = s->start[i] * schedule->init_noise_sigma;
}

/* The picture without what is masked; where the U-Net does not look at it, only its noise. */
static int encode_masked(struct pass *p, struct sample *s, const struct pass_start *from,
                         struct err *e)
{
    const struct pixels *seen = from->mask != NULL ? from->picture : NULL;

    if (s->masked != NULL)
        return encode(p, s, seen, from->mask, s->masked, e);
    if (s->mask != NULL && !p->model->ops->planning)
        noise_next(&s->noise, p->draw);
    return 0;
}

static int begin_sample(struct pass *p, struct sample *s, const struct pass_start *from,
                        struct err *e)
{
    int rc = 0;

    TRY(take(p, s, from, e));
    if (encodes(p, from))
        TRY(encode(p, s, from->picture, NULL, s->clean, e));
    if (!p->model->ops->planning) {
        noise_first(&s->noise, p->draw, p->draw + p->size);
        nhwc_from_nchw(s->start, p->draw, p->channels, extent_pixels(&p->extent));
        if (from->latent != NULL)
            memcpy(s->clean, from->latent, (size_t)p->size * sizeof *s->clean);
        if (s->mask != NULL)
            fill_mask(p, s, from->mask);
        if (s->mask != NULL && s->clean != NULL)
            fill_clean(p, s, from->fill);
        mix_start(p, s, from);
    }
    TRY(encode_masked(p, s, from, e));
out:
    return rc;
}

int pass_begin(struct pass *p, const struct pass_start *from, struct err *e)
{
    int64_t first = 0;
    int rc = 0;

    for (size_t i = 0; i < p->n; i++) {
        struct sample *s = &p->samples[i];
        int64_t floats;

        open_noise(p, s, &from[i]);
        floats = (int64_t)noise_scratch_floats(&s->noise.options);
        first = floats > first ? floats : first;
        TRY(host_scratch(p->model->ops, p->size, &s->x, e));
    }
    TRY(host_scratch(p->model->ops, p->size + first, &p->draw, e));
    for (size_t i = 0; i < p->n; i++)
        TRY(begin_sample(p, &p->samples[i], &from[i], e));
out:
    return rc;
}
