/*
 * Attention in bf16, without the matrix of all scores (Dao et al. 2022, arXiv:2205.14135): keys and
 * values of a head are packed once, then blocks of queries go over them (bf16.h's attend). Scores,
 * maxima and sums are float32.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16_ops.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define ITEMS 8

struct heads {
    struct cpu *cpu;
    uint16_t *y;
    const uint16_t *q, *k, *v;
    int64_t tq, tk, c; /* c: numbers from one token to the next */
    int64_t key_blocks;
    int heads, dim, depth, panels;
    float factor;
    bool causal;
    uint16_t *packed; /* per sample and head: keys, values */
    size_t one;       /* numbers of both */
};

/* What a thread works with. */
struct desk {
    uint16_t *queries, *weights;
    float *scores, *sums;
};

/* A block of keys of all heads of a sample, since a head has but a part of a token's cache lines.
 */
static void pack_keys(const struct heads *h, int64_t sample, int64_t block)
{
    int64_t base = (sample * h->tk + block * KEYS) * h->c, left = h->tk - block * KEYS;

    for (int i = 0; i < h->heads; i++)
        bf16_pack_block(h->packed + (size_t)(sample * h->heads + i) * h->one +
                            (size_t)block * bf16_block_size(h->depth, h->panels),
                        h->k + base + i * h->dim, h->v + base + i * h->dim, (size_t)h->c,
                        (int)(left < KEYS ? left : KEYS), h->dim);
}

static void attend(const struct heads *h, const struct desk *d, int64_t head, int64_t first)
{
    int64_t base = (head / h->heads * h->tq + first) * h->c + head % h->heads * h->dim;
    int n = (int)(h->tq - first < QUERIES ? h->tq - first : QUERIES), width = h->panels * PANEL;

    for (int r = 0; r < n; r++)
        bf16_spread(d->queries + r * h->depth * STEP, STEP, h->q + base + r * h->c, (size_t)h->dim);
    h->cpu->bf16->attend(&(struct attend){.queries = d->queries,
                                          .blocks = h->packed + (size_t)head * h->one,
                                          .n_keys = h->tk,
                                          .factor = h->factor,
                                          .first = first,
                                          .causal = h->causal,
                                          .depth = h->depth,
                                          .panels = h->panels,
                                          .scores = d->scores,
                                          .weights = d->weights,
                                          .sums = d->sums});
    for (int r = 0; r < n; r++)
        bf16_scale(h->y + base + r * h->c, d->sums + r * width, (size_t)h->dim,
                   1 / d->sums[r * width + h->dim]);
}

static void run(const struct heads *h, int64_t n, const struct desk *desks)
{
    int64_t heads = n * h->heads, blocks = (h->tq + QUERIES - 1) / QUERIES;
    double work = (double)(heads * h->tq) * (double)(h->tk * h->dim);

#pragma omp parallel num_threads(cpu_threads(h->cpu, heads *blocks, work))
    {
        const struct desk *d = &desks[omp_get_thread_num()];

        h->cpu->bf16->enter();
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n * h->key_blocks; i++)
            pack_keys(h, i / h->key_blocks, i % h->key_blocks);
            /* Taking an item waits for the stores of the one before, so some are taken at once. */
#pragma omp for schedule(dynamic, ITEMS)
        for (int64_t i = 0; i < heads * blocks; i++)
            attend(h, d, i / blocks, i % blocks * QUERIES);
        h->cpu->bf16->leave();
    }
}

int bf16_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                   const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads, int head_dim,
                   float scale, bool causal, struct err *e)
{
    struct cpu *cpu = (struct cpu *)o;
    size_t mark = arena_mark(o->arena);
    struct heads h = {
        .cpu = cpu,
        .y = bf16(y),
        .q = bf16_in(q),
        .k = bf16_in(k),
        .v = bf16_in(v),
        .tq = tq,
        .tk = tk,
        .c = (int64_t)heads * head_dim,
        .key_blocks = (tk + KEYS - 1) / KEYS,
        .heads = heads,
        .dim = head_dim,
        .depth = (head_dim + STEP - 1) / STEP,
        .panels = head_dim / PANEL + 1,
        .factor = scale * 1.44269504089f, /* softmax works to the base 2 */
        .causal = causal,
    };
    struct desk *desks;
    int rc;

    if (n < 1 || tq < 1 || tk < 1 || heads < 1 || head_dim < 1)
        return err_set(e, ERR_ARG, "attention: an empty side");
    h.one = (size_t)h.key_blocks * bf16_block_size(h.depth, h.panels);
    h.packed = arena_bytes(o->arena, (size_t)(n * heads) * h.one * sizeof *h.packed);
    desks = arena_bytes(o->arena, (size_t)cpu->threads * sizeof *desks);
    for (int i = 0; i < cpu->threads; i++) {
        struct desk d = {
            .queries = arena_bytes(o->arena, (size_t)(QUERIES * h.depth * STEP) * sizeof(uint16_t)),
            .weights = arena_bytes(o->arena, QUERIES * KEYS * sizeof *d.weights),
            .scores = arena_floats(o->arena, QUERIES * KEYS),
            .sums = arena_floats(o->arena, (size_t)(QUERIES * h.panels * PANEL)),
        };

        if (!o->planning && !o->arena->failed)
            desks[i] = d;
    }
    TRY(arena_check(o->arena, e));
    if (!o->planning)
        run(&h, n, desks);
out:
    arena_release(o->arena, mark);
    return rc;
}
#endif
