#include "engine/sampling/noise.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define ALIKE    0.9995 /* mean cosine from which the web UI mixes linearly */
#define PARALLEL 1e-6   /* sine of an angle that slerp cannot divide by */

static size_t own_count(const struct noise_options *o)
{
    return (size_t)(o->channels * o->h * o->w);
}

static bool resizes(const struct noise_options *o)
{
    return o->resize_h > 0 && o->resize_w > 0 && (o->resize_h != o->h || o->resize_w != o->w);
}

/* Numbers of the latent that the seed's picture had. */
static size_t seed_count(const struct noise_options *o)
{
    return resizes(o) ? (size_t)(o->channels * o->resize_h * o->resize_w) : own_count(o);
}

static void start_stream(struct noise *z, int64_t seed)
{
    torch_rng_init(&z->torch, (uint64_t)seed);
    philox_init(&z->philox, (uint64_t)seed);
}

static void draw(struct noise *z, float *ret_values, size_t n)
{
    if (z->options.rng == RNG_NV)
        philox_normal(&z->philox, ret_values, n);
    else
        torch_rng_normal(&z->torch, ret_values, n);
}

/* The n numbers that a picture of that seed and size starts with. */
static void draw_fresh(const struct noise_options *o, int64_t seed, float *ret_values, size_t n)
{
    struct noise z = {.options = *o};

    start_stream(&z, seed);
    for (int i = 0; i <= o->before; i++)
        draw(&z, ret_values, n);
}

void noise_init(struct noise *z, const struct noise_options *o)
{
    *z = (struct noise){.options = *o};
    start_stream(z, o->seed);
}

size_t noise_scratch_floats(const struct noise_options *o)
{
    return (resizes(o) ? seed_count(o) : 0) + (o->subseed_strength != 0 ? seed_count(o) : 0);
}

void noise_next(struct noise *z, float *ret_values)
{
    draw(z, ret_values, own_count(&z->options));
}

bool noise_skip(struct noise *z, uint32_t *ret_draw)
{
    if (z->options.rng != RNG_NV)
        return false;
    *ret_draw = z->philox.offset++;
    return true;
}

/* Cosine of the angle between two columns of h numbers, w apart. */
static double column_cosine(const float *a, const float *b, int64_t h, int64_t w)
{
    double aa = 0, bb = 0, ab = 0;

    for (int64_t y = 0; y < h; y++) {
        double p = (double)a[y * w], q = (double)b[y * w];

        aa += p * p;
        bb += q * q;
        ab += p * q;
    }
    return ab / sqrt(aa) / sqrt(bb);
}

static void mix_column(float *low, const float *high, int64_t h, int64_t w, double keep, double add)
{
    for (int64_t y = 0; y < h; y++)
        low[y * w] = (float)(keep * (double)low[y * w] + add * (double)high[y * w]);
}

/* Shoemake 1985, column by column: low goes `t` of the way to high. Both: [channels, h, w]. */
static void slerp(float *low, const float *high, int64_t channels, int64_t h, int64_t w, double t)
{
    double sum = 0;
    bool alike;

    for (int64_t i = 0; i < channels * w; i++)
        sum += column_cosine(low + i / w * h * w + i % w, high + i / w * h * w + i % w, h, w);
    alike = sum / (double)(channels * w) > ALIKE;
    for (int64_t i = 0; i < channels * w; i++) {
        int64_t at = i / w * h * w + i % w;
        double omega = acos(column_cosine(low + at, high + at, h, w)), sine = sin(omega);

        if (alike)
            mix_column(low + at, high + at, h, w, t, 1 - t);
        else if (!(fabs(sine) > PARALLEL))
            mix_column(low + at, high + at, h, w, 1 - t, t);
        else
            mix_column(low + at, high + at, h, w, sin((1 - t) * omega) / sine,
                       sin(t * omega) / sine);
    }
}

/* Half of a difference, towards minus infinity as Python's // has it. */
static int64_t half(int64_t difference)
{
    return difference >= 0 ? difference / 2 : -((1 - difference) / 2);
}

/* Lays `from`, of the resize's size, centred over x. */
static void lay_centred(const struct noise_options *o, float *x, const float *from)
{
    int64_t dx = half(o->w - o->resize_w), dy = half(o->h - o->resize_h);
    int64_t w = dx >= 0 ? o->resize_w : o->resize_w + 2 * dx;
    int64_t h = dy >= 0 ? o->resize_h : o->resize_h + 2 * dy;
    int64_t to_x = dx > 0 ? dx : 0, to_y = dy > 0 ? dy : 0;
    int64_t from_x = dx < 0 ? -dx : 0, from_y = dy < 0 ? -dy : 0;

    for (int64_t c = 0; c < o->channels && w > 0; c++)
        for (int64_t y = 0; y < h; y++)
            memcpy(x + (c * o->h + to_y + y) * o->w + to_x,
                   from + (c * o->resize_h + from_y + y) * o->resize_w + from_x,
                   (size_t)w * sizeof *x);
}

void noise_first(struct noise *z, float *ret_values, float *scratch)
{
    const struct noise_options *o = &z->options;
    float *start = resizes(o) ? scratch : ret_values;
    float *other = resizes(o) ? scratch + seed_count(o) : scratch;

    noise_next(z, ret_values);
    if (resizes(o))
        draw_fresh(o, o->seed, start, seed_count(o));
    if (o->subseed_strength != 0) {
        draw_fresh(o, o->subseed, other, seed_count(o));
        slerp(start, other, o->channels, resizes(o) ? o->resize_h : o->h,
              resizes(o) ? o->resize_w : o->w, o->subseed_strength);
    }
    if (resizes(o))
        lay_centred(o, ret_values, start);
}
