#include "engine/ops/cuda/cuda.h"
#include "engine/ops/cuda/plans.h"
#include "engine/ops/cuda/product.h"
#include "engine/ops/cuda_module.h"
#ifdef LITHO_NCCL
#include "engine/gang/nccl.h"
#endif

#include <stdio.h>
#include <stdlib.h>

#define CALL(launch, name) (o->planning ? 0 : cuda_check(launch, name, e))

static int cuda_attention(struct ops *o, struct act *y, const struct act *q, const struct act *k,
                          const struct act *v, int64_t n, int64_t tq, int64_t tk, int heads,
                          int head_dim, float scale, bool causal, struct err *e)
{
    const struct kernel_attention a = {.y = y,
                                       .q = q,
                                       .k = k,
                                       .v = v,
                                       .n = n,
                                       .tq = tq,
                                       .tk = tk,
                                       .heads = heads,
                                       .head_dim = head_dim,
                                       .scale = scale,
                                       .causal = causal};

    if (head_dim > KERNEL_HEAD_MAX)
        return err_set(e, ERR_ARG, "attention heads of %d numbers: the CUDA backend has up to %d",
                       head_dim, KERNEL_HEAD_MAX);
    return CALL(kernels_attention(cuda_of(o)->stream, cuda_of(o)->number, &a), "kernels_attention");
}

static int cuda_geglu(struct ops *o, struct act *y, const struct act *x, int64_t m, int64_t c,
                      struct err *e)
{
    return CALL(kernels_geglu(cuda_of(o)->stream, cuda_of(o)->number, y, x, m, c), "kernels_geglu");
}

static int cuda_activate(struct ops *o, struct act *y, const struct act *x, int64_t n,
                         enum activation act, struct err *e)
{
    return CALL(kernels_activate(cuda_of(o)->stream, cuda_of(o)->number, y, x, NULL, n,
                                 (enum kernel_activation)act),
                "kernels_activate");
}

static int cuda_add(struct ops *o, struct act *y, const struct act *a, const struct act *b,
                    int64_t n, struct err *e)
{
    return CALL(kernels_add(cuda_of(o)->stream, cuda_of(o)->number, y, a, b, n), "kernels_add");
}

static int cuda_concat(struct ops *o, struct act *y, const struct act *a, const struct act *b,
                       int64_t m, int64_t ca, int64_t cb, struct err *e)
{
    const struct cuda *c = cuda_of(o);
    int rc = 0;

    TRY(CALL(kernels_rows(c->stream, c->number, y, ca + cb, a, m, ca), "kernels_rows"));
    TRY(CALL(kernels_rows(c->stream, c->number, act_at(o, y, ca), ca + cb, b, m, cb),
             "kernels_rows"));
out:
    return rc;
}

static int cuda_upsample(struct ops *o, struct act *y, const struct act *x, int64_t n, int64_t h,
                         int64_t w, int64_t c, int64_t ho, int64_t wo, struct err *e)
{
    return CALL(kernels_upsample(cuda_of(o)->stream, cuda_of(o)->number, y, x, n, h, w, c, ho, wo),
                "kernels_upsample");
}

static int cuda_zero(struct ops *o, struct act *y, int64_t n, struct err *e)
{
    return CALL(cudaMemsetAsync(y, 0, (size_t)n * o->act_bytes, cuda_of(o)->stream),
                "cudaMemsetAsync");
}

static void cuda_free(struct ops *o)
{
    struct cuda *c = cuda_of(o);

    recordings_free(c->recordings);
    if (c->copies != NULL)
        cudaStreamSynchronize(c->copies);
    if (c->stream != NULL)
        cudaStreamSynchronize(c->stream);
    if (c->settled != NULL)
        cudaEventDestroy(c->settled);
    stages_done(c);
    plans_free(c->plans);
    products_free(c->products);
    blocks_free(c->blocks);
    cudaFree(c->blas_workspace);
    if (c->dnn != NULL)
        cudnnDestroy(c->dnn);
    if (c->blas != NULL)
        cublasLtDestroy(c->blas);
    if (c->stream != NULL)
        cudaStreamDestroy(c->stream);
    if (c->copies != NULL)
        cudaStreamDestroy(c->copies);
    free(c);
}

#ifdef LITHO_NCCL
/* Graphs with its sums end before NCCL's communicator does; from then on nobody is waited for. */
static void let_go(void *owner)
{
    struct cuda *c = owner;

    c->gang = NULL;
    recordings_forget(c->recordings);
}

