#include "engine/sampling/samplers/inner.h"

#include <math.h>

float expm1_f32(float x)
{
    return (float)expm1((double)x);
}

float clip_f32(float x, float range)
{
    return x > range ? range : x < -range ? -range : x;
}

float *piece(const struct sampler_run *r, int k)
{
    return r->scratch + (size_t)k * r->size;
}

int call_plain(struct sampler_run *r, int step, const float *x, float *out, struct err *e)
{
    const struct schedule *s = r->schedule;

    return r->denoise(r->user, x, step - s->first, step, s->timesteps[step], out, e);
}

int call_scaled(struct sampler_run *r, int step, const float *x, float sigma, float *scaled,
                float *out, struct err *e)
{
    float divisor = sqrtf(sigma * sigma + 1.0f);

    for (size_t i = 0; i < r->size; i++)
        scaled[i] = x[i] / divisor;
    return call_plain(r, step, scaled, out, e);
}

void picture_exploding(const struct schedule *s, float sigma, const float *x, float *out,
                       size_t size)
{
    float square = sigma * sigma + 1.0f, c_out = -sigma / sqrtf(square);

    for (size_t i = 0; i < size; i++) {
        if (s->prediction == PREDICTION_EPSILON)
            out[i] = x[i] - sigma * out[i];
        else if (s->prediction == PREDICTION_V)
            out[i] = out[i] * c_out + x[i] / square;
        if (s->clip)
            out[i] = clip_f32(out[i], s->clip_range);
    }
}

int add_drawn(struct sampler_run *r, float factor, float *noise, float *x, struct err *e)
{
    float s_noise = r->schedule->s_noise;
    int rc = r->noise(r->user, noise, e);

    for (size_t i = 0; rc == 0 && i < r->size; i++)
        x[i] = x[i] + noise[i] * s_noise * factor;
    return rc;
}

int finish_step(struct sampler_run *r, int step, struct err *e)
{
    if (r->after_step && r->after_step(r->user, step, r->x) != 0)
        return err_set(e, ERR_CANCELLED, "stopped after step %d of %d",
                       schedule_count(r->schedule, step), r->schedule->n_steps);
    return 0;
}

struct level level_of(const struct schedule *s, float sigma)
{
    struct level l = {1, sigma, 0};

    if (!s->exploding) {
        l.alpha = 1.0f / sqrtf(sigma * sigma + 1.0f);
        l.sigma = sigma * l.alpha;
    }
    l.lambda = log_f32(l.alpha) - log_f32(l.sigma);
    return l;
}

int call_picture(struct sampler_run *r, int step, float *scaled, float *out, struct err *e)
{
    const struct schedule *s = r->schedule;
    struct level l = level_of(s, s->sigmas[step]);
    int rc;

    if (s->exploding) {
        rc = call_scaled(r, step, r->x, l.sigma, scaled, out, e);
        if (rc == 0)
            picture_exploding(s, l.sigma, r->x, out, r->size);
        return rc;
    }
    rc = call_plain(r, step, r->x, out, e);
    if (rc != 0 || s->prediction == PREDICTION_SAMPLE)
        return rc;
    for (size_t i = 0; i < r->size; i++)
        out[i] = s->prediction == PREDICTION_EPSILON ? (r->x[i] - l.sigma * out[i]) / l.alpha
                                                     : l.alpha * r->x[i] - l.sigma * out[i];
    return 0;
}
