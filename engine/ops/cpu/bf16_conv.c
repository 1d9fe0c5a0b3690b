/*
 * Convolutions in bf16, and any other product. A block of output pixels is worked on by one thread:
 * the pixels it needs are copied once, into a stage that stays in the second cache as
 * [channels / STEP][pixels][STEP], and serve all taps and all columns: sixteen neighbours under a
 * tap are sixteen rows at one distance, so nothing is gathered. Weights stream by, one group of
 * panels at a time, the next group fetched ahead.
 *
 * Every sum is one chain over blocks of channels and, in each, taps: how a product is cut into
 * blocks, chunks and parts shows in no bit.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16_ops.h"

#include <limits.h>
#include <omp.h>
#include <string.h>

#define UNIT_ROWS    512 /* outputs of a block, about */
#define COLUMNS_MAX  96  /* outputs of a unit's line; wider pictures are cut into narrower ones */
#define COLUMNS_WIDE 64
#define CHUNK_STEPS  200 /* of a chunk of channels: its panels stay in the second cache */
#define AHEAD_MAX    8   /* cache lines per step */

/* How a product is cut. A unit is a rectangle of a sample's outputs, a block some units. */
struct cut {
    int64_t lines, columns;       /* of a unit; those at the edges have less */
    int64_t down, across;         /* units of a sample */
    int64_t units, blocks;        /* units of a block */
    int64_t height, width, plane; /* staged lines and columns of a unit; pixels in all, padded */
    int64_t chunk, chunks;        /* blocks of channels staged at once; how often */
    int64_t groups, parts;        /* of panels; items of a block */
    int64_t tiles;                /* of a block at most */
};

/* One tile of a block: its first output, and where its rows begin. */
struct spot {
    const uint16_t *a;
    const float *begin;
    int64_t sample, line, column; /* of the first row */
    int64_t left, right, bottom;  /* the unit's first column, and what is behind its last ones */
    int rows;                     /* rows that may be outputs */
};

/* What a thread works with: sums are finished while the next ones are under way. */
struct desk {
    uint16_t *stage;
    float *sums, *begin;
    struct spot *spots;
    size_t *taps;
    int n_spots;
    int at; /* sums of the last call: the first or the second */
    struct run runs[TILES_MAX * TILE];
    struct finishing finishing;
};

struct job {
    const struct cpu *cpu;
    const struct bf16_product *p;
    struct cut cut;
    size_t stage_size, sums_size, begin_size; /* numbers of a desk's parts */
};

/* Tiles of a unit: along its lines, or across the staged pixels where that takes fewer. */
static bool tiles_cross(const struct bf16_product *p, const struct cut *c, int64_t lines,
                        int64_t columns, int64_t *ret_n)
{
    int64_t along = lines * divide_up(columns, TILE);
    int64_t cross = divide_up((lines - 1) * c->width + columns, TILE);
    bool better = p->stride == 1 && cross < along;

    *ret_n = better ? cross : along;
    return better;
}

static void cut_units(const struct bf16_product *p, struct cut *c, int64_t rows)
{
    const struct linear *l = p->l;

    c->columns = l->kh * l->kw == 1 && p->ho == 1 ? at_most(p->wo, rows)
                 : p->wo <= COLUMNS_MAX           ? p->wo
                                                  : COLUMNS_WIDE;
    c->lines = at_most(p->ho, at_least(1, rows / c->columns));
    c->down = divide_up(p->ho, c->lines);
    c->across = divide_up(p->wo, c->columns);
    c->units =
        c->down * c->across == 1 ? at_least(1, at_most(p->n, rows / (c->lines * c->columns))) : 1;
    c->blocks = divide_up(p->n * c->down * c->across, c->units);
    c->height = (c->lines - 1) * p->stride + l->kh;
    c->width = (c->columns - 1) * p->stride + l->kw;
    /* Room for the rows of a last tile that are no outputs; odd, so that planes lie apart. */
    c->plane = (c->height * c->width + TILE * p->stride) | 1;
    tiles_cross(p, c, c->lines, c->columns, &c->tiles);
    c->tiles *= c->units;
}

