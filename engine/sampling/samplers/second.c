/*
 * Methods of second order with two calls per step, Karras et al. 2022 (arXiv:2206.00364), algorithm
 * 1, and k-diffusion. Equal to diffusers' HeunDiscreteScheduler, KDPM2DiscreteScheduler and
 * KDPM2AncestralDiscreteScheduler: entries of even index begin a step, those of odd index end it,
 * and a last step that ends at no noise has the first call alone.
 */
#include "engine/sampling/sampler_inner.h"

/* What is kept: the latent of the step's start, and heun's first slope. */
enum { START, FIRST };

/* The direction from the predicted picture to x, at sigma. */
static struct value slope_at(struct entry *n, float sigma)
{
    return over(n, sub(n, n->x, picture_exploding(n, sigma)), sigma);
}

static struct value walk(struct entry *n, struct value from, struct value slope, float dt)
{
    return add(n, from, scale(n, dt, slope));
}

/* The sigma where the step of entry `step` ends. */
static float step_end(const struct schedule *s, int step)
{
    return s->sigmas[step / 2 * 2 + 1];
}

struct value run_heun(struct entry *n)
{
    const struct schedule *s = n->schedule;
    float from = s->sigmas[n->step / 2 * 2], to = step_end(s, n->step);
    struct value slope = slope_at(n, n->step % 2 == 0 ? from : to);

    if (n->step % 2 == 0) {
        keep(n, START, n->x);
        keep(n, FIRST, slope);
        return walk(n, n->x, slope, to - from);
    }
    slope = over(n, add(n, kept(n, FIRST), slope), 2);
    return walk(n, kept(n, START), slope, to - from);
}

/* The two calls of a step that goes from `from` through s->mids to `down`, without noise. */
static struct value midpoint_entry(struct entry *n, float down)
{
    const struct schedule *s = n->schedule;
    float from = s->sigmas[n->step / 2 * 2], mid = s->mids[n->step / 2];

    if (n->step % 2 == 1)
        return walk(n, kept(n, START), slope_at(n, mid), down - from);
    keep(n, START, n->x);
    return walk(n, n->x, slope_at(n, from), mid - from); /* mid is 0 where the step ends there */
}

struct value run_dpm2(struct entry *n)
{
    return midpoint_entry(n, step_end(n->schedule, n->step));
}

struct value run_dpm2_a(struct entry *n)
{
    const struct schedule *s = n->schedule;
    float down, up;
    struct value x;

    schedule_ancestral(s->sigmas[n->step / 2 * 2], step_end(s, n->step), s->eta, &down, &up);
    x = midpoint_entry(n, down);
    return n->step % 2 == 1 ? add_drawn(n, x, up) : x;
}
