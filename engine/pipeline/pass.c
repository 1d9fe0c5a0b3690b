#include "engine/pipeline/pass.h"

#include "engine/gang/gang.h"
#include "engine/pipeline/guide.h"
#include "engine/pipeline/latent.h"
#include "engine/pipeline/pass_start.h"

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

/* Steps before entry `step` and with it, of those that the pass runs. */
static int steps_done(const struct pass *p, int step)
{
    return schedule_count(&p->schedule, step) - schedule_count(&p->schedule, p->schedule.first) + 1;
}

int pass_steps(const struct pass *p)
{
    return steps_done(p, p->schedule.n - 1);
}

/* Numbers that the U-Net takes for each branch. */
static int64_t input_size(const struct pass *p)
{
    return extent_pixels(&p->extent) * unet_config(p->model->unet)->in_channels;
}

static int reserve(struct pass *p, struct err *e)
{
    struct ops *o = p->model->ops;
    int64_t most = 0;
    int rc = 0;

    for (size_t i = 0; i < p->n; i++)
        most += texts_most(&p->samples[i].texts);
    TRY(host_scratch(o, most * input_size(p), &p->in, e));
    TRY(host_scratch(o, most * p->size, &p->out, e));
out:
    return rc;
}

/* One branch's input: the latent, and for U-Nets of nine channels mask and masked picture. */
static void fill_input(const struct pass *p, const struct sample *s, float *in, const float *x)
{
    int64_t pixels = extent_pixels(&p->extent), n = p->channels, all = 2 * n + 1;

    if (s->masked == NULL) {
        memcpy(in, x, (size_t)p->size * sizeof *x);
        return;
    }
    for (int64_t i = 0; i < pixels; i++) {
        memcpy(in + i * all, x + i * n, (size_t)n * sizeof *x);
        in[i * all + n] = s->mask[i];
        memcpy(in + i * all + n + 1, s->masked + i * n, (size_t)n * sizeof *x);
    }
}

/* Of a call's n branches, the first one that part `part` computes; one alone is everybody's. */
static int branch_of(const struct pass *p, int n, int part)
{
    return n * part / p->parts;
}

/* The branches computed here: the first, and how many. */
static int own_branches(const struct pass *p, int n, int *ret_first)
{
    *ret_first = n > 1 ? branch_of(p, n, p->part) : 0;
    return n > 1 ? branch_of(p, n, p->part + 1) - *ret_first : n;
}

/* Every member's answers become everybody's. */
static int share_answers(struct pass *p, int n, struct err *e)
{
    int64_t counts[GANG_SIZE_MAX];

    if (n < 2 || p->guides == NULL)
        return 0;
    for (int i = 0; i < p->parts; i++)
        counts[i] = (branch_of(p, n, i + 1) - branch_of(p, n, i)) * p->size;
    return p->guides->all_gather(p->guides, p->out, counts, e);
}

/* Branches of a sample at a call, behind the n that earlier samples have; returns how many. */
static int branches_at(const struct pass *p, size_t i, int call, int n, struct guidance *ret_parts)
{
    return texts_at(&p->samples[i].texts, call, p->branches + n, ret_parts);
}

/* All branches of a call, in p->branches; returns how many. */
static int branches_of_all(const struct pass *p, int call)
{
    struct guidance parts;
    int n = 0;

    for (size_t i = 0; i < p->n; i++)
        n += branches_at(p, i, call, n, &parts);
    return n;
}

/* out[size] of sample i, from its branches' outputs. */
static int combine(const struct pass *p, size_t i, const float *outputs, int call, int step,
                   float *out, struct err *e)
{
    const struct sample *s = &p->samples[i];
    struct guide g = {.scale = s->render->cfg_scale, .rescale = s->render->guidance_rescale};
    struct unet_text branches[TEXTS_BRANCHES_MAX];
    struct guidance parts;

    texts_at(&s->texts, call, branches, &parts);
    if (s->texts.guided)
        guide(out, outputs, p->size, &parts, &g);
    else
        memcpy(out, outputs, (size_t)p->size * sizeof *out);
    if (!all_finite(out, p->size))
        return err_set(e, ERR_OUTPUT, "the U-Net gave NaN or Inf in step %d of %d",
                       p->steps_before + steps_done(p, step), p->steps_total);
    return 0;
}

static int denoise(void *user, const float *x, int call, int step, float timestep, float *out,
                   struct err *e)
{
    struct pass *p = user;
    struct extent batch = p->extent;
    int n = branches_of_all(p, call), first, own = own_branches(p, n, &first), rc = 0;
    struct guidance parts;

    batch.n = own;
    TRY(pass_cancelled(p, e));
    n = 0;
    for (size_t i = 0; i < p->n; i++)
        for (int end = n + branches_at(p, i, call, n, &parts); n < end; n++)
            if (n >= first && n < first + own)
                fill_input(p, &p->samples[i], p->in + (n - first) * input_size(p),
                           x + (int64_t)i * p->size);
    TRY(unet_forward(p->model->unet, p->out + first * p->size, p->in, &batch, timestep,
                     p->branches + first, e));
    TRY(share_answers(p, n, e));
    n = 0;
    for (size_t i = 0; i < p->n; i++) {
        TRY(combine(p, i, p->out + n * p->size, call, step, out + (int64_t)i * p->size, e));
        n += branches_at(p, i, call, n, &parts);
    }
out:
    return rc;
}

