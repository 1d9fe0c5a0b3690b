/*
 * Methods of second order with two calls per step, Karras et al. 2022 (arXiv:2206.00364), algorithm
 * 1, and k-diffusion. Equal to diffusers' HeunDiscreteScheduler, KDPM2DiscreteScheduler and
 * KDPM2AncestralDiscreteScheduler: entries of even index begin a step, those of odd index end it,
 * and a last step that ends at no noise has the first call alone.
 */
#include "engine/sampling/samplers/inner.h"

#include <math.h>
#include <string.h>

/* out = the direction from the predicted picture to x, at entry `step` and sigma. */
static int slope_at(struct sampler_run *r, int step, float sigma, float *scaled, float *out,
                    struct err *e)
{
    int rc = call_scaled(r, step, r->x, sigma, scaled, out, e);

    if (rc != 0)
        return rc;
    picture_exploding(r->schedule, sigma, r->x, out, r->size);
    for (size_t i = 0; i < r->size; i++)
        out[i] = (r->x[i] - out[i]) / sigma;
    return 0;
}

/* x = from + slope dt. */
static void walk(float *x, const float *from, const float *slope, float dt, size_t size)
{
    for (size_t i = 0; i < size; i++)
        x[i] = from[i] + slope[i] * dt;
}

/* The sigma where the step of entry `step` ends. */
static float step_end(const struct schedule *s, int step)
{
    return s->sigmas[step / 2 * 2 + 1];
}

int run_heun(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0), *slope = piece(r, 1), *start = piece(r, 2), *first = piece(r, 3);
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        float from = s->sigmas[step / 2 * 2], to = step_end(s, step);

        if (step % 2 == 0) {
            TRY(slope_at(r, step, from, scaled, first, e));
            memcpy(start, r->x, r->size * sizeof *start);
            walk(r->x, start, first, to - from, r->size);
        } else {
            TRY(slope_at(r, step, to, scaled, slope, e));
            for (size_t i = 0; i < r->size; i++)
                slope[i] = (first[i] + slope[i]) / 2;
            walk(r->x, start, slope, to - from, r->size);
        }
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

/* The two calls of a step that goes from `from` through s->mids to `down`, without noise. */
static int midpoint_entry(struct sampler_run *r, int step, float down, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0), *slope = piece(r, 1), *start = piece(r, 2);
    float from = s->sigmas[step / 2 * 2], mid = s->mids[step / 2];
    int rc = 0;

    if (step % 2 == 0) {
        TRY(slope_at(r, step, from, scaled, slope, e));
        memcpy(start, r->x, r->size * sizeof *start);
        walk(r->x, start, slope, mid - from, r->size); /* mid is 0 where the step ends there */
    } else {
        TRY(slope_at(r, step, mid, scaled, slope, e));
        walk(r->x, start, slope, down - from, r->size);
    }
out:
    return rc;
}

int run_dpm2(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        TRY(midpoint_entry(r, step, step_end(s, step), e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

int run_dpm2_a(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        float down, up;

        schedule_ancestral(s->sigmas[step / 2 * 2], step_end(s, step), s->eta, &down, &up);
        TRY(midpoint_entry(r, step, down, e));
        if (step % 2 == 1)
            TRY(add_drawn(r, up, piece(r, 0), r->x, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
