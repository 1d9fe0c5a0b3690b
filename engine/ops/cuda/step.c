/*
 * A step of the sampler on a device: ops.h's step. Blocks travel through pinned memory, two in
 * turn, and a block is used again when the step that it was for is done, so calls run ahead of the
 * device by two steps at most.
 */
#include "engine/ops/cuda/cuda.h"
#include "engine/ops/workspace.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS 2

struct blocks {
    struct step_block *host[BLOCKS]; /* pinned, of step_bytes() for the largest batch */
    cudaEvent_t done[BLOCKS];        /* of the step, or of the copy if it has no end */
    int next;
};

int blocks_new(struct blocks **ret_b, struct err *e)
{
    size_t size = step_bytes(STEP_SAMPLES_MAX, STEP_BRANCHES_MAX);
    struct blocks *b = calloc(1, sizeof *b);
    int rc = 0;

    if (b == NULL)
        return err_set(e, ERR_OOM, "no memory for the steps' blocks");
    for (int i = 0; i < BLOCKS; i++) {
        TRY(cuda_check(cudaMallocHost((void **)&b->host[i], size), "cudaMallocHost", e));
        TRY(cuda_check(cudaEventCreateWithFlags(&b->done[i], cudaEventDisableTiming),
                       "cudaEventCreateWithFlags", e));
    }
    *ret_b = b;
    b = NULL;
out:
    blocks_free(b);
    return rc;
}

void blocks_free(struct blocks *b)
{
    for (int i = 0; b != NULL && i < BLOCKS; i++) {
        if (b->done[i] != NULL)
            cudaEventDestroy(b->done[i]);
        cudaFreeHost(b->host[i]);
    }
    free(b);
}

static int put(struct ops *o, struct latent *y, const float *x, int64_t n, struct err *e)
{
    return o->planning ? 0 : cuda_send_floats(cuda_of(o), y, x, n, e);
}

static int get(struct ops *o, float *y, const struct latent *x, int64_t n, struct err *e)
{
    return o->planning ? 0 : cuda_fetch(cuda_of(o), y, x, (size_t)n * sizeof *y, e);
}

static int set(struct ops *o, const struct step_place *at, const struct step_block *block,
               struct err *e)
{
    struct cuda *c = cuda_of(o);
    struct blocks *b = c->blocks;
    size_t size = step_bytes(at->n, block->branches);
    int rc = 0;

    if (o->planning)
        return 0;
    TRY(cuda_await(c, b->done[b->next], e));
    memcpy(b->host[b->next], block, size);
    TRY(cuda_check(
        cudaMemcpyAsync(at->block, b->host[b->next], size, cudaMemcpyHostToDevice, c->stream),
        "cudaMemcpyAsync", e));
    TRY(cuda_check(cudaEventRecord(b->done[b->next], c->stream), "cudaEventRecord", e));
out:
    return rc;
}

static int end(struct ops *o, struct err *e)
{
    struct blocks *b = cuda_of(o)->blocks;
    cudaEvent_t done = b->done[b->next];

    if (o->planning)
        return 0;
    b->next = (b->next + 1) % BLOCKS;
    return cuda_check(cudaEventRecord(done, cuda_of(o)->stream), "cudaEventRecord", e);
}

static int begin(struct ops *o, const struct step_place *at, struct err *e)
{
    size_t size = (size_t)at->n * sizeof(struct step_found);

    return o->planning ? 0
                       : cuda_check(cudaMemsetAsync(at->found, 0, size, cuda_of(o)->stream),
                                    "cudaMemsetAsync", e);
}

static int noise(struct ops *o, const struct step_place *at, struct err *e)
{
    return o->planning ? 0 : cuda_check(kernels_noise(cuda_of(o)->stream, at), "kernels_noise", e);
}

static int input(struct ops *o, const struct step_place *at, struct act *in, int64_t first,
                 int64_t n, struct err *e)
{
    struct cuda *c = cuda_of(o);

    return o->planning ? 0
                       : cuda_check(kernels_input(c->stream, c->number, at, in, first, n),
                                    "kernels_input", e);
}

static int time_row(struct ops *o, const struct step_place *at, struct act *row,
                    const struct sinusoids *s, struct err *e)
{
    struct cuda *c = cuda_of(o);

    return o->planning
               ? 0
               : cuda_check(kernels_time(c->stream, c->number, at, row, s), "kernels_time", e);
}

static int update(struct ops *o, const struct step_place *at, const struct act *outputs,
                  bool rescales, struct err *e)
{
    struct cuda *c = cuda_of(o);

    return o->planning ? 0
                       : cuda_check(kernels_update(c->stream, c->number, at, outputs, rescales),
                                    "kernels_update", e);
}

static int found(struct ops *o, const struct step_place *at, int *ret_bad, struct err *e)
{
    struct step_found all[STEP_SAMPLES_MAX];
    int rc = 0;

    *ret_bad = 0;
    if (o->planning)
        return 0;
    TRY(cuda_fetch(cuda_of(o), all, at->found, (size_t)at->n * sizeof *all, e));
    *ret_bad = step_first_bad(all, at->n);
out:
    return rc;
}

static int for_vae(struct ops *o, struct act *y, const struct latent *x, int64_t n, float divisor,
                   float shift, struct err *e)
{
    struct cuda *c = cuda_of(o);

    return o->planning ? 0
                       : cuda_check(kernels_for_vae(c->stream, c->number, y, (const float *)x, n,
                                                    divisor, shift),
                                    "kernels_for_vae", e);
}

const struct step_ops cuda_step_ops = {
    .put = put,
    .get = get,
    .set = set,
    .end = end,
    .begin = begin,
    .noise = noise,
    .input = input,
    .time = time_row,
    .update = update,
    .found = found,
    .for_vae = for_vae,
    .bytes = cuda_bytes,
    .settle = cuda_settle,
};
