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

#define PART_ROWS  64     /* rows whose sums stay in the first cache */
#define BLOCK_ROWS 256    /* rows of an item at most */
#define BLOCK_SIZE 131072 /* their numbers: a part of the second cache */
#define DEPTH      1280   /* channels per pass: a group of weights then stays in the second cache */

/* How a product is cut. */
struct cut {
    const struct kernels *kernels;
    int64_t block;          /* rows per item */
    int64_t blocks, groups; /* per sample; of panels */
    bool rows_first;        /* items of one block of rows follow each other, else of one group */
};

/* One block of rows against one group of panels. */
struct item {
    int64_t sample, first; /* row */
    int n_rows;
    int64_t panel;
    int panels, cols;
    struct ahead ahead; /* its share of what the next block and group are made of */
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
static void begin_sums(const struct product *p, const struct item *t, int n_rows, float *sum)
{
    int64_t first = t->panel * PANEL;
    const float *shift = p->per_sample ? p->per_sample + t->sample * p->l->out + first : NULL;
    size_t width = (size_t)(t->panels * PANEL) * sizeof *sum;

    memcpy(sum, p->l->bias + first, width);
    for (int i = 0; shift && i < t->cols; i++)
        sum[i] += shift[i];
    for (int r = 1; r < n_rows; r++)
        memcpy(sum + r * GROUP, sum, width);
}

/* Results are stored to lines that are on their way by then. */
static void ask_for(const float *y, int n_rows, int64_t ld, int cols)
{
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < cols; i += PANEL)
            __builtin_prefetch(y + r * ld + i, 1, 2);
}

/* Part i of n of both ranges. */
static struct ahead part_of(const struct ahead *a, int64_t i, int64_t n)
{
    struct ahead part;

    for (int r = 0; r < 2; r++) {
        part.bytes[r] = a->bytes[r] / (size_t)n;
        part.at[r] = a->at[r] + (size_t)i * part.bytes[r];
    }
    return part;
}

/* Rows first.. of an item: part i of n. */
static void run_part(const struct product *p, const struct cut *c, const struct item *t, int i,
                     int n)
{
    const struct linear *l = p->l;
    _Alignas(64) float sum[PART_ROWS * GROUP];
    const float *rows[PART_ROWS], *x = p->x + t->sample * p->h * p->w * l->in;
    int n_rows = t->n_rows - i * PART_ROWS < PART_ROWS ? t->n_rows - i * PART_ROWS : PART_ROWS;
    int64_t first = t->first + i * PART_ROWS, taps = l->kh * l->kw;
    int64_t at = (t->sample * p->ho * p->wo + first) * l->out + t->panel * PANEL;
    int64_t calls = taps * ((l->in + DEPTH - 1) / DEPTH), call = 0;

    begin_sums(p, t, n_rows, sum);
    ask_for(p->y + at, n_rows, l->out, t->cols);
    if (p->residual && p->residual != p->y)
        ask_for(p->residual + at, n_rows, l->out, t->cols);
    for (int64_t tap = 0; tap < taps; tap++) {
        const float *w = l->w + (t->panel * taps + tap) * l->in * PANEL;

        find_rows(p, x, first, n_rows, (int)(tap / l->kw), (int)(tap % l->kw), rows);
        for (int64_t k = 0; k < l->in; k += DEPTH, call++) {
            c->kernels->multiply(&(struct multiply){
                .sum = sum,
                .ld = GROUP,
                .sum_stride = PANEL,
                .rows = rows,
                .at = (size_t)k,
                .n_rows = n_rows,
                .panels = t->panels,
                .depth = (size_t)(l->in - k < DEPTH ? l->in - k : DEPTH),
                .w = w + k * PANEL,
                .w_stride = (size_t)(taps * l->in * PANEL),
                .ahead = part_of(&t->ahead, i * calls + call, n * calls),
            });
        }
    }
    c->kernels->finish(p->y + at, (size_t)l->out, sum, GROUP, n_rows, t->cols, p->act,
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

/*
 * What follows: with the rows of a block walked over all groups, the next group's weights and a
 * share of the next block's rows; else the next rows and a share of the next weights.
 */
static struct ahead what_follows(const struct product *p, const struct cut *c, const struct item *t,
                                 int64_t block, int64_t group)
{
    const struct linear *l = p->l;
    int64_t size = l->kh * l->kw * l->in * PANEL, blocks = p->n * c->blocks;
    struct ahead rows = {0}, weights = {0};

    weights.at[0] = (const char *)(l->w + (t->panel + t->panels) * size);
    weights.bytes[0] = (size_t)(t->panels * size) * sizeof *l->w;
    if (l->kh * l->kw == 1) {
        rows.at[0] =
            (const char *)(p->x + (t->sample * p->h * p->w + t->first + t->n_rows) * l->in);
        rows.bytes[0] = (size_t)(c->block * l->in) * sizeof *p->x;
    }
    if (!c->rows_first)
        weights = part_of(&weights, block, blocks);
    else if (group + 1 < c->groups)
        rows = part_of(&rows, group, c->groups);
    else
        rows = part_of(&rows, group, c->groups), weights = (struct ahead){0};
    return (struct ahead){{rows.at[0], weights.at[0]}, {rows.bytes[0], weights.bytes[0]}};
}

static void run_item(const struct product *p, const struct cut *c, int64_t block, int64_t group)
{
    struct item t = {.sample = block / c->blocks, .first = block % c->blocks * c->block};
    int64_t rows = p->ho * p->wo - t.first, cols;
    int parts;

    product_group(p->l->panels, c->groups, group, &t.panel, &t.panels);
    t.n_rows = (int)(rows < c->block ? rows : c->block);
    cols = p->l->out - t.panel * PANEL;
    t.cols = (int)(cols < t.panels * PANEL ? cols : t.panels * PANEL);
    t.ahead = what_follows(p, c, &t, block, group);
    parts = (t.n_rows + PART_ROWS - 1) / PART_ROWS;
    for (int i = 0; i < parts; i++)
        run_part(p, c, &t, i, parts);
}

/* Blocks as large as the second cache likes, halved until all threads have some. */
static int64_t block_rows(const struct cpu *cpu, const struct product *p, int64_t groups)
{
    int64_t pixels = p->ho * p->wo, block = PART_ROWS;

    if (p->l->kh * p->l->kw == 1)
        while (2 * block <= BLOCK_ROWS && 2 * block * p->l->in <= BLOCK_SIZE)
            block *= 2;
    while (block > 8 && p->n * ((pixels + block - 1) / block) * groups < (int64_t)4 * cpu->threads)
        block /= 2;
    return block;
}

void f32_product(const struct cpu *cpu, const struct product *p)
{
    const struct linear *l = p->l;
    int64_t items, blocks;
    double work = (double)(p->n * p->ho * p->wo) * (double)(l->in * l->out * l->kh * l->kw);
    struct cut c = {.kernels = cpu->kernels, .groups = product_groups(l->panels)};

    c.block = block_rows(cpu, p, c.groups);
    c.blocks = (p->ho * p->wo + c.block - 1) / c.block;
    /* The operand that is larger is walked once; the other stays in the caches. */
    c.rows_first = p->n * p->h * p->w > l->out * l->kh * l->kw;
    blocks = p->n * c.blocks;
    items = blocks * c.groups;
#pragma omp parallel for schedule(static) num_threads(cpu_threads(cpu, items, work))
    for (int64_t i = 0; i < items; i++)
        if (c.rows_first)
            run_item(p, &c, i / c.groups, i % c.groups);
        else
            run_item(p, &c, i % blocks, i / blocks);
}
