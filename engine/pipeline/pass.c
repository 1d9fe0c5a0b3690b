#include "engine/pipeline/pass.h"

#include "engine/gang/gang.h"
#include "engine/pipeline/latent.h"
#include "engine/pipeline/pass_start.h"
#include "engine/pipeline/pass_step.h"

#include <stdlib.h>

static int take_samples(struct pass *p, const struct pass_options *o, struct err *e)
{
    int rc = 0;

    p->samples = calloc(o->n, sizeof *p->samples);
    p->branches = calloc(o->n * TEXTS_BRANCHES_MAX, sizeof *p->branches);
    if (p->samples == NULL || p->branches == NULL)
        return err_set(e, ERR_OOM, "no memory for a batch of %zu pictures", o->n);
    p->n = o->n;
    for (size_t i = 0; i < p->n; i++) {
        p->samples[i].render = o->renders[i];
        TRY(texts_new(&p->samples[i].texts, o->model, o->embeddings, o->renders[i], o->steps,
                      o->first_steps, e));
    }
out:
    return rc;
}

int pass_init(struct pass *p, const struct pass_options *o, struct err *e)
{
    const struct render *r = o->renders[0];
    struct schedule_options options = {.sampler = r->sampler,
                                       .scheduler = r->scheduler,
                                       .steps = o->steps,
                                       .eta = r->eta,
                                       .s_noise = r->s_noise,
                                       .zero_snr = r->rescale_betas_zero_snr,
                                       .xl = o->model->kind.xl,
                                       .strength = o->strength};
    int factor = vae_factor(o->model->vae), rc = 0;

    *p = (struct pass){.model = o->model,
                       .common = r,
                       .width = o->width,
                       .height = o->height,
                       .strength = o->strength,
                       .guides = o->guides,
                       .part = o->part,
                       .parts = o->parts};
    p->extent = (struct extent){1, o->height / factor, o->width / factor};
    p->channels = vae_config(o->model->vae)->latent_channels;
    p->size = extent_pixels(&p->extent) * p->channels;
    TRY(schedule_init(&p->schedule, o->model->schedule, &options, e));
    TRY(take_samples(p, o, e));
out:
    return rc;
}

void pass_done(struct pass *p)
{
    schedule_done(&p->schedule);
    for (size_t i = 0; i < p->n; i++)
        texts_done(&p->samples[i].texts);
    free(p->samples);
    free(p->branches);
    *p = (struct pass){0};
}

int pass_steps(const struct pass *p)
{
    return schedule_count(&p->schedule, p->schedule.n - 1) -
           schedule_count(&p->schedule, p->schedule.first) + 1;
}

/* What the pass' renders ask of its steps. */
static void find_needs(struct pass *p, const struct pass_start *from)
{
    p->blends = p->rescales = false;
    for (size_t i = 0; i < p->n; i++) {
        p->blends |= from[i].mask != NULL && !p->model->masked;
        p->rescales |= p->samples[i].texts.guided && p->samples[i].render->guidance_rescale > 0;
    }
}

int pass_run(struct pass *p, const struct pass_start *from, struct prompts *prompts, struct err *e)
{
    struct ops *o = p->model->ops;
    size_t mark = arena_mark(o->host), acts_mark = arena_mark(o->arena);
    int rc = 0;

    TRY(pass_cancelled(p, e));
    TRY(pass_take_latents(p, e));
    acts_mark = arena_mark(o->arena);
    find_needs(p, from);
    TRY(pass_take_arrays(p, e));
    TRY(pass_begin(p, from, e));
    TRY(pass_put_start(p, e));
    arena_release(o->host, mark);
    for (size_t i = 0; i < p->n; i++)
        TRY(texts_encode(&p->samples[i].texts, p->model, prompts, p->width, p->height, e));
    TRY(pass_take_steps(p, e));
    TRY(o->planning ? pass_plan_steps(p, e) : pass_run_steps(p, e));
    arena_release(o->host, mark);
    arena_release(o->arena, acts_mark);
out:
    return rc;
}

/* The i-th latent where it lies. */
static const struct latent *latent_of(const struct pass *p, size_t i)
{
    return latent_at(p->place.arrays[ARRAY_X], (int64_t)i * p->size);
}

int pass_latent(const struct pass *p, size_t i, float *ret_latent, struct err *e)
{
    struct ops *o = p->model->ops;

    return o->step->get(o, ret_latent, latent_of(p, i), p->size, e);
}

/* In float on the host: by a gang together, or in tiles. values: NULL: another member gets them. */
static int decode_on_host(struct pass *p, size_t i, float *values, struct err *e)
{
    struct ops *o = p->model->ops;
    struct vae *v = p->model->vae;
    size_t mark = arena_mark(o->host);
    float *x;
    int rc = 0;

    TRY(host_scratch(o, p->size, &x, e));
    TRY(pass_latent(p, i, x, e));
    if (!o->planning)
        latent_for_vae(x, p->size, vae_config(v));
    if (p->decoders != NULL)
        TRY(vae_decode_rows(v, values, x, &p->extent, p->decoders, e));
    else
        TRY(vae_decode_tiled(v, values, x, &p->extent, p->common->vae_tile, e));
out:
    arena_release(o->host, mark);
    return rc;
}

/* The same and to pixels; ret_pixels: NULL as above. */
static int decode_floats(struct pass *p, size_t i, uint8_t *ret_pixels, bool *ret_finite,
                         bool *ret_any, struct err *e)
{
    int64_t n = 3 * (int64_t)p->width * p->height;
    bool own = p->decoders == NULL || p->decoders->rank == 0;
    struct ops *o = p->model->ops;
    size_t mark = arena_mark(o->host);
    float *values = NULL;
    int rc = 0;

    *ret_finite = *ret_any = true;
    if (own)
        TRY(host_scratch(o, n, &values, e));
    TRY(decode_on_host(p, i, values, e));
    if (own && !o->planning) {
        *ret_finite = all_finite(values, n);
        if (*ret_finite)
            *ret_any = pixels_from_floats(ret_pixels, values, (size_t)n);
    }
out:
    arena_release(o->host, mark);
    return rc;
}

int pass_decode_begin(struct pass *p, size_t i, struct decoded *d, struct err *e)
{
    bool whole = p->decoders == NULL && p->common->vae_tile == 0;
    int rc = 0;

    d->finite = d->any = true;
    TRY(pass_cancelled(p, e));
    if (whole)
        TRY(vae_decode_pixels(p->model->vae, d->pixels.data, latent_of(p, i), &p->extent,
                              &d->finite, &d->any, e));
    else
        TRY(decode_floats(p, i, d->pixels.data, &d->finite, &d->any, e));
out:
    return rc;
}

int pass_decode_end(struct pass *p, struct decoded *d, struct err *e)
{
    struct ops *o = p->model->ops;
    int rc = 0;

    if (o->planning || d->pixels.data == NULL)
        return 0;
    TRY(o->step->settle(o, d->pixels.data, e));
    if (!d->finite)
        TRY(err_set(e, ERR_OUTPUT, "the VAE gave NaN or Inf"));
out:
    return rc;
}

int pass_decode(struct pass *p, size_t i, struct pixels *ret_pixels, struct err *e)
{
    struct decoded d = {.pixels = *ret_pixels};
    struct ops *o = p->model->ops;
    int rc = 0;

    TRY(pass_decode_begin(p, i, &d, e));
    TRY(pass_decode_end(p, &d, e));
out:
    if (rc != 0)
        o->step->settle(o, NULL, NULL);
    return rc;
}
