#include "engine/ops/ref/ref.h"
#include "engine/ops/shape.h"

#include <math.h>

/* Mean and 1/sqrt(variance + eps) of rows x width numbers, rows stride apart; two passes. */
static void statistics(const float *x, int64_t rows, int64_t width, int64_t stride, double eps,
                       double *ret_mean, double *ret_scale)
{
    double sum = 0, squares = 0, count = (double)(rows * width), mean;

    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++)
            sum += x[r * stride + i];
    mean = sum / count;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i++)
            squares += (x[r * stride + i] - mean) * (x[r * stride + i] - mean);
    *ret_mean = mean;
    *ret_scale = 1 / sqrt(squares / count + eps);
}

int ref_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                   struct err *e)
{
    int rc = shape_check_groups(c, groups, e);

    if (rc || o->planning)
        return rc;
    for (int64_t g = 0; g < n * groups; g++) {
        int64_t width = c / groups, first = g % groups * width, base = g / groups * p * c + first;
        double mean, scale;

        statistics(f32_in(x) + base, p, width, c, (double)eps, &mean, &scale);
        for (int64_t r = 0; r < p; r++)
            for (int64_t i = 0; i < width; i++)
                f32(y)[base + r * c + i] = (float)ref_activate(
                    (f32_in(x)[base + r * c + i] - mean) * scale * norm->gamma[first + i] +
                        norm->beta[first + i],
                    act);
    }
    return 0;
}

int ref_layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t m, int64_t c, float eps, struct err *e)
{
    (void)e;
    for (int64_t row = 0; row < m && !o->planning; row++) {
        double mean, scale;

        statistics(f32_in(x) + row * c, 1, c, c, (double)eps, &mean, &scale);
        for (int64_t i = 0; i < c; i++)
            f32(y)[row * c + i] =
                (float)((f32_in(x)[row * c + i] - mean) * scale * norm->gamma[i] + norm->beta[i]);
    }
    return 0;
}
