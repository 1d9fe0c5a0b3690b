#include "engine/networks/adapter.h"

#include <stdlib.h>

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

static struct tensor matrix(const float *values, int64_t rows, int64_t columns)
{
    return (struct tensor){.data = values, .dtype = DTYPE_F32, .rank = 2, .shape = {rows, columns}};
}

/* An adapter that still lacks its down. */
static int new_with_up(struct ops *o, int64_t out, const struct low_rank *numbers,
                       struct adapter **ret_a, struct err *e)
{
    struct tensor up = matrix(numbers->up, out, numbers->rank);
    struct adapter *a = calloc(1, sizeof *a);
    int rc = 0;

    if (a == NULL)
        return err_set(e, ERR_OOM, "no memory for an adapter");
    a->rank = numbers->rank;
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
    struct tensor down = matrix(numbers->down, numbers->rank, l->in);
    struct adapter *a = NULL;
    int rc = 0;

    TRY(new_with_up(o, l->out, numbers, &a, e));
    TRY(o->linear_new(o, &down, NULL, &a->down, e));
    *ret_a = a;
    a = NULL;
out:
    adapter_free(o, a);
    return rc;
}

int adapter_new_conv(struct ops *o, const struct conv_layer *c, const struct low_rank *numbers,
                     struct adapter **ret_a, struct err *e)
{
    struct tensor down = {.data = numbers->down,
                          .dtype = DTYPE_F32,
                          .rank = 4,
                          .shape = {numbers->rank, c->in, c->kernel, c->kernel}};
    struct adapter *a = NULL;
    int rc = 0;

    TRY(new_with_up(o, c->out, numbers, &a, e));
    TRY(o->conv_new(o, &down, NULL, &a->down_conv, e));
    *ret_a = a;
    a = NULL;
out:
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
        TRY(scratch(o, m * l->out, &sum, e));
    TRY(add_linear(o, sum, x, l, m, NULL, e));
    TRY(o->activate(o, sum, sum, m * l->out, act, e));
    if (residual != NULL)
        TRY(o->add(o, y, sum, residual, m * l->out, e));
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
