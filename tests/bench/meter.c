#include "tests/bench/meter.h"

#include "tests/bench/peak.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[METER_KINDS] = {
    "linear", "conv 3x3", "conv 1x1", "attention", "group_norm", "layer_norm",
    "geglu",  "activate", "add",      "concat",    "upsample",   "copy",
};

/* A layer by its address. */
struct shape {
    const void *layer;
    int64_t in, out, kernel;
};

/* The backend's own functions behind the ones here, and what was seen. */
static struct {
    struct ops own;
    struct meter meters[METER_KINDS];
    struct shape *shapes;
    size_t n, capacity;
} state;

const char *meter_name(enum meter_kind kind)
{
    return names[kind];
}

void meter_reset(void)
{
    memset(state.meters, 0, sizeof state.meters);
}

void meter_read(struct meter ret_meters[METER_KINDS])
{
    memcpy(ret_meters, state.meters, sizeof state.meters);
}

void meter_done(void)
{
    free(state.shapes);
    state.shapes = NULL;
    state.n = state.capacity = 0;
}

static void remember(const void *layer, const struct tensor *w)
{
    if (state.n == state.capacity) {
        state.capacity = state.capacity ? 2 * state.capacity : 1024;
        state.shapes = realloc(state.shapes, state.capacity * sizeof *state.shapes);
        if (state.shapes == NULL)
            abort();
    }
    state.shapes[state.n++] =
        (struct shape){layer, w->shape[1], w->shape[0], w->rank == 4 ? w->shape[2] : 1};
}

/* The latest of that address: earlier ones may be gone. */
static const struct shape *shape_of(const void *layer)
{
    for (size_t i = state.n; i-- > 0;)
        if (state.shapes[i].layer == layer)
            return &state.shapes[i];
    abort();
}

/* One call that began at `start`, over so many numbers of activations. */
static void note(const struct ops *o, enum meter_kind kind, double start, double flops,
                 double numbers, double weights)
{
    struct meter *m = &state.meters[kind];

    if (o->planning)
        return;
    m->calls++;
    m->seconds += seconds() - start;
    m->flops += flops;
    m->bytes += numbers * (double)o->act_bytes + weights * (o->precision == PRECISION_F32 ? 4 : 2);
}

static int linear_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                      struct linear **ret_l, struct err *e)
{
    int rc = state.own.linear_new(o, w, bias, ret_l, e);

    if (rc == 0)
        remember(*ret_l, w);
    return rc;
}

static int conv_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                    struct conv **ret_c, struct err *e)
{
    int rc = state.own.conv_new(o, w, bias, ret_c, e);

    if (rc == 0)
        remember(*ret_c, w);
    return rc;
}

static int linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                  int64_t m, enum activation act, const struct act *residual, struct err *e)
{
    const struct shape *s = shape_of(l);
    double start = seconds(), weights = (double)(s->in * s->out);
    int rc = state.own.linear(o, y, x, l, m, act, residual, e);

    note(o, METER_LINEAR, start, 2 * (double)m * weights,
         (double)(m * (s->in + s->out * (residual ? 2 : 1))), weights);
    return rc;
}

static int conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c,
                  int64_t n, int64_t h, int64_t w, int stride, const int pad[4],
                  const struct act *per_sample, const struct act *residual, struct err *e)
{
    const struct shape *s = shape_of(c);
    int64_t high = (h + pad[0] + pad[1] - s->kernel) / stride + 1;
    int64_t wide = (w + pad[2] + pad[3] - s->kernel) / stride + 1;
    double start = seconds(), weights = (double)(s->in * s->out * s->kernel * s->kernel);
    double rows = (double)(n * high * wide);
    int rc = state.own.conv2d(o, y, x, c, n, h, w, stride, pad, per_sample, residual, e);

    note(o, s->kernel == 3 ? METER_CONV3 : METER_CONV1, start, 2 * rows * weights,
         (double)(n * h * w * s->in) + rows * (double)s->out * (residual ? 2 : 1), weights);
    return rc;
}

