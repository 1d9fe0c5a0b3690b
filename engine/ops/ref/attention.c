#include "engine/ops/ref/ref.h"

#include <math.h>

/* One row of one head. q, k, v, y begin at the head's column; rows of k and v are stride apart. */
static void attend(float *y, const float *q, const float *k, const float *v, int64_t keys,
                   int64_t stride, int head_dim, double scale, double *weights)
{
    double top = -INFINITY, total = 0;

    for (int64_t j = 0; j < keys; j++) {
        double dot = 0;

        for (int i = 0; i < head_dim; i++)
            dot += (double)q[i] * k[j * stride + i];
        weights[j] = dot * scale;
        top = fmax(top, weights[j]);
    }
    for (int64_t j = 0; j < keys; j++) {
        weights[j] = exp(weights[j] - top);
        total += weights[j];
    }
    for (int i = 0; i < head_dim; i++) {
        double sum = 0;

        for (int64_t j = 0; j < keys; j++)
            sum += weights[j] * v[j * stride + i];
        y[i] = (float)(sum / total);
    }
}

int ref_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                  const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads, int head_dim,
                  float scale, bool causal, struct err *e)
{
    size_t mark = arena_mark(o->arena);
    double *weights = arena_bytes(o->arena, (size_t)tk * sizeof *weights);
    int64_t c = (int64_t)heads * head_dim;

    for (int64_t row = 0; row < n * tq && weights && !o->planning; row++) {
        int64_t base = row / tq * tk * c, keys = row % tq + 1;

        if (!causal || keys > tk)
            keys = tk;
        for (int64_t h = 0; h < c; h += head_dim)
            attend(f32(y) + row * c + h, f32_in(q) + row * c + h, f32_in(k) + base + h,
                   f32_in(v) + base + h, keys, c, head_dim, (double)scale, weights);
    }
    arena_release(o->arena, mark);
    return arena_check(o->arena, e);
}