static void cut_product(const struct cpu *cpu, const struct bf16_product *p, struct cut *c)
{
    const struct linear *l = p->l;
    int64_t blocks = divide_up(l->in, STEP), taps = l->kh * l->kw, most, rows = UNIT_ROWS;

    for (;;) {
        cut_units(p, c, rows);
        most = (int64_t)cpu->stage_bytes / (c->units * c->plane * STEP * 2);
        most = at_least(1, at_most(most, CHUNK_STEPS / taps));
        if (rows <= 64 || c->blocks >= 2 * cpu->threads || p->n * p->ho * p->wo <= rows)
            break;
        rows /= 2;
    }
    c->chunks = divide_up(blocks, most);
    c->chunk = divide_up(blocks, c->chunks);
    c->groups = divide_up(l->panels, cpu->bf16->panels);
    c->parts = at_most(c->groups, divide_up(2 * cpu->threads, c->blocks));
}

/* What one unit needs of channels first.., into the stage. */
static void stage_unit(const struct job *j, int64_t unit, int64_t first, int64_t channels,
                       uint16_t *stage)
{
    const struct bf16_product *p = j->p;
    const struct cut *c = &j->cut;
    int64_t sample = unit / (c->down * c->across), place = unit % (c->down * c->across);
    int64_t top = place / c->across * c->lines * p->stride - p->top;
    int64_t left = place % c->across * c->columns * p->stride - p->left;
    size_t block = (size_t)c->plane * STEP;

    for (int64_t i = 0; i < c->height * c->width; i++) {
        int64_t y = top + i / c->width, x = left + i % c->width;

        bool inside = y >= 0 && y < p->h && x >= 0 && x < p->w;

        bf16_spread(stage + i * STEP, block,
                    inside ? p->x + ((sample * p->h + y) * p->w + x) * p->l->in + first : NULL,
                    (size_t)channels);
    }
}

/* The tiles of one unit, behind those that are there. */
static void place_tiles(const struct job *j, int64_t unit, const uint16_t *stage,
                        const float *begin, struct desk *d)
{
    const struct bf16_product *p = j->p;
    const struct cut *c = &j->cut;
    int64_t place = unit % (c->down * c->across);
    int64_t top = place / c->across * c->lines, left = place % c->across * c->columns;
    int64_t lines = at_most(c->lines, p->ho - top), columns = at_most(c->columns, p->wo - left), n;
    bool cross = tiles_cross(p, c, lines, columns, &n);
    int64_t per_line = divide_up(columns, TILE);

    for (int64_t i = 0; i < n; i++) {
        int64_t line = cross ? i * TILE / c->width : i / per_line;
        int64_t column = cross ? i * TILE % c->width : i % per_line * TILE;
        int rows = (int)(cross ? TILE : at_most(TILE, columns - column));

        d->spots[d->n_spots++] = (struct spot){
            .a = stage + (line * p->stride * c->width + column * p->stride) * STEP,
            .begin = begin,
            .sample = unit / (c->down * c->across),
            .line = top + line,
            .column = left + column,
            .left = left,
            .right = left + columns,
            .bottom = top + lines,
            .rows = rows,
        };
    }
}

/* Numbers from the first output of y to a pixel's. */
static int64_t output_at(const struct bf16_product *p, int64_t sample, int64_t line, int64_t column)
{
    return ((sample * p->ho + line) * p->wo + column) * p->l->out;
}

/* A tile that is complete: run by run, since it may go over the ends of lines. */
static void add_runs(const struct job *j, const struct spot *s, const float *sums, int64_t panel,
                     struct desk *d)
{
    const struct bf16_product *p = j->p;
    struct finishing *f = &d->finishing;
    int64_t line = s->line, column = s->column;

    for (int r = 0; r < s->rows && line < s->bottom;) {
        int n = (int)at_most(s->rows - r, s->right - column);
        int64_t at = output_at(p, s->sample, line, column) + panel * PANEL;

        if (n > 0)
            f->runs[f->n_runs++] = (struct run){.y = p->y + at,
                                                .residual = p->residual ? p->residual + at : NULL,
                                                .sum = sums + (size_t)r * f->ld,
                                                .n_rows = n};
        /* From the first column of the unit that is no output to the next line's first. */
        r += (int)(s->left + j->cut.width - column);
        column = s->left;
        line++;
    }
}

