/*
 * DPM-Solver++(2M), Lu et al. 2022 (arXiv:2211.01095), algorithm 2, and its stochastic form. Equal
 * to diffusers' DPMSolverMultistepScheduler with dpmsolver++ and sde-dpmsolver++; on an exploding
 * latent (the web UI's schedulers), to k-diffusion's sample_dpmpp_2m and sample_dpmpp_2m_sde.
 */
#include "engine/sampling/samplers/inner.h"

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

static void update(const struct shares *c, float *x, const float *picture, const float *before,
                   size_t size)
{
    for (size_t i = 0; i < size; i++) {
        x[i] = c->keep * x[i] + c->add * picture[i];
        if (c->bend != 0)
            x[i] = x[i] + c->bend * (c->inverse * (picture[i] - before[i]));
    }
}

static int run_multistep(struct sampler_run *r,
                         struct shares (*shares)(const struct schedule *, int), struct err *e)
{
    const struct schedule *s = r->schedule;
    float *picture = piece(r, 0), *before = piece(r, 1), *spare = piece(r, 2);
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        struct shares c = shares(s, step);
        float *swap = before;

        TRY(call_picture(r, step, spare, picture, e));
        update(&c, r->x, picture, before, r->size);
        if (s->sampler == SAMPLER_DPMPP_2M_SDE && s->eta > 0)
            TRY(add_drawn(r, c.noise, spare, r->x, e));
        before = picture;
        picture = swap;
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

int run_dpmpp_2m(struct sampler_run *r, struct err *e)
{
    return run_multistep(r, shares_2m, e);
}

int run_dpmpp_2m_sde(struct sampler_run *r, struct err *e)
{
    return run_multistep(r, shares_sde, e);
}
