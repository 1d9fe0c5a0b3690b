/*
 * Convolutions by cuDNN (plans.h: a batch in one call where that changes no byte); bias, per-sample
 * shift and residual follow in a kernel of our own. Channels are padded with zeros to multiples of
 * 16 bytes, as tensor cores and wide loads want them. A 1x1 convolution is a linear layer.
 */
#include "engine/ops/cuda/linear.h"
#include "engine/ops/cuda/plans.h"

#include "engine/ops/shape.h"

#include <stdlib.h>
#include <string.h>

struct conv {
    int64_t in, out, kh, kw;
    int64_t in_wide, out_wide; /* with zeros up to a multiple of 16 bytes */
    void *w;                   /* device [out_wide, kh, kw, in_wide] */
    float *bias;               /* device [out]; NULL: none */
    size_t bytes;
    struct linear *flat; /* of a 1x1 kernel, which then is all there is */
    bool joined;         /* plans.h counts it */
};

void cuda_conv_free(struct ops *o, struct conv *c)
{
    if (c == NULL)
        return;
    if (c->joined)
        plans_leave(cuda_of(o)->plans);
    cuda_linear_free(o, c->flat);
    cuda_memory_free(o, c->w);
    cuda_memory_free(o, c->bias);
    o->weight_bytes -= c->bytes;
    free(c);
}

static int64_t wide(const struct ops *o, int64_t channels)
{
    const int64_t unit = 16 / (int64_t)o->act_bytes;

    return (channels + unit - 1) / unit * unit;
}

static int upload(struct cuda *cuda, struct conv *c, const struct tensor *w,
                  const struct tensor *bias, struct err *e)
{
    size_t bytes = (size_t)(c->out_wide * c->kh * c->kw * c->in_wide) * cuda->ops.act_bytes;
    int rc = 0;

    TRY(cuda_upload_taps(cuda, w, c->out_wide, c->in_wide, &c->w, e));
    if (bias != NULL) {
        TRY(cuda_upload(cuda, bias, true, (void **)&c->bias, e));
        bytes += (size_t)c->out * sizeof *c->bias;
    }
    c->bytes = bytes;
    cuda->ops.weight_bytes += c->bytes;
out:
    return rc;
}

