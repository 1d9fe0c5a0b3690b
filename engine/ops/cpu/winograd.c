/*
 * A block of tiles is transformed once and then multiplied with all groups of panels, DEPTH
 * channels at a time: the transformed weights of a group and the 36 sums of its tiles stay in the
 * second cache. Every sum is one chain of fused multiply-adds in order of the channels, so bytes
 * depend neither on the cut into blocks and groups nor on threads.
 */
#include "engine/ops/cpu/winograd.h"

#include <omp.h>
#include <string.h>

#define SIDE      4  /* of a tile's results */
#define REACH     6  /* of a tile's pixels */
#define POSITIONS 36 /* REACH * REACH */
#define TILES     64 /* of a block at most */
#define DEPTH     32 /* channels per pass */
#define LINE      16 /* floats between positions, so that they fall on different sets of a cache */

/* Floats from one position to the next. */
#define WEIGHTS_STEP (DEPTH * GROUP + LINE)
#define SUM_STEP     (TILES * GROUP + LINE)

struct winograd {
    const struct product *p;
    const struct kernels *kernels;
    int64_t down, across, tiles; /* tiles of a sample; of all samples */
    int64_t blocks, splits;      /* of tiles; of the groups of panels */
    int64_t block_tiles;
    size_t input_step; /* floats between positions */
    float *scratch;    /* per thread: input, sums, weights */
    size_t input_size, scratch_size;
};

#define IN_MIN 16 /* channels */

bool winograd_suits(const struct product *p)
{
    const struct linear *l = p->l;
    int64_t tiles = ((p->ho + SIDE - 1) / SIDE) * ((p->wo + SIDE - 1) / SIDE);

    /* Transforming the weights costs about as much as multiplying them with 120 rows. */
    return l->kh == 3 && l->kw == 3 && p->stride == 1 && p->act == ACT_NONE && l->in >= IN_MIN &&
           POSITIONS * tiles + 120 <= 9 * p->ho * p->wo;
}

struct tile {
    int64_t sample, top, left; /* of its results */
};

static struct tile tile_at(const struct winograd *w, int64_t i)
{
    int64_t each = w->down * w->across, in = i % each;

    return (struct tile){i / each, in / w->across * SIDE, in % w->across * SIDE};
}

/* v: [in / DEPTH, rounded up][POSITIONS][block_tiles][DEPTH] */
static void transform_block(const struct winograd *w, int64_t first, int n_tiles, float *v)
{
    const struct product *p = w->p;
    int64_t in = p->l->in;

    for (int i = 0; i < n_tiles; i++) {
        struct tile t = tile_at(w, first + i);
        const float *pixels[POSITIONS], *x = p->x + t.sample * p->h * p->w * in;
        float *to = v + i * DEPTH;

        for (int64_t r = 0; r < POSITIONS; r++) {
            int64_t row = t.top - p->top + r / REACH, column = t.left - p->left + r % REACH;
            bool inside = row >= 0 && row < p->h && column >= 0 && column < p->w;

            pixels[r] = inside ? x + (row * p->w + column) * in : p->l->zeros;
        }
        for (int64_t c = 0; c < in; c += DEPTH, to += POSITIONS * w->input_step)
            w->kernels->winograd_input(to, w->input_step, pixels, (size_t)c,
                                       (size_t)(in - c < DEPTH ? in - c : DEPTH));
    }
}

/* sum: [POSITIONS][TILES][GROUP], of one group of panels. */
static void multiply_block(const struct winograd *w, int n_tiles, int64_t panel, int panels,
                           const float *v, float *sum, float *u)
{
    const struct linear *l = w->p->l;
    const float *rows[TILES];

    for (int i = 0; i < n_tiles; i++)
        rows[i] = v + i * DEPTH;
    for (int64_t c = 0; c < l->in; c += DEPTH) {
        size_t depth = (size_t)(l->in - c < DEPTH ? l->in - c : DEPTH);

        for (int64_t i = 0; i < panels; i++)
            w->kernels->winograd_weights(u + i * DEPTH * PANEL, WEIGHTS_STEP,
                                         l->w + ((panel + i) * 9 * l->in + c) * PANEL,
                                         (size_t)l->in * PANEL, depth);
        for (size_t i = 0; i < POSITIONS; i++) {
            size_t at = ((size_t)(c / DEPTH) * POSITIONS + i) * w->input_step;
            size_t half = (size_t)n_tiles * DEPTH / 2 * sizeof *v;
            const char *next = (const char *)(v + at + w->input_step);

            w->kernels->multiply(&(struct multiply){
                .sum = sum + i * SUM_STEP,
                .ld = GROUP,
                .sum_stride = PANEL,
                .fresh = c == 0,
                .rows = rows,
                .at = at,
                .n_rows = n_tiles,
                .panels = panels,
                .depth = depth,
                .w = u + i * WEIGHTS_STEP,
                .w_stride = DEPTH * PANEL,
                .ahead = {{next, next + half}, {half, half}},
            });
        }
    }
}

