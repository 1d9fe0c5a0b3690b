/*
 * Attention without the matrix of all scores: blocks of queries walk over blocks of keys and carry
 * each query's maximum and total along (Dao et al. 2022, arXiv:2205.14135). Both products are the
 * kernel that layers use, with queries as its columns: scores of 16 queries side by side, so that
 * softmax needs no sums across lanes, and results by head_dim rows of them.
 */
#include "engine/ops/cpu/layer.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define KEY_BLOCK 128 /* keys per step; totals are rescaled between, so the same everywhere */

struct attention {
    const struct kernels *kernels;
    float *y;
    const float *q, *k, *v;
    int64_t tq, tk, c; /* c: numbers from one token to the next */
    int64_t groups;    /* of panels of queries */
    int heads, dim;
    float scale;
    bool causal;
    float *packed;         /* per sample and head: keys, then values */
    size_t keys_size, one; /* floats of the keys; of both */
    float *scratch;        /* per thread */
    size_t scratch_size;   /* floats */
};

/* A group of one head's queries, and what a thread has for it. */
struct queries {
    int64_t first;
    int n, panels;
    float *q;      /* [panels][dim][PANEL] */
    float *scores; /* [panels][KEY_BLOCK][PANEL] */
    float *sums;   /* [dim][GROUP] */
    _Alignas(64) float top[GROUP], total[GROUP], factors[GROUP];
};

/* Keys as [tk][dim], values as [blocks][dim][KEY_BLOCK]. */
static void pack_head(const struct attention *a, int64_t item)
{
    int64_t base = item / a->heads * a->tk * a->c + item % a->heads * a->dim;
    float *keys = a->packed + (size_t)item * a->one, *values = keys + a->keys_size;

    for (int64_t j = 0; j < a->tk; j++)
        memcpy(keys + j * a->dim, a->k + base + j * a->c, (size_t)a->dim * sizeof *keys);
    for (int i = 0; i < a->dim; i += PANEL)
        for (int64_t j = 0; j < a->tk; j++)
            for (int d = i; d < a->dim && d < i + PANEL; d++)
                values[(j / KEY_BLOCK * a->dim + d) * KEY_BLOCK + j % KEY_BLOCK] =
                    a->v[base + j * a->c + d];
}

static void begin(const struct attention *a, struct queries *t, const float *q)
{
    if (t->n < t->panels * PANEL)
        memset(t->q, 0, (size_t)(t->panels * a->dim * PANEL) * sizeof *t->q);
    for (int r = 0; r < t->n; r++) {
        float *to = t->q + r / PANEL * a->dim * PANEL + r % PANEL;

        for (int i = 0; i < a->dim; i++)
            to[i * PANEL] = q[r * a->c + i] * a->scale;
    }
    for (int i = 0; i < GROUP; i++) {
        t->top[i] = -INFINITY;
        t->total[i] = 0;
        t->factors[i] = 1;
    }
}

/* n rows of a packed block, row_size apart, against all queries of w; then is read next. */
static void multiply_block(const struct attention *a, const struct queries *t, struct multiply *m,
                           const float *block, int64_t n, int64_t row_size, const float *then)
{
    const float *rows[KEY_BLOCK];
    size_t half = (size_t)(a->dim * KEY_BLOCK) / 2 * sizeof *block;
    float *sum = m->sum;

    m->panels = t->panels;
    m->rows = rows;
    m->ahead = (struct ahead){{(const char *)then, (const char *)then + half}, {half, half}};
    for (int64_t first = 0; first < n; first += KEY_BLOCK) {
        m->n_rows = (int)(n - first < KEY_BLOCK ? n - first : KEY_BLOCK);
        m->sum = sum + (size_t)first * m->ld;
        for (int i = 0; i < m->n_rows; i++)
            rows[i] = block + (first + i) * row_size;
        a->kernels->multiply(m);
    }
}

