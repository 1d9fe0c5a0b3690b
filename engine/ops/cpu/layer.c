/*
 * Linear layers and convolutions: one blocked product. A convolution is a product whose rows are
 * found by pointers, one per output pixel and kernel tap; pixels outside point at zeros.
 *
 * Own kernels rather than oneDNN, whose AVX2 products change their last bits with the number of
 * threads and of rows (ARCHITECTURE.md, decision 9). Here every output is one chain of fused
 * multiply-adds over taps and channels.
 */
#include "engine/ops/cpu/cpu.h"
#include "engine/ops/shape.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_ROWS 64  /* rows of an item at most */
#define DEPTH      256 /* channels per pass: a group of weights then stays in the second cache */

struct linear {
    int64_t in, out, kh, kw;
    int64_t panels; /* of PANEL columns */
    float *w;       /* [panels][kh * kw][in][PANEL], owned, 64-byte aligned, as all behind it */
    float *bias;    /* [panels * PANEL], zeros where there is none */
    float *zeros;   /* [in], what lies outside of a picture */
};

/* Both are the same thing; ops.h tells them apart for the networks' sake. */
struct conv {
    struct linear layer;
};

/* Where an item finds its rows. */
struct product {
    const struct linear *l;
    const struct kernels *kernels;
    float *y;
    const float *x, *per_sample, *residual;
    enum activation act;
    int64_t n, h, w, ho, wo; /* a linear layer is n = 1, h = m, w = 1 */
    int stride, top, left;
    int64_t block;          /* rows per item */
    int64_t blocks, groups; /* per sample; of panels */
};

static float *aligned_floats(int64_t n)
{
    size_t size = ((size_t)n * sizeof(float) + 63) / 64 * 64;
    float *floats = aligned_alloc(64, size);

    if (floats)
        memset(floats, 0, size);
    return floats;
}

static void layer_done(struct linear *l)
{
    free(l->w);
    free(l->bias);
    free(l->zeros);
}

/* Columns 16 * panel.. of the packed weights, from as many rows of w. */
static int pack_panel(struct linear *l, const struct tensor *w, int64_t panel)
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

            for (int64_t o = 0; o < n; o++)
                to[o] = rows[o * size + i * taps + t];
        }
    free(rows);
    return 0;
}

static int layer_init(const struct cpu *cpu, struct linear *l, const struct tensor *w,
                      const struct tensor *bias, struct err *e)
{
    int failed = 0, threads;

    l->out = w->shape[0];
    l->in = w->shape[1];
    l->kh = w->rank == 4 ? w->shape[2] : 1;
    l->kw = w->rank == 4 ? w->shape[3] : 1;
    l->panels = (l->out + PANEL - 1) / PANEL;
    l->w = aligned_floats(l->panels * l->kh * l->kw * l->in * PANEL);
    l->bias = aligned_floats(l->panels * PANEL);
    l->zeros = aligned_floats(l->in);
    if (!l->w || !l->bias || !l->zeros)
        return err_set(e, ERR_OOM, "no memory for a layer's weights");
    threads = cpu_threads(cpu, l->panels, 8.0 * (double)tensor_count(w));
#pragma omp parallel for schedule(static) num_threads(threads) reduction(min : failed)
    for (int64_t panel = 0; panel < l->panels; panel++) {
        int rc = pack_panel(l, w, panel);

        failed = rc < failed ? rc : failed;
    }
    if (failed)
        return err_set(e, failed, "no memory for a layer's weights");
    if (bias)
        tensor_to_f32(bias, l->bias);
    return 0;
}

void cpu_linear_free(struct ops *o, struct linear *l)
{
    (void)o;
    if (l)
        layer_done(l);
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
    TRY(layer_init((const struct cpu *)o, l, w, bias, e));
    *ret_l = l;
    l = NULL;
out:
    cpu_linear_free(o, l);
    return rc;
}

void cpu_conv_free(struct ops *o, struct conv *c)
{
    (void)o;
    if (c)
        layer_done(&c->layer);
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
    TRY(layer_init((const struct cpu *)o, &c->layer, w, bias, e));
    *ret_c = c;
    c = NULL;
out:
    cpu_conv_free(o, c);
    return rc;
}

/* rows[i] = the input under tap (ky, kx) of output pixels first.. of a sample */
static void find_rows(const struct product *p, const float *x, int64_t first, int n_rows, int ky,
                      int kx, const float **rows)
{
    int64_t oy = first / p->wo, ox = first % p->wo;

    for (int i = 0; i < n_rows; i++) {
        int64_t iy = oy * p->stride - p->top + ky, ix = ox * p->stride - p->left + kx;
        bool inside = iy >= 0 && iy < p->h && ix >= 0 && ix < p->w;

        rows[i] = inside ? x + (iy * p->w + ix) * p->l->in : p->l->zeros;
        if (++ox == p->wo) {
            ox = 0;
            oy++;
        }
    }
}

