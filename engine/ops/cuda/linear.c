/*
 * Linear layers by cuBLASLt. In its columns, y^T [out, M] = W [out, in] x^T [in, M]: the weight's
 * rows are columns to turn. Residual and bias come in the same call where there is no activation.
 *
 * The algorithm is chosen once per weight, for the number of rows that such a layer typically has,
 * and kept for every number of rows, so that a row's bytes depend on nothing beside it. Split sums
 * are excluded.
 */
#include "engine/ops/cuda/linear.h"

#include "engine/ops/shape.h"

#include <stdlib.h>

#define TRIED 16 /* algorithms asked for, best first */

void cuda_linear_free(struct ops *o, struct linear *l)
{
    if (l == NULL)
        return;
    cuda_memory_free(o, l->w);
    cuda_memory_free(o, l->bias);
    if (l->product != NULL)
        cublasLtMatmulDescDestroy(l->product);
    for (int i = 0; i < LINEAR_LAYOUTS; i++)
        if (l->layouts[i] != NULL)
            cublasLtMatrixLayoutDestroy(l->layouts[i]);
    o->weight_bytes -= l->bytes;
    free(l);
}

static cudaDataType_t data_type(const struct cuda *c)
{
    return c->number == KERNEL_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

/*
 * Rows that a layer of so many inputs has in Stable Diffusion: each level of the U-Net has half the
 * side and twice the channels of the one before.
 */
static int64_t typical_rows(int64_t in)
{
    double side = 640.0 / (double)in, rows = 4096 * side * side;

    return rows > 4096 ? 4096 : rows < 64 ? 64 : (int64_t)rows;
}

static int make_product(struct cuda *c, struct linear *l, struct err *e)
{
    const cublasOperation_t turned = CUBLAS_OP_T;
    const cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    int64_t rows = typical_rows(l->in);
    int rc = 0;

    TRY(blas_check(cublasLtMatmulDescCreate(&l->product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                   "cublasLtMatmulDescCreate", e));
    TRY(blas_check(cublasLtMatmulDescSetAttribute(l->product, CUBLASLT_MATMUL_DESC_TRANSA, &turned,
                                                  sizeof turned),
                   "cublasLtMatmulDescSetAttribute(TRANSA)", e));
    if (l->bias != NULL) {
        TRY(blas_check(cublasLtMatmulDescSetAttribute(l->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                      &bias, sizeof bias),
                       "cublasLtMatmulDescSetAttribute(EPILOGUE)", e));
        TRY(blas_check(cublasLtMatmulDescSetAttribute(l->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                      &l->bias, sizeof l->bias),
                       "cublasLtMatmulDescSetAttribute(BIAS_POINTER)", e));
    }
    TRY(blas_check(cublasLtMatrixLayoutCreate(&l->layouts[LINEAR_W], data_type(c), (uint64_t)l->in,
                                              (uint64_t)l->out, l->in),
                   "cublasLtMatrixLayoutCreate", e));
    TRY(blas_check(cublasLtMatrixLayoutCreate(&l->layouts[LINEAR_X], data_type(c), (uint64_t)l->in,
                                              (uint64_t)rows, l->in),
                   "cublasLtMatrixLayoutCreate", e));
    TRY(blas_check(cublasLtMatrixLayoutCreate(&l->layouts[LINEAR_Y], data_type(c), (uint64_t)l->out,
                                              (uint64_t)rows, l->out),
                   "cublasLtMatrixLayoutCreate", e));
out:
    return rc;
}

/* Bytes that every row begins at a multiple of. */
static uint32_t alignment(int64_t width)
{
    return width % 8 == 0 ? 16 : width % 4 == 0 ? 8 : width % 2 == 0 ? 4 : 2;
}

static int set_preference(cublasLtMatmulPreference_t p, const struct linear *l, struct err *e)
{
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        uint32_t value;
    } attributes[] = {
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_NONE},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(l->in)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(l->in)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(l->out)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(l->out)},
    };
    const uint64_t workspace = CUDA_BLAS_WORKSPACE;
    int rc = 0;

    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        TRY(blas_check(cublasLtMatmulPreferenceSetAttribute(
                           p, attributes[i].name, &attributes[i].value, sizeof attributes[i].value),
                       "cublasLtMatmulPreferenceSetAttribute", e));
    TRY(blas_check(cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                        &workspace, sizeof workspace),
                   "cublasLtMatmulPreferenceSetAttribute(MAX_WORKSPACE_BYTES)", e));
out:
    return rc;
}

static int choose(struct cuda *c, struct linear *l, struct err *e)
{
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found[TRIED];
    int n = 0, rc = 0;

    TRY(blas_check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate",
                   e));
    TRY(set_preference(preference, l, e));
    TRY(blas_check(cublasLtMatmulAlgoGetHeuristic(
                       c->blas, l->product, l->layouts[LINEAR_W], l->layouts[LINEAR_X],
                       l->layouts[LINEAR_Y], l->layouts[LINEAR_Y], preference, TRIED, found, &n),
                   "cublasLtMatmulAlgoGetHeuristic", e));
    for (int i = 0; i < n; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS) {
            l->algorithm = found[i].algo;
            goto out;
        }
    rc = err_set(e, ERR_INTERNAL, "cuBLASLt has no algorithm for a layer of %lld to %lld numbers",
                 (long long)l->in, (long long)l->out);
out:
    if (preference != NULL)
        cublasLtMatmulPreferenceDestroy(preference);
    return rc;
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
    TRY(make_product(c, l, e));
    TRY(choose(c, l, e));
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

/* y = x W^T + b, plus residual (NULL: none), which may be y. */
static int multiply(struct cuda *c, void *y, const void *x, const struct linear *l, int64_t m,
                    const void *residual, struct err *e)
{
    const float one = 1, beta = residual != NULL ? 1 : 0;
    const uint64_t rows = (uint64_t)m;
    int rc = 0;

    for (int i = LINEAR_X; i <= LINEAR_Y; i++)
        TRY(blas_check(cublasLtMatrixLayoutSetAttribute(l->layouts[i], CUBLASLT_MATRIX_LAYOUT_COLS,
                                                        &rows, sizeof rows),
                       "cublasLtMatrixLayoutSetAttribute(COLS)", e));
    TRY(blas_check(cublasLtMatmul(c->blas, l->product, &one, l->w, l->layouts[LINEAR_W], x,
                                  l->layouts[LINEAR_X], &beta, residual != NULL ? residual : y,
                                  l->layouts[LINEAR_Y], y, l->layouts[LINEAR_Y], &l->algorithm,
                                  c->blas_workspace, CUDA_BLAS_WORKSPACE, c->stream),
                   "cublasLtMatmul", e));
out:
    return rc;
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
    if (o->planning)
        goto out;
    TRY(multiply(c, sum, x, l, m, act == ACT_NONE ? residual : NULL, e));
    if (act != ACT_NONE)
        TRY(cuda_check(kernels_activate(c->stream, c->number, y, sum, residual, m * l->out,
                                        (enum kernel_activation)act),
                       "kernels_activate", e));
out:
    arena_release(o->arena, mark);
    return rc;
}
