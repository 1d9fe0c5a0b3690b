/*
 * Linear layers in bf16. Tiles of rows are loaded from the activations themselves: sixteen rows one
 * row's length apart. Either a pair of tiles stays in the first cache while all panels of a part
 * pass by, and the next pair is fetched meanwhile; or, where a part's panels do not fit the second
 * cache, a block of rows stays there and the panels pass by, the next group fetched ahead.
 *
 * Every sum is one chain over steps of depth: how a product is cut shows in no bit.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16_ops.h"

#include <limits.h>
#include <omp.h>
#include <string.h>

#define ROWS_MAX  512 /* of a block */
#define ROWS_MIN  64
#define AHEAD_MAX 8 /* cache lines per step */
#define TILES     2 /* of a call: deep rows pass by once, so a third tile would gain nothing */
#define SUMS_LD   (PANELS_MAX * PANEL)
#define SUMS_SIZE (TILES * TILE * SUMS_LD)

/* What a thread works with: sums are finished while the next ones are under way. */
struct desk {
    float *sums[2]; /* [TILES * TILE][SUMS_LD] */
    int at;         /* of the two */
    struct run run;
    struct finishing finishing;
};

struct job {
    const struct cpu *cpu;
    const struct bf16_product *p;
    int64_t m, in, steps;
    int64_t rows, blocks;  /* of a block, a multiple of all tiles of a call */
    int64_t groups, parts; /* of panels; items of a block */
    bool rows_stay;        /* a pair of tiles meets all panels before the next pair */
    uint16_t *tail;        /* [TILE][in], the last rows, if there are less than TILE */
    float *begin;          /* of gated columns: [groups][2][PANEL] */
    struct desk *desks;    /* [threads] */
};

static const size_t no_taps = 0;

static void cut(const struct cpu *cpu, struct job *j)
{
    const struct linear *l = j->p->l;
    int64_t weights = l->panels * j->steps * PANEL_STEP * 2, most;

    j->groups = j->p->gated ? l->panels / 2 : divide_up(l->panels, cpu->bf16->panels);
    j->rows_stay = weights <= (int64_t)cpu->stage_bytes;
    most = j->rows_stay ? ROWS_MIN : (int64_t)cpu->stage_bytes / (j->in * 2);
    j->rows = ROWS_MAX;
    while (j->rows > ROWS_MIN && j->rows > most)
        j->rows /= 2;
    j->blocks = divide_up(j->m, j->rows);
    j->parts = at_most(j->groups, divide_up(2 * cpu->threads, j->blocks));
}

/* The panels of a group: neighbours, or one of values and one of their gates. Returns how many. */
static int find_panels(const struct job *j, int64_t g, const uint16_t **ret_panels,
                       const float **ret_begin)
{
    const struct linear *l = j->p->l;
    int64_t first = j->p->gated ? g : g * j->cpu->bf16->panels;
    int64_t apart = j->p->gated ? j->groups : 1;
    int n = (int)(j->p->gated ? 2 : at_most(j->cpu->bf16->panels, l->panels - first));

    for (int i = 0; i < n; i++)
        ret_panels[i] = l->bf16 + (first + i * apart) * j->steps * PANEL_STEP;
    *ret_begin = j->p->gated ? j->begin + g * 2 * PANEL : l->bias + first * PANEL;
    return n;
}

/* Sums that are complete now: [rows, columns of group g], to be finished with the next call. */
static void add_pending(const struct job *j, struct desk *d, int64_t row, int64_t g)
{
    const struct bf16_product *p = j->p;
    int64_t width = p->gated ? PANEL : j->cpu->bf16->panels * PANEL;
    int64_t out = p->gated ? p->l->out / 2 : p->l->out, at = row * out + g * width;
    int rows = (int)at_most(j->m - row, TILES * TILE);

    d->run = (struct run){.y = p->y + at,
                          .residual = p->residual ? p->residual + at : NULL,
                          .sum = d->sums[d->at],
                          .n_rows = rows};
    d->finishing = (struct finishing){.runs = &d->run,
                                      .n_runs = 1,
                                      .per_step = (int)divide_up(rows, j->steps),
                                      .ld_y = (size_t)out,
                                      .ld = SUMS_LD,
                                      .cols = (int)at_most(width, out - g * width),
                                      .gated = p->gated,
                                      .act = p->act};
}

