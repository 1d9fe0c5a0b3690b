#include "engine/sampling/schedule_inner.h"

#include <math.h>

double linspace_f64(double first, double last, int n, int i)
{
    if (n == 1)
        return first;
    return i == n - 1 ? last : first + i * ((last - first) / (n - 1));
}

float linspace_f32(float first, float last, int n, int i)
{
    float step;

    if (n == 1)
        return first;
    step = (last - first) / (float)(n - 1);
    return i < n / 2 ? fmaf(step, (float)i, first) : fmaf(-step, (float)(n - 1 - i), last);
}

/*
 * Length of numpy.arange(start, 0, -step), at most steps. Rounding makes it steps + 1 for some
 * counts (61 of 1000), and diffusers then takes a step at time -1, which spoils the picture (ddim)
 * or does next to nothing: here that step is left out.
 */
static int arange_count(double start, double step, int steps)
{
    int count = (int)ceil((0 - start) / -step);

    return count < steps ? count : steps;
}

/* numpy.arange(start, 0, -step)[i], which spreads the rounded first difference. */
static double arange_at(double start, double step, int i)
{
    double delta = (start - step) - start;

    return i == 1 ? start - step : start + i * delta;
}

/*
 * Training step at which the log SNR falls under the bound: steps from there on are left out
 * (DPMSolverMultistepScheduler's lambda_min_clipped).
 */
static int last_timestep(const struct schedule *s, double lambda_min)
{
    int n = s->n_train;

    while (n > 0) {
        float a = s->alphas_cumprod[n - 1];
        float lambda = log_f32(sqrtf(a)) - log_f32(sqrtf(1.0f - a));
        if (lambda >= (float)lambda_min)
            break;
        n--;
    }
    return n;
}

/*
 * The solvers over the log SNR divide the range in steps + 1 points, and leave the last one out;
 * trailing spacing of a clipped range has fewer steps.
 */
static int times_lambda(const struct schedule *s, const struct schedule_settings *set, int steps,
                        struct draft *d, struct err *e)
{
    int last = last_timestep(s, set->lambda_min_clipped);
    double ratio = (double)s->n_train / steps;

    if (last < 1)
        return err_set(e, ERR_INPUT, "%s: 'lambda_min_clipped' leaves no time step", set->where);
    if (set->spacing == SPACING_LEADING && last / (steps + 1) < 1)
        return err_set(e, ERR_INPUT,
                       "%d steps of %s do not fit %d training steps with leading spacing", steps,
                       sampler_name(s->sampler), last);
    d->n = set->spacing == SPACING_TRAILING ? arange_count(last, ratio, steps) : steps;
    for (int i = 0; i < d->n; i++) {
        if (set->spacing == SPACING_LINSPACE)
            d->t[i] = nearbyint(linspace_f64(0, last - 1, steps + 1, steps - i));
        else if (set->spacing == SPACING_LEADING)
            d->t[i] = (double)(steps - i) * (last / (steps + 1)) + set->steps_offset;
        else
            d->t[i] = nearbyint(arange_at(last, ratio, i)) - 1;
    }
    return 0;
}

/* The published spacings: Lin et al. 2023 (arXiv:2305.08891), table 2. */
static void times_spaced(const struct schedule *s, const struct schedule_settings *set, int steps,
                         struct draft *d)
{
    int n_train = s->n_train;
    double ratio = (double)n_train / steps;

    d->n = steps;
    for (int i = 0; i < steps; i++) {
        double t;

        if (set->spacing == SPACING_LINSPACE)
            t = linspace_f64(0, n_train - 1, steps, steps - 1 - i);
        else if (set->spacing == SPACING_LEADING)
            t = (double)(steps - 1 - i) * (n_train / steps) + set->steps_offset;
        else
            t = nearbyint(arange_at(n_train, ratio, i)) - 1;
        d->t[i] = s->by_alpha ? nearbyint(t) : (double)(float)t;
    }
}

/* Luo et al. 2023 (arXiv:2310.04378): a share of the steps that the model was distilled with. */
static int times_distilled(const struct schedule *s, const struct schedule_settings *set, int steps,
                           struct draft *d, struct err *e)
{
    int original = set->original_steps, stride = s->n_train / original;

    if (steps > original)
        return err_set(e, ERR_INPUT,
                       "%d steps of %s: the model was distilled with %d "
                       "(original_inference_steps), and takes no more",
                       steps, sampler_name(s->sampler), original);
    d->n = steps;
    for (int i = 0; i < steps; i++) {
        int index = (int)floor(i * ((double)original / steps));
        d->t[i] = (original - index) * stride - 1;
    }
    return 0;
}

/* The second time step is taken twice: the first step's slope is the mean at both its ends. */
static void repeat_second(struct draft *d)
{
    if (d->n < 2)
        return;
    for (int i = d->n; i > 1; i--)
        d->t[i] = d->t[i - 1];
    d->n++;
}

int schedule_times(const struct schedule *s, const struct schedule_settings *set, int steps,
                   struct draft *d, struct err *e)
{
    if (set->class->family == FAMILY_LAMBDA)
        return times_lambda(s, set, steps, d, e);
    if (s->sampler == SAMPLER_LCM || s->sampler == SAMPLER_TCD)
        return times_distilled(s, set, steps, d, e);
    times_spaced(s, set, steps, d);
    if (s->sampler == SAMPLER_PNDM)
        repeat_second(d);
    return 0;
}
