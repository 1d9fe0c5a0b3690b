#include "engine/sampling/schedule_inner.h"

#include <math.h>

#define KARRAS_RHO 7.0
#define BETA_SHAPE 0.6 /* both parameters of Lee et al.'s distribution */

float log_f32(float x)
{
    return (float)log((double)x);
}

float exp_f32(float x)
{
    return (float)exp((double)x);
}

float log_numpy(float x)
{
    /* numpy's quotient of polynomials in the mantissa less 1 (loops_exponent_log) */
    static const float over[] = {0, 1, 2.1126776f, 1.4800006f, 0.38088378f, 0.025899792f};
    static const float under[] = {1, 2.6126776f, 2.453006f, 0.9864943f, 0.15464763f, 0.0058750953f};
    int exponent;
    float m = frexpf(x, &exponent) * 2, r, p = over[5], q = under[5];

    exponent--;
    if (m >= 1.41421356f) {
        m *= 0.5f;
        exponent++;
    }
    r = m - 1;
    for (int k = 4; k >= 0; k--) {
        p = fmaf(p, r, over[k]);
        q = fmaf(q, r, under[k]);
    }
    return fmaf((float)exponent, 0.6931472f, p / q);
}

float schedule_sigma_at(const struct schedule *s, int i)
{
    float a = s->alphas_cumprod[i];

    return sqrtf((1.0f - a) / a);
}

/* numpy.interp over the training steps, constant beyond both ends. */
static double sigma_between(const struct schedule *s, double t)
{
    double low;
    int i;

    if (t <= 0)
        return (double)schedule_sigma_at(s, 0);
    if (t >= s->n_train - 1)
        return (double)schedule_sigma_at(s, s->n_train - 1);
    i = (int)t;
    low = (double)schedule_sigma_at(s, i);
    return ((double)schedule_sigma_at(s, i + 1) - low) * (t - i) + low;
}

typedef float (*log_function)(float);

/* The training step below a sigma's log, of 0..n_train - 2; sigmas ascend over them. */
static int step_below(const struct schedule *s, double log_sigma, log_function log_of)
{
    int low = 0, high = s->n_train - 1;

    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (log_sigma >= (double)log_of(schedule_sigma_at(s, middle)))
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The training step, fractional, of a sigma: linear in the log. In float64. */
static double time_of(const struct schedule *s, double sigma)
{
    double log_sigma = log(fmax(sigma, 1e-10)), w;
    int i = step_below(s, log_sigma, log_numpy);
    float low = log_numpy(schedule_sigma_at(s, i)), high = log_numpy(schedule_sigma_at(s, i + 1));

    w = ((double)low - log_sigma) / (double)(low - high);
    w = fmin(fmax(w, 0), 1);
    return (1 - w) * i + w * (i + 1);
}

static float time_f32(const struct schedule *s, float sigma, log_function log_of)
{
    float log_sigma = log_of(fmaxf(sigma, 1e-10f)), w;
    int i = step_below(s, (double)log_sigma, log_of);
    float low = log_of(schedule_sigma_at(s, i)), high = log_of(schedule_sigma_at(s, i + 1));

    w = (low - log_sigma) / (low - high);
    w = fminf(fmaxf(w, 0), 1);
    return (1 - w) * (float)i + w * (float)(i + 1);
}

float schedule_time_numpy(const struct schedule *s, float sigma)
{
    return time_f32(s, sigma, log_numpy);
}

float schedule_time_torch(const struct schedule *s, float sigma)
{
    return time_f32(s, sigma, log_f32);
}

/* The incomplete beta function of x in 0..1/2, by its power series in x. */
static double incomplete_beta(double x)
{
    const double a = BETA_SHAPE, b = BETA_SHAPE;
    double term = 1, sum = 0;

    for (int n = 0; n < 64; n++) {
        sum += term / (a + n);
        term *= (n + 1 - b) * x / (n + 1);
    }
    return pow(x, a) * sum;
}

double beta_quantile(double p)
{
    double half = p > 0.5 ? 1 - p : p; /* equal parameters: the distribution is symmetric */
    double want = 2 * half * incomplete_beta(0.5);
    double low = 0, high = 0.5;

    if (half <= 0)
        return p > 0.5 ? 1 : 0;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (incomplete_beta(middle) < want)
            low = middle;
        else
            high = middle;
    }
    return p > 0.5 ? 1 - low : low;
}

