#include "engine/pipeline/pass_step.h"

#include "engine/gang/gang.h"
#include "engine/pipeline/pass_start.h"

#include <assert.h>
#include <stdlib.h>

_Static_assert(STEP_SAMPLES_MAX >= ENGINE_BATCH_MAX &&
                   STEP_BRANCHES_MAX >= ENGINE_BATCH_MAX * TEXTS_BRANCHES_MAX,
               "a block holds every batch");

/* ---- memory */

static int64_t all_size(const struct pass *p)
{
    return (int64_t)p->n * p->size;
}

/* Numbers that the U-Net takes for each branch. */
static int64_t input_size(const struct pass *p)
{
    return extent_pixels(&p->extent) * unet_config(p->model->unet)->in_channels;
}

/* Branches of all samples in the call that has most. */
static int64_t most_branches(const struct pass *p)
{
    int64_t most = 0;

    for (size_t i = 0; i < p->n; i++)
        most += texts_most(&p->samples[i].texts);
    return most;
}

int pass_take_latents(struct pass *p, struct err *e)
{
    p->place = (struct step_place){
        .n = (int64_t)p->n, .pixels = extent_pixels(&p->extent), .channels = p->channels};
    return latent_scratch(p->model->ops, all_size(p), &p->place.arrays[ARRAY_X], e);
}

int pass_take_arrays(struct pass *p, struct err *e)
{
    struct latent **arrays = p->place.arrays;
    struct ops *o = p->model->ops;
    int rc = 0;

    assert(ARRAY_KEPT + sampler_kept(p->schedule.sampler) <= PROGRAM_ARRAYS);
    TRY(latent_scratch(o, all_size(p), &arrays[ARRAY_NOISE], e));
    for (int i = 0; i < sampler_kept(p->schedule.sampler); i++)
        TRY(latent_scratch(o, all_size(p), &arrays[ARRAY_KEPT + i], e));
    for (int i = ARRAY_CLEAN; p->blends && i <= ARRAY_MASK; i++)
        TRY(latent_scratch(o, all_size(p), &arrays[i], e));
    if (p->model->masked) {
        p->place.extra = p->channels + 1;
        TRY(latent_scratch(o, (int64_t)p->n * p->place.pixels * p->place.extra, &p->place.extras,
                           e));
    }
out:
    return rc;
}

/* Of a U-Net of nine channels: mask and masked picture, beside each pixel of the latent. */
static int put_extras(struct pass *p, const struct sample *s, int64_t i, struct err *e)
{
    int64_t extra = p->place.extra, pixels = p->place.pixels, n = p->channels;
    struct ops *o = p->model->ops;
    size_t mark = arena_mark(o->host);
    float *extras;
    int rc = 0;

    TRY(host_scratch(o, pixels * extra, &extras, e));
    for (int64_t k = 0; k < pixels && !o->planning; k++) {
        extras[k * extra] = s->mask[k];
        memcpy(extras + k * extra + 1, s->masked + k * n, (size_t)n * sizeof *extras);
    }
    TRY(o->step->put(o, latent_at(p->place.extras, i * pixels * extra), extras, pixels * extra, e));
out:
    arena_release(o->host, mark);
    return rc;
}

/* What is kept outside of the mask; all is repainted where a sample has none. */
static int put_blend(struct pass *p, const struct sample *s, int64_t i, struct err *e)
{
    struct ops *o = p->model->ops;
    size_t mark = arena_mark(o->host);
    const float *values[ARRAY_MASK + 1] = {NULL};
    float *mask;
    int rc = 0;

    TRY(host_scratch(o, p->size, &mask, e));
    for (int64_t k = 0; k < p->size && !o->planning; k++)
        mask[k] = s->mask != NULL ? s->mask[k / p->channels] : 1;
    values[ARRAY_MASK] = mask;
    values[ARRAY_CLEAN] = s->clean != NULL ? s->clean : mask; /* any numbers */
    values[ARRAY_START] = s->start;
    for (int k = ARRAY_CLEAN; k <= ARRAY_MASK; k++)
        TRY(o->step->put(o, latent_at(p->place.arrays[k], i * p->size), values[k], p->size, e));
out:
    arena_release(o->host, mark);
    return rc;
}

