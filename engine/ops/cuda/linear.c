/* Linear layers: products of cuBLASLt (product.h), with an activation in a kernel of our own. */
#include "engine/ops/cuda/linear.h"
#include "engine/ops/cuda/product.h"

#include "engine/ops/shape.h"

#include <stdlib.h>

void cuda_linear_free(struct ops *o, struct linear *l)
{
    if (l == NULL)
        return;
    cuda_memory_free(o, l->w);
    cuda_memory_free(o, l->bias);
    o->weight_bytes -= l->bytes;
    free(l);
}

int linear_new(struct cuda *c, const struct tensor *w, const struct tensor *bias,
               struct linear **ret_l, struct err *e)
{
    struct linear *l = calloc(1, sizeof *l);
    int rc = 0;

    if (l == NULL)
        return err_set(e, ERR_OOM, "no memory for a layer");
    l->out = w->shape[0];
    l->in = w->shape[1];
    TRY(cuda_upload(c, w, false, &l->w, e));
    if (bias != NULL)
        TRY(cuda_upload(c, bias, false, &l->bias, e));
    TRY(product_get(c, l->in, l->out, bias != NULL, &l->product, e));
    l->bytes = (size_t)(l->in * l->out + (bias != NULL ? l->out : 0)) * c->ops.act_bytes;
    c->ops.weight_bytes += l->bytes;
    *ret_l = l;
    l = NULL;
out:
    cuda_linear_free(&c->ops, l);
    return rc;
}

int cuda_linear_new(struct ops *o, const struct tensor *w, const struct tensor *bias,
                    struct linear **ret_l, struct err *e)
{
    int rc = shape_check_layer(w, 2, bias, e);

    return rc != 0 ? rc : linear_new(cuda_of(o), w, bias, ret_l, e);
}

int cuda_linear(struct ops *o, struct act *y, const struct act *x, const struct linear *l,
                int64_t m, enum activation act, const struct act *residual, struct err *e)
{
    struct cuda *c = cuda_of(o);
    size_t mark = arena_mark(o->arena);
    void *sum = y;
    int rc = 0;

    if (act != ACT_NONE && residual == y) { /* it is needed after the product */
        sum = arena_bytes(o->arena, (size_t)(m * l->out) * o->act_bytes);
        TRY(arena_check(o->arena, e));
    }
    if (o->planning) {
        TRY(product_plan(c, l->product, m, e));
        goto out;
    }
    TRY(product_run(c, l->product,
                    &(struct product_call){.y = sum,
                                           .x = x,
                                           .w = l->w,
                                           .bias = l->bias,
                                           .residual = act == ACT_NONE ? residual : NULL,
                                           .m = m},
                    e));
    if (act != ACT_NONE)
        TRY(cuda_check(kernels_activate(c->stream, c->number, y, sum, residual, m * l->out,
                                        (enum kernel_activation)act),
                       "kernels_activate", e));
out:
    arena_release(o->arena, mark);
    return rc;
}
