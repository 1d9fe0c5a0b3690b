/*
 * Steps of the sampler with made-up answers of a U-Net, on any backend: what lies in the latents
 * afterwards, what the U-Net would have been given. Numbers are multiples of 1/64 of at most 2, so
 * that every format holds them; those of sample s depend on s alone.
 */
#ifndef TESTS_ENGINE_STEP_CASE_H
#define TESTS_ENGINE_STEP_CASE_H

#include "engine/ops/workspace.h"
#include "engine/sampling/rng.h"
#include "engine/sampling/sampler.h"
#include "tests/engine/nets.h"

#define STEP_CONFIG                                                                                \
    "{\"beta_start\": 0.00085, \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\"}"
#define STEP_TIME_WIDTH 64

struct step_case {
    enum sampler_id sampler;
    int64_t n, pixels, channels, extra;
    int parts; /* of each sample's guidance; 0: none */
    float share;
    bool blends;
};

/* All that is compared, float32; owned. */
struct step_result {
    float *latents; /* [arrays, n, pixels, channels]: x, noise, and what is kept */
    float *in;      /* [branches, pixels, channels + extra] of the last step */
    float time[STEP_TIME_WIDTH];
    int64_t n_latents, n_in;
    int bad;
};

static inline float step_number(int64_t sample, int64_t i, int what)
{
    uint64_t x = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)(sample * 64 + what);

    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return (float)((int)(x >> 40 & 0xff) - 128) / 64;
}

static inline struct schedule step_schedule(enum sampler_id sampler, int steps)
{
    const struct schedule_options o = {.sampler = sampler, .steps = steps};
    struct schedule_config *c;
    struct schedule s;

    assert_ok(schedule_config_parse("case", STEP_CONFIG, strlen(STEP_CONFIG), &c, e));
    assert_ok(schedule_init(&s, c, &o, e));
    schedule_config_free(c);
    return s;
}

static inline struct latent *step_memory(struct ops *o, size_t n_bytes)
{
    void *memory = NULL;

    assert_ok(o->memory_new(o, n_bytes, &memory, e));
    return memory;
}

/* [n, per] made-up numbers in new memory of the backend. */
static inline struct latent *step_latents(struct ops *o, int64_t n, int64_t per, int what)
{
    struct latent *to = step_memory(o, (size_t)(n * per) * sizeof(float));
    float *values = malloc((size_t)(n * per) * sizeof *values);

    assert_non_null(values);
    for (int64_t i = 0; i < n * per; i++)
        values[i] = step_number(i / per, i % per, what);
    assert_ok(o->step->put(o, to, values, n * per, e));
    free(values);
    return to;
}

static inline struct step_place step_place_new(struct ops *o, const struct step_case *c)
{
    struct step_place at = {
        .n = c->n, .pixels = c->pixels, .channels = c->channels, .extra = c->extra};
    int64_t size = c->pixels * c->channels;

    for (int i = 0; i < ARRAY_KEPT + sampler_kept(c->sampler); i++)
        if (c->blends || i < ARRAY_CLEAN || i >= ARRAY_KEPT)
            at.arrays[i] = step_latents(o, c->n, size, i);
    if (c->extra > 0)
        at.extras = step_latents(o, c->n, c->pixels * c->extra, 20);
    at.block = step_memory(o, step_bytes(c->n, c->n * (1 + c->parts)));
    at.found = step_memory(o, (size_t)c->n * sizeof(struct step_found));
    return at;
}

static inline void step_place_done(struct ops *o, struct step_place *at)
{
    for (int i = 0; i < PROGRAM_ARRAYS; i++)
        o->memory_free(o, at->arrays[i]);
    o->memory_free(o, at->extras);
    o->memory_free(o, at->block);
    o->memory_free(o, at->found);
}

/* The block of an entry, as pass_step.c fills it. Caller frees. */
static inline struct step_block *step_block_new(const struct step_case *c, const struct schedule *s,
                                                int step)
{
    int branches = 1 + c->parts;
    struct step_block *b = calloc(1, step_bytes(c->n, c->n * branches));
    struct step_branch *branch;
    struct sampler_entry n;

    assert_non_null(b);
    branch = step_branches(b, c->n);
    sampler_entry(s, step, &n);
    if (c->blends)
        n.x = program_select(&n.program, program_array(&n.program, ARRAY_MASK), n.x,
                             program_array(&n.program, ARRAY_CLEAN));
    program_store(&n.program, ARRAY_X, n.x);
    *b = (struct step_block){.timestep = s->timesteps[step],
                             .divisor = n.divisor,
                             .number = step + 1,
                             .draws = n.draws,
                             .branches = (int32_t)c->n * branches,
                             .program = n.program};
    for (int i = 0; i < c->n; i++) {
        step_samples(b)[i] = (struct step_sample){.seed = 0x123456789abcu + (uint64_t)i,
                                                  .draw = (uint32_t)step,
                                                  .philox = i % 3 != 2,
                                                  .first = i * branches,
                                                  .parts = c->parts,
                                                  .share = i % 2 == 0 ? c->share : 0,
                                                  .rest = 1 - c->share};
        for (int k = 0; k < branches; k++)
            branch[i * branches + k] = (struct step_branch){0.75 - 0.5 * k, 3.3f - (float)k, i};
    }
    return b;
}

