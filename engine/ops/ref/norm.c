#include "engine/ops/ref/ref.h"
#include "engine/ops/shape.h"

#include <math.h>
#include <string.h>

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

/* sums[n][2][c]: of each channel's numbers and their squares. */
static void channel_sums(double *sums, const float *x, int64_t n, int64_t p, int64_t c)
{
    memset(sums, 0, (size_t)(n * 2 * c) * sizeof *sums);
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < p; r++)
            for (int64_t k = 0; k < c; k++) {
                double value = x[(i * p + r) * c + k];

                sums[i * 2 * c + k] += value;
                sums[i * 2 * c + c + k] += value * value;
            }
}

int ref_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                        int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                        const struct norm_whole *whole, struct err *e)
{
    size_t mark = arena_mark(o->arena);
    int64_t width = c / groups;
    double *sums;
    int rc = 0;

    TRY(shape_check_groups(c, groups, e));
    sums = arena_bytes(o->arena, (size_t)(n * 2 * c) * sizeof *sums);
    TRY(arena_check(o->arena, e));
    if (o->planning)
        goto out;
    channel_sums(sums, f32_in(x), n, p, c);
    TRY(whole->add(whole->user, sums, n * 2 * c, e));
    for (int64_t g = 0; g < n * groups; g++) {
        int64_t first = g % groups * width, base = g / groups * p * c + first;
        double sum = 0, squares = 0, count = (double)(whole->p * width), mean, scale;

        for (int64_t k = first; k < first + width; k++) {
            sum += sums[g / groups * 2 * c + k];
            squares += sums[g / groups * 2 * c + c + k];
        }
        mean = sum / count;
        scale = 1 / sqrt(fmax(squares / count - mean * mean, 0) + (double)eps);
        for (int64_t r = 0; r < p; r++)
            for (int64_t k = 0; k < width; k++)
                f32(y)[base + r * c + k] = (float)ref_activate(
                    (f32_in(x)[base + r * c + k] - mean) * scale * norm->gamma[first + k] +
                        norm->beta[first + k],
                    act);
    }
out:
    arena_release(o->arena, mark);
    return rc;
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
