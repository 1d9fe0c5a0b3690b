/* Norms: their weights on the device, as float. */
#include "engine/ops/cuda/cuda.h"
#include "engine/ops/shape.h"

#include <math.h>
#include <stdlib.h>

struct norm {
    int64_t channels;
    float *gamma, *beta; /* device */
    size_t bytes;
};

void cuda_norm_free(struct ops *o, struct norm *n)
{
    if (n == NULL)
        return;
    cuda_memory_free(o, n->gamma);
    cuda_memory_free(o, n->beta);
    o->weight_bytes -= n->bytes;
    free(n);
}

int cuda_norm_new(struct ops *o, const struct tensor *gamma, const struct tensor *beta,
                  struct norm **ret_n, struct err *e)
{
    struct norm *n = NULL;
    int rc = 0;

    if (tensor_count(gamma) < 1 || tensor_count(beta) != tensor_count(gamma))
        return err_set(e, ERR_ARG, "a norm of %lld scales and %lld shifts",
                       (long long)tensor_count(gamma), (long long)tensor_count(beta));
    n = calloc(1, sizeof *n);
    if (n == NULL)
        return err_set(e, ERR_OOM, "no memory for a norm");
    n->channels = tensor_count(gamma);
    TRY(cuda_upload(cuda_of(o), gamma, true, (void **)&n->gamma, e));
    TRY(cuda_upload(cuda_of(o), beta, true, (void **)&n->beta, e));
    o->weight_bytes += n->bytes = 2 * (size_t)n->channels * sizeof(float);
    *ret_n = n;
    n = NULL;
out:
    cuda_norm_free(o, n);
    return rc;
}

/* moments[n, groups, 2] from sums[n, 2, groups] over the whole map. */
static void moments_of(const struct kernel_group_norm *g, const double *sums, int64_t whole_p,
                       float *moments)
{
    double count = (double)(whole_p * (g->c / g->groups));

    for (int64_t i = 0; i < g->n * g->groups; i++) {
        const double *sum = sums + i / g->groups * 2 * g->groups + i % g->groups;
        double mean = sum[0] / count, variance = sum[g->groups] / count - mean * mean;

        moments[2 * i] = (float)mean;
        moments[2 * i + 1] = (float)(1 / sqrt((variance < 0 ? 0 : variance) + (double)g->eps));
    }
}

/* The part's sums come to the host, the whole's moments go back, through one pinned stage. */
static int norm_part(struct cuda *c, const struct kernel_group_norm *g,
                     const struct norm_whole *whole, struct err *e)
{
    int64_t n = g->n * g->groups * 2;
    struct stage *s;
    float *moments;
    int rc = 0;

    if ((size_t)n * (sizeof(double) + sizeof(float)) > CUDA_STAGE)
        return err_set(e, ERR_ARG, "a norm of %lld groups in parts", (long long)g->groups);
    TRY(stage_take(c, &s, e));
    TRY(cuda_check(kernels_group_sums(c->stream, c->number, g, s->device), "kernels_group_sums",
                   e));
    TRY(cuda_check(cudaMemcpyAsync(s->host, s->device, (size_t)n * sizeof(double),
                                   cudaMemcpyDeviceToHost, c->stream),
                   "cudaMemcpyAsync", e));
    TRY(cuda_check(cudaEventRecord(s->done, c->stream), "cudaEventRecord", e));
    TRY(cuda_await(c, s->done, e));
    TRY(whole->add(whole->user, s->host, n, e));
    moments = (float *)((double *)s->host + n);
    moments_of(g, s->host, whole->p, moments);
    TRY(cuda_check(cudaMemcpyAsync(s->device, moments, (size_t)n * sizeof(float),
                                   cudaMemcpyHostToDevice, c->stream),
                   "cudaMemcpyAsync", e));
    TRY(cuda_check(kernels_group_apply(c->stream, c->number, g, s->device), "kernels_group_apply",
                   e));
    TRY(cuda_check(cudaEventRecord(s->done, c->stream), "cudaEventRecord", e));
out:
    return rc;
}

int cuda_group_norm_part(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                         int64_t n, int64_t p, int64_t c, int groups, float eps,
                         enum activation act, const struct norm_whole *whole, struct err *e)
{
    size_t mark = arena_mark(o->arena);
    struct cuda *cuda = cuda_of(o);
    struct kernel_group_norm g = {.y = y,
                                  .x = x,
                                  .gamma = norm->gamma,
                                  .beta = norm->beta,
                                  .n = n,
                                  .p = p,
                                  .c = c,
                                  .groups = groups,
                                  .eps = eps,
                                  .act = (enum kernel_activation)act};
    int rc = 0;

    TRY(shape_check_groups(c, groups, e));
    g.scratch = arena_bytes(o->arena, (size_t)kernels_group_norm_scratch(n, p, groups));
    TRY(arena_check(o->arena, e));
    if (o->planning)
        goto out;
    if (whole != NULL)
        TRY(norm_part(cuda, &g, whole, e));
    else
        TRY(cuda_check(kernels_group_norm(cuda->stream, cuda->number, &g), "kernels_group_norm",
                       e));
out:
    arena_release(o->arena, mark);
    return rc;
}

int cuda_group_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                    int64_t n, int64_t p, int64_t c, int groups, float eps, enum activation act,
                    struct err *e)
{
    return cuda_group_norm_part(o, y, x, norm, n, p, c, groups, eps, act, NULL, e);
}

int cuda_layer_norm(struct ops *o, struct act *y, const struct act *x, const struct norm *norm,
                    int64_t m, int64_t c, float eps, struct err *e)
{
    if (o->planning)
        return 0;
    return cuda_check(kernels_layer_norm(cuda_of(o)->stream, cuda_of(o)->number, y, x, norm->gamma,
                                         norm->beta, m, c, eps),
                      "kernels_layer_norm", e);
}
