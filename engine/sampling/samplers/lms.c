/*
 * Linear multistep (Adams and Bashforth), k-diffusion. Equal to diffusers' LMSDiscreteScheduler:
 * the order is that of the entry's index, at most 4, and where a run starts later in the list the
 * slopes that it has not seen count as 0, as there.
 */
#include "engine/sampling/samplers/inner.h"

#include <math.h>

#define ORDER 4

/* The Lagrange polynomial of point j among the order newest sigmas, sigma[0] the newest. */
static double lagrange(const float *sigma, int order, int j, double tau)
{
    double product = 1;

    for (int k = 0; k < order; k++)
        if (k != j)
            product *= (tau - (double)sigma[-k]) / ((double)sigma[-j] - (double)sigma[-k]);
    return product;
}

/* Its integral over the step; two points of Gauss are exact up to the third degree. */
static float coefficient(const float *sigma, int order, int j)
{
    double middle = ((double)sigma[0] + (double)sigma[1]) / 2;
    double half = ((double)sigma[1] - (double)sigma[0]) / 2, offset = half / sqrt(3);

    return (float)(half * (lagrange(sigma, order, j, middle - offset) +
                           lagrange(sigma, order, j, middle + offset)));
}

/* x += the sum of coefficients times slopes. */
static void lms_update(const struct schedule *s, int step, float *const slope[ORDER], int kept,
                       float *x, size_t size)
{
    int order = step + 1 < ORDER ? step + 1 : ORDER;
    int n = kept < order ? kept : order;
    float c[ORDER];

    for (int j = 0; j < n; j++)
        c[j] = coefficient(s->sigmas + step, order, j);
    for (size_t i = 0; i < size; i++) {
        float sum = c[0] * slope[0][i];
        for (int j = 1; j < n; j++)
            sum = sum + c[j] * slope[j][i];
        x[i] = x[i] + sum;
    }
}

int run_lms(struct sampler_run *r, struct err *e)
{
    const struct schedule *s = r->schedule;
    float *scaled = piece(r, 0);
    float *slope[ORDER] = {piece(r, 1), piece(r, 2), piece(r, 3), piece(r, 4)};
    int rc = 0, kept = 0;

    for (int step = s->first; step < s->n; step++) {
        float sigma = s->sigmas[step], *oldest = slope[ORDER - 1];

        for (int k = ORDER - 1; k > 0; k--)
            slope[k] = slope[k - 1];
        slope[0] = oldest;
        kept = kept < ORDER ? kept + 1 : ORDER;
        TRY(call_scaled(r, step, r->x, sigma, scaled, slope[0], e));
        picture_exploding(s, sigma, r->x, slope[0], r->size);
        for (size_t i = 0; i < r->size; i++)
            slope[0][i] = (r->x[i] - slope[0][i]) / sigma;
        lms_update(s, step, slope, kept, r->x, r->size);
        TRY(finish_step(r, step, e));
    }
out:
    return rc;
}
