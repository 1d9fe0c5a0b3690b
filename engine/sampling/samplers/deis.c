/*
 * Diffusion exponential integrator, Zhang and Chen 2022 (arXiv:2204.13902), in log rho. Equal to
 * diffusers' DEISMultistepScheduler. Its formulas do not reach no noise: the class ends at the
 * smallest sigma, and where a scheduler of the web UI ends at 0, the last step is their limit, the
 * predicted picture.
 */
#include "engine/sampling/samplers/inner.h"

#include <math.h>

#define ORDER 3

/* The integral of the line that is 1 at b and 0 at c, up to t. */
static float integral_2(float t, float b, float c)
{
    return t * (-log_numpy(c) + log_numpy(t) - 1) / (log_numpy(b) - log_numpy(c));
}

/* The integral of the parabola that is 1 at b and 0 at c and d, up to t. */
static float integral_3(float t, float b, float c, float d)
{
    float log_t = log_numpy(t), log_b = log_numpy(b), log_c = log_numpy(c), log_d = log_numpy(d);
    float over =
        t * (log_c * (log_d - log_t + 1) - log_d * log_t + log_d + log_t * log_t - 2 * log_t + 2);

    return over / ((log_b - log_c) * (log_b - log_d));
}

static float rho_at(const struct schedule *s, int i)
{
    struct level l = level_of(s, s->sigmas[i]);

    return l.sigma / l.alpha;
}

/* Weights of the newest `order` (2 or 3) noises. */
static void weigh(const struct schedule *s, int step, int order, float ret_weight[ORDER])
{
    float t = rho_at(s, step + 1), a = rho_at(s, step), b = rho_at(s, step - 1), c;

    if (order == 2) {
        ret_weight[0] = integral_2(t, a, b) - integral_2(a, a, b);
        ret_weight[1] = integral_2(t, b, a) - integral_2(a, b, a);
        return;
    }
    c = rho_at(s, step - 2);
    ret_weight[0] = integral_3(t, a, b, c) - integral_3(a, a, b, c);
    ret_weight[1] = integral_3(t, b, c, a) - integral_3(a, b, c, a);
    ret_weight[2] = integral_3(t, c, a, b) - integral_3(a, c, a, b);
}

static void first_order(const struct schedule *s, int step, float *x, const float *noise,
                        size_t size)
{
    struct level t = level_of(s, s->sigmas[step + 1]), from = level_of(s, s->sigmas[step]);
    float keep = t.alpha / from.alpha, add = t.sigma * (exp_f32(t.lambda - from.lambda) - 1.0f);

    if (t.sigma == 0)
        add = keep * from.sigma;
    for (size_t i = 0; i < size; i++)
        x[i] = keep * x[i] - add * noise[i];
}

static void higher_order(const struct schedule *s, int step, int order, float *x,
                         float *const noise[ORDER], size_t size)
{
    float alpha = level_of(s, s->sigmas[step + 1]).alpha;
    float alpha_from = level_of(s, s->sigmas[step]).alpha, weight[ORDER];

    weigh(s, step, order, weight);
    for (size_t i = 0; i < size; i++) {
        float sum = x[i] / alpha_from;
        for (int k = 0; k < order; k++)
            sum = sum + weight[k] * noise[k][i];
        x[i] = alpha * sum;
    }
}

/* Order at an entry, of which `kept` earlier ones were run. */
static int order_at(const struct schedule *s, int step, int kept)
{
    bool falls = s->lower_order_final && s->n < 15;

    if (kept < 1 || (falls && step == s->n - 1) || s->sigmas[step + 1] == 0)
        return 1;
    if (s->order > 2 && (kept < 2 || (falls && step == s->n - 2)))
        return 2;
    return s->order;
}

int run_deis(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *noise[ORDER] = {piece(r, 0), piece(r, 1), piece(r, 2)};
    int rc = 0;

    for (int step = s->first; step < s->n; step++) {
        struct level l = level_of(s, s->sigmas[step]);
        int order = order_at(s, step, step - s->first);
        float *oldest = noise[ORDER - 1];

        for (int k = ORDER - 1; k > 0; k--)
            noise[k] = noise[k - 1];
        noise[0] = oldest;
        TRY(call_picture(r, step, piece(r, 3), noise[0], e));
        for (size_t i = 0; i < r->size; i++)
            noise[0][i] = (r->x[i] - l.alpha * noise[0][i]) / l.sigma;
        if (order == 1)
            first_order(s, step, r->x, noise[0], r->size);
        else
            higher_order(s, step, order, r->x, noise, r->size);
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