/* Group g against the tiles from row on; what was pending is finished meanwhile. */
static void multiply(const struct job *j, struct desk *d, struct walk *w, int64_t row, int64_t g)
{
    const uint16_t *tiles[TILES], *panels[PANELS_MAX];
    const float *begin[TILES];
    float *to[TILES];
    int n_panels = find_panels(j, g, panels, &begin[0]), n = 0;

    d->at ^= 1;
    for (; n < TILES && row + n * TILE < j->m; n++) {
        int64_t first = row + n * TILE;

        tiles[n] = first + TILE <= j->m ? j->p->x + first * j->in : j->tail;
        begin[n] = begin[0];
        to[n] = d->sums[d->at] + n * TILE * SUMS_LD;
    }
    w->finishing = &d->finishing;
    j->cpu->bf16->multiply(to, SUMS_LD, w, tiles, n, panels, n_panels, begin);
    bf16_finish(&d->finishing, INT_MAX);
    add_pending(j, d, row, g);
}

/* Lets w fetch the i-th of n parts of `bytes` bytes. */
static void look_ahead(struct walk *w, const void *from, int64_t bytes, int64_t i, int64_t n)
{
    int64_t lines = divide_up(bytes, 64), each = divide_up(lines, n * w->blocks);

    each = at_most(each, AHEAD_MAX);
    w->ahead = (const char *)from + at_most(i * each * w->blocks, lines) * 64;
    w->ahead_per_step = (int)each;
}

static void run_item(const struct job *j, struct desk *d, int64_t block, int64_t part)
{
    const struct bf16_product *p = j->p;
    int64_t first = block * j->rows, behind = at_most(j->m, first + j->rows);
    int64_t group = part * j->groups / j->parts, last = (part + 1) * j->groups / j->parts;
    int64_t each = TILES * TILE, pairs = divide_up(behind - first, each);
    int64_t group_bytes = (p->gated ? 1 : j->cpu->bf16->panels) * j->steps * PANEL_STEP * 2;
    struct walk w = {
        .row = (size_t)j->in, .block = STEP, .blocks = (int)j->steps, .taps = 1, .tap = &no_taps};

    for (int64_t i = 0; i < pairs * (last - group); i++) {
        int64_t pair = j->rows_stay ? i / (last - group) : i % pairs;
        int64_t g = group + (j->rows_stay ? i % (last - group) : i / pairs);
        int64_t row = first + pair * each;

        if (j->rows_stay)
            look_ahead(&w, p->x + at_most(row + each, j->m - 1) * j->in, each * j->in * 2,
                       g - group, last - group);
        else
            look_ahead(&w, p->l->bf16 + at_most(g + 1, j->groups - 1) * group_bytes / 2,
                       group_bytes, pair, pairs);
        multiply(j, d, &w, row, g);
    }
    bf16_finish(&d->finishing, INT_MAX);
}

static void run(const struct job *j)
{
    int64_t items = j->blocks * j->parts;
    double work = (double)j->m * (double)(j->in * j->p->l->out);

    for (int64_t i = 0; j->p->gated && i < 2 * j->groups * PANEL; i++)
        j->begin[i] =
            j->p->l->bias[i / PANEL % 2 * j->groups * PANEL + i / (2 * PANEL) * PANEL + i % PANEL];
    if (j->m % TILE != 0) {
        memset(j->tail, 0, (size_t)(TILE * j->in) * sizeof *j->tail);
        memcpy(j->tail, j->p->x + j->m / TILE * TILE * j->in,
               (size_t)(j->m % TILE * j->in) * sizeof *j->tail);
    }
#pragma omp parallel num_threads(cpu_threads(j->cpu, items, work))
    {
        /* On its own stack: what changes with every step shares no line with other threads' desks.
         */
        struct desk mine = j->desks[omp_get_thread_num()], *d = &mine;

        j->cpu->bf16->enter();
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < items; i++)
            run_item(j, d, i / j->parts, i % j->parts);
        j->cpu->bf16->leave();
    }
}

int bf16_rows(struct cpu *cpu, const struct bf16_product *p, struct err *e)
{
    struct arena *arena = cpu->ops.arena;
    size_t mark = arena_mark(arena);
    struct job j = {.cpu = cpu, .p = p, .m = p->w, .in = p->l->in, .steps = p->l->in / STEP};
    int rc = 0;

    cut(cpu, &j);
    j.tail = arena_bytes(arena, (size_t)(TILE * j.in) * sizeof *j.tail);
    j.begin = arena_floats(arena, p->gated ? (size_t)(2 * j.groups * PANEL) : 0);
    j.desks = arena_bytes(arena, (size_t)cpu->threads * sizeof *j.desks);
    for (int i = 0; i < cpu->threads; i++) {
        struct desk d = {.sums = {arena_floats(arena, SUMS_SIZE), arena_floats(arena, SUMS_SIZE)}};

        if (!cpu->ops.planning && !arena->failed)
            j.desks[i] = d;
    }
    TRY(arena_check(arena, e));
    if (!cpu->ops.planning)
        run(&j);
out:
    arena_release(arena, mark);
    return rc;
}
#endif
