#include "engine/ops/cpu/layer.h"
#include "engine/ops/cpu/winograd.h"
#include "engine/ops/shape.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64u

/* What is taken for n_bytes. */
static size_t layer_memory_size(size_t n_bytes)
{
    return (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/*
 * 64-byte aligned, or NULL. Not zeroed; free(3). Small pages: large ones (MADV_HUGEPAGE) made no
 * step faster, and a virtual machine takes twice as long to hand them out (tests/bench/RESULTS.md).
 */
static void *layer_memory(size_t n_bytes)
{
    return aligned_alloc(ALIGNMENT, layer_memory_size(n_bytes));
}

static float *zero_floats(int64_t n)
{
    float *floats = layer_memory((size_t)n * sizeof *floats);

    if (floats)
        memset(floats, 0, (size_t)n * sizeof *floats);
    return floats;
}

static void layer_done(struct ops *o, struct linear *l)
{
    o->weight_bytes -= l->bytes;
    free(l->w);
    free(l->bf16);
    free(l->bias);
    free(l->zeros);
}

/* Columns 16 * panel.. of the packed weights, from as many rows of w. */
static int pack_f32(struct linear *l, const struct tensor *w, int64_t panel)
{
    int64_t taps = l->kh * l->kw, size = l->in * taps, first = panel * PANEL;
    int64_t n = l->out - first < PANEL ? l->out - first : PANEL;
    struct tensor part = *w;
    float *rows = malloc((size_t)(n * size) * sizeof *rows);

    if (!rows)
        return ERR_OOM;
    part.shape[0] = n;
    part.data = (const char *)w->data + (size_t)(first * size) * dtype_size(w->dtype);
    tensor_to_f32(&part, rows);
    for (int64_t i = 0; i < l->in; i++)
        for (int64_t t = 0; t < taps; t++) {
            float *to = l->w + ((panel * taps + t) * l->in + i) * PANEL;

            for (int64_t o = 0; o < PANEL; o++)
                to[o] = o < n ? rows[o * size + i * taps + t] : 0;
        }
    free(rows);
    return 0;
}

#if defined(__x86_64__)
static int pack_bf16(struct linear *l, const struct tensor *w, int64_t panel)
{
    int64_t taps = l->kh * l->kw, first = panel * PANEL;
    int64_t n = l->out - first < PANEL ? l->out - first : PANEL;
    size_t one = dtype_size(w->dtype), row = (size_t)(l->in * taps) * one;
    const char *from = (const char *)w->data + (size_t)first * row;
    int64_t blocks = (l->in + STEP - 1) / STEP;
    uint16_t *to = l->bf16 + panel * blocks * taps * PANEL_STEP;

    /* Rows lie behind each other, but are read side by side, which no processor foresees. */
    for (size_t at = 0; at < (size_t)n * row; at += 64)
        __builtin_prefetch(from + at);
    for (int64_t i = 0; i < l->in; i += STEP, to += taps * PANEL_STEP)
        bf16_pack(to, from + (size_t)(i * taps) * one, w->dtype, row, (int)n,
                  (int)(l->in - i < STEP ? l->in - i : STEP), (int)taps);
    return 0;
}
#else
#define pack_bf16 pack_f32 /* never called */
#endif

static int layer_init(struct cpu *cpu, struct linear *l, const struct tensor *w,
                      const struct tensor *bias, struct err *e)
{
    int failed = 0, threads;
    int64_t taps;
    size_t size;

    l->out = w->shape[0];
    l->in = w->shape[1];
    l->kh = w->rank == 4 ? w->shape[2] : 1;
    l->kw = w->rank == 4 ? w->shape[3] : 1;
    l->panels = (l->out + PANEL - 1) / PANEL;
    taps = l->kh * l->kw;
    size = cpu->bf16 ? (size_t)(l->panels * ((l->in + STEP - 1) / STEP) * taps) * PANEL_STEP *
                           sizeof *l->bf16
                     : (size_t)(l->panels * taps * l->in * PANEL) * sizeof *l->w;
    if (cpu->bf16)
        l->bf16 = layer_memory(size);
    else
        l->w = layer_memory(size);
    l->bias = zero_floats(l->panels * PANEL);
    l->zeros = zero_floats(l->in);
    if ((!l->w && !l->bf16) || !l->bias || !l->zeros)
        return err_set(e, ERR_OOM, "no memory for a layer's weights");
    threads = cpu_threads(cpu, l->panels, 8.0 * (double)tensor_count(w));
#pragma omp parallel for schedule(static) num_threads(threads) reduction(min : failed)
    for (int64_t panel = 0; panel < l->panels; panel++) {
        int rc = cpu->bf16 ? pack_bf16(l, w, panel) : pack_f32(l, w, panel);

        failed = rc < failed ? rc : failed;
    }
    if (failed)
        return err_set(e, failed, "no memory for a layer's weights");
    if (bias)
        tensor_to_f32(bias, l->bias);
    l->bytes = layer_memory_size(size) + layer_memory_size((size_t)l->in * sizeof *l->zeros) +
               layer_memory_size((size_t)(l->panels * PANEL) * sizeof *l->bias);
    cpu->ops.weight_bytes += l->bytes;
    return 0;
}

void cpu_linear_free(struct ops *o, struct linear *l)
{
    if (l)
        layer_done(o, l);
    free(l);
}

int cpu_linear_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                   struct linear **ret_l, struct err *e)
{
    struct linear *l = NULL;
    int rc;

    TRY(shape_check_layer(w, 2, bias, e));
    l = calloc(1, sizeof *l);
    if (!l)
        TRY(err_set(e, ERR_OOM, "no memory for a layer"));
    TRY(layer_init((struct cpu *)o, l, w, bias, e));
    *ret_l = l;
    l = NULL;
out:
    cpu_linear_free(o, l);
    return rc;
}

void cpu_conv_free(struct ops *o, struct conv *c)
{
    if (c)
        layer_done(o, &c->layer);
    free(c);
}

int cpu_conv_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                 struct conv **ret_c, struct err *e)
{
    struct conv *c = NULL;
    int rc;

    TRY(shape_check_layer(w, 4, bias, e));
    c = calloc(1, sizeof *c);
    if (!c)
        TRY(err_set(e, ERR_OOM, "no memory for a layer"));
    TRY(layer_init((struct cpu *)o, &c->layer, w, bias, e));
    *ret_c = c;
    c = NULL;
out:
    cpu_conv_free(o, c);
    return rc;
}

