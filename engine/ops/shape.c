#include "engine/ops/shape.h"

#include <inttypes.h>

int shape_check_layer(const struct tensor *w, int rank, const struct tensor *bias, struct err *e)
{
    char text[128];

    if (w->rank != rank || !dtype_is_float(w->dtype))
        return err_set(e, ERR_ARG, "weight %s of type %s: a float tensor of rank %d is needed",
                       tensor_shape_text(w, text, sizeof text), dtype_name(w->dtype), rank);
    for (int i = 0; i < rank; i++)
        if (w->shape[i] < 1)
            return err_set(e, ERR_ARG, "weight %s is empty",
                           tensor_shape_text(w, text, sizeof text));
    if (bias && (bias->rank != 1 || bias->shape[0] != w->shape[0] || !dtype_is_float(bias->dtype)))
        return err_set(e, ERR_ARG, "bias %s of type %s: [%" PRId64 "] of a float type is needed",
                       tensor_shape_text(bias, text, sizeof text), dtype_name(bias->dtype),
                       w->shape[0]);
    return 0;
}

int shape_conv_side(int64_t side, int before, int after, int64_t kernel, int stride,
                    int64_t *ret_side, struct err *e)
{
    if (side < 1 || before < 0 || after < 0 || stride < 1 || side + before + after < kernel)
        return err_set(e, ERR_ARG,
                       "convolution: side %" PRId64 " with padding %d, %d does not hold a kernel "
                       "of %" PRId64 " with stride %d",
                       side, before, after, kernel, stride);
    *ret_side = (side + before + after - kernel) / stride + 1;
    return 0;
}

int shape_check_groups(int64_t c, int groups, struct err *e)
{
    if (groups < 1 || c < 1 || c % groups != 0)
        return err_set(e, ERR_ARG, "group norm: %" PRId64 " channels do not divide into %d groups",
                       c, groups);
    return 0;
}