static int put_sample(struct pass *p, int64_t i, struct err *e)
{
    const struct sample *s = &p->samples[i];
    struct ops *o = p->model->ops;
    int rc = 0;

    TRY(o->step->put(o, latent_at(p->place.arrays[ARRAY_X], i * p->size), s->x, p->size, e));
    if (p->blends)
        TRY(put_blend(p, s, i, e));
    if (p->place.extra > 0)
        TRY(put_extras(p, s, i, e));
out:
    return rc;
}

int pass_put_start(struct pass *p, struct err *e)
{
    int rc = 0;

    for (int64_t i = 0; i < p->place.n; i++)
        TRY(put_sample(p, i, e));
out:
    return rc;
}

int pass_take_steps(struct pass *p, struct err *e)
{
    struct ops *o = p->model->ops;
    int64_t most = most_branches(p);
    float *block;
    int rc = 0;

    TRY(scratch(o, most * input_size(p), &p->in, e));
    TRY(scratch(o, most * p->size, &p->out, e));
    TRY(scratch_bytes(o, step_bytes(p->place.n, most), &p->place.block, e));
    TRY(latent_scratch(o, p->place.n * 2, &p->place.found, e));
    TRY(host_scratch(o, (int64_t)(step_bytes(p->place.n, most) / sizeof *block), &block, e));
    p->block = (struct step_block *)block;
    if (!o->planning)
        memset(block, 0, step_bytes(p->place.n, most));
    TRY(host_scratch(o, p->size, &p->draw, e));
    TRY(host_scratch(o, all_size(p), &p->drawn, e));
    p->answers = NULL;
    if (p->parts > 1)
        TRY(host_scratch(o, most * p->size, &p->answers, e));
    TRY(o->step->begin(o, &p->place, e));
out:
    return rc;
}

/* ---- branches and who computes them */

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

/* Every member's answers become everybody's, through the host. */
static int share_answers(struct pass *p, int n, struct err *e)
{
    struct ops *o = p->model->ops;
    int64_t counts[GANG_SIZE_MAX], own = 0, first = 0, all = n * p->size;
    int rc = 0;

    for (int i = 0; i < p->parts; i++) {
        counts[i] = (branch_of(p, n, i + 1) - branch_of(p, n, i)) * p->size;
        first += i < p->part ? counts[i] : 0;
    }
    own = counts[p->part];
    TRY(o->get(o, p->answers + first, act_at(o, p->out, first), own, e));
    TRY(p->guides->all_gather(p->guides, p->answers, counts, e));
    TRY(o->put(o, p->out, p->answers, first, e));
    TRY(o->put(o, act_at(o, p->out, first + own), p->answers + first + own, all - first - own, e));
out:
    return rc;
}

/* ---- what the backend is told */

/* How sample i is guided at a call, whose branches begin at n; returns how many it has. */
static int fill_guidance(struct pass *p, size_t i, int call, int n)
{
    const struct sample *s = &p->samples[i];
    double scale = s->render->cfg_scale > 1 ? s->render->cfg_scale : 1;
    struct step_sample *sample = &step_samples(p->block)[i];
    struct step_branch *branch = step_branches(p->block, p->place.n) + n;
    struct guidance parts;
    int count = branches_at(p, i, call, n, &parts);

    sample->first = n;
    sample->parts = s->texts.guided ? count - 1 : 0;
    sample->share = sample->parts > 0 ? (float)s->render->guidance_rescale : 0;
    sample->rest = (float)(1 - s->render->guidance_rescale);
    for (int k = 0; k < count; k++) {
        double weight = s->texts.guided && k > 0 ? parts.parts[k - 1].weight : 0;

        branch[k] = (struct step_branch){weight, (float)(weight * scale), (int32_t)i};
    }
    return count;
}

