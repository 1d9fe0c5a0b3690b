/*
 * The parts of schedule.c: time steps (schedule_times.c), the diffusers classes' sigmas
 * (schedule_sigmas.c), the web UI's (schedule_web.c). For these files only.
 */
#ifndef ENGINE_SAMPLING_SCHEDULE_INNER_H
#define ENGINE_SAMPLING_SCHEDULE_INNER_H

#include "engine/sampling/schedule_config.h"

/* ---- numbers as numpy and torch have them */

/* numpy.linspace(first, last, n)[i]: the end is exact. */
double linspace_f64(double first, double last, int n, int i);

/* torch.linspace in float32: from both ends towards the middle, products unrounded. */
float linspace_f32(float first, float last, int n, int i);

/* float32 functions of scalars, rounded once from float64: torch's, but for a bit in a thousand. */
float log_f32(float x);
float exp_f32(float x);

/*
 * numpy's float32 log of a normal number, bit for bit: it is off by one unit in the last place in
 * one of five, which decides time steps that a class truncates, and shows where logs are
 * subtracted.
 */
float log_numpy(float x);

/*
 * Quantile of the beta distribution with both parameters 0.6, of p in 0..1: scipy.stats.beta.ppf to
 * 1e-15 absolute.
 */
double beta_quantile(double p);

/* ---- the noise process; s->alphas_cumprod is set */

float schedule_sigma_at(const struct schedule *s, int i); /* of a training step */

/* The training step, fractional, of a sigma: linear in the log. In numpy's float32, in torch's. */
float schedule_time_numpy(const struct schedule *s, float sigma);
float schedule_time_torch(const struct schedule *s, float sigma);

/* ---- a list of steps in the making: one entry for each, later calls not yet listed */
struct draft {
    int n;             /* steps */
    double *t, *sigma; /* [n], [n + 1] */
};

/* Time steps as the class spaces them: d->n and d->t, of capacity steps + 1. */
int schedule_times(const struct schedule *s, const struct schedule_settings *set, int steps,
                   struct draft *d, struct err *e);

/* d->sigma of the class's own schedulers; d->t becomes that of the new sigmas. */
void schedule_sigmas(const struct schedule *s, const struct schedule_settings *set,
                     struct draft *d);

/* The web UI's: d->n steps, d->t and d->sigma. */
void schedule_web(const struct schedule *s, const struct schedule_settings *set, int steps, bool xl,
                  struct draft *d);

#endif