int cuda_conv_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                  struct conv **ret_c, struct err *e)
{
    struct conv *c = NULL;
    int rc = 0;

    TRY(shape_check_layer(w, 4, bias, e));
    c = calloc(1, sizeof *c);
    if (c == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for a layer"));
    c->out = w->shape[0];
    c->in = w->shape[1];
    c->kh = w->shape[2];
    c->kw = w->shape[3];
    c->in_wide = wide(o, c->in);
    c->out_wide = wide(o, c->out);
    if (c->kh == 1 && c->kw == 1)
        TRY(linear_new(cuda_of(o), w, bias, &c->flat, e));
    else
        TRY(upload(cuda_of(o), c, w, bias, e));
    if (c->flat == NULL) {
        plans_join(cuda_of(o)->plans);
        c->joined = true;
    }
    *ret_c = c;
    c = NULL;
out:
    cuda_conv_free(o, c);
    return rc;
}

/* One call. */
struct run {
    const struct conv *c;
    int64_t h, w, ho, wo; /* of a sample */
    const int *pad;
    struct plan_shape shape; /* as cuDNN is called */
    struct plan *plan;
    int64_t samples; /* that the plan takes at once */
    bool padded;     /* x goes through a copy: channels, or sides that cuDNN does not pad alike */
    bool direct;     /* cuDNN writes into y */
    void *x, *y, *scratch; /* device; of so many samples */
};

/* Rows and columns of zeros differ before and behind: they are written out. */
static void shape_of(struct run *r, int stride)
{
    bool even = r->pad[0] == r->pad[1] && r->pad[2] == r->pad[3];

    r->padded = !even || r->c->in != r->c->in_wide;
    r->shape = (struct plan_shape){.in = r->c->in_wide,
                                   .out = r->c->out_wide,
                                   .kh = r->c->kh,
                                   .kw = r->c->kw,
                                   .h = even ? r->h : r->h + r->pad[0] + r->pad[1],
                                   .w = even ? r->w : r->w + r->pad[2] + r->pad[3],
                                   .stride = stride,
                                   .pad_h = even ? r->pad[0] : 0,
                                   .pad_w = even ? r->pad[2] : 0};
}

static int take_scratch(struct run *r, struct ops *o, struct err *e)
{
    size_t size = o->act_bytes;

    if (r->padded)
        r->x = arena_bytes(o->arena,
                           (size_t)(r->samples * r->shape.h * r->shape.w * r->shape.in) * size);
    if (!r->direct)
        r->y = arena_bytes(o->arena, (size_t)(r->samples * r->ho * r->wo * r->shape.out) * size);
    r->scratch =
        plan_workspace(r->plan) > 0 ? arena_bytes(o->arena, plan_workspace(r->plan)) : NULL;
    return arena_check(o->arena, e);
}

static int run_samples(struct cuda *cuda, const struct run *r, struct act *y, const struct act *x,
                       const struct act *per_sample, const struct act *residual, struct err *e)
{
    const struct kernel_pad pad = {.y = r->x,
                                   .x = x,
                                   .n = r->samples,
                                   .h = r->h,
                                   .w = r->w,
                                   .c = r->c->in,
                                   .hp = r->shape.h,
                                   .wp = r->shape.w,
                                   .cp = r->shape.in,
                                   .top = r->shape.h == r->h ? 0 : r->pad[0],
                                   .left = r->shape.w == r->w ? 0 : r->pad[2]};
    const void *input = r->padded ? r->x : x;
    void *output = r->direct ? y : r->y;
    const struct kernel_finish finish = {.y = y,
                                         .x = output,
                                         .per_sample = per_sample,
                                         .residual = residual,
                                         .bias = r->c->bias,
                                         .n = r->samples,
                                         .p = r->ho * r->wo,
                                         .c = r->c->out,
                                         .width_x = r->shape.out};
    int rc = 0;

    if (r->padded)
        TRY(cuda_check(kernels_pad(cuda->stream, cuda->number, &pad), "kernels_pad", e));
    TRY(plan_run(cuda, r->plan, output, input, r->c->w, r->scratch, e));
    if (!r->direct || r->c->bias != NULL || per_sample != NULL || residual != NULL)
        TRY(cuda_check(kernels_finish(cuda->stream, cuda->number, &finish), "kernels_finish", e));
out:
    return rc;
}

static int flat_conv(struct ops *o, struct act *y, const struct act *x, const struct conv *c,
                     int64_t n, int64_t pixels, const struct act *per_sample,
                     const struct act *residual, struct err *e)
{
    const struct kernel_finish finish = {.y = y,
                                         .x = y,
                                         .per_sample = per_sample,
                                         .n = n,
                                         .p = pixels,
                                         .c = c->out,
                                         .width_x = c->out};
    int rc = cuda_linear(o, y, x, c->flat, n * pixels, ACT_NONE, residual, e);

    if (rc != 0 || per_sample == NULL || o->planning)
        return rc;
    return cuda_check(kernels_finish(cuda_of(o)->stream, cuda_of(o)->number, &finish),
                      "kernels_finish", e);
}

int cuda_conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c, int64_t n,
                int64_t h, int64_t w, int stride, const int pad[4], const struct act *per_sample,
                const struct act *residual, struct err *e)
{
    struct run r = {.c = c, .h = h, .w = w, .pad = pad};
    struct plans_pair plans = {0};
    size_t mark = arena_mark(o->arena);
    int rc = 0;

    TRY(shape_conv_side(h, pad[0], pad[1], c->kh, stride, &r.ho, e));
    TRY(shape_conv_side(w, pad[2], pad[3], c->kw, stride, &r.wo, e));
    if (c->flat != NULL) {
        if (stride != 1 || r.ho != h || r.wo != w)
            return err_set(e, ERR_ARG, "a 1x1 convolution with stride %d or padding", stride);
        return flat_conv(o, y, x, c, n, h * w, per_sample, residual, e);
    }
    shape_of(&r, stride);
    TRY(plans_get(cuda_of(o), &r.shape, n, &plans, e));
    r.plan = plans.whole != NULL ? plans.whole : plans.one;
    r.samples = plans.whole != NULL ? n : 1;
    r.direct = c->out == c->out_wide && residual != y;
    TRY(take_scratch(&r, o, e));
    for (int64_t s = 0; s < n && !o->planning; s += r.samples)
        TRY(run_samples(cuda_of(o), &r, act_at(o, y, s * r.ho * r.wo * c->out),
                        act_at(o, x, s * h * w * c->in), act_at(o, per_sample, s * c->out),
                        act_at(o, residual, s * r.ho * r.wo * c->out), e));
out:
    arena_release(o->arena, mark);
    return rc;
}
