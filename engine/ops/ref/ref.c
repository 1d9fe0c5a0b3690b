/*
 * The reference backend: each op as its definition reads, sums in float64, one thread. It is what
 * other backends are compared with, so it favours being obviously right over being fast.
 */
#include "engine/ops/ref/ref.h"
#include "engine/ops/ops.h"
#include "engine/ops/shape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct linear {
    int64_t in, out;
    float *w;    /* [in, out], owned with all behind it */
    float *bias; /* [out], zeros if there was none */
    double *sum; /* [out], one row of results */
    size_t bytes;
};

struct conv {
    int64_t in, out, kh, kw;
    float *w;    /* [kh, kw, in, out] */
    float *bias; /* [out] */
    double *sum; /* [out] */
    size_t bytes;
};

double ref_activate(double x, enum activation act)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU:
        return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
    case ACT_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    default:
        return x;
    }
}

/* w as float32 [in * rest, out] from [out, in, rest], with rest put before in. */
static int load(const struct tensor *w, const struct tensor *bias, float **ret_w, float **ret_bias,
                double **ret_sum, struct err *e)
{
    int64_t out = w->shape[0], in = w->shape[1], rest = tensor_count(w) / out / in;
    float *rows = malloc((size_t)tensor_count(w) * sizeof *rows);
    int rc = 0;

    *ret_w = malloc((size_t)tensor_count(w) * sizeof **ret_w);
    *ret_bias = calloc((size_t)out, sizeof **ret_bias);
    *ret_sum = calloc((size_t)out, sizeof **ret_sum);
    if (!rows || !*ret_w || !*ret_bias || !*ret_sum)
        TRY(err_set(e, ERR_OOM, "no memory for a layer's weights"));
    tensor_to_f32(w, rows);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t r = 0; r < rest; r++)
                (*ret_w)[(r * in + i) * out + o] = rows[(o * in + i) * rest + r];
    if (bias)
        tensor_to_f32(bias, *ret_bias);
out:
    free(rows);
    return rc;
}

/* Of what load() gave; counted in the backend's weight_bytes. */
static size_t load_size(const struct tensor *w)
{
    return (size_t)tensor_count(w) * sizeof(float) +
           (size_t)w->shape[0] * (sizeof(float) + sizeof(double));
}

static void ref_linear_free(struct ops *o, struct linear *l)
{
    if (!l)
        return;
    o->weight_bytes -= l->bytes;
    free(l->w);
    free(l->bias);
    free(l->sum);
    free(l);
}

static int ref_linear_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                          struct linear **ret_l, struct err *e)
{
    struct linear *l = NULL;
    int rc = 0;

    TRY(shape_check_layer(w, 2, bias, e));
    l = calloc(1, sizeof *l);
    if (!l)
        TRY(err_set(e, ERR_OOM, "no memory for a layer"));
    l->out = w->shape[0];
    l->in = w->shape[1];
    TRY(load(w, bias, &l->w, &l->bias, &l->sum, e));
    o->weight_bytes += l->bytes = load_size(w);
    *ret_l = l;
    l = NULL;
out:
    ref_linear_free(o, l);
    return rc;
}

static void ref_conv_free(struct ops *o, struct conv *c)
{
    if (!c)
        return;
    o->weight_bytes -= c->bytes;
    free(c->w);
    free(c->bias);
    free(c->sum);
    free(c);
}

static int ref_conv_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                        struct conv **ret_c, struct err *e)
{
    struct conv *c = NULL;
    int rc = 0;

    TRY(shape_check_layer(w, 4, bias, e));
    c = calloc(1, sizeof *c);
    if (!c)
        TRY(err_set(e, ERR_OOM, "no memory for a layer"));
    c->out = w->shape[0];
    c->in = w->shape[1];
    c->kh = w->shape[2];
    c->kw = w->shape[3];
    TRY(load(w, bias, &c->w, &c->bias, &c->sum, e));
    o->weight_bytes += c->bytes = load_size(w);
    *ret_c = c;
    c = NULL;
out:
    ref_conv_free(o, c);
    return rc;
}

/* sum[out] += x[in] w[in, out] */
static void add_product(double *sum, const float *x, const float *w, int64_t in, int64_t out)
{
    for (int64_t i = 0; i < in; i++) {
        const float *row = w + i * out;
        double factor = x[i];

        for (int64_t o = 0; o < out; o++)
            sum[o] += factor * row[o];
    }
}

static int ref_linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                      int64_t m, enum activation act, const struct act *residual, struct err *e)
{
    (void)e;
    if (o->planning)
        return 0;
    for (int64_t row = 0; row < m; row++) {
        for (int64_t i = 0; i < l->out; i++)
            l->sum[i] = l->bias[i];
        add_product(l->sum, f32_in(x) + row * l->in, l->w, l->in, l->out);
        for (int64_t i = 0; i < l->out; i++)
            f32(y)[row * l->out + i] =
                (float)(ref_activate(l->sum[i], act) +
                        (residual ? (double)f32_in(residual)[row * l->out + i] : 0));
    }
    return 0;
}

