/*
 * DPM-Solver++(2M), Lu et al. 2022 (arXiv:2211.01095), algorithm 2, and its stochastic form. Equal
 * to diffusers' DPMSolverMultistepScheduler with dpmsolver++ and sde-dpmsolver++; on an exploding
 * latent (the web UI's schedulers), to k-diffusion's sample_dpmpp_2m and sample_dpmpp_2m_sde.
 */
#include "engine/sampling/sampler_inner.h"

#include <math.h>

/* One step in shares: x = keep x + add picture + bend slope + noise. */
struct shares {
    float keep, add, bend, noise;
    float inverse; /* slope = inverse (picture - before) */
};

/* Whether the step of an entry is taken by the first-order formula. */
static bool is_first_order(const struct schedule *s, int step)
{
    return s->order == 1 || step == s->first || (step == s->n - 1 && s->euler_last);
}

/* Steps between neighbouring levels, of the entry's own and the one before it. */
static float step_size(const struct schedule *s, int step)
{
    return level_of(s, s->sigmas[step + 1]).lambda - level_of(s, s->sigmas[step]).lambda;
}

static struct shares shares_2m(const struct schedule *s, int step)
{
    struct level t = level_of(s, s->sigmas[step + 1]), from = level_of(s, s->sigmas[step]);
    float h = step_size(s, step), decay = exp_f32(-h) - 1.0f;
    struct shares c = {.keep = t.sigma / from.sigma, .add = -(t.alpha * decay)};

    if (!is_first_order(s, step)) {
        c.inverse = 1.0f / (step_size(s, step - 1) / h);
        c.bend = s->heun ? t.alpha * (decay / h + 1.0f) : -(0.5f * (t.alpha * decay));
    }
    return c;
}

/* eta other than 1, which diffusers does not have, as in k-diffusion. */
static struct shares shares_sde(const struct schedule *s, int step)
{
    struct level t = level_of(s, s->sigmas[step + 1]), from = level_of(s, s->sigmas[step]);
    float eta = (float)s->eta, h = step_size(s, step);
    float both = (1.0f + eta) * h, growth = 1.0f - exp_f32(-both);
    struct shares c = {.keep = t.sigma / from.sigma, .add = t.alpha * growth};

    if (eta > 0) {
        c.keep = c.keep * exp_f32(-(eta * h));
        c.noise = t.sigma * sqrtf(1.0f - exp_f32(-2.0f * eta * h));
    }
    if (!is_first_order(s, step)) {
        c.inverse = 1.0f / (step_size(s, step - 1) / h);
        c.bend = s->heun ? t.alpha * (growth / -both + 1.0f) : 0.5f * (t.alpha * growth);
    }
    return c;
}

static struct value multistep(struct entry *n, const struct shares *c)
{
    struct value picture = picture_at_level(n);
    struct value x = add(n, scale(n, c->keep, n->x), scale(n, c->add, picture));

    if (c->bend != 0) {
        struct value before = kept(n, place_of(n->age - 1, 2));

        x = add(n, x, scale(n, c->bend, scale(n, c->inverse, sub(n, picture, before))));
    }
    keep(n, place_of(n->age, 2), picture);
    return x;
}

struct value run_dpmpp_2m(struct entry *n)
{
    struct shares c = shares_2m(n->schedule, n->step);

    return multistep(n, &c);
}

struct value run_dpmpp_2m_sde(struct entry *n)
{
    struct shares c = shares_sde(n->schedule, n->step);
    struct value x = multistep(n, &c);

    return n->schedule->eta > 0 ? add_drawn(n, x, c.noise) : x;
}