/* One group of panels against some tiles; what was pending is finished meanwhile. */
static void multiply(const struct job *j, struct desk *d, struct walk *w, int spot, int64_t panel,
                     int n_panels, int64_t chunk, float *sums)
{
    const struct linear *l = j->p->l;
    int64_t steps = divide_up(l->in, STEP) * l->kh * l->kw;
    int n = (int)at_most(j->cpu->bf16->tiles, d->n_spots - spot);
    int cols = (int)at_most(n_panels * PANEL, l->out - panel * PANEL);
    const uint16_t *tiles[TILES_MAX], *panels[PANELS_MAX];
    const float *begin[TILES_MAX];
    float *to[TILES_MAX];
    size_t ld = (size_t)n_panels * PANEL;

    for (int i = 0; i < n_panels; i++)
        panels[i] = l->bf16 + ((size_t)(panel + i) * (size_t)steps +
                               (size_t)(chunk * j->cut.chunk * l->kh * l->kw)) *
                                  PANEL_STEP;
    for (int t = 0; t < n; t++) {
        tiles[t] = d->spots[spot + t].a;
        begin[t] = d->spots[spot + t].begin + panel * PANEL;
        to[t] = sums + (size_t)t * TILE * ld;
    }
    w->finishing = &d->finishing;
    j->cpu->bf16->multiply(to, ld, w, tiles, n, panels, n_panels, chunk == 0 ? begin : NULL);
    bf16_finish(&d->finishing, INT_MAX);
    if (chunk + 1 < j->cut.chunks)
        return;
    d->finishing = (struct finishing){.runs = d->runs,
                                      .per_step = (int)divide_up(n * TILE, w->blocks * w->taps),
                                      .ld_y = (size_t)l->out,
                                      .ld = ld,
                                      .cols = cols,
                                      .act = j->p->act};
    for (int t = 0; t < n; t++)
        add_runs(j, &d->spots[spot + t], to[t], panel, d);
}

/* All tiles of a block against the groups of one part, for one chunk of channels. */
static void run_chunk(const struct job *j, struct desk *d, int64_t first, int64_t n_groups,
                      int64_t chunk)
{
    const struct cut *c = &j->cut;
    const struct linear *l = j->p->l;
    int each = j->cpu->bf16->panels, tiles = j->cpu->bf16->tiles, taps = (int)(l->kh * l->kw);
    int64_t all = divide_up(l->in, STEP);
    int64_t blocks = at_most(c->chunk, all - chunk * c->chunk);
    int64_t calls = divide_up(d->n_spots, tiles), one = tiles * TILE * each * PANEL;
    int64_t lines = divide_up(blocks * taps * each * 16, calls); /* of a group, per call */
    struct walk w = {.row = (size_t)j->p->stride * STEP,
                     .block = (size_t)c->plane * STEP,
                     .blocks = (int)blocks,
                     .taps = taps,
                     .tap = d->taps,
                     .ahead_per_step = (int)at_most(AHEAD_MAX, divide_up(lines, blocks * taps))};

    for (int64_t g = 0; g < n_groups; g++) {
        int64_t panel = (first + g) * each;
        int n_panels = (int)at_most(each, l->panels - panel);

        for (int64_t i = 0; i < calls; i++) {
            int64_t line = i * blocks * taps * w.ahead_per_step; /* of the next group */
            int64_t next = panel + each + line / (blocks * taps * 16);

            w.ahead = g + 1 < n_groups && next < l->panels && next < panel + 2 * each
                          ? (const char *)(l->bf16 + ((size_t)next * (size_t)(all * taps) +
                                                      (size_t)(chunk * c->chunk * taps)) *
                                                         PANEL_STEP) +
                                line % (blocks * taps * 16) * 64
                          : NULL;
            if (w.ahead == NULL)
                w.ahead = (const char *)l->bf16; /* harmless: is there already */
            multiply(j, d, &w, (int)i * tiles, panel, n_panels, chunk,
                     d->sums + (c->chunks > 1 ? (g * calls + i) * one : (d->at ^= 1) * one));
        }
    }
    bf16_finish(&d->finishing, INT_MAX);
}

