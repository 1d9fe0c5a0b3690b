#include "engine/sampler.h"

#include <math.h>

/* ---- Scalars are rounded to float32 after each operation, as torch's 0-dimensional tensors are.
 */

static float log_f32(float x)
{
    return (float)log((double)x);
}

static float exp_f32(float x)
{
    return (float)exp((double)x);
}

size_t sampler_scratch_floats(enum sampler_id sampler, size_t size)
{
    return sampler == SAMPLER_DDIM ? size : 2 * size;
}

static int finish_step(struct sampler_run *r, int step, struct err *e)
{
    if (r->after_step && r->after_step(r->user, step, r->x) != 0)
        return err_set(e, ERR_CANCELLED, "stopped after step %d of %d",
                       schedule_count(r->schedule, step), r->schedule->n_steps);
    return 0;
}

/* ---- Denoising diffusion implicit models, Song et al. 2020 (arXiv:2010.02502), eq. 12, eta = 0.
 */

struct ddim_step {
    enum prediction prediction;
    float root_alpha, root_beta;      /* of this step: sqrt(a), sqrt(1 - a) */
    float root_alpha_prev, root_rest; /* of the next one */
    bool clip;
    float clip_range;
};

static struct ddim_step ddim_step(const struct schedule *s, int step)
{
    int t = (int)s->timesteps[step], prev = t - s->stride;
    float alpha = s->alphas_cumprod[t];
    float alpha_prev = prev >= 0 ? s->alphas_cumprod[prev] : s->final_alpha_cumprod;

    return (struct ddim_step){
        .prediction = s->prediction,
        .root_alpha = sqrtf(alpha),
        .root_beta = sqrtf(1.0f - alpha),
        .root_alpha_prev = sqrtf(alpha_prev),
        .root_rest = sqrtf(1.0f - alpha_prev),
        .clip = s->clip,
        .clip_range = s->clip_range,
    };
}

static void ddim_update(const struct ddim_step *d, float *x, const float *out, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        float picture, noise;

        if (d->prediction == PREDICTION_EPSILON) {
            picture = (x[i] - d->root_beta * out[i]) / d->root_alpha;
            noise = out[i];
        } else if (d->prediction == PREDICTION_V) {
            picture = d->root_alpha * x[i] - d->root_beta * out[i];
            noise = d->root_alpha * out[i] + d->root_beta * x[i];
        } else {
            picture = out[i];
            noise = (x[i] - d->root_alpha * out[i]) / d->root_beta;
        }
        if (d->clip)
            picture = picture > d->clip_range    ? d->clip_range
                      : picture < -d->clip_range ? -d->clip_range
                                                 : picture;
        x[i] = d->root_alpha_prev * picture + d->root_rest * noise;
    }
}