/* One block of keys, from key j on. */
static void step(const struct attention *a, struct queries *t, const float *keys,
                 const float *values, int64_t j)
{
    int64_t n = a->tk - j < KEY_BLOCK ? a->tk - j : KEY_BLOCK;
    const float *block = keys + j * a->dim, *value_block = values + j * a->dim;

    multiply_block(a, t,
                   &(struct multiply){.sum = t->scores,
                                      .ld = PANEL,
                                      .sum_stride = KEY_BLOCK * PANEL,
                                      .fresh = true,
                                      .depth = (size_t)a->dim,
                                      .w = t->q,
                                      .w_stride = (size_t)(a->dim * PANEL)},
                   block, n, a->dim, value_block);
    for (int p = 0; p < t->panels; p++)
        a->kernels->softmax(t->scores + p * KEY_BLOCK * PANEL, (size_t)n,
                            a->causal ? t->first + p * PANEL - j : n, t->top + p * PANEL,
                            t->total + p * PANEL, t->factors + p * PANEL);
    if (j > 0)
        a->kernels->scale(t->sums, (size_t)a->dim, t->factors);
    multiply_block(a, t,
                   &(struct multiply){.sum = t->sums,
                                      .ld = GROUP,
                                      .sum_stride = PANEL,
                                      .fresh = j == 0,
                                      .depth = (size_t)n,
                                      .w = t->scores,
                                      .w_stride = KEY_BLOCK * PANEL},
                   value_block, a->dim, KEY_BLOCK, block + n * a->dim);
}

/* One group of one head's queries. scratch: queries, scores, sums. */
static void attend(const struct attention *a, int64_t head, int64_t group, float *scratch)
{
    const float *keys = a->packed + (size_t)head * a->one, *values = keys + a->keys_size;
    struct queries t = {.q = scratch};
    int64_t panel, base, end;
    float *y;

    product_group((a->tq + PANEL - 1) / PANEL, a->groups, group, &panel, &t.panels);
    t.first = panel * PANEL;
    t.n = (int)(a->tq - t.first < t.panels * PANEL ? a->tq - t.first : t.panels * PANEL);
    t.scores = t.q + a->dim * GROUP;
    t.sums = t.scores + KEY_BLOCK * GROUP;
    base = (head / a->heads * a->tq + t.first) * a->c + head % a->heads * a->dim;
    begin(a, &t, a->q + base);
    end = a->causal && t.first + t.n < a->tk ? t.first + t.n : a->tk;
    for (int64_t j = 0; j < end; j += KEY_BLOCK)
        step(a, &t, keys, values, j);
    for (int i = 0; i < t.n; i++)
        t.factors[i] = 1 / t.total[i];
    a->kernels->scale(t.sums, (size_t)a->dim, t.factors);
    y = a->y + base;
    for (int r = 0; r < t.n; r++)
        for (int i = 0; i < a->dim; i++)
            y[r * a->c + i] = t.sums[i * GROUP + r];
}

static void run_attention(const struct cpu *cpu, const struct attention *a, int64_t n)
{
    int64_t heads = n * a->heads;
    double work = 2.0 * (double)(heads * a->tq) * (double)(a->tk * a->dim);

#pragma omp parallel num_threads(cpu_threads(cpu, heads * a->groups, work))
    {
        float *scratch = a->scratch + (size_t)omp_get_thread_num() * a->scratch_size;

#pragma omp for schedule(static)
        for (int64_t i = 0; i < heads; i++)
            pack_head(a, i);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < heads * a->groups; i++)
            attend(a, i / a->groups, i % a->groups, scratch);
    }
}

int cpu_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                  const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads, int head_dim,
                  float scale, bool causal, struct err *e)
{
    const struct cpu *cpu = (const struct cpu *)o;
    size_t mark = arena_mark(o->arena);
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
        .scale = scale * 1.44269504089f, /* softmax works to the base 2 */
        .causal = causal,
        .groups = product_groups((tq + PANEL - 1) / PANEL),
    };
    int rc;

    if (n < 1 || tq < 1 || tk < 1 || heads < 1 || head_dim < 1)
        return err_set(e, ERR_ARG, "attention: an empty side");
    a.keys_size = (size_t)((tk * head_dim + PANEL - 1) / PANEL * PANEL);
    a.one = a.keys_size + (size_t)((tk + KEY_BLOCK - 1) / KEY_BLOCK * head_dim * KEY_BLOCK);
    a.scratch_size = (size_t)(GROUP * (2 * head_dim + KEY_BLOCK));
    a.packed = arena_floats(o->arena, (size_t)(n * heads) * a.one);
    a.scratch = arena_floats(o->arena, (size_t)cpu->threads * a.scratch_size);
    TRY(arena_check(o->arena, e));
    if (!o->planning)
        run_attention(cpu, &a, n);
out:
    arena_release(o->arena, mark);
    return rc;
}
