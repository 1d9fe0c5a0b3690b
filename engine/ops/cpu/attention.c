/*
 * Attention without the matrix of all scores: blocks of queries walk over blocks of keys and carry
 * the row's maximum and total along (Dao et al. 2022, arXiv:2205.14135). Both products are the
 * kernel that layers use; keys and values of a head are packed for it first.
 */
#include "engine/ops/cpu/cpu.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define QUERIES 32 /* rows of an item; does not show in the result */
#define KEY_BLOCK                                                                                  \
    256 /* keys per step; decides where totals are rescaled, so the same everywhere                \
         */

struct attention {
    const struct kernels *kernels;
    float *y;
    const float *q, *k, *v;
    int64_t tq, tk, c; /* c: numbers from one token to the next */
    int heads, dim, dim_panels;
    float scale;
    bool causal;
    int64_t key_panels;
    float *packed;         /* per sample and head: keys, then values */
    size_t keys_size, one; /* floats of the keys; of both */
    float *scratch;        /* per thread */
    size_t scratch_size;   /* floats */
};

/* Keys as [key_panels][dim][PANEL], the transpose that q k^T needs; values as
 * [dim_panels][tk][PANEL]. */
static void pack_head(const struct attention *a, int64_t item)
{
    int64_t base = item / a->heads * a->tk * a->c + item % a->heads * a->dim;
    float *keys = a->packed + (size_t)item * a->one, *values = keys + a->keys_size;

    memset(keys, 0, a->one * sizeof *keys);
    for (int64_t j = 0; j < a->tk; j++)
        for (int i = 0; i < a->dim; i++) {
            keys[(j / PANEL * a->dim + i) * PANEL + j % PANEL] = a->k[base + j * a->c + i];
            values[(i / PANEL * a->tk + j) * PANEL + i % PANEL] = a->v[base + j * a->c + i];
        }
}

static void multiply_all(const struct attention *a, float *sum, size_t ld, const float *const *rows,
                         int n_rows, int64_t depth, const float *w, size_t w_stride, int64_t panels)
{
    for (int64_t p = 0; p < panels; p += GROUP_PANELS)
        a->kernels->multiply(sum + p * PANEL, ld, rows, 0, n_rows, (size_t)depth,
                             w + (size_t)p * w_stride, w_stride,
                             (int)(panels - p < GROUP_PANELS ? panels - p : GROUP_PANELS), NULL);
}

/* Keys of a block that query i may see. */
static int64_t seen(const struct attention *a, int64_t i, int64_t first, int64_t n_keys)
{
    int64_t limit = a->causal ? i + 1 - first : n_keys;

    return limit < 0 ? 0 : limit < n_keys ? limit : n_keys;
}

/* Up to QUERIES rows of one head. scratch: queries, scores, sums (attention_scratch). */
static void attend(const struct attention *a, int64_t head, int64_t first, int n_rows,
                   float *scratch)
{
    const float *keys = a->packed + (size_t)head * a->one, *values = keys + a->keys_size;
    int64_t base = (head / a->heads * a->tq + first) * a->c + head % a->heads * a->dim;
    size_t width = (size_t)a->dim_panels * PANEL;
    float *queries = scratch, *scores = queries + QUERIES * width,
          *sum = scores + QUERIES * KEY_BLOCK;
    const float *query_rows[QUERIES], *score_rows[QUERIES];
    float top[QUERIES], total[QUERIES];

    for (int r = 0; r < n_rows; r++) {
        query_rows[r] = queries + (size_t)r * width;
        score_rows[r] = scores + r * KEY_BLOCK;
        top[r] = -INFINITY;
        total[r] = 0;
        a->kernels->scale(queries + (size_t)r * width, a->q + base + r * a->c, (size_t)a->dim,
                          a->scale);
    }
    memset(sum, 0, QUERIES * width * sizeof *sum);
    for (int64_t j = 0; j < a->tk; j += KEY_BLOCK) {
        int64_t n_keys = a->tk - j < KEY_BLOCK ? a->tk - j : KEY_BLOCK;

        if (seen(a, first + n_rows - 1, j, n_keys) == 0)
            break;
        memset(scores, 0, QUERIES * KEY_BLOCK * sizeof *scores);
        multiply_all(a, scores, KEY_BLOCK, query_rows, n_rows, a->dim, keys + j * a->dim,
                     (size_t)a->dim * PANEL, (n_keys + PANEL - 1) / PANEL);
        for (int r = 0; r < n_rows; r++) {
            int64_t n = seen(a, first + r, j, n_keys);
            float keep =
                n ? a->kernels->softmax(scores + r * KEY_BLOCK, (size_t)n, &top[r], &total[r]) : 1;

            memset(scores + r * KEY_BLOCK + n, 0, (size_t)(KEY_BLOCK - n) * sizeof *scores);
            if (j > 0 && n)
                a->kernels->scale(sum + (size_t)r * width, sum + (size_t)r * width, width, keep);
        }
        multiply_all(a, sum, width, score_rows, n_rows, n_keys, values + j * PANEL,
                     (size_t)a->tk * PANEL, a->dim_panels);
    }
    for (int r = 0; r < n_rows; r++)
        a->kernels->scale(a->y + base + r * a->c, sum + (size_t)r * width, (size_t)a->dim,
                          1 / total[r]);
}

static void run_attention(const struct cpu *cpu, const struct attention *a, int64_t n)
{
    int64_t heads = n * a->heads, blocks = (a->tq + QUERIES - 1) / QUERIES;
    double work = 2.0 * (double)(heads * a->tq) * (double)(a->tk * a->dim);

#pragma omp parallel num_threads(cpu_threads(cpu, heads *blocks, work))
    {
        float *scratch = a->scratch + (size_t)omp_get_thread_num() * a->scratch_size;

#pragma omp for schedule(static)
        for (int64_t i = 0; i < heads; i++)
            pack_head(a, i);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads * blocks; i++) {
            int64_t first = i % blocks * QUERIES;

            attend(a, i / blocks, first, (int)(a->tq - first < QUERIES ? a->tq - first : QUERIES),
                   scratch);
        }
    }
}

int cpu_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                  const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads, int head_dim,
                  float scale, bool causal, struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    size_t mark = arena_mark(o->arena), width;
    struct attention a = {
        .kernels = cpu->kernels,
        .y = f32(y),
        .q = f32_in(q),
        .k = f32_in(k),
        .v = f32_in(v),
        .tq = tq,
        .tk = tk,
        .c = (int64_t)heads * head_dim,
        .heads = heads,
        .dim = head_dim,
        .dim_panels = (head_dim + PANEL - 1) / PANEL,
        .scale = scale * 1.44269504089f, /* softmax works to the base 2 */
        .causal = causal,
        .key_panels = (tk + PANEL - 1) / PANEL,
    };
    int rc;

    if (n < 1 || tq < 1 || tk < 1 || heads < 1 || head_dim < 1)
        return err_set(e, ERR_ARG, "attention: an empty side");
    width = (size_t)a.dim_panels * PANEL;
    a.keys_size = (size_t)(a.key_panels * head_dim * PANEL);
    a.one = a.keys_size + width * (size_t)tk;
    a.scratch_size = QUERIES * (2 * width + KEY_BLOCK);
    a.packed = arena_floats(o->arena, (size_t)(n * heads) * a.one);
    a.scratch = arena_floats(o->arena, (size_t)cpu->threads * a.scratch_size);
    TRY(arena_check(o->arena, e));
    if (!o->planning)
        run_attention(cpu, &a, n);
out:
    arena_release(o->arena, mark);
    return rc;
}
