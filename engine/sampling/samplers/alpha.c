/*
 * Samplers that walk over the products of alphas at whole time steps. Equal to diffusers'
 * DDIMScheduler, DDPMScheduler, LCMScheduler and TCDScheduler.
 */
#include "engine/sampling/samplers/inner.h"

#include <math.h>

/* In place: the model's output at product alpha becomes the predicted picture; noise may be NULL.
 */
static void predict(const struct schedule *s, float alpha, const float *x, float *out, float *noise,
                    size_t size)
{
    float a = sqrtf(alpha), b = sqrtf(1.0f - alpha);

    for (size_t i = 0; i < size; i++) {
        float y = out[i];

        if (s->prediction == PREDICTION_EPSILON)
            out[i] = (x[i] - b * y) / a;
        else if (s->prediction == PREDICTION_V)
            out[i] = a * x[i] - b * y;
        if (noise != NULL)
            noise[i] = s->prediction == PREDICTION_EPSILON ? y
                       : s->prediction == PREDICTION_V     ? a * y + b * x[i]
                                                           : (x[i] - a * y) / b;
    }
}

static void clip(const struct schedule *s, float *picture, size_t size)
{
    if (s->clip)
        for (size_t i = 0; i < size; i++)
            picture[i] = clip_f32(picture[i], s->clip_range);
}

static float alpha_at(const struct schedule *s, int step)
{
    return s->alphas_cumprod[(int)s->timesteps[step]];
}

/* ---- Song et al. 2020 (arXiv:2010.02502), eq. 12 and 16 */

static int ddim_step(struct sampler_run *r, int step, float *picture, float *noise, struct err *e)
{
    const struct schedule *s = r->schedule;
    int before = (int)s->timesteps[step] - s->stride;
    float alpha = alpha_at(s, step);
    float alpha_prev = before >= 0 ? s->alphas_cumprod[before] : s->final_alpha_cumprod;
    float variance = (1.0f - alpha_prev) / (1.0f - alpha) * (1.0f - alpha / alpha_prev);
    float deviation = s->eta == 0 ? 0 : (float)s->eta * sqrtf(variance);
    float keep = sqrtf(alpha_prev), rest = sqrtf(1.0f - alpha_prev - deviation * deviation);

    predict(s, alpha, r->x, picture, noise, r->size);
    clip(s, picture, r->size);
    for (size_t i = 0; i < r->size; i++)
        r->x[i] = keep * picture[i] + rest * noise[i];
    return s->eta > 0 ? add_drawn(r, deviation, noise, r->x, e) : 0;
}

int run_ddim(struct sampler_run *r, struct err *e)
{
    float *out = piece(r, 0), *noise = piece(r, 1);
    int rc = 0;

    for (int step = r->schedule->first; step < r->schedule->n; step++) {
        TRY(call_plain(r, step, r->x, out, e));
        TRY(ddim_step(r, step, out, noise, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
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

static int ddpm_step(struct sampler_run *r, int step, float *picture, float *noise, struct err *e)
{
    const struct schedule *s = r->schedule;
    float alpha = alpha_at(s, step), alpha_prev = step + 1 < s->n ? alpha_at(s, step + 1) : 1.0f;
    float beta = 1.0f - alpha, alpha_now = alpha / alpha_prev;
    float to_picture = sqrtf(alpha_prev) * (1.0f - alpha_now) / beta;
    float keep = sqrtf(alpha_now) * (1.0f - alpha_prev) / beta;

    predict(s, alpha, r->x, picture, NULL, r->size);
    clip(s, picture, r->size);
    for (size_t i = 0; i < r->size; i++)
        r->x[i] = to_picture * picture[i] + keep * r->x[i];
    if (s->timesteps[step] > 0)
        return add_drawn(r, ddpm_deviation(s, alpha, alpha_prev), noise, r->x, e);
    return 0;
}

int run_ddpm(struct sampler_run *r, struct err *e)
{
    float *out = piece(r, 0), *noise = piece(r, 1);
    int rc = 0;

    for (int step = r->schedule->first; step < r->schedule->n; step++) {
        TRY(call_plain(r, step, r->x, out, e));
        TRY(ddpm_step(r, step, out, noise, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

/* ---- Luo et al. 2023 (arXiv:2310.04378), algorithm 3 */

static int lcm_step(struct sampler_run *r, int step, float *picture, float *noise, struct err *e)
{
    const struct schedule *s = r->schedule;
    float t = s->timesteps[step] * s->timestep_scaling, square = t * t + 0.25f;
    float c_skip = 0.25f / square, c_out = t / sqrtf(square);
    float keep = 1;

    predict(s, alpha_at(s, step), r->x, picture, NULL, r->size);
    clip(s, picture, r->size);
    if (step + 1 < s->n)
        keep = sqrtf(alpha_at(s, step + 1));
    for (size_t i = 0; i < r->size; i++)
        r->x[i] = keep * (c_out * picture[i] + c_skip * r->x[i]);
    if (step + 1 < s->n)
        return add_drawn(r, sqrtf(1.0f - alpha_at(s, step + 1)), noise, r->x, e);
    return 0;
}

int run_lcm(struct sampler_run *r, struct err *e)
{
    float *out = piece(r, 0), *noise = piece(r, 1);
    int rc = 0;

    for (int step = r->schedule->first; step < r->schedule->n; step++) {
        TRY(call_plain(r, step, r->x, out, e));
        TRY(lcm_step(r, step, out, noise, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

/* ---- Zheng et al. 2024 (arXiv:2402.19159), algorithm 4; eta is its gamma */

static int tcd_step(struct sampler_run *r, int step, float *picture, float *noise, struct err *e)
{
    const struct schedule *s = r->schedule;
    int next = step + 1 < s->n ? (int)s->timesteps[step + 1] : 0;
    int between = (int)floorf((float)(1 - s->eta) * (float)next);
    float alpha_prev = s->alphas_cumprod[next], alpha_s = s->alphas_cumprod[between];
    float a = sqrtf(alpha_s), b = sqrtf(1.0f - alpha_s), keep = 1;
    bool stochastic = s->eta > 0 && step + 1 < s->n;

    predict(s, alpha_at(s, step), r->x, picture, noise, r->size);
    if (stochastic)
        keep = sqrtf(alpha_prev / alpha_s);
    for (size_t i = 0; i < r->size; i++)
        r->x[i] = keep * (a * picture[i] + b * noise[i]);
    if (stochastic)
        return add_drawn(r, sqrtf(1.0f - alpha_prev / alpha_s), noise, r->x, e);
    return 0;
}

int run_tcd(struct sampler_run *r, struct err *e)
{
    float *out = piece(r, 0), *noise = piece(r, 1);
    int rc = 0;

    for (int step = r->schedule->first; step < r->schedule->n; step++) {
        TRY(call_plain(r, step, r->x, out, e));
        TRY(tcd_step(r, step, out, noise, e));
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
