#include "engine/ops/host.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64u

int host_memory_new(struct ops *o, size_t n_bytes, void **ret_memory, struct err *e)
{
    size_t size = n_bytes > 0 ? n_bytes : ALIGNMENT;

    (void)o;
    if (size <= SIZE_MAX - ALIGNMENT)
        *ret_memory = aligned_alloc(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    else
        *ret_memory = NULL;
    if (*ret_memory == NULL)
        return err_set(e, ERR_OOM, "scratch memory of %zu bytes is not available", n_bytes);
    return 0;
}

void host_memory_free(struct ops *o, void *memory)
{
    (void)o;
    free(memory);
}

int host_put(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e)
{
    (void)e;
    if (!o->planning)
        memcpy(y, x, (size_t)n * sizeof *x);
    return 0;
}

int host_get(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e)
{
    (void)e;
    if (!o->planning)
        memcpy(y, x, (size_t)n * sizeof *y);
    return 0;
}

static size_t norm_size(int64_t channels)
{
    return sizeof(struct norm) + 2 * (size_t)channels * sizeof(float);
}

int host_norm_new(struct ops *o, const struct tensor *gamma, const struct tensor *beta,
                  struct norm **ret_n, struct err *e)
{
    int64_t channels = tensor_count(gamma);
    struct norm *n;

    if (channels < 1 || tensor_count(beta) != channels)
        return err_set(e, ERR_ARG, "a norm of %lld scales and %lld shifts", (long long)channels,
                       (long long)tensor_count(beta));
    n = malloc(norm_size(channels));
    if (n == NULL)
        return err_set(e, ERR_OOM, "no memory for a norm's weights");
    *n = (struct norm){.channels = channels, .gamma = (float *)(n + 1)};
    n->beta = n->gamma + channels;
    tensor_to_f32(gamma, n->gamma);
    tensor_to_f32(beta, n->beta);
    o->weight_bytes += norm_size(channels);
    *ret_n = n;
    return 0;
}

void host_norm_free(struct ops *o, struct norm *n)
{
    if (n != NULL)
        o->weight_bytes -= norm_size(n->channels);
    free(n);
}