/* Samplers of two calls per step come here twice; users hear of the second. */
static void tell(const struct pass *p, int step)
{
    bool whole = step + 1 == p->schedule.n ||
                 schedule_count(&p->schedule, step + 1) != schedule_count(&p->schedule, step);

    for (size_t i = 0; i < p->n && whole; i++) {
        const struct render *r = p->samples[i].render;

        if (r->progress != NULL)
            r->progress(r->user, p->steps_before + steps_done(p, step), p->steps_total);
    }
}

/* Outside of the mask the initial latent, as noisy as it is before step + 1. */
static void keep_outside(struct pass *p, const struct sample *s, int step, float *x)
{
    /* p->draw is free between draws. */
    schedule_add_noise(&p->schedule, step + 1, p->draw, s->clean, s->start, (size_t)p->size);
    latent_blend(x, p->draw, s->mask, extent_pixels(&p->extent), p->channels);
}

static int after_step(void *user, int step, float *x)
{
    struct pass *p = user;

    for (size_t i = 0; i < p->n; i++)
        if (p->samples[i].mask != NULL && p->samples[i].masked == NULL)
            keep_outside(p, &p->samples[i], step, x + (int64_t)i * p->size);
    tell(p, step);
    return pass_cancelled(p, NULL);
}

static int draw_noise(void *user, float *out, struct err *e)
{
    struct pass *p = user;

    (void)e;
    for (size_t i = 0; i < p->n; i++)
        pass_draw(p, &p->samples[i], out + (int64_t)i * p->size);
    return 0;
}

/* Numbers of all latents. */
static int64_t all_size(const struct pass *p)
{
    return (int64_t)p->n * p->size;
}

static int sample(struct pass *p, float *sampler, struct err *e)
{
    struct sampler_run s = {.schedule = &p->schedule,
                            .x = p->x,
                            .size = (size_t)all_size(p),
                            .scratch = sampler,
                            .denoise = denoise,
                            .noise = draw_noise,
                            .after_step = after_step,
                            .user = p};

    return sampler_run(&s, e);
}

/* Whether a call's branches have the texts' lengths of the last one's, which are kept. */
static bool same_lengths(const struct pass *p, int n, int64_t *lengths, int *n_lengths)
{
    bool same = n == *n_lengths;

    for (int i = 0; i < n; i++) {
        same = same && lengths[i] == p->branches[i].tokens;
        lengths[i] = p->branches[i].tokens;
    }
    *n_lengths = n;
    return same;
}

/* While planning: each kind of batch that a call may have, without numbers. */
static int plan_calls(struct pass *p, struct err *e)
{
    int64_t *lengths = calloc(p->n * TEXTS_BRANCHES_MAX, sizeof *lengths);
    int n_lengths = 0, rc = 0;

    if (lengths == NULL)
        return err_set(e, ERR_OOM, "no memory to plan a batch of %zu pictures", p->n);
    for (int call = 0; call < p->schedule.n - p->schedule.first; call++) {
        int n = branches_of_all(p, call), first;
        struct extent batch = p->extent;

        batch.n = own_branches(p, n, &first);
        if (!same_lengths(p, n, lengths, &n_lengths))
            TRY(unet_forward(p->model->unet, p->out, p->in, &batch, 0, p->branches + first, e));
    }
out:
    free(lengths);
    return rc;
}

static int begin(struct pass *p, const struct pass_start *from, struct prompts *prompts,
                 struct err *e)
{
    int rc = 0;

    TRY(pass_begin(p, from, e));
    for (size_t i = 0; i < p->n; i++)
        TRY(texts_encode(&p->samples[i].texts, p->model, prompts, p->width, p->height, e));
    TRY(reserve(p, e));
out:
    return rc;
}

int pass_run(struct pass *p, const struct pass_start *from, struct prompts *prompts, struct err *e)
{
    size_t n_sampler = sampler_scratch_floats(p->common->sampler, (size_t)all_size(p)), mark;
    struct ops *o = p->model->ops;
    size_t acts_mark = arena_mark(o->arena);
    float *sampler;
    int rc = 0;

    TRY(pass_cancelled(p, e));
    TRY(host_scratch(o, all_size(p), &p->x, e));
    mark = arena_mark(o->host);
    TRY(begin(p, from, prompts, e));
    TRY(host_scratch(o, (int64_t)n_sampler, &sampler, e));
    TRY(o->planning ? plan_calls(p, e) : sample(p, sampler, e));
    arena_release(o->host, mark);
    arena_release(o->arena, acts_mark);
out:
    return rc;
}

int pass_decode(struct pass *p, size_t i, struct pixels *ret_pixels, bool *ret_black, struct err *e)
{
    struct ops *o = p->model->ops;
    struct vae *v = p->model->vae;
    int64_t n = 3 * (int64_t)p->width * p->height;
    size_t mark = arena_mark(o->host);
    int tile = p->common->vae_tile, rc = 0;
    float *values = NULL, *x = p->x + (int64_t)i * p->size;
    bool own = p->decoders == NULL || p->decoders->rank == 0;

    TRY(pass_cancelled(p, e));
    if (!o->planning)
        latent_for_vae(x, p->size, vae_config(v));
    if (own)
        TRY(host_scratch(o, n, &values, e));
    if (p->decoders != NULL)
        TRY(vae_decode_rows(v, values, x, &p->extent, p->decoders, e));
    else
        TRY(tile > 0 ? vae_decode_tiled(v, values, x, &p->extent, tile, e)
                     : vae_decode(v, values, x, &p->extent, e));
    if (o->planning || !own)
        goto out;
    if (!all_finite(values, n))
        TRY(err_set(e, ERR_OUTPUT, "the VAE gave NaN or Inf"));
    *ret_black = !pixels_from_floats(ret_pixels->data, values, (size_t)n);
out:
    arena_release(o->host, mark);
    return rc;
}
