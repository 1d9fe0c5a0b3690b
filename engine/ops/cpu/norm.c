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

static void run_group_norm(const struct cpu *cpu, const struct moments *s, float *y, const float *x,
                           const float *gamma, const float *beta, int64_t n, int64_t p, int64_t c,
                           int groups, float eps, enum activation act)
{
    int64_t blocks = (p + BLOCK_ROWS - 1) / BLOCK_ROWS, items = n * blocks;
    int threads = cpu_threads(cpu, items, 16.0 * (double)(n * p * c));

#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++) {
            int64_t first = i % blocks * BLOCK_ROWS;
            int64_t rows = p - first < BLOCK_ROWS ? p - first : BLOCK_ROWS;
            double *sums = s->sums + i * 2 * c;

            memset(sums, 0, (size_t)(2 * c) * sizeof *sums);
            cpu->kernels->column_sums(sums, sums + c, x + (i / blocks * p + first) * c,
                                      (size_t)rows, (size_t)c);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++)
            norm_lines(s->sums + i * blocks * 2 * c, blocks, p, c, groups, (double)eps, gamma, beta,
                       s->lines + i * 2 * c);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++) {
            int64_t first = i % blocks * BLOCK_ROWS;
            int64_t rows = p - first < BLOCK_ROWS ? p - first : BLOCK_ROWS;
            int64_t at = (i / blocks * p + first) * c;
            const float *line = s->lines + i / blocks * 2 * c;

            cpu->kernels->scale_shift(y + at, x + at, (size_t)rows, (size_t)c, line, line + c, act);
        }
    }
}

int cpu_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                   int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                   struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    int64_t blocks = (p + BLOCK_ROWS - 1) / BLOCK_ROWS;
    size_t mark = arena_mark(o->arena);
    struct moments s = {0};
    int rc;

    TRY(shape_check_groups(c, groups, e));
    s.sums = arena_bytes(o->arena, (size_t)(n * blocks * 2 * c) * sizeof *s.sums);
    s.lines = arena_floats(o->arena, (size_t)(n * 2 * c));
    TRY(arena_check(o->arena, e));
    if (!o->planning)
        run_group_norm(cpu, &s, f32(y), f32_in(x), norm->gamma, norm->beta, n, p, c, groups, eps,
                       act);
out:
    arena_release(o->arena, mark);
    return rc;
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