static int run_ddim(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *out = r->scratch;
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        struct ddim_step d = ddim_step(s, step);

        TRY(r->denoise(r->user, r->x, step - s->first, step, s->timesteps[step], out, e));
        ddim_update(&d, r->x, out, r->size);
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

/* ---- Euler's method and its ancestral form, Karras et al. 2022 (arXiv:2206.00364), k-diffusion */

/* out: the denoiser's input of unit size. */
static void scale_input(float *out, const float *x, float sigma, size_t size)
{
    float divisor = sqrtf(sigma * sigma + 1.0f);

    for (size_t i = 0; i < size; i++)
        out[i] = x[i] / divisor;
}

/* One step from sigma by dt, along the direction to the predicted picture. */
static void euler_update(enum prediction prediction, float *x, const float *out, float sigma,
                         float dt, size_t size)
{
    float square = sigma * sigma + 1.0f;
    float c_out = -sigma / sqrtf(square);

    for (size_t i = 0; i < size; i++) {
        float picture = prediction == PREDICTION_EPSILON ? x[i] - sigma * out[i]
                        : prediction == PREDICTION_V     ? out[i] * c_out + x[i] / square
                                                         : out[i];
        x[i] = x[i] + (x[i] - picture) / sigma * dt;
    }
}

static int run_euler(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = r->scratch, *out = r->scratch + r->size;
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        float sigma = s->sigmas[step];

        scale_input(scaled, r->x, sigma, r->size);
        TRY(r->denoise(r->user, scaled, step - s->first, step, s->timesteps[step], out, e));
        euler_update(s->prediction, r->x, out, sigma, s->sigmas[step + 1] - sigma, r->size);
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

static int run_euler_a(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = r->scratch, *out = r->scratch + r->size, *noise = r->scratch;
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        float from = s->sigmas[step], to = s->sigmas[step + 1];
        float up = sqrtf(to * to * (from * from - to * to) / (from * from));
        float down = sqrtf(to * to - up * up);

        scale_input(scaled, r->x, from, r->size);
        TRY(r->denoise(r->user, scaled, step - s->first, step, s->timesteps[step], out, e));
        euler_update(s->prediction, r->x, out, from, down - from, r->size);
        TRY(r->noise(r->user, noise, e));
        for (size_t i = 0; i < r->size; i++)
            r->x[i] = r->x[i] + noise[i] * up;
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

/* ---- DPM-Solver++(2M), Lu et al. 2022 (arXiv:2211.01095), algorithm 2 */

/* A sigma of the variance-exploding kind as the pair of the variance-preserving one. */
struct level {
    float alpha, sigma, lambda; /* lambda = log(alpha / sigma) */
};

static struct level level_of(float sigma)
{
    struct level l;

    l.alpha = 1.0f / sqrtf(sigma * sigma + 1.0f);
    l.sigma = sigma * l.alpha;
    l.lambda = log_f32(l.alpha) - log_f32(l.sigma);
    return l;
}

/* In place: the model's output to the predicted picture. */
static void to_picture(enum prediction prediction, const struct level *l, const float *x,
                       float *out, size_t size)
{
    if (prediction == PREDICTION_EPSILON)
        for (size_t i = 0; i < size; i++)
            out[i] = (x[i] - l->sigma * out[i]) / l->alpha;
    else if (prediction == PREDICTION_V)
        for (size_t i = 0; i < size; i++)
            out[i] = l->alpha * x[i] - l->sigma * out[i];
}

static void dpm_first(const struct level *t, const struct level *from, float *x,
                      const float *picture, size_t size)
{
    float keep = t->sigma / from->sigma;
    float add = t->alpha * (exp_f32(-(t->lambda - from->lambda)) - 1.0f);

    for (size_t i = 0; i < size; i++)
        x[i] = keep * x[i] - add * picture[i];
}

/* picture, before: the pictures predicted at `from` and at the level before it, `past`. */
static void dpm_second(const struct schedule *s, const struct level level[3], float *x,
                       const float *picture, const float *before, size_t size)
{
    const struct level *t = &level[0], *from = &level[1], *past = &level[2];
    float h = t->lambda - from->lambda, h_past = from->lambda - past->lambda;
    float inverse = 1.0f / (h_past / h);
    float keep = t->sigma / from->sigma, decay = exp_f32(-h) - 1.0f;
    float add = t->alpha * decay;
    float bend = s->heun ? -(t->alpha * (decay / h + 1.0f)) : 0.5f * add;

    for (size_t i = 0; i < size; i++) {
        float slope = inverse * (picture[i] - before[i]);
        x[i] = keep * x[i] - add * picture[i] - bend * slope;
    }
}

/* Whether step is taken by the first-order formula. */
static bool is_first_order(const struct schedule *s, int step)
{
    return s->order == 1 || step == s->first || (step == s->n - 1 && s->euler_last);
}

static int run_dpmpp_2m(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *picture = r->scratch, *before = r->scratch + r->size;
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        struct level level[3] = {level_of(s->sigmas[step + 1]), level_of(s->sigmas[step]),
                                 level_of(s->sigmas[step ? step - 1 : 0])};
        float *swap;

        TRY(r->denoise(r->user, r->x, step - s->first, step, s->timesteps[step], picture, e));
        to_picture(s->prediction, &level[1], r->x, picture, r->size);
        if (is_first_order(s, step))
            dpm_first(&level[0], &level[1], r->x, picture, r->size);
        else
            dpm_second(s, level, r->x, picture, before, r->size);
        swap = before;
        before = picture;
        picture = swap;
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}

int sampler_run(struct sampler_run *r, struct err *e)
{
    static int (*const runs[SAMPLER_COUNT])(struct sampler_run *, struct err *) = {
        [SAMPLER_DDIM] = run_ddim,
        [SAMPLER_EULER] = run_euler,
        [SAMPLER_EULER_A] = run_euler_a,
        [SAMPLER_DPMPP_2M] = run_dpmpp_2m,
    };

    return runs[r->schedule->sampler](r, e);
}
