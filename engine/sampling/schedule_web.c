#include "engine/sampling/schedule_inner.h"

#include <math.h>

/*
 * AUTOMATIC1111 1.10's schedules (modules/sd_schedulers.py) and those of k-diffusion that it calls,
 * over the model's whole range of sigmas. Each writes n + 1 sigmas; all but kl_optimal end at 0.
 */

#define RHO 7.0

/* k-diffusion's t_to_sigma: between the logs of two training steps. */
static float sigma_of_time(const struct schedule *s, float t)
{
    int low = (int)floorf(t), high = (int)ceilf(t);
    float w = t - (float)low;

    return exp_f32((1 - w) * log_f32(schedule_sigma_at(s, low)) +
                   w * log_f32(schedule_sigma_at(s, high)));
}

static void web_uniform(const struct schedule *s, int n, double *ret_sigma)
{
    for (int i = 0; i < n; i++)
        ret_sigma[i] = (double)sigma_of_time(s, linspace_f32((float)(s->n_train - 1), 0, n, i));
}

/* Equal time steps; sgm leaves the last of n + 1 out. */
static void web_normal(const struct schedule *s, int n, bool sgm, double *ret_sigma)
{
    float first = (float)(s->n_train - 1);

    for (int i = 0; i < n; i++)
        ret_sigma[i] = (double)sigma_of_time(s, linspace_f32(first, 0, sgm ? n + 1 : n, i));
}

static void web_simple(const struct schedule *s, int n, double *ret_sigma)
{
    double stride = (double)s->n_train / n;

    for (int i = 0; i < n; i++)
        ret_sigma[i] = (double)schedule_sigma_at(s, s->n_train - 1 - (int)(i * stride));
}

static void web_karras(float max, float min, int n, double *ret_sigma)
{
    double max_root = pow((double)max, 1 / RHO), min_root = pow((double)min, 1 / RHO);

    for (int i = 0; i < n; i++)
        ret_sigma[i] =
            pow(max_root + (double)linspace_f32(0, 1, n, i) * (min_root - max_root), RHO);
}

/* Also polyexponential, whose exponent is 1 in the web UI. */
static void web_exponential(float max, float min, int n, double *ret_sigma)
{
    for (int i = 0; i < n; i++)
        ret_sigma[i] = exp(linspace_f64(log((double)max), log((double)min), n, i));
}

static void web_beta(float max, float min, int n, double *ret_sigma)
{
    for (int i = 0; i < n; i++)
        ret_sigma[i] =
            (double)min + beta_quantile(1 - linspace_f64(0, 1, n, i)) * ((double)max - (double)min);
}

/* Anonymous 2024, "KL-optimal" (Align Your Steps, arXiv:2404.14507, appendix): ends at min. */
static void web_kl_optimal(float max, float min, int n, double *ret_sigma)
{
    double low = atan((double)min), high = atan((double)max);

    for (int i = 0; i <= n; i++)
        ret_sigma[i] = tan((double)i / n * low + (1 - (double)i / n) * high);
}

/* Sabour et al. 2024 (arXiv:2404.14507): eleven sigmas, others between them in the log. */
static void web_align_your_steps(int n, bool xl, double *ret_sigma)
{
    static const double sd[] = {14.615, 6.475, 3.861, 2.697, 1.886, 1.396,
                                0.963,  0.652, 0.399, 0.152, 0.029};
    static const double sdxl[] = {14.615, 6.315, 3.771, 2.181, 1.342, 0.862,
                                  0.555,  0.380, 0.234, 0.113, 0.029};
    const int last = sizeof sd / sizeof *sd - 1;
    const double *table = xl ? sdxl : sd;

    for (int i = 0; i < n; i++) {
        /* counted from the low end, where one step alone stays */
        double at = linspace_f64(0, 1, n, n - 1 - i) * last;
        int low = at < last ? (int)at : last - 1;
        double from = log(table[last - low]), to = log(table[last - low - 1]);

        ret_sigma[i] = exp(from + (at - low) * (to - from));
    }
}

void schedule_web(const struct schedule *s, const struct schedule_settings *set, int steps, bool xl,
                  struct draft *d)
{
    float max = schedule_sigma_at(s, s->n_train - 1), min = schedule_sigma_at(s, 0);
    enum scheduler_id scheduler = set->scheduler;

    d->n = steps;
    d->sigma[steps] = 0;
    if (scheduler == SCHEDULER_UNIFORM)
        web_uniform(s, steps, d->sigma);
    else if (scheduler == SCHEDULER_NORMAL || scheduler == SCHEDULER_SGM_UNIFORM)
        web_normal(s, steps, scheduler == SCHEDULER_SGM_UNIFORM, d->sigma);
    else if (scheduler == SCHEDULER_SIMPLE)
        web_simple(s, steps, d->sigma);
    else if (scheduler == SCHEDULER_KARRAS)
        web_karras(max, min, steps, d->sigma);
    else if (scheduler == SCHEDULER_BETA)
        web_beta(max, min, steps, d->sigma);
    else if (scheduler == SCHEDULER_KL_OPTIMAL)
        web_kl_optimal(max, min, steps, d->sigma);
    else if (scheduler == SCHEDULER_ALIGN_YOUR_STEPS)
        web_align_your_steps(steps, xl, d->sigma);
    else
        web_exponential(max, min, steps, d->sigma);
    for (int i = 0; i < steps; i++)
        d->t[i] = (double)schedule_time_torch(s, (float)d->sigma[i]);
}
