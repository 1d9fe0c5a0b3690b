#include "engine/networks/adapter.h"

#include <stdlib.h>
#include <string.h>

struct adapter {
    int64_t rank;
    struct linear *down; /* NULL in a convolution's */
    struct conv *down_conv;
    struct linear *up;
};

void adapter_free(struct ops *o, struct adapter *a)
{
    if (a == NULL)
        return;
    o->linear_free(o, a->down);
    o->conv_free(o, a->down_conv);
    o->linear_free(o, a->up);
    free(a);
}

/*
 * The numbers of a layer's held part: down's inputs and up's outputs are cut as the layer's. area:
 * of the kernel. Freed with share_done().
 */
struct share {
    float *down, *up; /* owned */
    int64_t in, out;
};

static void share_done(struct share *p)
{
    free(p->down);
    free(p->up);
}

static int share_take(const struct cut *c, const struct low_rank *numbers, int64_t area,
                      struct share *ret_p, struct err *e)
{
    int64_t rank = numbers->rank, fold = c->out / c->folds;
    int64_t n_down = c->inputs.n * area, n_up = c->outputs.n * rank;
    struct share p = {.in = c->inputs.n, .out = c->outputs.n * c->folds};

    p.down = malloc((size_t)(rank * n_down) * sizeof *p.down);
    p.up = malloc((size_t)(c->folds * n_up) * sizeof *p.up);
    if (p.down == NULL || p.up == NULL) {
        share_done(&p);
        return err_set(e, ERR_OOM, "no memory for an adapter");
    }
    for (int64_t i = 0; i < rank; i++)
        memcpy(p.down + i * n_down, numbers->down + (i * c->in + c->inputs.begin) * area,
               (size_t)n_down * sizeof *p.down);
    for (int f = 0; f < c->folds; f++)
        memcpy(p.up + f * n_up, numbers->up + (f * fold + c->outputs.begin) * rank,
               (size_t)n_up * sizeof *p.up);
    *ret_p = p;
    return 0;
}

static struct tensor matrix(const float *values, int64_t rows, int64_t columns)
{
    return (struct tensor){.data = values, .dtype = DTYPE_F32, .rank = 2, .shape = {rows, columns}};
}

/* An adapter that still lacks its down. */
static int new_with_up(struct ops *o, const struct share *p, int64_t rank, struct adapter **ret_a,
                       struct err *e)
{
    struct tensor up = matrix(p->up, p->out, rank);
    struct adapter *a = calloc(1, sizeof *a);
    int rc = 0;

    if (a == NULL)
        return err_set(e, ERR_OOM, "no memory for an adapter");
    a->rank = rank;
    TRY(o->linear_new(o, &up, NULL, &a->up, e));
    *ret_a = a;
    a = NULL;
out:
    adapter_free(o, a);
    return rc;
}

int adapter_new_linear(struct ops *o, const struct linear_layer *l, const struct low_rank *numbers,
                       struct adapter **ret_a, struct err *e)
{
    struct adapter *a = NULL;
    struct share p = {0};
    struct tensor down;
    int rc = 0;

    *ret_a = NULL;
    if (l->base == NULL)
        return 0;
    TRY(share_take(&l->cut, numbers, 1, &p, e));
    down = matrix(p.down, numbers->rank, p.in);
    TRY(new_with_up(o, &p, numbers->rank, &a, e));
    TRY(o->linear_new(o, &down, NULL, &a->down, e));
    *ret_a = a;
    a = NULL;
out:
    share_done(&p);
    adapter_free(o, a);
    return rc;
}

int adapter_new_conv(struct ops *o, const struct conv_layer *c, const struct low_rank *numbers,
                     struct adapter **ret_a, struct err *e)
{
    struct tensor down = {
        .dtype = DTYPE_F32, .rank = 4, .shape = {numbers->rank, 0, c->kernel, c->kernel}};
    struct adapter *a = NULL;
    struct share p = {0};
    int rc = 0;

    *ret_a = NULL;
    if (c->base == NULL)
        return 0;
    TRY(share_take(&c->cut, numbers, (int64_t)c->kernel * c->kernel, &p, e));
    down.data = p.down;
    down.shape[1] = p.in;
    TRY(new_with_up(o, &p, numbers->rank, &a, e));
    TRY(o->conv_new(o, &down, NULL, &a->down_conv, e));
    *ret_a = a;
    a = NULL;
out:
    share_done(&p);
    adapter_free(o, a);
    return rc;
}

/* y = layer(x) + up(down(x)), before any activation. */
static int add_linear(struct ops *o, struct act *y, const struct act *x,
                      const struct linear_layer *l, int64_t m, const struct act *residual,
                      struct err *e)
{
    const struct adapter *a = l->adapter;
    size_t mark = arena_mark(o->arena);
    struct act *low;
    int rc = 0;

    TRY(scratch(o, m * a->rank, &low, e));
    TRY(o->linear(o, low, x, a->down, m, ACT_NONE, NULL, e));
    TRY(o->linear(o, y, x, l->base, m, ACT_NONE, residual, e));
    TRY(o->linear(o, y, low, a->up, m, ACT_NONE, y, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int adapter_linear(struct ops *o, struct act *y, const struct act *x, const struct linear_layer *l,
                   int64_t m, enum activation act, const struct act *residual, struct err *e)
{
    size_t mark = arena_mark(o->arena);
    struct act *sum = y;
    int rc = 0;

    if (act == ACT_NONE)
        return add_linear(o, y, x, l, m, residual, e);
    if (residual != NULL) /* which may be y itself */
        TRY(scratch(o, m * linear_layer_out(l), &sum, e));
    TRY(add_linear(o, sum, x, l, m, NULL, e));
    TRY(o->activate(o, sum, sum, m * linear_layer_out(l), act, e));
    if (residual != NULL)
        TRY(o->add(o, y, sum, residual, m * linear_layer_out(l), e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int adapter_conv(struct ops *o, struct act *y, const struct act *x, const struct conv_layer *c,
                 const struct extent *s, int stride, const int pad[4], const struct act *per_sample,
                 const struct act *residual, struct err *e)
{
    const struct adapter *a = c->adapter;
    size_t mark = arena_mark(o->arena);
    int64_t high, wide, rows;
    struct act *low;
    int rc = 0;

    /* First the layer itself: it refuses sizes that do not hold the kernel. */
    TRY(o->conv2d(o, y, x, c->base, s->n, s->h, s->w, stride, pad, per_sample, residual, e));
    high = (s->h + pad[0] + pad[1] - c->kernel) / stride + 1;
    wide = (s->w + pad[2] + pad[3] - c->kernel) / stride + 1;
    rows = s->n * high * wide;
    TRY(scratch(o, rows * a->rank, &low, e));
    TRY(o->conv2d(o, low, x, a->down_conv, s->n, s->h, s->w, stride, pad, NULL, NULL, e));
    TRY(o->linear(o, y, low, a->up, rows, ACT_NONE, y, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
