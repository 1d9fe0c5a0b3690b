#include "engine/ops/cuda/trial.h"

int trial_begin(struct cuda *c, size_t bytes, struct trial *ret_t, struct err *e)
{
    struct trial t = {.c = c};
    int rc = 0;

    TRY(cuda_check(cudaMalloc((void **)&t.memory, bytes + 256), "cudaMalloc", e));
    t.flag = trial_take(&t, sizeof *t.flag);
    TRY(cuda_check(cudaMemsetAsync(t.flag, 0, sizeof *t.flag, c->stream), "cudaMemsetAsync", e));
    *ret_t = t;
    t.memory = NULL;
out:
    trial_end(&t);
    return rc;
}

void trial_end(struct trial *t)
{
    if (t->memory == NULL)
        return;
    cuda_await_all(t->c, NULL);
    cudaFree(t->memory);
    t->memory = NULL;
}

void *trial_take(struct trial *t, size_t bytes)
{
    void *at = t->memory + t->used;

    t->used += TRIAL_ROOM(bytes);
    return at;
}

int trial_pattern(struct trial *t, void *y, int64_t rows, int64_t width, uint32_t seed, bool turned,
                  struct err *e)
{
    return cuda_check(
        kernels_pattern(t->c->stream, t->c->number, y, rows, width, seed, turned ? 1 : 0),
        "kernels_pattern", e);
}

int trial_compare(struct trial *t, const void *a, const void *b, int64_t numbers, struct err *e)
{
    return cuda_check(kernels_differ(t->c->stream, t->c->number, t->flag, a, b, numbers),
                      "kernels_differ", e);
}

int trial_result(struct trial *t, bool *ret_equal, struct err *e)
{
    uint32_t flag = 1;
    int rc = 0;

    TRY(cuda_fetch(t->c, &flag, t->flag, sizeof flag, e));
    *ret_equal = flag == 0;
out:
    return rc;
}
