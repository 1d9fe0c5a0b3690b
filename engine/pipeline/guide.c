#include "engine/pipeline/guide.h"

#include <math.h>

/* The deviation of `size` numbers with n - 1 in the denominator, as torch.std. */
static double deviation_of(double sum, double squares, int64_t size)
{
    return sqrt((squares - sum * sum / (double)size) / (double)(size - 1));
}

static double deviation(const float *values, int64_t size)
{
    double mean = 0, squares = 0;

    for (int64_t i = 0; i < size; i++)
        mean += (double)values[i];
    mean /= (double)size;
    for (int64_t i = 0; i < size; i++)
        squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    return deviation_of(0, squares, size);
}

/* The deviation of negative + sum of weight_i * (part_i - negative). */
static double plain_deviation(const float *outputs, int64_t size, const struct guidance *parts)
{
    double sum = 0, squares = 0, shift = (double)outputs[0];

    for (int64_t i = 0; i < size; i++) {
        double negative = (double)outputs[i], v = negative;

        for (size_t k = 0; k < parts->n_parts; k++)
            v += parts->parts[k].weight * ((double)outputs[(int64_t)(k + 1) * size + i] - negative);
        sum += v - shift;
        squares += (v - shift) * (v - shift);
    }
    return deviation_of(sum, squares, size);
}

static void rescale(float *out, const float *outputs, int64_t size, const struct guidance *parts,
                    const struct guide *g)
{
    float factor = (float)(plain_deviation(outputs, size, parts) / deviation(out, size));
    float share = (float)g->rescale, rest = (float)(1 - g->rescale);

    for (int64_t i = 0; i < size; i++)
        out[i] = share * (out[i] * factor) + rest * out[i];
}

void guide(float *out, const float *outputs, int64_t size, const struct guidance *parts,
           const struct guide *g)
{
    double scale = g->scale > 1 ? g->scale : 1;

    for (int64_t i = 0; i < size; i++) {
        float negative = outputs[i], v = negative;

        for (size_t k = 0; k < parts->n_parts; k++)
            v += (float)(parts->parts[k].weight * scale) *
                 (outputs[(int64_t)(k + 1) * size + i] - negative);
        out[i] = v;
    }
    if (g->rescale > 0)
        rescale(out, outputs, size, parts, g);
}