/* All members begin without recordings, so that all capture the same sums. */
static int cuda_gang_open(struct ops *o, struct gang *g, struct gang **ret_gang, struct err *e)
{
    struct cuda *c = cuda_of(o);
    const struct nccl_place place = {.host = g,
                                     .device = c->device,
                                     .stream = c->stream,
                                     .error = cuda_check,
                                     .let_go = let_go,
                                     .owner = c};
    int rc;

    recordings_forget(c->recordings);
    rc = nccl_open(&place, &c->gang, e);
    if (rc == 0)
        *ret_gang = c->gang;
    return rc;
}
#endif

static const struct ops table = {
    .name = "cuda",
    .device = true,
    .piece_rows = 8192, /* fills a card; 170 MB of scratch in SDXL's widest level, 340 in f32 */
    .free = cuda_free,
    .memory_new = cuda_memory_new,
    .memory_free = cuda_memory_free,
    .step = &cuda_step_ops,
    .put = cuda_put,
    .get = cuda_get,
    .record = cuda_record,
    .record_end = cuda_record_end,
#ifdef LITHO_NCCL
    .gang_open = cuda_gang_open,
#endif
    .linear_new = cuda_linear_new,
    .linear_free = cuda_linear_free,
    .conv_new = cuda_conv_new,
    .conv_free = cuda_conv_free,
    .norm_new = cuda_norm_new,
    .norm_free = cuda_norm_free,
    .linear = cuda_linear,
    .conv2d = cuda_conv2d,
    .group_norm = cuda_group_norm,
    .group_norm_part = cuda_group_norm_part,
    .layer_norm = cuda_layer_norm,
    .attention = cuda_attention,
    .geglu = cuda_geglu,
    .activate = cuda_activate,
    .add = cuda_add,
    .concat = cuda_concat,
    .upsample = cuda_upsample,
    .zero = cuda_zero,
};

static int open_libraries(struct cuda *c, struct err *e)
{
    int rc = 0;

    TRY(cuda_check(cudaSetDevice(c->device), "cudaSetDevice", e));
    TRY(cuda_check(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking),
                   "cudaStreamCreateWithFlags", e));
    TRY(cuda_check(cudaStreamCreateWithFlags(&c->copies, cudaStreamNonBlocking),
                   "cudaStreamCreateWithFlags", e));
    TRY(blas_check(cublasLtCreate(&c->blas), "cublasLtCreate", e));
    TRY(dnn_check(cudnnCreate(&c->dnn), "cudnnCreate", e));
    TRY(dnn_check(cudnnSetStream(c->dnn, c->stream), "cudnnSetStream", e));
    TRY(cuda_check(cudaMalloc(&c->blas_workspace, CUDA_BLAS_WORKSPACE), "cudaMalloc", e));
    TRY(cuda_check(cudaEventCreateWithFlags(&c->settled, cudaEventDisableTiming),
                   "cudaEventCreateWithFlags", e));
    TRY(stages_init(c, e));
    TRY(recordings_new(c->stream, &c->recordings, e));
    TRY(plans_new(&c->plans, e));
    TRY(blocks_new(&c->blocks, e));
out:
    return rc;
}

static enum kernel_number number_of(enum precision precision)
{
    return precision == PRECISION_F32   ? KERNEL_F32
           : precision == PRECISION_F16 ? KERNEL_F16
                                        : KERNEL_BF16;
}

int module_ops_new(int device, enum precision precision, struct ops **ret_o, struct err *e)
{
    struct cuda_device d;
    struct cuda *c = NULL;
    int rc = 0;

    if (precision == PRECISION_AUTO)
        precision = PRECISION_F16;
    TRY(module_probe(device, precision, &d, e));
    c = calloc(1, sizeof *c);
    if (c == NULL)
        TRY(err_set(e, ERR_OOM, "no memory for the backend"));
    c->ops = table;
    c->ops.precision = precision;
    c->ops.device_class = c->device_class;
    c->number = number_of(precision);
    c->ops.act_bytes = c->number == KERNEL_F32 ? sizeof(float) : 2;
    c->device = device;
    snprintf(c->device_class, sizeof c->device_class, "%s", d.device_class);
    TRY(open_libraries(c, e));
    *ret_o = &c->ops;
    c = NULL;
out:
    if (c != NULL)
        cuda_free(&c->ops);
    return rc;
}