/* The chain begins with the bias, and with the sample's own shift where there is one. */
static void begin_sums(const struct product *p, int64_t sample, int64_t first, int cols, int n_rows,
                       float *sum)
{
    const float *shift = p->per_sample ? p->per_sample + sample * p->l->out + first : NULL;

    memcpy(sum, p->l->bias + first, (size_t)(cols + PANEL - 1) / PANEL * PANEL * sizeof *sum);
    for (int i = 0; shift && i < cols; i++)
        sum[i] += shift[i];
    for (int r = 1; r < n_rows; r++)
        memcpy(sum + r * GROUP, sum, GROUP * sizeof *sum);
}

/* One block of rows against one group of panels. */
static void run_item(const struct product *p, int64_t sample, int64_t block, int64_t panel,
                     int panels)
{
    const struct linear *l = p->l;
    _Alignas(64) float sum[BLOCK_ROWS * GROUP] = {0};
    const float *rows[BLOCK_ROWS], *x = p->x + sample * p->h * p->w * l->in;
    int64_t taps = l->kh * l->kw, first = block * p->block, pixels = p->ho * p->wo;
    int n_rows = (int)(pixels - first < p->block ? pixels - first : p->block);
    int64_t left = l->out - panel * PANEL;
    int cols = (int)(left < panels * PANEL ? left : panels * PANEL);
    int64_t at = (sample * pixels + first) * l->out + panel * PANEL;

    begin_sums(p, sample, panel * PANEL, cols, n_rows, sum);
    for (int64_t t = 0; t < taps; t++) {
        const float *w = l->w + (panel * taps + t) * l->in * PANEL;

        find_rows(p, x, first, n_rows, (int)(t / l->kw), (int)(t % l->kw), rows);
        for (int64_t i = 0; i < l->in; i += DEPTH)
            p->kernels->multiply(sum, GROUP, rows, (size_t)i, n_rows,
                                 (size_t)(l->in - i < DEPTH ? l->in - i : DEPTH), w + i * PANEL,
                                 (size_t)(taps * l->in * PANEL), panels);
    }
    p->kernels->finish(p->y + at, (size_t)l->out, sum, GROUP, n_rows, cols, p->act,
                       p->residual ? p->residual + at : NULL);
}

/* Groups of three panels; four are cut in two twos, since one alone runs at half speed. */
static int64_t group_count(int64_t panels)
{
    return (panels + GROUP_PANELS - 1) / GROUP_PANELS;
}

static void group_range(int64_t panels, int64_t groups, int64_t g, int64_t *ret_first, int *ret_n)
{
    int64_t each = panels / groups, extra = panels % groups;

    *ret_first = g * each + (g < extra ? g : extra);
    *ret_n = (int)(each + (g < extra));
}

static void run_product(const struct cpu *cpu, struct product *p)
{
    const struct linear *l = p->l;
    int64_t pixels = p->ho * p->wo, items;
    double work = (double)p->n * (double)pixels * (double)(l->in * l->out * l->kh * l->kw);
    bool rows_first = p->n * p->h * p->w > l->out * l->kh * l->kw;

    p->groups = group_count(l->panels);
    p->block = BLOCK_ROWS;
    while (p->block > 8 &&
           p->n * ((pixels + p->block - 1) / p->block) * p->groups < (int64_t)4 * cpu->threads)
        p->block /= 2;
    p->blocks = (pixels + p->block - 1) / p->block;
    items = p->n * p->blocks * p->groups;
    /* The operand that is larger is walked once; the other stays in the caches. */
#pragma omp parallel for schedule(static) num_threads(cpu_threads(cpu, items, work))
    for (int64_t i = 0; i < items; i++) {
        int64_t g = rows_first ? i % p->groups : i / (p->n * p->blocks);
        int64_t b = rows_first ? i / p->groups : i % (p->n * p->blocks);
        int64_t panel = 0;
        int panels = 0;

        group_range(l->panels, p->groups, g, &panel, &panels);
        run_item(p, b / p->blocks, b % p->blocks, panel, panels);
    }
}

int cpu_linear(struct ops *o, float *y, const float *x, const struct linear *l, int64_t m,
               enum activation act, const float *residual, struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    struct product p = {
        .l = l,
        .kernels = cpu->kernels,
        .y = y,
        .x = x,
        .residual = residual,
        .act = act,
        .n = 1,
        .h = m,
        .w = 1,
        .ho = m,
        .wo = 1,
        .stride = 1,
    };

    (void)e;
    if (!o->planning && m > 0)
        run_product(cpu, &p);
    return 0;
}

int cpu_conv2d(struct ops *o, float *y, const float *x, const struct conv *c, int64_t n, int64_t h,
               int64_t w, int stride, const int pad[4], const float *per_sample,
               const float *residual, struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    struct product p = {
        .l = &c->layer,
        .kernels = cpu->kernels,
        .y = y,
        .x = x,
        .per_sample = per_sample,
        .residual = residual,
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
    if (!o->planning && n > 0)
        run_product(cpu, &p);
out:
    return rc;
}