/* One of n sigmas from max down to min. */
static double sigma_of(enum scheduler_id scheduler, double max, double min, int n, int i)
{
    double ramp = linspace_f64(0, 1, n, i), max_root, min_root;

    if (scheduler == SCHEDULER_EXPONENTIAL)
        return exp(linspace_f64(log(max), log(min), n, i));
    if (scheduler == SCHEDULER_BETA) /* Lee et al. 2024 (arXiv:2407.12173) */
        return min + beta_quantile(1 - ramp) * (max - min);
    /* Karras et al. 2022 (arXiv:2206.00364), eq. 5 */
    max_root = pow(max, 1 / KARRAS_RHO);
    min_root = pow(min, 1 / KARRAS_RHO);
    return pow(max_root + ramp * (min_root - max_root), KARRAS_RHO);
}

/* Time steps of Karras' sigmas that the class rounds to whole ones. */
static bool rounds(const struct schedule *s, const struct schedule_settings *set)
{
    if (set->scheduler != SCHEDULER_KARRAS)
        return false;
    if (s->sampler == SAMPLER_DPMPP_2M || s->sampler == SAMPLER_DPMPP_2M_SDE)
        return set->beta_schedule != BETA_SQUAREDCOS;
    return set->class->family == FAMILY_LAMBDA || s->sampler == SAMPLER_DPM2 ||
           s->sampler == SAMPLER_DPM2_A;
}

/*
 * The range: that of the spaced time steps, or the whole one for the solvers over the log SNR; the
 * file's sigma_min and sigma_max bound it, which LMS' karras alone does not read.
 */
static void choose_sigmas(const struct schedule *s, const struct schedule_settings *set,
                          struct draft *d)
{
    bool whole = set->class->family == FAMILY_LAMBDA;
    bool bounded = !(s->sampler == SAMPLER_LMS && set->scheduler == SCHEDULER_KARRAS);
    double max = sigma_between(s, whole ? s->n_train : d->t[0]);
    double min = sigma_between(s, whole ? 0 : d->t[d->n - 1]);

    if (bounded && set->sigma_max > 0)
        max = set->sigma_max;
    if (bounded && set->sigma_min > 0)
        min = set->sigma_min;
    for (int i = 0; i < d->n; i++) {
        d->sigma[i] = sigma_of(set->scheduler, max, min, d->n, i);
        d->t[i] = time_of(s, d->sigma[i]);
        if (rounds(s, set))
            d->t[i] = nearbyint(d->t[i]);
    }
}

/* Where the last step ends. */
static double last_sigma(const struct schedule *s, const struct schedule_settings *set,
                         const struct draft *d)
{
    bool own = s->sampler == SAMPLER_UNIPC || s->sampler == SAMPLER_DEIS;

    if (!set->last_sigma_min)
        return 0;
    if (own && set->scheduler != SCHEDULER_UNIFORM)
        return d->sigma[d->n - 1];
    return (double)schedule_sigma_at(s, 0);
}

void schedule_sigmas(const struct schedule *s, const struct schedule_settings *set, struct draft *d)
{
    if (set->scheduler != SCHEDULER_UNIFORM)
        choose_sigmas(s, set, d);
    else
        for (int i = 0; i < d->n; i++)
            d->sigma[i] = sigma_between(s, d->t[i]);
    d->sigma[d->n] = last_sigma(s, set, d);
    if (set->class->family == FAMILY_LAMBDA)
        for (int i = 0; i < d->n; i++)
            d->t[i] = trunc(d->t[i]);
}