static void finish_block(const struct winograd *w, int64_t first, int n_tiles, int64_t column,
                         int cols, const float *sum)
{
    const struct product *p = w->p;
    _Alignas(64) float start[GROUP];

    for (int i = 0; i < n_tiles; i++) {
        struct tile t = tile_at(w, first + i);
        const float *shift = p->per_sample ? p->per_sample + t.sample * p->l->out + column : NULL;
        float *y[SIDE * SIDE];
        const float *residual[SIDE * SIDE];

        memcpy(start, p->l->bias + column,
               (size_t)(cols + PANEL - 1) / PANEL * PANEL * sizeof *start);
        for (int c = 0; shift && c < cols; c++)
            start[c] += shift[c];
        for (int64_t r = 0; r < SIDE * SIDE; r++) {
            int64_t row = t.top + r / SIDE, at = t.left + r % SIDE;
            bool inside = row < p->ho && at < p->wo;

            at = ((t.sample * p->ho + row) * p->wo + at) * p->l->out + column;
            y[r] = inside ? p->y + at : NULL;
            residual[r] = inside && p->residual ? p->residual + at : NULL;
        }
        w->kernels->winograd_output(y, p->residual ? residual : NULL, sum + i * GROUP, SUM_STEP,
                                    start, cols);
    }
}

/* One block of tiles against one of the splits' groups of panels. */
static void run_item(const struct winograd *w, int64_t block, int64_t split, float *scratch)
{
    const struct linear *l = w->p->l;
    int64_t first = block * w->block_tiles, groups = product_groups(l->panels);
    int n_tiles = (int)(w->tiles - first < w->block_tiles ? w->tiles - first : w->block_tiles);
    float *sum = scratch + w->input_size, *u = sum + POSITIONS * SUM_STEP;

    transform_block(w, first, n_tiles, scratch);
    for (int64_t g = split * groups / w->splits; g < (split + 1) * groups / w->splits; g++) {
        int64_t panel, left;
        int panels;

        product_group(l->panels, groups, g, &panel, &panels);
        left = l->out - panel * PANEL;
        multiply_block(w, n_tiles, panel, panels, scratch, sum, u);
        finish_block(w, first, n_tiles, panel * PANEL,
                     (int)(left < panels * PANEL ? left : panels * PANEL), sum);
    }
}

/* As many blocks as threads can share evenly; where tiles are few, threads share the groups. */
static void cut(struct winograd *w, int threads)
{
    int64_t groups = product_groups(w->p->l->panels);

    w->blocks = (w->tiles + TILES - 1) / TILES;
    if (w->blocks > threads)
        w->blocks = (w->blocks + threads - 1) / threads * threads;
    w->block_tiles = (w->tiles + w->blocks - 1) / w->blocks;
    w->blocks = (w->tiles + w->block_tiles - 1) / w->block_tiles;
    w->splits = (threads + w->blocks - 1) / w->blocks;
    w->splits = w->splits < groups ? w->splits : groups;
}

int winograd_product(struct cpu *cpu, const struct product *p, struct err *e)
{
    size_t mark = arena_mark(cpu->ops.arena);
    struct winograd w = {
        .p = p,
        .kernels = cpu->kernels,
        .down = (p->ho + SIDE - 1) / SIDE,
        .across = (p->wo + SIDE - 1) / SIDE,
    };
    int64_t threads;
    int rc;

    w.tiles = p->n * w.down * w.across;
    cut(&w, cpu->threads);
    w.input_step = (size_t)w.block_tiles * DEPTH + LINE;
    w.input_size = (size_t)((p->l->in + DEPTH - 1) / DEPTH) * POSITIONS * w.input_step;
    w.scratch_size = w.input_size + POSITIONS * (SUM_STEP + WEIGHTS_STEP);
    threads = w.blocks * w.splits < cpu->threads ? w.blocks * w.splits : cpu->threads;
    w.scratch = arena_floats(cpu->ops.arena, (size_t)threads * w.scratch_size);
    TRY(arena_check(cpu->ops.arena, e));
    if (cpu->ops.planning)
        goto out;
#pragma omp parallel for schedule(static) num_threads((int)threads)
    for (int64_t i = 0; i < w.blocks * w.splits; i++)
        run_item(&w, i / w.splits, i % w.splits,
                 w.scratch + (size_t)omp_get_thread_num() * w.scratch_size);
out:
    arena_release(cpu->ops.arena, mark);
    return rc;
}