/* What the U-Net would answer; `bad`: a NaN among it. */
static inline void step_answers(struct ops *o, const struct step_case *c, int step, bool bad,
                                struct act *out)
{
    int64_t size = c->pixels * c->channels, branches = c->n * (1 + c->parts);
    float *values = malloc((size_t)(branches * size) * sizeof *values);

    assert_non_null(values);
    for (int64_t i = 0; i < branches * size; i++)
        values[i] = step_number(i / size, i % size, 30 + step);
    if (bad)
        values[branches * size - 1] = NAN;
    assert_ok(o->put(o, out, values, branches * size, e));
    free(values);
}

static inline void step_collect(struct ops *o, const struct step_case *c,
                                const struct step_place *at, const struct act *in,
                                const struct act *time, struct step_result *ret)
{
    int64_t all = c->n * c->pixels * c->channels;

    ret->latents = malloc(PROGRAM_ARRAYS * (size_t)all * sizeof(float));
    ret->n_in = c->n * (1 + c->parts) * c->pixels * (c->channels + c->extra);
    ret->in = malloc((size_t)ret->n_in * sizeof(float));
    assert_true(ret->latents != NULL && ret->in != NULL);
    ret->n_latents = 0;
    for (int i = 0; i < PROGRAM_ARRAYS; i++)
        if (at->arrays[i] != NULL) {
            assert_ok(o->step->get(o, ret->latents + ret->n_latents, at->arrays[i], all, e));
            ret->n_latents += all;
        }
    assert_ok(o->get(o, ret->in, in, ret->n_in, e));
    assert_ok(o->get(o, ret->time, time, STEP_TIME_WIDTH, e));
    assert_ok(o->step->found(o, at, &ret->bad, e));
}

/* The input in two calls, as the members of a gang make them. */
static inline void step_input(struct ops *o, const struct step_case *c, const struct step_place *at,
                              struct act *in)
{
    int64_t branches = c->n * (1 + c->parts), first = branches / 3;
    struct act *rest = act_at(o, in, first * c->pixels * (c->channels + c->extra));

    if (first > 0)
        assert_ok(o->step->input(o, at, in, 0, first, e));
    assert_ok(o->step->input(o, at, rest, first, branches - first, e));
}

/* Runs `steps` steps of the case; bad_from: from that number on answers are bad; 0: never. */
static inline struct step_result step_run(struct ops *o, const struct step_case *c, int steps,
                                          int bad_from)
{
    const struct sinusoids sinusoids = {STEP_TIME_WIDTH, 1, 0};
    int64_t branches = c->n * (1 + c->parts), size = c->pixels * c->channels;
    struct schedule s = step_schedule(c->sampler, steps);
    struct step_place at = step_place_new(o, c);
    struct act *in = act_memory(o, branches * c->pixels * (c->channels + c->extra));
    struct act *out = act_memory(o, branches * size), *time = act_memory(o, STEP_TIME_WIDTH);
    struct step_result r = {0};

    assert_ok(o->step->begin(o, &at, e));
    for (int step = 0; step < s.n; step++) {
        struct step_block *b = step_block_new(c, &s, step);

        step_answers(o, c, step, bad_from > 0 && step + 1 >= bad_from, out);
        assert_ok(o->step->set(o, &at, b, e));
        free(b); /* it may go when set() returns */
        assert_ok(o->step->noise(o, &at, e));
        step_input(o, c, &at, in);
        assert_ok(o->step->time(o, &at, time, &sinusoids, e));
        assert_ok(o->step->update(o, &at, out, c->share > 0, e));
        assert_ok(o->step->end(o, e));
    }
    step_collect(o, c, &at, in, time, &r);
    step_place_done(o, &at);
    o->memory_free(o, in);
    o->memory_free(o, out);
    o->memory_free(o, time);
    schedule_done(&s);
    return r;
}

static inline void step_result_done(struct step_result *r)
{
    free(r->latents);
    free(r->in);
}

#endif
