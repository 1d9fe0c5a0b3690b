/*
 * Euler's method and its ancestral form, Karras et al. 2022 (arXiv:2206.00364) and k-diffusion.
 * Equal to diffusers' EulerDiscreteScheduler and EulerAncestralDiscreteScheduler.
 */
#include "engine/sampling/sampler_inner.h"

/* From sigma to another, along the direction to the predicted picture. */
static struct value euler_step(struct entry *n, float sigma, float to)
{
    struct value slope = over(n, sub(n, n->x, picture_exploding(n, sigma)), sigma);

    return add(n, n->x, scale(n, to - sigma, slope));
}

struct value run_euler(struct entry *n)
{
    const float *sigmas = n->schedule->sigmas;

    return euler_step(n, sigmas[n->step], sigmas[n->step + 1]);
}

struct value run_euler_a(struct entry *n)
{
    const struct schedule *s = n->schedule;
    float sigma = s->sigmas[n->step], down, up;

    schedule_ancestral(sigma, s->sigmas[n->step + 1], s->eta, &down, &up);
    return add_drawn(n, euler_step(n, sigma, down), up);
}
