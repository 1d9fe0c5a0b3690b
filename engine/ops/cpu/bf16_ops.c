/* The bf16 backend's table, and the operations that are one loop over activations. */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16_ops.h"
#include "engine/ops/shape.h"

#include <string.h>

#define CHUNK 8192 /* numbers of an item of elementwise work */

/* item(first, n) for all of n numbers, in chunks that threads share. */
#define IN_CHUNKS(o, n_all, cost, item)                                                            \
    do {                                                                                           \
        int64_t items_ = divide_up(n_all, CHUNK);                                                  \
        int threads_ = cpu_threads((const struct cpu *)(o), items_, (cost) * (double)(n_all));     \
        _Pragma("omp parallel for schedule(static) num_threads(threads_)") for (int64_t i_ = 0;    \
                                                                                i_ < items_; i_++) \
        {                                                                                          \
            int64_t first = i_ * CHUNK;                                                            \
            size_t n_here = (size_t)at_most(CHUNK, (n_all)-first);                                 \
            item;                                                                                  \
        }                                                                                          \
    } while (0)

static int put(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e)
{
    (void)e;
    if (!o->planning)
        IN_CHUNKS(o, n, 8.0, bf16_from_f32(bf16(y) + first, x + first, n_here));
    return 0;
}

static int get(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e)
{
    (void)e;
    if (!o->planning)
        IN_CHUNKS(o, n, 8.0, bf16_to_f32(y + first, bf16_in(x) + first, n_here));
    return 0;
}

static int activate(struct ops *o, struct act *y, const struct act *x, int64_t n,
                    enum activation act, struct err *e)
{
    (void)e;
    if (!o->planning)
        IN_CHUNKS(o, n, 16.0, bf16_activate(bf16(y) + first, bf16_in(x) + first, n_here, act));
    return 0;
}

static int add(struct ops *o, struct act *y, const struct act *a, const struct act *b, int64_t n,
               struct err *e)
{
    (void)e;
    if (!o->planning)
        IN_CHUNKS(o, n, 8.0,
                  bf16_add(bf16(y) + first, bf16_in(a) + first, bf16_in(b) + first, n_here));
    return 0;
}

static int geglu(struct ops *o, struct act *y, const struct act *x, int64_t m, int64_t c,
                 struct err *e)
{
    int threads = cpu_threads((const struct cpu *)o, m, 32.0 * (double)(m * c));

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < m; row++)
        bf16_geglu(bf16(y) + row * c, bf16_in(x) + 2 * row * c, bf16_in(x) + (2 * row + 1) * c,
                   (size_t)c);
    return 0;
}

static int layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                      int64_t m, int64_t c, float eps, struct err *e)
{
    int threads = cpu_threads((const struct cpu *)o, m, 16.0 * (double)(m * c));

    (void)e;
    if (o->planning)
        return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < m; row++)
        bf16_layer_norm(bf16(y) + row * c, bf16_in(x) + row * c, (size_t)c, norm->gamma, norm->beta,
                        eps);
    return 0;
}

/* One tap reads its rows where they are, if they can be cut into whole steps. */
static int run_product(struct ops *o, struct bf16_product *p, struct err *e)
{
    const struct linear *l = p->l;

    if (p->n * p->ho * p->wo < 1)
        return 0;
    if (l->kh * l->kw == 1 && p->stride == 1 && p->per_sample == NULL && p->ho == p->h &&
        p->wo == p->w) {
        p->w = p->wo = p->n * p->h * p->w;
        p->n = p->h = p->ho = 1;
        if (l->in % STEP == 0)
            return bf16_rows((struct cpu *)o, p, e);
    }
    return bf16_pixels((struct cpu *)o, p, e);
}

static int linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                  int64_t m, enum activation act, const struct act *residual, struct err *e)
{
    return run_product(o,
                       &(struct bf16_product){.l = l,
                                              .y = bf16(y),
                                              .x = bf16_in(x),
                                              .residual = bf16_in(residual),
                                              .act = act,
                                              .n = 1,
                                              .h = 1,
                                              .w = m,
                                              .ho = 1,
                                              .wo = m,
                                              .stride = 1},
                       e);
}

/* Where gates do not begin with a panel of their own, two operations. */
static int linear_geglu(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                        int64_t m, struct err *e)
{
    size_t mark = arena_mark(o->arena);
    struct act *wide;
    int rc = 0;

    if (l->in % STEP == 0 && l->out % (2 * PANEL) == 0 && m > 0)
        return bf16_rows((struct cpu *)o,
                         &(struct bf16_product){.l = l,
                                                .y = bf16(y),
                                                .x = bf16_in(x),
                                                .gated = true,
                                                .n = 1,
                                                .h = 1,
                                                .w = m,
                                                .ho = 1,
                                                .wo = m,
                                                .stride = 1},
                         e);
    wide = arena_bytes(o->arena, (size_t)(m * l->out) * o->act_bytes);
    TRY(arena_check(o->arena, e));
    TRY(linear(o, wide, x, l, m, ACT_NONE, NULL, e));
    TRY(geglu(o, y, wide, m, l->out / 2, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int conv2d(struct ops *o, struct act *y, const struct act *x, const struct conv *c,
                  int64_t n, int64_t h, int64_t w, int stride, const int pad[4],
                  const struct act *per_sample, const struct act *residual, struct err *e)
{
    struct bf16_product p = {.l = &c->layer,
                             .y = bf16(y),
                             .x = bf16_in(x),
                             .per_sample = bf16_in(per_sample),
                             .residual = bf16_in(residual),
                             .n = n,
                             .h = h,
                             .w = w,
                             .stride = stride,
                             .top = pad[0],
                             .left = pad[2]};
    int rc;

    TRY(shape_conv_side(h, pad[0], pad[1], c->layer.kh, stride, &p.ho, e));
    TRY(shape_conv_side(w, pad[2], pad[3], c->layer.kw, stride, &p.wo, e));
    TRY(run_product(o, &p, e));
out:
    return rc;
}

void bf16_ops(struct ops *o)
{
    o->act_bytes = sizeof(uint16_t);
    o->put = put;
    o->get = get;
    o->linear = linear;
    o->conv2d = conv2d;
    o->group_norm = bf16_group_norm;
    o->group_norm_part = bf16_group_norm_part;
    o->layer_norm = layer_norm;
    o->attention = bf16_attention;
    o->geglu = geglu;
    o->linear_geglu = linear_geglu;
    o->activate = activate;
    o->add = add;
}
#endif