/* The sampler's program, and behind it what is kept outside of masks. */
static void fill_program(struct pass *p, int step)
{
    struct sampler_entry n;
    struct program *program = &n.program;
    struct value x;

    sampler_entry(&p->schedule, step, &n);
    x = n.x;
    if (p->blends) {
        float clean, noise;
        struct value outside;

        schedule_shares(&p->schedule, step + 1, &clean, &noise);
        outside =
            program_add(program, program_scale(program, program_array(program, ARRAY_CLEAN), clean),
                        program_scale(program, program_array(program, ARRAY_START), noise));
        x = program_select(program, program_array(program, ARRAY_MASK), x, outside);
    }
    program_store(program, ARRAY_X, x);
    p->block->program = *program;
    p->block->divisor = n.divisor;
    p->block->draws = n.draws;
}

/* Whether sample i's noise is left to the backend; otherwise it is drawn here, into p->drawn. */
static bool draw_one(struct pass *p, size_t i)
{
    struct step_sample *sample = &step_samples(p->block)[i];
    struct sample *s = &p->samples[i];

    sample->seed = s->noise.philox.seed;
    sample->philox = noise_skip(&s->noise, &sample->draw);
    if (!sample->philox)
        pass_draw(p, s, p->drawn + (int64_t)i * p->size);
    return sample->philox;
}

/* All samples' noise. What is drawn here goes in one copy, unless others lie between. */
static int draw(struct pass *p, struct err *e)
{
    struct ops *o = p->model->ops;
    struct latent *noise = p->place.arrays[ARRAY_NOISE];
    int64_t first = 0, at;
    int rc = 0;

    for (int64_t i = 0; i < p->place.n && p->block->draws; i++) {
        bool left = draw_one(p, (size_t)i), last = i + 1 == p->place.n;
        int64_t end = left ? i : i + 1;

        at = first * p->size;
        if ((left || last) && end > first)
            TRY(o->step->put(o, latent_at(noise, at), p->drawn + at, (end - first) * p->size, e));
        first = left ? i + 1 : first;
    }
out:
    return rc;
}

/* Steps of this pass before entry `step` and with it. */
static int steps_done(const struct pass *p, int step)
{
    return schedule_count(&p->schedule, step) - schedule_count(&p->schedule, p->schedule.first) + 1;
}

/* The block of entry `step`, in p->block; returns the number of branches. */
static int fill_block(struct pass *p, int step)
{
    int n = 0;

    p->block->timestep = p->schedule.timesteps[step];
    p->block->number = steps_done(p, step);
    for (size_t i = 0; i < p->n; i++)
        n += fill_guidance(p, i, step - p->schedule.first, n);
    p->block->branches = n;
    fill_program(p, step);
    return n;
}

/* ---- the calls */

/* A step's calls, of `own` branches from `first` on. */
struct calls {
    struct pass *pass;
    int64_t first, own;
    bool updates; /* the update follows at once: no gang's answers are waited for */
};

static int update(struct pass *p, struct err *e)
{
    struct ops *o = p->model->ops;

    return o->step->update(o, &p->place, p->out, p->rescales, e);
}

static int make_calls(const struct calls *c, struct err *e)
{
    struct pass *p = c->pass;
    struct ops *o = p->model->ops;
    struct extent batch = {c->own, p->extent.h, p->extent.w};
    int rc = 0;

    TRY(o->step->noise(o, &p->place, e));
    TRY(o->step->input(o, &p->place, p->in, c->first, c->own, e));
    TRY(unet_run(p->model->unet, act_at(o, p->out, c->first * p->size), p->in, &batch, &p->place,
                 p->branches + c->first, e));
    if (c->updates)
        TRY(update(p, e));
out:
    return rc;
}

/* What make_calls() calls and with which addresses, for the backend's record(). */
#define KEY_TEXTS 64
struct calls_key {
    struct step_place place;
    const void *unet, *in, *out, *scratch;
    int64_t h, w, first, own, updates, rescales;
    int64_t tokens[KEY_TEXTS];
    const void *kv[KEY_TEXTS], *added[KEY_TEXTS];
};

