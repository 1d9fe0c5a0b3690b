#include "engine/ops/cpu/cpu.h"
#include "engine/ops/shape.h"

#include <math.h>
#include <string.h>

#define BLOCK_ROWS 256 /* rows of one partial sum: part of the result, so the same everywhere */

/* [n][blocks][2][c] sums and squares, then [n][2][c] scale and shift. */
struct moments {
    double *sums;
    float *lines;
};

void norm_lines(double *sums, int64_t blocks, int64_t p, int64_t c, int groups, double eps,
                const float *gamma, const float *beta, float *line)
{
    int64_t width = c / groups;

    for (int64_t b = 1; b < blocks; b++)
        for (int64_t i = 0; i < 2 * c; i++)
            sums[i] += sums[b * 2 * c + i];
    for (int64_t g = 0; g < groups; g++) {
        double sum = 0, squares = 0, count = (double)(p * width), mean, variance, scale;

        for (int64_t i = g * width; i < (g + 1) * width; i++) {
            sum += sums[i];
            squares += sums[c + i];
        }
        mean = sum / count;
        variance = squares / count - mean * mean;
        scale = 1 / sqrt((variance < 0 ? 0 : variance) + eps);
        for (int64_t i = g * width; i < (g + 1) * width; i++) {
            line[i] = (float)(scale * gamma[i]);
            line[c + i] = (float)(beta[i] - mean * scale * gamma[i]);
        }
    }
}

int norm_lines_part(double *sums, int64_t blocks, int64_t c, int groups, double eps,
                    const struct norm *norm, const struct norm_whole *whole, float *line,
                    struct err *e)
{
    int rc = 0;

    for (int64_t b = 1; b < blocks; b++)
        for (int64_t i = 0; i < 2 * c; i++)
            sums[i] += sums[b * 2 * c + i];
    TRY(whole->add(whole->user, sums, 2 * c, e));
    norm_lines(sums, 1, whole->p, c, groups, eps, norm->gamma, norm->beta, line);
out:
    return rc;
}

/* One group norm; a block is item % blocks of sample item / blocks. */
struct job {
    float *y;
    const float *x;
    int64_t n, p, c, blocks;
    enum activation act;
    struct moments s;
};

static void block_sums(const struct cpu *cpu, const struct job *j, int64_t item)
{
    int64_t first = item % j->blocks * BLOCK_ROWS;
    int64_t rows = j->p - first < BLOCK_ROWS ? j->p - first : BLOCK_ROWS;
    double *sums = j->s.sums + item * 2 * j->c;

    memset(sums, 0, (size_t)(2 * j->c) * sizeof *sums);
    cpu->kernels->column_sums(sums, sums + j->c, j->x + (item / j->blocks * j->p + first) * j->c,
                              (size_t)rows, (size_t)j->c);
}

static void block_apply(const struct cpu *cpu, const struct job *j, int64_t item)
{
    int64_t first = item % j->blocks * BLOCK_ROWS;
    int64_t rows = j->p - first < BLOCK_ROWS ? j->p - first : BLOCK_ROWS;
    int64_t at = (item / j->blocks * j->p + first) * j->c;
    const float *line = j->s.lines + item / j->blocks * 2 * j->c;

    cpu->kernels->scale_shift(j->y + at, j->x + at, (size_t)rows, (size_t)j->c, line, line + j->c,
                              j->act);
}

static void run_whole(const struct cpu *cpu, const struct job *j, const struct norm *norm,
                      int groups, float eps)
{
    int64_t items = j->n * j->blocks;
    int threads = cpu_threads(cpu, items, 16.0 * (double)(j->n * j->p * j->c));

#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++)
            block_sums(cpu, j, i);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < j->n; i++)
            norm_lines(j->s.sums + i * j->blocks * 2 * j->c, j->blocks, j->p, j->c, groups,
                       (double)eps, norm->gamma, norm->beta, j->s.lines + i * 2 * j->c);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++)
            block_apply(cpu, j, i);
    }
}

static int run_part(const struct cpu *cpu, const struct job *j, const struct norm *norm, int groups,
                    float eps, const struct norm_whole *whole, struct err *e)
{
    int64_t items = j->n * j->blocks;
    int threads = cpu_threads(cpu, items, 16.0 * (double)(j->n * j->p * j->c)), rc = 0;

#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < items; i++)
        block_sums(cpu, j, i);
    for (int64_t i = 0; i < j->n; i++)
        TRY(norm_lines_part(j->s.sums + i * j->blocks * 2 * j->c, j->blocks, j->c, groups,
                            (double)eps, norm, whole, j->s.lines + i * 2 * j->c, e));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < items; i++)
        block_apply(cpu, j, i);
out:
    return rc;
}

int cpu_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                        int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                        const struct norm_whole *whole, struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    int64_t blocks = (p + BLOCK_ROWS - 1) / BLOCK_ROWS;
    struct job j = {f32(y), f32_in(x), n, p, c, blocks, act, {NULL, NULL}};
    size_t mark = arena_mark(o->arena);
    int rc;

    TRY(shape_check_groups(c, groups, e));
    j.s.sums = arena_bytes(o->arena, (size_t)(n * blocks * 2 * c) * sizeof *j.s.sums);
    j.s.lines = arena_floats(o->arena, (size_t)(n * 2 * c));
    TRY(arena_check(o->arena, e));
    if (o->planning)
        goto out;
    if (whole == NULL)
        run_whole(cpu, &j, norm, groups, eps);
    else
        TRY(run_part(cpu, &j, norm, groups, eps, whole, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int cpu_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                   struct err *e)
{
    return cpu_group_norm_part(o, y, x, norm, n, p, c, groups, eps, act, NULL, e);
}

int cpu_layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t m, int64_t c, float eps, struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    int threads = cpu_threads(cpu, m, 16.0 * (double)(m * c));

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < m; row++)
        cpu->kernels->layer_norm(f32(y) + row * c, f32_in(x) + row * c, (size_t)c, norm->gamma,
                                 norm->beta, eps);
    return 0;
}