static int run_product(struct ops *o, const struct product *p, struct err *e)
{
    if (p->n * p->ho * p->wo < 1)
        return 0;
    if (winograd_suits(p))
        return winograd_product((struct cpu *)o, p, e);
    if (!o->planning)
        f32_product((const struct cpu *)o, p);
    return 0;
}

int cpu_linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l, int64_t m,
               enum activation act, const struct act *residual, struct err *e)
{
    return run_product(o,
                       &(struct product){.l = l,
                                         .y = f32(y),
                                         .x = f32_in(x),
                                         .residual = f32_in(residual),
                                         .act = act,
                                         .n = 1,
                                         .h = m,
                                         .w = 1,
                                         .ho = m,
                                         .wo = 1,
                                         .stride = 1},
                       e);
}

int cpu_conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c, int64_t n,
               int64_t h, int64_t w, int stride, const int pad[4], const struct act *per_sample,
               const struct act *residual, struct err *e)
{
    struct product p = {
        .l = &c->layer,
        .y = f32(y),
        .x = f32_in(x),
        .per_sample = f32_in(per_sample),
        .residual = f32_in(residual),
        .act = ACT_NONE,
        .n = n,
        .h = h,
        .w = w,
        .stride = stride,
        .top = pad[0],
        .left = pad[2],
    };
    int rc;

    TRY(shape_conv_side(h, pad[0], pad[1], c->layer.kh, stride, &p.ho, e));
    TRY(shape_conv_side(w, pad[2], pad[3], c->layer.kw, stride, &p.wo, e));
    TRY(run_product(o, &p, e));
out:
    return rc;
}
