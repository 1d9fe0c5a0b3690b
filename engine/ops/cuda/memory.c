/*
 * Memory of the device, and numbers on their way to and from it. The host's float32 goes through
 * pinned memory in pieces, two in flight: while one is copied by the device, the other is filled or
 * emptied here. Rounding happens on the device.
 */
#include "engine/ops/cuda/cuda.h"

#include <string.h>

#define PIECE ((int64_t)(CUDA_STAGE / sizeof(float))) /* numbers */

int cuda_memory_new(struct ops *o, size_t n_bytes, void **ret_memory, struct err *e)
{
    struct err why;
    int rc;

    recordings_forget(cuda_of(o)->recordings);
    rc = cuda_check(cudaMalloc(ret_memory, n_bytes > 0 ? n_bytes : 1), "cudaMalloc", &why);
    return rc == 0
               ? 0
               : err_set(e, rc, "%zu bytes of cuda:%d: %s", n_bytes, cuda_of(o)->device, why.text);
}

void cuda_memory_free(struct ops *o, void *memory)
{
    if (memory == NULL)
        return;
    recordings_forget(cuda_of(o)->recordings);
    cudaStreamSynchronize(cuda_of(o)->copies);
    cuda_await_all(cuda_of(o), NULL); /* an error of it is the next call's too */
    cudaFree(memory);
    cudaGetLastError(); /* an error of earlier work is told by the next call that can */
}

int stages_init(struct cuda *c, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < CUDA_STAGES; i++) {
        struct stage *s = &c->stages[i];

        TRY(cuda_check(cudaMallocHost(&s->host, CUDA_STAGE), "cudaMallocHost", e));
        TRY(cuda_check(cudaMalloc(&s->device, CUDA_STAGE), "cudaMalloc", e));
        TRY(cuda_check(cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming),
                       "cudaEventCreateWithFlags", e));
        TRY(cuda_check(cudaEventCreateWithFlags(&s->ready, cudaEventDisableTiming),
                       "cudaEventCreateWithFlags", e));
    }
out:
    return rc;
}

void stages_done(struct cuda *c)
{
    for (int i = 0; i < CUDA_STAGES; i++) {
        if (c->stages[i].done != NULL)
            cudaEventDestroy(c->stages[i].done);
        if (c->stages[i].ready != NULL)
            cudaEventDestroy(c->stages[i].ready);
        cudaFree(c->stages[i].device);
        cudaFreeHost(c->stages[i].host);
    }
}

int stage_take(struct cuda *c, struct stage **ret_s, struct err *e)
{
    struct stage *s = &c->stages[c->next_stage];
    int rc = 0;

    c->next_stage = (c->next_stage + 1) % CUDA_STAGES;
    *ret_s = s;
    TRY(cuda_await(c, s->done, e));
    stage_deliver(s);
out:
    return rc;
}

/* From the host to a stage's device memory, and from there to y, rounded. */
static int send(struct cuda *c, struct act *y, const float *x, int64_t n, struct err *e)
{
    struct stage *s;
    int rc = 0;

    TRY(stage_take(c, &s, e));
    memcpy(s->host, x, (size_t)n * sizeof *x);
    TRY(cuda_check(cudaMemcpyAsync(s->device, s->host, (size_t)n * sizeof *x,
                                   cudaMemcpyHostToDevice, c->stream),
                   "cudaMemcpyAsync", e));
    TRY(cuda_check(kernels_from_float(c->stream, c->number, y, s->device, n), "kernels_from_float",
                   e));
    TRY(cuda_check(cudaEventRecord(s->done, c->stream), "cudaEventRecord", e));
out:
    return rc;
}

int cuda_put(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e)
{
    int rc = 0;

    if (cuda_of(o)->number == KERNEL_F32)
        return o->planning ? 0 : cuda_send_floats(cuda_of(o), y, x, n, e);
    for (int64_t i = 0; i < n && !o->planning; i += PIECE)
        TRY(send(cuda_of(o), act_at(o, y, i), x + i, n - i < PIECE ? n - i : PIECE, e));
out:
    return rc;
}

/* The rest of get: waits for a piece and copies it out. */
static int receive(struct cuda *c, struct stage *s, char *y, size_t n_bytes, struct err *e)
{
    int rc = cuda_await(c, s->done, e);

    if (rc == 0)
        memcpy(y, s->host, n_bytes);
    return rc;
}

/* Bytes of the device, or n numbers as float, by pieces of the stages' size. */
static int fetch(struct cuda *c, char *y, const void *x, size_t n_bytes, bool numbers,
                 struct err *e)
{
    struct stage *s, *last = NULL;
    size_t size = PIECE * sizeof(float), last_at = 0;
    int rc = 0;

    for (size_t i = 0; i < n_bytes; i += size) {
        size_t part = n_bytes - i < size ? n_bytes - i : size;
        int64_t first = (int64_t)(i / sizeof(float));
        const void *from = (const char *)x + i;

        TRY(stage_take(c, &s, e));
        if (numbers) {
            from = s->device;
            TRY(cuda_check(kernels_to_float(c->stream, c->number, s->device,
                                            act_at(&c->ops, x, first),
                                            (int64_t)(part / sizeof(float))),
                           "kernels_to_float", e));
        }
        TRY(cuda_check(cudaMemcpyAsync(s->host, from, part, cudaMemcpyDeviceToHost, c->stream),
                       "cudaMemcpyAsync", e));
        TRY(cuda_check(cudaEventRecord(s->done, c->stream), "cudaEventRecord", e));
        if (last != NULL)
            TRY(receive(c, last, y + last_at, size, e));
        last = s;
        last_at = i;
    }
    if (last != NULL)
        TRY(receive(c, last, y + last_at, n_bytes - last_at, e));
out:
    return rc;
}

int cuda_get(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e)
{
    struct cuda *c = cuda_of(o);

    return o->planning ? 0
                       : fetch(c, (char *)y, x, (size_t)n * sizeof *y, c->number != KERNEL_F32, e);
}

int cuda_fetch(struct cuda *c, void *y, const void *x, size_t n_bytes, struct err *e)
{
    return fetch(c, y, x, n_bytes, false, e);
}

int cuda_send_floats(struct cuda *c, void *y, const float *x, int64_t n, struct err *e)
{
    struct stage *s;
    int rc = 0;

    for (int64_t i = 0; i < n; i += PIECE) {
        size_t part = (size_t)(n - i < PIECE ? n - i : PIECE) * sizeof *x;

        TRY(stage_take(c, &s, e));
        memcpy(s->host, x + i, part);
        TRY(cuda_check(
            cudaMemcpyAsync((float *)y + i, s->host, part, cudaMemcpyHostToDevice, c->stream),
            "cudaMemcpyAsync", e));
        TRY(cuda_check(cudaEventRecord(s->done, c->stream), "cudaEventRecord", e));
    }
out:
    return rc;
}
