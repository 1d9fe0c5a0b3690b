/*
 * Linear multistep (Adams and Bashforth), k-diffusion. Equal to diffusers' LMSDiscreteScheduler:
 * the order is that of the entry's index, at most 4, and where a run starts later in the list the
 * slopes that it has not seen count as 0, as there.
 */
#include "engine/sampling/sampler_inner.h"

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

struct value run_lms(struct entry *n)
{
    const struct schedule *s = n->schedule;
    int order = n->step + 1 < ORDER ? n->step + 1 : ORDER;
    int seen = n->age + 1 < order ? n->age + 1 : order;
    float sigma = s->sigmas[n->step];
    struct value slope = over(n, sub(n, n->x, picture_exploding(n, sigma)), sigma);
    struct value sum = scale(n, coefficient(s->sigmas + n->step, order, 0), slope);

    for (int j = 1; j < seen; j++)
        sum = add(n, sum,
                  scale(n, coefficient(s->sigmas + n->step, order, j),
                        kept(n, place_of(n->age - j, ORDER))));
    keep(n, place_of(n->age, ORDER), slope);
    return add(n, n->x, sum);
}
