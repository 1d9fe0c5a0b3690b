/*
 * Linear layers and convolutions in f32: one blocked product. A convolution is a product whose rows
 * are found by pointers, one per output pixel and kernel tap; pixels outside point at zeros.
 *
 * Own kernels rather than oneDNN, whose AVX2 products change their last bits with the number of
 * threads and of rows (ARCHITECTURE.md, decision 9). Here every output is one chain of fused
 * multiply-adds over taps and channels.
 */
#include "engine/ops/cpu/layer.h"

#include <string.h>

#define BLOCK_ROWS 64  /* rows of an item at most */
#define DEPTH      256 /* channels per pass: a group of weights then stays in the second cache */

/* How a product is cut. */
struct cut {
    const struct kernels *kernels;
    int64_t block;          /* rows per item */
    int64_t blocks, groups; /* per sample; of panels */
};

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
static void run_item(const struct product *p, const struct cut *c, int64_t sample, int64_t block,
                     int64_t panel, int panels)
{
    const struct linear *l = p->l;
    _Alignas(64) float sum[BLOCK_ROWS * GROUP] = {0};
    const float *rows[BLOCK_ROWS], *x = p->x + sample * p->h * p->w * l->in;
    int64_t taps = l->kh * l->kw, first = block * c->block, pixels = p->ho * p->wo;
    int n_rows = (int)(pixels - first < c->block ? pixels - first : c->block);
    int64_t left = l->out - panel * PANEL;
    int cols = (int)(left < panels * PANEL ? left : panels * PANEL);
    int64_t at = (sample * pixels + first) * l->out + panel * PANEL;

    begin_sums(p, sample, panel * PANEL, cols, n_rows, sum);
    for (int64_t t = 0; t < taps; t++) {
        const float *w = l->w + (panel * taps + t) * l->in * PANEL;

        find_rows(p, x, first, n_rows, (int)(t / l->kw), (int)(t % l->kw), rows);
        for (int64_t i = 0; i < l->in; i += DEPTH)
            c->kernels->multiply(sum, GROUP, rows, (size_t)i, n_rows,
                                 (size_t)(l->in - i < DEPTH ? l->in - i : DEPTH), w + i * PANEL,
                                 (size_t)(taps * l->in * PANEL), panels);
    }
    c->kernels->finish(p->y + at, (size_t)l->out, sum, GROUP, n_rows, cols, p->act,
                       p->residual ? p->residual + at : NULL);
}

int64_t product_groups(int64_t panels)
{
    return (panels + GROUP_PANELS - 1) / GROUP_PANELS;
}

void product_group(int64_t panels, int64_t groups, int64_t g, int64_t *ret_first, int *ret_n)
{
    int64_t each = panels / groups, extra = panels % groups;

    *ret_first = g * each + (g < extra ? g : extra);
    *ret_n = (int)(each + (g < extra));
}

void f32_product(const struct cpu *cpu, const struct product *p)
{
    const struct linear *l = p->l;
    int64_t pixels = p->ho * p->wo, items;
    double work = (double)p->n * (double)pixels * (double)(l->in * l->out * l->kh * l->kw);
    bool rows_first = p->n * p->h * p->w > l->out * l->kh * l->kw;
    struct cut c = {
        .kernels = cpu->kernels, .block = BLOCK_ROWS, .groups = product_groups(l->panels)};

    while (c.block > 8 &&
           p->n * ((pixels + c.block - 1) / c.block) * c.groups < (int64_t)4 * cpu->threads)
        c.block /= 2;
    c.blocks = (pixels + c.block - 1) / c.block;
    items = p->n * c.blocks * c.groups;
    /* The operand that is larger is walked once; the other stays in the caches. */
#pragma omp parallel for schedule(static) num_threads(cpu_threads(cpu, items, work))
    for (int64_t i = 0; i < items; i++) {
        int64_t g = rows_first ? i % c.groups : i / (p->n * c.blocks);
        int64_t b = rows_first ? i / c.groups : i % (p->n * c.blocks);
        int64_t panel = 0;
        int panels = 0;

        product_group(l->panels, c.groups, g, &panel, &panels);
        run_item(p, &c, b / c.blocks, b % c.blocks, panel, panels);
    }
}