/* begin[sample of the block][column]: bias and the sample's own shift. */
static const float *begin_of(const struct job *j, int64_t sample, float *begin)
{
    const struct bf16_product *p = j->p;
    const struct linear *l = p->l;

    if (p->per_sample == NULL)
        return l->bias;
    memset(begin, 0, (size_t)(l->panels * PANEL) * sizeof *begin);
    bf16_to_f32(begin, p->per_sample + sample * l->out, (size_t)l->out);
    for (int64_t i = 0; i < l->out; i++)
        begin[i] += l->bias[i];
    return begin;
}

static void run_item(const struct job *j, struct desk *d, int64_t block, int64_t part)
{
    const struct cut *c = &j->cut;
    const struct bf16_product *p = j->p;
    int64_t units = p->n * c->down * c->across, first = block * c->units;
    int64_t n_units = at_most(c->units, units - first);
    int64_t group = part * c->groups / c->parts, behind = (part + 1) * c->groups / c->parts;
    size_t one = (size_t)(c->chunk * c->plane * STEP);

    d->n_spots = 0;
    for (int64_t u = 0; u < n_units; u++)
        place_tiles(
            j, first + u, d->stage + (size_t)u * one,
            begin_of(j, (first + u) / (c->down * c->across), d->begin + u * p->l->panels * PANEL),
            d);
    for (int64_t chunk = 0; chunk < c->chunks; chunk++) {
        int64_t channel = chunk * c->chunk * STEP;
        int64_t channels = at_most(c->chunk * STEP, p->l->in - channel);

        for (int64_t u = 0; u < n_units; u++)
            stage_unit(j, first + u, channel, channels, d->stage + (size_t)u * one);
        run_chunk(j, d, group, behind - group, chunk);
    }
}

static void find_taps(const struct job *j, struct desk *d)
{
    const struct linear *l = j->p->l;

    for (int64_t t = 0; t < l->kh * l->kw; t++)
        d->taps[t] = (size_t)((t / l->kw * j->cut.width + t % l->kw) * STEP);
}

static void run_job(const struct job *j, struct desk *desks)
{
    const struct cut *c = &j->cut;
    const struct linear *l = j->p->l;
    int64_t items = c->blocks * c->parts;
    double work =
        (double)(j->p->n * j->p->ho * j->p->wo) * (double)(l->in * l->out * l->kh * l->kw);

#pragma omp parallel num_threads(cpu_threads(j->cpu, items, work))
    {
        struct desk mine = desks[omp_get_thread_num()], *d = &mine; /* shares no line */

        j->cpu->bf16->enter();
        find_taps(j, d);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < items; i++)
            run_item(j, d, i / c->parts, i % c->parts);
        j->cpu->bf16->leave();
    }
}

int bf16_pixels(struct cpu *cpu, const struct bf16_product *p, struct err *e)
{
    struct arena *arena = cpu->ops.arena;
    size_t mark = arena_mark(arena);
    struct job j = {.cpu = cpu, .p = p};
    struct cut *c = &j.cut;
    struct desk *desks;
    int rc = 0;

    cut_product(cpu, p, c);
    j.stage_size = (size_t)(c->units * c->chunk * c->plane * STEP);
    j.sums_size = (size_t)(cpu->bf16->tiles * TILE * cpu->bf16->panels * PANEL);
    j.sums_size *=
        c->chunks == 1
            ? 2
            : (size_t)(divide_up(c->tiles, cpu->bf16->tiles) * divide_up(c->groups, c->parts));
    j.begin_size = p->per_sample ? (size_t)(c->units * p->l->panels * PANEL) : 0;
    desks = arena_bytes(arena, (size_t)cpu->threads * sizeof *desks);
    for (int i = 0; i < cpu->threads; i++) {
        struct desk d = {.stage = arena_bytes(arena, j.stage_size * sizeof(uint16_t)),
                         .sums = arena_floats(arena, j.sums_size),
                         .begin = arena_floats(arena, j.begin_size),
                         .spots = arena_bytes(arena, (size_t)c->tiles * sizeof(struct spot)),
                         .taps =
                             arena_bytes(arena, (size_t)(p->l->kh * p->l->kw) * sizeof(size_t))};

        if (!cpu->ops.planning && !arena->failed)
            desks[i] = d;
    }
    TRY(arena_check(arena, e));
    if (!cpu->ops.planning)
        run_job(&j, desks);
out:
    arena_release(arena, mark);
    return rc;
}
#endif
