#include "engine/pipeline/pass.h"

#include "engine/gang/gang.h"
#include "engine/pipeline/guide.h"
#include "engine/pipeline/latent.h"
#include "engine/pipeline/pass_start.h"

int pass_init(struct pass *p, const struct pass_options *o, struct err *e)
{
    const struct render *r = o->render;
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
                       .render = r,
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
    TRY(texts_new(&p->texts, o->model, o->embeddings, r, o->steps, o->first_steps, e));
out:
    return rc;
}

void pass_done(struct pass *p)
{
    schedule_done(&p->schedule);
    texts_done(&p->texts);
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
    int64_t most = texts_most(&p->texts);
    int rc = 0;

    TRY(host_scratch(o, most * input_size(p), &p->in, e));
    TRY(host_scratch(o, most * p->size, &p->out, e));
out:
    return rc;
}

/* One branch's input: the latent, and for U-Nets of nine channels mask and masked picture. */
static void fill_input(const struct pass *p, float *in, const float *x)
{
    int64_t pixels = extent_pixels(&p->extent), n = p->channels, all = 2 * n + 1;

    if (p->masked == NULL) {
        memcpy(in, x, (size_t)p->size * sizeof *x);
        return;
    }
    for (int64_t i = 0; i < pixels; i++) {
        memcpy(in + i * all, x + i * n, (size_t)n * sizeof *x);
        in[i * all + n] = p->mask[i];
        memcpy(in + i * all + n + 1, p->masked + i * n, (size_t)n * sizeof *x);
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

static int denoise(void *user, const float *x, int call, int step, float timestep, float *out,
                   struct err *e)
{
    struct pass *p = user;
    struct unet_text branches[TEXTS_BRANCHES_MAX];
    struct guidance parts;
    int n = texts_at(&p->texts, call, branches, &parts), first, rc = 0;
    int own = own_branches(p, n, &first);
    struct extent batch = {own, p->extent.h, p->extent.w};
    struct guide g = {.scale = p->render->cfg_scale, .rescale = p->render->guidance_rescale};

    TRY(pass_cancelled(p, e));
    for (int i = 0; i < own; i++)
        fill_input(p, p->in + i * input_size(p), x);
    TRY(unet_forward(p->model->unet, p->out + first * p->size, p->in, &batch, timestep,
                     branches + first, e));
    TRY(share_answers(p, n, e));
    if (p->texts.guided)
        guide(out, p->out, p->size, &parts, &g);
    else
        memcpy(out, p->out, (size_t)p->size * sizeof *out);
    if (!all_finite(out, p->size))
        return err_set(e, ERR_OUTPUT, "the U-Net gave NaN or Inf in step %d of %d",
                       p->steps_before + steps_done(p, step), p->steps_total);
out:
    return rc;
}

/* Samplers of two calls per step come here twice; users hear of the second. */
static void tell(const struct pass *p, int step)
{
    bool whole = step + 1 == p->schedule.n ||
                 schedule_count(&p->schedule, step + 1) != schedule_count(&p->schedule, step);

    if (whole && p->render->progress != NULL)
        p->render->progress(p->render->user, p->steps_before + steps_done(p, step), p->steps_total);
}

static int after_step(void *user, int step, float *x)
{
    struct pass *p = user;

    if (p->mask != NULL && p->masked == NULL) {
        /* p->draw is free between draws. */
        schedule_add_noise(&p->schedule, step + 1, p->draw, p->clean, p->start, (size_t)p->size);
        latent_blend(x, p->draw, p->mask, extent_pixels(&p->extent), p->channels);
    }
    tell(p, step);
    return pass_cancelled(p, NULL);
}

static int draw_noise(void *user, float *out, struct err *e)
{
    (void)e;
    pass_draw(user, out);
    return 0;
}

static int sample(struct pass *p, float *sampler, struct err *e)
{
    struct sampler_run s = {.schedule = &p->schedule,
                            .x = p->x,
                            .size = (size_t)p->size,
                            .scratch = sampler,
                            .denoise = denoise,
                            .noise = draw_noise,
                            .after_step = after_step,
                            .user = p};

    return sampler_run(&s, e);
}

/* While planning: each kind of batch that a call may have, without numbers. */
static int plan_calls(struct pass *p, struct err *e)
{
    struct unet_text now[TEXTS_BRANCHES_MAX], last[TEXTS_BRANCHES_MAX];
    struct guidance parts;
    int n_last = 0, rc = 0;

    for (int call = 0; call < p->schedule.n - p->schedule.first; call++) {
        int n = texts_at(&p->texts, call, now, &parts), first;
        struct extent batch = {own_branches(p, n, &first), p->extent.h, p->extent.w};
        bool same = n == n_last;

        for (int i = 0; i < n && same; i++)
            same = now[i].tokens == last[i].tokens;
        if (!same)
            TRY(unet_forward(p->model->unet, p->out, p->in, &batch, 0, now + first, e));
        memcpy(last, now, sizeof last);
        n_last = n;
    }
out:
    return rc;
}

int pass_run(struct pass *p, const struct pass_start *from, struct prompts *prompts, struct err *e)
{
    size_t n_sampler = sampler_scratch_floats(p->render->sampler, (size_t)p->size), mark;
    struct ops *o = p->model->ops;
    size_t acts_mark = arena_mark(o->arena);
    float *sampler;
    int rc = 0;

    TRY(pass_cancelled(p, e));
    TRY(host_scratch(o, p->size, &p->x, e));
    mark = arena_mark(o->host);
    TRY(pass_begin(p, from, e));
    TRY(texts_encode(&p->texts, p->model, prompts, p->width, p->height, e));
    TRY(reserve(p, e));
    TRY(host_scratch(o, (int64_t)n_sampler, &sampler, e));
    TRY(o->planning ? plan_calls(p, e) : sample(p, sampler, e));
    arena_release(o->host, mark);
    arena_release(o->arena, acts_mark);
out:
    return rc;
}

int pass_decode(struct pass *p, struct pixels *ret_pixels, bool *ret_black, struct err *e)
{
    struct ops *o = p->model->ops;
    struct vae *v = p->model->vae;
    int64_t n = 3 * (int64_t)p->width * p->height;
    size_t mark = arena_mark(o->host);
    int tile = p->render->vae_tile, rc = 0;
    float *values;

    TRY(pass_cancelled(p, e));
    if (!o->planning)
        latent_for_vae(p->x, p->size, vae_config(v));
    TRY(host_scratch(o, n, &values, e));
    TRY(tile > 0 ? vae_decode_tiled(v, values, p->x, &p->extent, tile, e)
                 : vae_decode(v, values, p->x, &p->extent, e));
    if (o->planning)
        goto out;
    if (!all_finite(values, n))
        TRY(err_set(e, ERR_OUTPUT, "the VAE gave NaN or Inf"));
    *ret_black = !pixels_from_floats(ret_pixels->data, values, (size_t)n);
out:
    arena_release(o->host, mark);
    return rc;
}
