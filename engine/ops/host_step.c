/*
 * A step of the sampler on the host, in pieces that fit a stack: activations of any format go
 * through put and get, latents are float32 as they lie there.
 */
#include "engine/ops/host.h"
#include "engine/ops/step_math.h"

#include <string.h>

#define PIECE 512 /* numbers */

static float *floats(const struct latent *x)
{
    return (float *)(uintptr_t)x;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Numbers of one sample. */
static int64_t size_of(const struct step_place *at)
{
    return at->pixels * at->channels;
}

static int put(struct ops *o, struct latent *y, const float *x, int64_t n, struct err *e)
{
    (void)e;
    if (!o->planning)
        memcpy(y, x, (size_t)n * sizeof *x);
    return 0;
}

static int get(struct ops *o, float *y, const struct latent *x, int64_t n, struct err *e)
{
    (void)e;
    if (!o->planning)
        memcpy(y, x, (size_t)n * sizeof *y);
    return 0;
}

static int set(struct ops *o, const struct step_place *at, const struct step_block *block,
               struct err *e)
{
    (void)e;
    if (!o->planning)
        memcpy(at->block, block, step_bytes(at->n, block->branches));
    return 0;
}

static int end(struct ops *o, struct err *e)
{
    (void)o, (void)e;
    return 0;
}

static int begin(struct ops *o, const struct step_place *at, struct err *e)
{
    (void)e;
    if (!o->planning)
        memset(at->found, 0, (size_t)at->n * sizeof(struct step_found));
    return 0;
}

static int noise(struct ops *o, const struct step_place *at, struct err *e)
{
    const struct step_block *step = at->block;

    (void)e;
    for (int64_t s = 0; !o->planning && step->draws && s < at->n; s++) {
        const struct step_sample *sample = &step_samples(step)[s];
        float *to = floats(at->arrays[ARRAY_NOISE]) + s * size_of(at);

        for (int64_t i = 0; sample->philox && i < size_of(at); i++)
            to[i] = philox_number(sample->seed, sample->draw,
                                  (uint32_t)philox_index(i, at->pixels, at->channels));
    }
    return 0;
}

static int input(struct ops *o, const struct step_place *at, struct act *in, int64_t first,
                 int64_t n, struct err *e)
{
    const struct step_block *step = at->block;
    int64_t width = at->channels + at->extra, total = at->pixels * width;
    float piece[PIECE];
    int rc = 0;

    for (int64_t b = 0; !o->planning && b < n; b++) {
        int64_t sample = step_branches(step, at->n)[first + b].sample;

        for (int64_t i = 0; i < total; i += PIECE) {
            int64_t here = smaller(PIECE, total - i);

            for (int64_t k = 0; k < here; k++)
                piece[k] = input_number(at, step->divisor, sample, i + k);
            TRY(o->put(o, act_at(o, in, b * total + i), piece, here, e));
        }
    }
out:
    return rc;
}

static int time_row(struct ops *o, const struct step_place *at, struct act *row,
                    const struct sinusoids *s, struct err *e)
{
    const struct step_block *step = at->block;
    float piece[PIECE];
    int rc = 0;

    for (int64_t i = 0; !o->planning && i < s->width; i += PIECE) {
        int64_t here = smaller(PIECE, s->width - i);

        for (int64_t k = 0; k < here; k++)
            piece[k] = sinusoid_at(step->timestep, i + k, s);
        TRY(o->put(o, act_at(o, row, i), piece, here, e));
    }
out:
    return rc;
}

/* ---- guidance */

/* Some numbers of a sample's answer. */
struct answer {
    int64_t at, n; /* within the sample */
    float guided[PIECE];
    double plain[PIECE]; /* with weights alone */
};

/* a->guided and, if `plain`, a->plain of numbers a->at..a->at + a->n - 1 of sample s. */
static int guide(struct ops *o, const struct step_place *at, const struct act *outputs, int64_t s,
                 bool plain, struct answer *a, struct err *e)
{
    const struct step_sample *sample = &step_samples(at->block)[s];
    const struct step_branch *branch = step_branches(at->block, at->n) + sample->first;
    const struct act *first = act_at(o, outputs, sample->first * size_of(at) + a->at);
    float negative[PIECE], part[PIECE];
    int rc = 0;

    TRY(o->get(o, negative, first, a->n, e));
    memcpy(a->guided, negative, (size_t)a->n * sizeof *negative);
    for (int64_t i = 0; plain && i < a->n; i++)
        a->plain[i] = (double)negative[i];
    for (int k = 1; k <= sample->parts; k++) {
        TRY(o->get(o, part, act_at(o, first, k * size_of(at)), a->n, e));
        for (int64_t i = 0; i < a->n; i++)
            a->guided[i] = guide_part(a->guided[i], negative[i], part[i], branch[k].scaled);
        for (int64_t i = 0; plain && i < a->n; i++)
            a->plain[i] = guide_part_plain(a->plain[i], (double)negative[i], (double)part[i],
                                           branch[k].weight);
    }
out:
    return rc;
}

/* Sums over a sample's answer, about the numbers `shift` and `mean`. */
struct sums {
    double guided, guided_squares, plain, plain_squares;
};

static int add_up(struct ops *o, const struct step_place *at, const struct act *outputs, int64_t s,
                  double shift, double mean, struct sums *ret_sums, struct err *e)
{
    struct sums sums = {0};
    struct answer a;
    int rc = 0;

    for (a.at = 0; a.at < size_of(at); a.at += a.n) {
        a.n = smaller(PIECE, size_of(at) - a.at);
        TRY(guide(o, at, outputs, s, true, &a, e));
        for (int64_t i = 0; i < a.n; i++) {
            double v = (double)a.guided[i], w = a.plain[i] - shift;

            sums.guided += v;
            sums.guided_squares += (v - mean) * (v - mean);
            sums.plain += w;
            sums.plain_squares += w * w;
        }
    }
    *ret_sums = sums;
out:
    return rc;
}

/* By what the answer is multiplied to have the deviation of the plain one. */
static int find_factor(struct ops *o, const struct step_place *at, const struct act *outputs,
                       int64_t s, float *ret_factor, struct err *e)
{
    int64_t size = size_of(at), first = step_samples(at->block)[s].first;
    struct sums sums;
    float shift;
    int rc = 0;

    TRY(o->get(o, &shift, act_at(o, outputs, first * size), 1, e));
    TRY(add_up(o, at, outputs, s, (double)shift, 0, &sums, e));
    TRY(add_up(o, at, outputs, s, (double)shift, sums.guided / (double)size, &sums, e));
    *ret_factor = (float)(deviation_of(sums.plain, sums.plain_squares, size) /
                          deviation_of(0, sums.guided_squares, size));
out:
    return rc;
}

static int update_sample(struct ops *o, const struct step_place *at, const struct act *outputs,
                         int64_t s, struct err *e)
{
    const struct step_block *step = at->block;
    const struct step_sample *sample = &step_samples(step)[s];
    struct step_found *found = (struct step_found *)at->found + s;
    float *arrays[PROGRAM_ARRAYS];
    struct answer a;
    int rc = 0;

    for (int i = 0; i < PROGRAM_ARRAYS; i++)
        arrays[i] = floats(at->arrays[i]);
    if (sample->share > 0)
        TRY(find_factor(o, at, outputs, s, &found->factor, e));
    for (a.at = 0; a.at < size_of(at); a.at += a.n) {
        a.n = smaller(PIECE, size_of(at) - a.at);
        TRY(guide(o, at, outputs, s, false, &a, e));
        for (int64_t i = 0; i < a.n; i++) {
            if (sample->share > 0)
                a.guided[i] =
                    guide_rescaled(a.guided[i], found->factor, sample->share, sample->rest);
            if (!is_number(a.guided[i]) && found->bad == 0)
                found->bad = step->number;
        }
        program_apply(&step->program, arrays, s * size_of(at) + a.at, a.n, a.guided);
    }
out:
    return rc;
}

static int update(struct ops *o, const struct step_place *at, const struct act *outputs,
                  bool rescales, struct err *e)
{
    int rc = 0;

    (void)rescales;
    for (int64_t s = 0; !o->planning && s < at->n; s++)
        TRY(update_sample(o, at, outputs, s, e));
out:
    return rc;
}

static int found_bad(struct ops *o, const struct step_place *at, int *ret_bad, struct err *e)
{
    const struct step_found *found = (const struct step_found *)at->found;

    (void)e;
    *ret_bad = o->planning ? 0 : step_first_bad(found, at->n);
    return 0;
}

/* ---- pictures */

static int for_vae(struct ops *o, struct act *y, const struct latent *x, int64_t n, float divisor,
                   float shift, struct err *e)
{
    float piece[PIECE];
    int rc = 0;

    for (int64_t i = 0; !o->planning && i < n; i += PIECE) {
        int64_t here = smaller(PIECE, n - i);

        for (int64_t k = 0; k < here; k++)
            piece[k] = floats(x)[i + k] / divisor + shift;
        TRY(o->put(o, act_at(o, y, i), piece, here, e));
    }
out:
    return rc;
}

static int bytes(struct ops *o, uint8_t *ret_bytes, const struct act *x, int64_t n,
                 bool *ret_finite, bool *ret_any, struct err *e)
{
    bool finite = true, any = false;
    float piece[PIECE];
    int rc = 0;

    for (int64_t i = 0; !o->planning && i < n; i += PIECE) {
        int64_t here = smaller(PIECE, n - i);

        TRY(o->get(o, piece, act_at(o, x, i), here, e));
        for (int64_t k = 0; k < here; k++) {
            finite &= is_number(piece[k]);
            ret_bytes[i + k] = is_number(piece[k]) ? pixel_byte(piece[k]) : 0;
            any |= ret_bytes[i + k] != 0;
        }
    }
    *ret_finite = finite;
    *ret_any = any;
out:
    return rc;
}

static int settle(struct ops *o, const uint8_t *pixels, struct err *e)
{
    (void)o, (void)pixels, (void)e;
    return 0;
}

const struct step_ops host_step_ops = {
    .put = put,
    .get = get,
    .set = set,
    .end = end,
    .begin = begin,
    .noise = noise,
    .input = input,
    .time = time_row,
    .update = update,
    .found = found_bad,
    .for_vae = for_vae,
    .bytes = bytes,
    .settle = settle,
};