static void fill_key(const struct calls *c, struct calls_key *ret_key)
{
    const struct pass *p = c->pass;
    const struct arena *a = p->model->ops->arena;

    memset(ret_key, 0, sizeof *ret_key);
    ret_key->place = p->place;
    ret_key->unet = p->model->unet;
    ret_key->in = p->in;
    ret_key->out = p->out;
    ret_key->scratch = (const void *)((uintptr_t)a->base + arena_mark(a));
    ret_key->h = p->extent.h;
    ret_key->w = p->extent.w;
    ret_key->first = c->first;
    ret_key->own = c->own;
    ret_key->updates = c->updates;
    ret_key->rescales = p->rescales;
    for (int64_t i = 0; i < c->own; i++) {
        ret_key->tokens[i] = p->branches[c->first + i].tokens;
        ret_key->kv[i] = p->branches[c->first + i].kv;
        ret_key->added[i] = p->branches[c->first + i].added;
    }
}

/* make_calls(), replayed as a whole where the backend has recorded just that. */
static int replay_calls(const struct calls *c, struct err *e)
{
    struct ops *o = c->pass->model->ops;
    struct calls_key key;
    bool done = false;
    int rc = 0, rc_end;

    if (o->record == NULL || c->own > KEY_TEXTS || !unet_recordable(c->pass->model->unet))
        return make_calls(c, e);
    fill_key(c, &key);
    TRY(o->record(o, &key, sizeof key, &done, e));
    if (done)
        return 0;
    rc = make_calls(c, e);
    rc_end = o->record_end(o, rc != 0, e);
    rc = rc != 0 ? rc : rc_end;
out:
    return rc;
}

static struct calls calls_of(struct pass *p, int n)
{
    int first, own = own_branches(p, n, &first);

    return (struct calls){p, first, own, n < 2 || p->parts == 1};
}

/* ---- the loop */

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

/* An answer with NaN or Inf ends the pass. */
static int check_answers(const struct pass *p, struct err *e)
{
    struct ops *o = p->model->ops;
    int bad, rc = 0;

    TRY(o->step->found(o, &p->place, &bad, e));
    if (bad != 0)
        TRY(err_set(e, ERR_OUTPUT, "the U-Net gave NaN or Inf in step %d of %d",
                    p->steps_before + bad, p->steps_total));
out:
    return rc;
}

static int run_step(struct pass *p, int step, struct err *e)
{
    struct ops *o = p->model->ops;
    int n = fill_block(p, step), rc = 0;
    struct calls calls = calls_of(p, n);

    TRY(pass_cancelled(p, e));
    TRY(draw(p, e));
    TRY(o->step->set(o, &p->place, p->block, e));
    TRY(replay_calls(&calls, e));
    if (!calls.updates) {
        TRY(share_answers(p, n, e));
        TRY(update(p, e));
    }
    TRY(o->step->end(o, e));
    if (!o->device)
        TRY(check_answers(p, e));
    tell(p, step);
    TRY(pass_cancelled(p, e));
out:
    return rc;
}

int pass_run_steps(struct pass *p, struct err *e)
{
    int rc = 0;

    for (int step = p->schedule.first; step < p->schedule.n; step++)
        TRY(run_step(p, step, e));
    TRY(check_answers(p, e));
out:
    return rc;
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

int pass_plan_steps(struct pass *p, struct err *e)
{
    int64_t *lengths = calloc(p->n * TEXTS_BRANCHES_MAX, sizeof *lengths);
    int n_lengths = 0, rc = 0;

    if (lengths == NULL)
        return err_set(e, ERR_OOM, "no memory to plan a batch of %zu pictures", p->n);
    for (int call = 0; call < p->schedule.n - p->schedule.first; call++) {
        int n = branches_of_all(p, call);
        struct calls calls = calls_of(p, n);

        if (same_lengths(p, n, lengths, &n_lengths))
            continue;
        TRY(make_calls(&calls, e));
        TRY(update(p, e));
    }
    TRY(check_answers(p, e));
out:
    free(lengths);
    return rc;
}
