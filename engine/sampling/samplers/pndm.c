/*
 * Pseudo linear multistep, Liu et al. 2022 (arXiv:2202.09778), eq. 9 and 12. Equal to diffusers'
 * PNDMScheduler with skip_prk_steps: the second time step is listed twice, and the second call
 * takes the first step again with the mean slope. A run that starts later in the list goes through
 * the same order of formulas, as there.
 */
#include "engine/sampling/samplers/inner.h"

#include <math.h>
#include <string.h>

#define KEPT 4 /* slopes */

/* The slope of the formula for n kept ones, slope[0] the newest. */
static float combine(float *const slope[KEPT], int n, size_t i)
{
    if (n == 1)
        return slope[0][i];
    if (n == 2)
        return (3 * slope[0][i] - slope[1][i]) / 2;
    if (n == 3)
        return (23 * slope[0][i] - 16 * slope[1][i] + 5 * slope[2][i]) / 12;
    return (float)(1.0 / 24) *
           (55 * slope[0][i] - 59 * slope[1][i] + 37 * slope[2][i] - 9 * slope[3][i]);
}

/* x = from, moved from the training step t to prev along a slope. */
static void transfer(const struct schedule *s, int t, int prev, const float *from,
                     const float *slope, float *x, size_t size)
{
    float a = s->alphas_cumprod[t], b = 1.0f - a;
    float a_prev = prev >= 0 ? s->alphas_cumprod[prev] : s->final_alpha_cumprod;
    float keep = sqrtf(a_prev / a), root_a = sqrtf(a), root_b = sqrtf(b);
    float divisor = a * sqrtf(1.0f - a_prev) + sqrtf(a * b * a_prev);
    float change = a_prev - a;

    for (size_t i = 0; i < size; i++) {
        float y = s->prediction == PREDICTION_V ? root_a * slope[i] + root_b * from[i] : slope[i];

        x[i] = keep * from[i] - change * y / divisor;
    }
}

/* Makes room for the newest slope in front. */
static void shift(float *slope[KEPT], int *n)
{
    float *oldest = slope[KEPT - 1];

    for (int k = KEPT - 1; k > 0; k--)
        slope[k] = slope[k - 1];
    slope[0] = oldest;
    *n = *n < KEPT ? *n + 1 : KEPT;
}

int run_pndm(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *slope[KEPT] = {piece(r, 0), piece(r, 1), piece(r, 2), piece(r, 3)};
    float *start = piece(r, 4), *mean = piece(r, 5);
    int rc = 0, kept = 0;

    for (int step = s->first; step < s->n; step++) {
        int t = (int)s->timesteps[step];

        if (step == s->first + 1) {
            TRY(call_plain(r, step, r->x, mean, e));
            for (size_t i = 0; i < r->size; i++)
                mean[i] = (mean[i] + slope[0][i]) / 2;
            transfer(s, t + s->stride, t, start, mean, r->x, r->size);
        } else {
            shift(slope, &kept);
            TRY(call_plain(r, step, r->x, slope[0], e));
            memcpy(start, r->x, r->size * sizeof *start);
            for (size_t i = 0; i < r->size; i++)
                mean[i] = combine(slope, kept, i);
            transfer(s, t, t - s->stride, start, mean, r->x, r->size);
        }
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
