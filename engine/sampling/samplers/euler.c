/*
 * Euler's method and its ancestral form, Karras et al. 2022 (arXiv:2206.00364) and k-diffusion.
 * Equal to diffusers' EulerDiscreteScheduler and EulerAncestralDiscreteScheduler.
 */
#include "engine/sampling/samplers/inner.h"

/* One step from sigma to another, along the direction to the predicted picture. */
static void euler_update(float *x, const float *picture, float sigma, float to, size_t size)
{
    float dt = to - sigma;

    for (size_t i = 0; i < size; i++)
        x[i] = x[i] + (x[i] - picture[i]) / sigma * dt;
}

int run_euler(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0), *out = piece(r, 1);
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        float sigma = s->sigmas[step];

        TRY(call_scaled(r, step, r->x, sigma, scaled, out, e));
        picture_exploding(s, sigma, r->x, out, r->size);
        euler_update(r->x, out, sigma, s->sigmas[step + 1], r->size);
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

int run_euler_a(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0), *out = piece(r, 1);
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        float sigma = s->sigmas[step], down, up;

        schedule_ancestral(sigma, s->sigmas[step + 1], s->eta, &down, &up);
        TRY(call_scaled(r, step, r->x, sigma, scaled, out, e));
        picture_exploding(s, sigma, r->x, out, r->size);
        euler_update(r->x, out, sigma, down, r->size);
        TRY(add_drawn(r, up, scaled, r->x, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
