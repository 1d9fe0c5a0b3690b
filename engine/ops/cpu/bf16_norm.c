/*
 * Group norm of bf16 activations: column sums of blocks of rows, one line of scale and shift per
 * channel from them, then one fused pass.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16_ops.h"
#include "engine/ops/shape.h"

#include <string.h>

#define BLOCK_ROWS 256 /* rows of one partial sum: part of the result, so the same everywhere */

struct group_norm {
    uint16_t *y;
    const uint16_t *x;
    int64_t n, p, c, blocks;
    enum activation act;
    double *sums; /* [n][blocks][2][c], sums and squares */
    float *lines; /* [n][2][c], scale and shift */
};

static void block_sums(const struct group_norm *g, int64_t item)
{
    int64_t first = item % g->blocks * BLOCK_ROWS;
    double *sums = g->sums + item * 2 * g->c;

    memset(sums, 0, (size_t)(2 * g->c) * sizeof *sums);
    bf16_column_sums(sums, sums + g->c, g->x + (item / g->blocks * g->p + first) * g->c,
                     (size_t)at_most(g->p - first, BLOCK_ROWS), (size_t)g->c);
}

static void block_apply(const struct group_norm *g, int64_t item)
{
    int64_t first = item % g->blocks * BLOCK_ROWS;
    int64_t at = (item / g->blocks * g->p + first) * g->c;
    const float *line = g->lines + item / g->blocks * 2 * g->c;

    bf16_scale_shift(g->y + at, g->x + at, (size_t)at_most(g->p - first, BLOCK_ROWS), (size_t)g->c,
                     line, line + g->c, g->act);
}

static void run(const struct cpu *cpu, const struct group_norm *g, const struct norm *norm,
                int groups, float eps)
{
    int64_t items = g->n * g->blocks;
    int threads = cpu_threads(cpu, items, 16.0 * (double)(g->n * g->p * g->c));

#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++)
            block_sums(g, i);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < g->n; i++)
            norm_lines(g->sums + i * g->blocks * 2 * g->c, g->blocks, g->p, g->c, groups,
                       (double)eps, norm->gamma, norm->beta, g->lines + i * 2 * g->c);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++)
            block_apply(g, i);
    }
}

/* run() of a part of a map. */
static int run_part(const struct cpu *cpu, const struct group_norm *g, const struct norm *norm,
                    int groups, float eps, const struct norm_whole *whole, struct err *e)
{
    int64_t items = g->n * g->blocks;
    int threads = cpu_threads(cpu, items, 16.0 * (double)(g->n * g->p * g->c)), rc = 0;

#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < items; i++)
        block_sums(g, i);
    for (int64_t i = 0; i < g->n; i++)
        TRY(norm_lines_part(g->sums + i * g->blocks * 2 * g->c, g->blocks, g->c, groups,
                            (double)eps, norm, whole, g->lines + i * 2 * g->c, e));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < items; i++)
        block_apply(g, i);
out:
    return rc;
}

int bf16_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                         int64_t n, int64_t p, int64_t c, int groups, float eps,
                         enum activation act, const struct norm_whole *whole, struct err *e)
{
    size_t mark = arena_mark(o->arena);
    struct group_norm g = {.y = bf16(y),
                           .x = bf16_in(x),
                           .n = n,
                           .p = p,
                           .c = c,
                           .blocks = divide_up(p, BLOCK_ROWS),
                           .act = act};
    int rc;

    TRY(shape_check_groups(c, groups, e));
    g.sums = arena_bytes(o->arena, (size_t)(n * g.blocks * 2 * c) * sizeof *g.sums);
    g.lines = arena_floats(o->arena, (size_t)(n * 2 * c));
    TRY(arena_check(o->arena, e));
    if (o->planning)
        goto out;
    if (whole == NULL)
        run((const struct cpu *)o, &g, norm, groups, eps);
    else
        TRY(run_part((const struct cpu *)o, &g, norm, groups, eps, whole, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int bf16_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                    int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                    struct err *e)
{
    return bf16_group_norm_part(o, y, x, norm, n, p, c, groups, eps, act, NULL, e);
}
#endif