/* One output pixel into c->sum: x [h, w, in], (top, left) the place of the kernel's corner. */
static void conv_pixel(const struct conv *c, const float *x, int64_t h, int64_t w, int64_t top,
                       int64_t left)
{
    for (int64_t ky = 0; ky < c->kh; ky++)
        for (int64_t kx = 0; kx < c->kw; kx++) {
            int64_t iy = top + ky, ix = left + kx;

            if (iy < 0 || iy >= h || ix < 0 || ix >= w)
                continue;
            add_product(c->sum, x + (iy * w + ix) * c->in,
                        c->w + (ky * c->kw + kx) * c->in * c->out, c->in, c->out);
        }
}

static int ref_conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c,
                      int64_t n, int64_t h, int64_t w, int stride, const int pad[4],
                      const struct act *per_sample, const struct act *residual, struct err *e)
{
    int64_t ho = 0, wo = 0, at = 0;
    int rc;

    TRY(shape_conv_side(h, pad[0], pad[1], c->kh, stride, &ho, e));
    TRY(shape_conv_side(w, pad[2], pad[3], c->kw, stride, &wo, e));
    if (o->planning)
        return 0;
    for (int64_t s = 0; s < n; s++)
        for (int64_t p = 0; p < ho * wo; p++) {
            for (int64_t i = 0; i < c->out; i++)
                c->sum[i] =
                    c->bias[i] + (per_sample ? (double)f32_in(per_sample)[s * c->out + i] : 0);
            conv_pixel(c, f32_in(x) + s * h * w * c->in, h, w, p / wo * stride - pad[0],
                       p % wo * stride - pad[2]);
            for (int64_t i = 0; i < c->out; i++, at++)
                f32(y)[at] = (float)(c->sum[i] + (residual ? (double)f32_in(residual)[at] : 0));
        }
out:
    return rc;
}

static int ref_activate_all(struct ops *o, struct act *y, const struct act *x, int64_t n,
                            enum activation act, struct err *e)
{
    (void)e;
    for (int64_t i = 0; i < n && !o->planning; i++)
        f32(y)[i] = (float)ref_activate(f32_in(x)[i], act);
    return 0;
}

static int ref_geglu(struct ops *o, struct act *y, const struct act *x, int64_t m, int64_t c,
                     struct err *e)
{
    (void)e;
    for (int64_t row = 0; row < m && !o->planning; row++)
        for (int64_t i = 0; i < c; i++)
            f32(y)[row * c + i] = (float)(f32_in(x)[2 * row * c + i] *
                                          ref_activate(f32_in(x)[(2 * row + 1) * c + i], ACT_GELU));
    return 0;
}

static int ref_add(struct ops *o, struct act *y, const struct act *a, const struct act *b,
                   int64_t n, struct err *e)
{
    (void)e;
    for (int64_t i = 0; i < n && !o->planning; i++)
        f32(y)[i] = f32_in(a)[i] + f32_in(b)[i];
    return 0;
}

static int ref_concat(struct ops *o, struct act *y, const struct act *a, const struct act *b,
                      int64_t m, int64_t ca, int64_t cb, struct err *e)
{
    (void)e;
    for (int64_t row = 0; row < m && !o->planning; row++) {
        memcpy(f32(y) + row * (ca + cb), f32_in(a) + row * ca, (size_t)ca * sizeof(float));
        memcpy(f32(y) + row * (ca + cb) + ca, f32_in(b) + row * cb, (size_t)cb * sizeof(float));
    }
    return 0;
}

static int ref_upsample(struct ops *o, struct act *y, const struct act *x, int64_t n, int64_t h,
                        int64_t w, int64_t c, int64_t ho, int64_t wo, struct err *e)
{
    (void)e;
    for (int64_t s = 0; s < n && !o->planning; s++)
        for (int64_t i = 0; i < ho * wo; i++) {
            int64_t iy = i / wo * h / ho, ix = i % wo * w / wo;

            memcpy(f32(y) + (s * ho * wo + i) * c, f32_in(x) + ((s * h + iy) * w + ix) * c,
                   (size_t)c * sizeof(float));
        }
    return 0;
}

static void ref_free(struct ops *o)
{
    free(o);
}

int ops_ref_new(struct ops **ret_o, struct err *e)
{
    struct ops *o = malloc(sizeof *o);

    if (!o)
        return err_set(e, ERR_OOM, "no memory for the backend");
    *o = (struct ops){
        .name = "ref",
        .device_class = "ref",
        .act_bytes = sizeof(float),
        .free = ref_free,
        .memory_new = host_memory_new,
        .memory_free = host_memory_free,
        .step = &host_step_ops,
        .put = host_put,
        .get = host_get,
        .linear_new = ref_linear_new,
        .linear_free = ref_linear_free,
        .conv_new = ref_conv_new,
        .conv_free = ref_conv_free,
        .norm_new = host_norm_new,
        .norm_free = host_norm_free,
        .linear = ref_linear,
        .conv2d = ref_conv2d,
        .group_norm = ref_group_norm,
        .group_norm_part = ref_group_norm_part,
        .layer_norm = ref_layer_norm,
        .attention = ref_attention,
        .geglu = ref_geglu,
        .activate = ref_activate_all,
        .add = ref_add,
        .concat = ref_concat,
        .upsample = ref_upsample,
    };
    *ret_o = o;
    return 0;
}
