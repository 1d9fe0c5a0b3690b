#include "engine/sampling/sampler_inner.h"

#include <math.h>

float expm1_f32(float x)
{
    return (float)expm1((double)x);
}

struct value clipped(struct entry *n, struct value picture)
{
    const struct schedule *s = n->schedule;

    return s->clip ? program_clip(n->program, picture, s->clip_range) : picture;
}

struct value picture_exploding(struct entry *n, float sigma)
{
    const struct schedule *s = n->schedule;
    float square = sigma * sigma + 1.0f, c_out = -sigma / sqrtf(square);
    struct value picture = n->model;

    n->divisor = sqrtf(sigma * sigma + 1.0f);
    if (s->prediction == PREDICTION_EPSILON)
        picture = sub(n, n->x, scale(n, sigma, n->model));
    else if (s->prediction == PREDICTION_V)
        picture = add(n, scale(n, c_out, n->model), over(n, n->x, square));
    return clipped(n, picture);
}

struct value add_drawn(struct entry *n, struct value x, float factor)
{
    struct value noise = program_array(n->program, ARRAY_NOISE);

    n->draws = true;
    return add(n, x, scale(n, factor, scale(n, n->schedule->s_noise, noise)));
}

struct level level_of(const struct schedule *s, float sigma)
{
    struct level l = {1, sigma, 0};

    if (!s->exploding) {
        l.alpha = 1.0f / sqrtf(sigma * sigma + 1.0f);
        l.sigma = sigma * l.alpha;
    }
    l.lambda = log_f32(l.alpha) - log_f32(l.sigma);
    return l;
}

struct value picture_at_level(struct entry *n)
{
    const struct schedule *s = n->schedule;
    struct level l = level_of(s, s->sigmas[n->step]);

    if (s->exploding)
        return picture_exploding(n, l.sigma);
    if (s->prediction == PREDICTION_EPSILON)
        return over(n, sub(n, n->x, scale(n, l.sigma, n->model)), l.alpha);
    if (s->prediction == PREDICTION_V)
        return sub(n, scale(n, l.alpha, n->x), scale(n, l.sigma, n->model));
    return n->model;
}
