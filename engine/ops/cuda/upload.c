/*
 * Weights from a file to the device. Numbers travel as the file has them, f16 as two bytes, through
 * pinned memory in pieces, in a stream of their own; the device rounds and packs them. So the host
 * does nothing but read, and while it reads a piece the one before is copied.
 */
#include "engine/ops/cuda/cuda.h"

#include <string.h>

/* A tensor as rows that are uploaded whole; the device's rows are [taps, in_wide]. */
struct upload {
    const struct tensor *t;
    int64_t rows, in, taps, in_wide;
    enum kernel_number to;
};

static size_t size_of(enum kernel_number type)
{
    return type == KERNEL_F32 ? sizeof(float) : 2;
}

static int number_of(const struct tensor *t, enum kernel_number *ret_type, struct err *e)
{
    switch (t->dtype) {
    case DTYPE_F32:
        *ret_type = KERNEL_F32;
        return 0;
    case DTYPE_F16:
        *ret_type = KERNEL_F16;
        return 0;
    case DTYPE_BF16:
        *ret_type = KERNEL_BF16;
        return 0;
    default:
        return err_set(e, ERR_ARG, "weights of type %s", dtype_name(t->dtype));
    }
}

/* Rows from `first` on, as many as a stage holds; memory is where the first of all goes. */
static int send(struct cuda *c, const struct upload *u, enum kernel_number from, char *memory,
                int64_t first, int64_t rows, struct err *e)
{
    size_t row = (size_t)(u->in * u->taps) * size_of(from);
    struct kernel_weights w = {.from = from,
                               .to = u->to,
                               .rows = rows,
                               .in = u->in,
                               .taps = u->taps,
                               .in_wide = u->in_wide};
    struct stage *s;
    int rc = 0;

    TRY(stage_take(c, &s, e));
    memcpy(s->host, (const char *)u->t->data + (size_t)first * row, (size_t)rows * row);
    TRY(cuda_check(
        cudaMemcpyAsync(s->device, s->host, (size_t)rows * row, cudaMemcpyHostToDevice, c->copies),
        "cudaMemcpyAsync", e));
    w.x = s->device;
    w.y = memory + (size_t)(first * u->taps * u->in_wide) * size_of(u->to);
    TRY(cuda_check(kernels_weights(c->copies, &w), "kernels_weights", e));
    TRY(cuda_check(cudaEventRecord(s->done, c->copies), "cudaEventRecord", e));
    TRY(cuda_check(cudaStreamWaitEvent(c->stream, s->done, 0), "cudaStreamWaitEvent", e));
out:
    return rc;
}

/* rows_wide: of the device; those behind the tensor's are zeros. */
static int upload(struct cuda *c, const struct upload *u, int64_t rows_wide, void **ret_memory,
                  struct err *e)
{
    size_t row = (size_t)(u->taps * u->in_wide) * size_of(u->to);
    size_t bytes = (size_t)u->rows * row, all = (size_t)rows_wide * row;
    enum kernel_number from;
    void *memory = NULL;
    int64_t piece;
    int rc = 0;

    TRY(number_of(u->t, &from, e));
    piece = (int64_t)(CUDA_STAGE / ((size_t)(u->in * u->taps) * size_of(from)));
    if (piece < 1)
        TRY(err_set(e, ERR_ARG, "a convolution of %lld inputs and %lld taps is too large",
                    (long long)u->in, (long long)u->taps));
    TRY(cuda_memory_new(&c->ops, all, &memory, e));
    if (all > bytes)
        TRY(cuda_check(cudaMemsetAsync((char *)memory + bytes, 0, all - bytes, c->copies),
                       "cudaMemsetAsync", e));
    for (int64_t i = 0; i < u->rows; i += piece)
        TRY(send(c, u, from, memory, i, u->rows - i < piece ? u->rows - i : piece, e));
    *ret_memory = memory;
    memory = NULL;
out:
    cuda_memory_free(&c->ops, memory);
    return rc;
}

int cuda_upload(struct cuda *c, const struct tensor *t, bool as_float, void **ret_memory,
                struct err *e)
{
    const struct upload u = {.t = t,
                             .rows = tensor_count(t),
                             .in = 1,
                             .taps = 1,
                             .in_wide = 1,
                             .to = as_float ? KERNEL_F32 : c->number};

    return upload(c, &u, u.rows, ret_memory, e);
}

int cuda_upload_taps(struct cuda *c, const struct tensor *t, int64_t out_wide, int64_t in_wide,
                     void **ret_memory, struct err *e)
{
    const struct upload u = {.t = t,
                             .rows = t->shape[0],
                             .in = t->shape[1],
                             .taps = t->shape[2] * t->shape[3],
                             .in_wide = in_wide,
                             .to = c->number};

    return upload(c, &u, out_wide, ret_memory, e);
}
