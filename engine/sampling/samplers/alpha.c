/*
 * Samplers that walk over the products of alphas at whole time steps. Equal to diffusers'
 * DDIMScheduler, DDPMScheduler, LCMScheduler and TCDScheduler.
 */
#include "engine/sampling/sampler_inner.h"

#include <math.h>

/* What the model's output says of the latent at an alpha. */
struct guess {
    struct value picture, noise;
};

static struct value guess_picture(struct entry *n, float a, float b)
{
    switch (n->schedule->prediction) {
    case PREDICTION_EPSILON:
        return over(n, sub(n, n->x, scale(n, b, n->model)), a);
    case PREDICTION_V:
        return sub(n, scale(n, a, n->x), scale(n, b, n->model));
    default:
        return n->model;
    }
}

static struct value guess_noise(struct entry *n, float a, float b)
{
    switch (n->schedule->prediction) {
    case PREDICTION_EPSILON:
        return n->model;
    case PREDICTION_V:
        return add(n, scale(n, a, n->model), scale(n, b, n->x));
    default:
        return over(n, sub(n, n->x, scale(n, a, n->model)), b);
    }
}

static struct guess guess(struct entry *n, float alpha)
{
    float a = sqrtf(alpha), b = sqrtf(1.0f - alpha);

    return (struct guess){guess_picture(n, a, b), guess_noise(n, a, b)};
}

static float alpha_at(const struct schedule *s, int step)
{
    return s->alphas_cumprod[(int)s->timesteps[step]];
}

/* ---- Song et al. 2020 (arXiv:2010.02502), eq. 12 and 16 */

struct value run_ddim(struct entry *n)
{
    const struct schedule *s = n->schedule;
    int before = (int)s->timesteps[n->step] - s->stride;
    float alpha = alpha_at(s, n->step);
    float alpha_prev = before >= 0 ? s->alphas_cumprod[before] : s->final_alpha_cumprod;
    float variance = (1.0f - alpha_prev) / (1.0f - alpha) * (1.0f - alpha / alpha_prev);
    float deviation = s->eta == 0 ? 0 : (float)s->eta * sqrtf(variance);
    float share = sqrtf(alpha_prev), rest = sqrtf(1.0f - alpha_prev - deviation * deviation);
    struct guess g = guess(n, alpha);
    struct value x = add(n, scale(n, share, clipped(n, g.picture)), scale(n, rest, g.noise));

    return s->eta > 0 ? add_drawn(n, x, deviation) : x;
}

/* ---- Ho et al. 2020 (arXiv:2006.11239), eq. 7 */

/* Standard deviation of the noise, as the class's variance_type has it. */
static float ddpm_deviation(const struct schedule *s, float alpha, float alpha_prev)
{
    float beta = 1.0f - alpha / alpha_prev;
    float variance = fmaxf((1.0f - alpha_prev) / (1.0f - alpha) * beta, 1e-20f);

    if (s->variance == VARIANCE_SMALL_LOG)
        return exp_f32(0.5f * log_f32(variance));
    return sqrtf(s->variance == VARIANCE_LARGE ? beta : variance);
}

struct value run_ddpm(struct entry *n)
{
    const struct schedule *s = n->schedule;
    int step = n->step;
    float alpha = alpha_at(s, step), alpha_prev = step + 1 < s->n ? alpha_at(s, step + 1) : 1.0f;
    float beta = 1.0f - alpha, alpha_now = alpha / alpha_prev;
    float to_picture = sqrtf(alpha_prev) * (1.0f - alpha_now) / beta;
    float share = sqrtf(alpha_now) * (1.0f - alpha_prev) / beta;
    struct value picture = clipped(n, guess(n, alpha).picture);
    struct value x = add(n, scale(n, to_picture, picture), scale(n, share, n->x));

    return s->timesteps[step] > 0 ? add_drawn(n, x, ddpm_deviation(s, alpha, alpha_prev)) : x;
}

/* ---- Luo et al. 2023 (arXiv:2310.04378), algorithm 3 */

struct value run_lcm(struct entry *n)
{
    const struct schedule *s = n->schedule;
    float t = s->timesteps[n->step] * s->timestep_scaling, square = t * t + 0.25f;
    float c_skip = 0.25f / square, c_out = t / sqrtf(square);
    bool last = n->step + 1 == s->n;
    float alpha = last ? 1 : alpha_at(s, n->step + 1), share = last ? 1 : sqrtf(alpha);
    struct value picture = clipped(n, guess(n, alpha_at(s, n->step)).picture);
    struct value mix = add(n, scale(n, c_out, picture), scale(n, c_skip, n->x));
    struct value x = scale(n, share, mix);

    return last ? x : add_drawn(n, x, sqrtf(1.0f - alpha));
}

/* ---- Zheng et al. 2024 (arXiv:2402.19159), algorithm 4; eta is its gamma */

struct value run_tcd(struct entry *n)
{
    const struct schedule *s = n->schedule;
    bool last = n->step + 1 == s->n, stochastic = s->eta > 0 && !last;
    int next = last ? 0 : (int)s->timesteps[n->step + 1];
    int between = (int)floorf((float)(1 - s->eta) * (float)next);
    float alpha_prev = s->alphas_cumprod[next], alpha_s = s->alphas_cumprod[between];
    float a = sqrtf(alpha_s), b = sqrtf(1.0f - alpha_s);
    float share = stochastic ? sqrtf(alpha_prev / alpha_s) : 1;
    struct guess g = guess(n, alpha_at(s, n->step));
    struct value x = scale(n, share, add(n, scale(n, a, g.picture), scale(n, b, g.noise)));

    return stochastic ? add_drawn(n, x, sqrtf(1.0f - alpha_prev / alpha_s)) : x;
}
