/*
 * A picture's bytes to the host, beside what is computed next: they are made in a stage's own
 * device memory, and copied in the other stream as soon as they are there. A stage is delivered
 * when its picture is asked for, or when its turn comes again: two pictures of up to 4 MiB may be
 * under way.
 */
#include "engine/ops/cuda/cuda.h"

#include <string.h>

/* What was seen of a piece lies behind its bytes, so that one copy takes both. */
#define PIECE (CUDA_STAGE - sizeof(struct kernel_seen))

static size_t seen_at(size_t n_bytes)
{
    return (n_bytes + 7) / 8 * 8;
}

void stage_deliver(struct stage *s)
{
    struct kernel_seen seen;

    if (s->to == NULL)
        return;
    memcpy(s->to, s->host, s->n_bytes);
    memcpy(&seen, (const char *)s->host + seen_at(s->n_bytes), sizeof seen);
    *s->finite &= seen.bad == 0;
    *s->any |= seen.any != 0;
    s->to = NULL;
}

static int send_piece(struct cuda *c, struct stage *s, const struct act *x, size_t n, struct err *e)
{
    size_t at = seen_at(n);
    struct kernel_seen *seen = (struct kernel_seen *)((char *)s->device + at);
    int rc = 0;

    TRY(cuda_check(kernels_bytes(c->stream, c->number, s->device, x, (int64_t)n, seen),
                   "kernels_bytes", e));
    TRY(cuda_check(cudaEventRecord(s->ready, c->stream), "cudaEventRecord", e));
    TRY(cuda_check(cudaStreamWaitEvent(c->copies, s->ready, 0), "cudaStreamWaitEvent", e));
    TRY(cuda_check(
        cudaMemcpyAsync(s->host, s->device, at + sizeof *seen, cudaMemcpyDeviceToHost, c->copies),
        "cudaMemcpyAsync", e));
    TRY(cuda_check(cudaEventRecord(s->done, c->copies), "cudaEventRecord", e));
out:
    return rc;
}

int cuda_bytes(struct ops *o, uint8_t *ret_bytes, const struct act *x, int64_t n, bool *ret_finite,
               bool *ret_any, struct err *e)
{
    struct cuda *c = cuda_of(o);
    size_t size = PIECE / 8 * 8;
    struct stage *s;
    int rc = 0;

    *ret_finite = true;
    *ret_any = false;
    for (size_t i = 0; i < (size_t)n && !o->planning; i += size) {
        size_t part = (size_t)n - i < size ? (size_t)n - i : size;

        TRY(stage_take(c, &s, e));
        TRY(send_piece(c, s, act_at(o, x, (int64_t)i), part, e));
        s->to = ret_bytes + i;
        s->picture = ret_bytes;
        s->n_bytes = part;
        s->finite = ret_finite;
        s->any = ret_any;
    }
out:
    return rc;
}

int cuda_settle(struct ops *o, const uint8_t *bytes, struct err *e)
{
    struct cuda *c = cuda_of(o);
    int rc = 0;

    for (int i = 0; i < CUDA_STAGES; i++) {
        struct stage *s = &c->stages[(c->next_stage + i) % CUDA_STAGES]; /* the oldest first */

        if (bytes == NULL)
            s->to = NULL;
        if (s->to == NULL || s->picture != bytes)
            continue;
        TRY(cuda_await(c, s->done, e));
        stage_deliver(s);
    }
out:
    return rc;
}
