/*
 * Pseudo linear multistep, Liu et al. 2022 (arXiv:2202.09778), eq. 9 and 12. Equal to diffusers'
 * PNDMScheduler with skip_prk_steps: the second time step is listed twice, and the second call
 * takes the first step again with the mean slope. A run that starts later in the list goes through
 * the same order of formulas, as there.
 */
#include "engine/sampling/sampler_inner.h"

#include <math.h>

#define KEPT 4 /* slopes */

#define START KEPT /* where the latent of the step's start is kept */

/* The slope of the formula for n_slopes kept ones, slope[0] the newest. */
static struct value combine(struct entry *n, const struct value slope[KEPT], int n_slopes)
{
    struct value sum;

    if (n_slopes == 1)
        return slope[0];
    if (n_slopes == 2)
        return over(n, sub(n, scale(n, 3, slope[0]), slope[1]), 2);
    if (n_slopes == 3) {
        sum = sub(n, scale(n, 23, slope[0]), scale(n, 16, slope[1]));
        return over(n, add(n, sum, scale(n, 5, slope[2])), 12);
    }
    sum = sub(n, scale(n, 55, slope[0]), scale(n, 59, slope[1]));
    sum = sub(n, add(n, sum, scale(n, 37, slope[2])), scale(n, 9, slope[3]));
    return scale(n, (float)(1.0 / 24), sum);
}

/* `from`, moved from the training step t to prev along a slope. */
static struct value transfer(struct entry *n, int t, int prev, struct value from,
                             struct value slope)
{
    const struct schedule *s = n->schedule;
    float a = s->alphas_cumprod[t], b = 1.0f - a;
    float a_prev = prev >= 0 ? s->alphas_cumprod[prev] : s->final_alpha_cumprod;
    float share = sqrtf(a_prev / a), root_a = sqrtf(a), root_b = sqrtf(b);
    float divisor = a * sqrtf(1.0f - a_prev) + sqrtf(a * b * a_prev);
    float change = a_prev - a;

    if (s->prediction == PREDICTION_V)
        slope = add(n, scale(n, root_a, slope), scale(n, root_b, from));
    return sub(n, scale(n, share, from), over(n, scale(n, change, slope), divisor));
}

struct value run_pndm(struct entry *n)
{
    const struct schedule *s = n->schedule;
    int t = (int)s->timesteps[n->step], newest = n->age > 0 ? n->age - 1 : 0;
    int n_slopes = newest + 1 < KEPT ? newest + 1 : KEPT;
    struct value slope[KEPT];

    if (n->age == 1) { /* the first step again, with the mean slope */
        struct value mean = over(n, add(n, n->model, kept(n, 0)), 2);

        return transfer(n, t + s->stride, t, kept(n, START), mean);
    }
    slope[0] = n->model;
    for (int k = 1; k < n_slopes; k++)
        slope[k] = kept(n, place_of(newest - k, KEPT));
    keep(n, place_of(newest, KEPT), n->model);
    keep(n, START, n->x);
    return transfer(n, t, t - s->stride, n->x, combine(n, slope, n_slopes));
}