static int attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                     const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                     int head_dim, float scale, bool causal, struct err *e)
{
    double start = seconds(), rows = (double)(n * heads * head_dim);
    int rc = state.own.attention(o, y, q, k, v, n, tq, tk, heads, head_dim, scale, causal, e);

    note(o, METER_ATTENTION, start, 4 * rows * (double)tq * (double)tk,
         rows * 2 * (double)(tq + tk), 0);
    return rc;
}

static int group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                      int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                      struct err *e)
{
    double start = seconds();
    int rc = state.own.group_norm(o, y, x, norm, n, p, c, groups, eps, act, e);

    note(o, METER_GROUP_NORM, start, 0, 2 * (double)(n * p * c), 0);
    return rc;
}

static int layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                      int64_t m, int64_t c, float eps, struct err *e)
{
    double start = seconds();
    int rc = state.own.layer_norm(o, y, x, norm, m, c, eps, e);

    note(o, METER_LAYER_NORM, start, 0, 2 * (double)(m * c), 0);
    return rc;
}

static int geglu(struct ops *o, struct act *y, const struct act *x, int64_t m, int64_t c,
                 struct err *e)
{
    double start = seconds();
    int rc = state.own.geglu(o, y, x, m, c, e);

    note(o, METER_GEGLU, start, 0, 3 * (double)(m * c), 0);
    return rc;
}

static int linear_geglu(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                        int64_t m, struct err *e)
{
    const struct shape *s = shape_of(l);
    double start = seconds(), weights = (double)(s->in * s->out);
    int rc = state.own.linear_geglu(o, y, x, l, m, e);

    note(o, METER_LINEAR, start, 2 * (double)m * weights, (double)(m * (s->in + s->out / 2)),
         weights);
    return rc;
}

static int activate(struct ops *o, struct act *y, const struct act *x, int64_t n,
                    enum activation act, struct err *e)
{
    double start = seconds();
    int rc = state.own.activate(o, y, x, n, act, e);

    note(o, METER_ACTIVATE, start, 0, 2 * (double)n, 0);
    return rc;
}

static int add(struct ops *o, struct act *y, const struct act *a, const struct act *b, int64_t n,
               struct err *e)
{
    double start = seconds();
    int rc = state.own.add(o, y, a, b, n, e);

    note(o, METER_ADD, start, 0, 3 * (double)n, 0);
    return rc;
}

static int concat(struct ops *o, struct act *y, const struct act *a, const struct act *b, int64_t m,
                  int64_t ca, int64_t cb, struct err *e)
{
    double start = seconds();
    int rc = state.own.concat(o, y, a, b, m, ca, cb, e);

    note(o, METER_CONCAT, start, 0, 2 * (double)(m * (ca + cb)), 0);
    return rc;
}

static int upsample(struct ops *o, struct act *y, const struct act *x, int64_t n, int64_t h,
                    int64_t w, int64_t c, int64_t ho, int64_t wo, struct err *e)
{
    double start = seconds();
    int rc = state.own.upsample(o, y, x, n, h, w, c, ho, wo, e);

    note(o, METER_UPSAMPLE, start, 0, (double)(n * c * (h * w + ho * wo)), 0);
    return rc;
}

static int put(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e)
{
    double start = seconds();
    int rc = state.own.put(o, y, x, n, e);

    note(o, METER_COPY, start, 0, 2 * (double)n, 0);
    return rc;
}

static int get(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e)
{
    double start = seconds();
    int rc = state.own.get(o, y, x, n, e);

    note(o, METER_COPY, start, 0, 2 * (double)n, 0);
    return rc;
}

void meter_wrap(struct ops *o)
{
    state.own = *o;
    o->linear_new = linear_new;
    o->conv_new = conv_new;
    o->linear = linear;
    o->conv2d = conv2d;
    o->attention = attention;
    o->group_norm = group_norm;
    o->layer_norm = layer_norm;
    o->geglu = geglu;
    if (o->linear_geglu != NULL)
        o->linear_geglu = linear_geglu;
    o->activate = activate;
    o->add = add;
    o->concat = concat;
    o->upsample = upsample;
    o->put = put;
    o->get = get;
}
