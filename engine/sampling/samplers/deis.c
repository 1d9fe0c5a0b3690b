/*
 * Diffusion exponential integrator, Zhang and Chen 2022 (arXiv:2204.13902), in log rho. Equal to
 * diffusers' DEISMultistepScheduler. Its formulas do not reach no noise: the class ends at the
 * smallest sigma, and where a scheduler of the web UI ends at 0, the last step is their limit, the
 * predicted picture.
 */
#include "engine/sampling/sampler_inner.h"

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

static struct value first_order(struct entry *n, struct value noise)
{
    const struct schedule *s = n->schedule;
    struct level t = level_of(s, s->sigmas[n->step + 1]), from = level_of(s, s->sigmas[n->step]);
    float share = t.alpha / from.alpha, more = t.sigma * (exp_f32(t.lambda - from.lambda) - 1.0f);

    if (t.sigma == 0)
        more = share * from.sigma;
    return sub(n, scale(n, share, n->x), scale(n, more, noise));
}

/* noise: the newest; the others are kept. */
static struct value higher_order(struct entry *n, int order, struct value noise)
{
    const struct schedule *s = n->schedule;
    float alpha = level_of(s, s->sigmas[n->step + 1]).alpha;
    float alpha_from = level_of(s, s->sigmas[n->step]).alpha, weight[ORDER];
    struct value sum = over(n, n->x, alpha_from);

    weigh(s, n->step, order, weight);
    for (int k = 0; k < order; k++) {
        struct value one = k == 0 ? noise : kept(n, place_of(n->age - k, ORDER));

        sum = add(n, sum, scale(n, weight[k], one));
    }
    return scale(n, alpha, sum);
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

struct value run_deis(struct entry *n)
{
    const struct schedule *s = n->schedule;
    struct level l = level_of(s, s->sigmas[n->step]);
    int order = order_at(s, n->step, n->age);
    struct value picture = picture_at_level(n);
    struct value noise = over(n, sub(n, n->x, scale(n, l.alpha, picture)), l.sigma);
    struct value x = order == 1 ? first_order(n, noise) : higher_order(n, order, noise);

    keep(n, place_of(n->age, ORDER), noise);
    return x;
}
