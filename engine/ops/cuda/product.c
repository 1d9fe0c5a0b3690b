/* In cuBLASLt's columns, y^T [out, m] = w [out, in] x^T [in, m]: the weight's rows are columns to
 * turn. */
#include "engine/ops/cuda/product.h"

#include "engine/ops/cuda/trial.h"

#include <stdlib.h>

#define TRIED 16  /* algorithms asked for, best first */
#define BASE  256 /* rows of the call that others are compared with; pieces have as many at most */

enum { W, X, Y, LAYOUTS };

/* A number of rows that was tried. */
struct rows {
    int64_t m;
    bool whole; /* in one call */
    struct rows *next;
};

struct product {
    int64_t in, out;
    bool bias;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t layouts[LAYOUTS]; /* X and Y: as many columns as the call has rows */
    cublasLtMatmulAlgo_t algorithm;
    cublasStatus_t said; /* of the last product */
    struct rows *rows;
    struct product *next;
};

static void product_free(struct product *p)
{
    if (p == NULL)
        return;
    while (p->rows != NULL) {
        struct rows *r = p->rows;

        p->rows = r->next;
        free(r);
    }
    if (p->description != NULL)
        cublasLtMatmulDescDestroy(p->description);
    for (int i = 0; i < LAYOUTS; i++)
        if (p->layouts[i] != NULL)
            cublasLtMatrixLayoutDestroy(p->layouts[i]);
    free(p);
}

void products_free(struct product *first)
{
    while (first != NULL) {
        struct product *p = first;

        first = p->next;
        product_free(p);
    }
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

static cudaDataType_t type_of(enum kernel_number number)
{
    switch (number) {
    case KERNEL_F16:
        return CUDA_R_16F;
    case KERNEL_BF16:
        return CUDA_R_16BF;
    default:
        return CUDA_R_32F;
    }
}

/* Of float32 numbers CUBLAS_COMPUTE_32F rounds none; what may is COMPUTE_32F_FAST_TF32. */
static int describe(struct cuda *c, struct product *p, struct err *e)
{
    const cudaDataType_t type = type_of(c->number);
    const cublasOperation_t turned = CUBLAS_OP_T;
    const cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    const int64_t rows = typical_rows(p->in),
                  sides[LAYOUTS][2] = {{p->in, p->out}, {p->in, rows}, {p->out, rows}};
    int rc = 0;

    TRY(blas_check(cublasLtMatmulDescCreate(&p->description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                   "cublasLtMatmulDescCreate", e));
    TRY(blas_check(cublasLtMatmulDescSetAttribute(p->description, CUBLASLT_MATMUL_DESC_TRANSA,
                                                  &turned, sizeof turned),
                   "cublasLtMatmulDescSetAttribute(TRANSA)", e));
    if (p->bias)
        TRY(blas_check(cublasLtMatmulDescSetAttribute(p->description, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                      &bias, sizeof bias),
                       "cublasLtMatmulDescSetAttribute(EPILOGUE)", e));
    for (int i = 0; i < LAYOUTS; i++)
        TRY(blas_check(cublasLtMatrixLayoutCreate(&p->layouts[i], type, (uint64_t)sides[i][0],
                                                  (uint64_t)sides[i][1], sides[i][0]),
                       "cublasLtMatrixLayoutCreate", e));
out:
    return rc;
}

/* Bytes that every row of so many begins at a multiple of. */
static uint32_t alignment(int64_t row_bytes)
{
    return row_bytes % 16 == 0 ? 16 : row_bytes % 8 == 0 ? 8 : row_bytes % 4 == 0 ? 4 : 2;
}

static int set_preference(const struct cuda *c, cublasLtMatmulPreference_t of,
                          const struct product *p, struct err *e)
{
    const uint32_t in = alignment(p->in * (int64_t)c->ops.act_bytes),
                   out = alignment(p->out * (int64_t)c->ops.act_bytes);
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        uint32_t value;
    } attributes[] = {
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_NONE},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, in},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, in},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out},
    };
    const uint64_t workspace = CUDA_BLAS_WORKSPACE;
    int rc = 0;

    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        TRY(blas_check(cublasLtMatmulPreferenceSetAttribute(of, attributes[i].name,
                                                            &attributes[i].value,
                                                            sizeof attributes[i].value),
                       "cublasLtMatmulPreferenceSetAttribute", e));
    TRY(blas_check(cublasLtMatmulPreferenceSetAttribute(
                       of, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace),
                   "cublasLtMatmulPreferenceSetAttribute(MAX_WORKSPACE_BYTES)", e));
out:
    return rc;
}

static int ask(struct cuda *c, const struct product *p, cublasLtMatmulHeuristicResult_t *found,
               int *ret_n, struct err *e)
{
    cublasLtMatmulPreference_t preference = NULL;
    int rc = 0;

    TRY(blas_check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate",
                   e));
    TRY(set_preference(c, preference, p, e));
    TRY(blas_check(cublasLtMatmulAlgoGetHeuristic(c->blas, p->description, p->layouts[W],
                                                  p->layouts[X], p->layouts[Y], p->layouts[Y],
                                                  preference, TRIED, found, ret_n),
                   "cublasLtMatmulAlgoGetHeuristic", e));
out:
    if (preference != NULL)
        cublasLtMatmulPreferenceDestroy(preference);
    return rc;
}

static int call(struct cuda *c, struct product *p, const struct product_call *q, struct err *e)
{
    const float one = 1, beta = q->residual != NULL ? 1 : 0;
    const uint64_t rows = (uint64_t)q->m;
    int rc = 0;

    p->said = CUBLAS_STATUS_SUCCESS;
    for (int i = X; i <= Y; i++)
        TRY(blas_check(cublasLtMatrixLayoutSetAttribute(p->layouts[i], CUBLASLT_MATRIX_LAYOUT_COLS,
                                                        &rows, sizeof rows),
                       "cublasLtMatrixLayoutSetAttribute(COLS)", e));
    if (p->bias)
        TRY(blas_check(cublasLtMatmulDescSetAttribute(p->description,
                                                      CUBLASLT_MATMUL_DESC_BIAS_POINTER, &q->bias,
                                                      sizeof q->bias),
                       "cublasLtMatmulDescSetAttribute(BIAS_POINTER)", e));
    p->said = cublasLtMatmul(c->blas, p->description, &one, q->w, p->layouts[W], q->x,
                             p->layouts[X], &beta, q->residual != NULL ? q->residual : q->y,
                             p->layouts[Y], q->y, p->layouts[Y], &p->algorithm, c->blas_workspace,
                             CUDA_BLAS_WORKSPACE, c->stream);
    TRY(blas_check(p->said, "cublasLtMatmul", e));
out:
    return rc;
}

/* Whether the last product was refused for what it is. Memory or a device that is gone are no
 * reason to take another algorithm, which has other bytes. */
static bool was_refused(const struct product *p)
{
    return p->said == CUBLAS_STATUS_NOT_SUPPORTED || p->said == CUBLAS_STATUS_INVALID_VALUE ||
           p->said == CUBLAS_STATUS_ARCH_MISMATCH;
}

/* The operands of a trial, and results of two kinds of calls. */
struct operands {
    struct trial t;
    char *x, *w, *bias, *y, *z;
};

/* x of `rows` rows, y of `many`, z of BASE. */
static int operands_init(struct cuda *c, const struct product *p, int64_t rows, int64_t many,
                         struct operands *ret, struct err *e)
{
    const size_t size = c->ops.act_bytes, in = (size_t)p->in * size, out = (size_t)p->out * size;
    const size_t x = (size_t)rows * in, w = (size_t)p->out * in, y = (size_t)many * out;
    struct operands o = {0};
    int rc = 0;

    TRY(trial_begin(
        c, TRIAL_ROOM(x) + TRIAL_ROOM(w) + TRIAL_ROOM(out) + TRIAL_ROOM(y) + TRIAL_ROOM(BASE * out),
        &o.t, e));
    o.x = trial_take(&o.t, x);
    o.w = trial_take(&o.t, w);
    o.bias = trial_take(&o.t, out);
    o.y = trial_take(&o.t, y);
    o.z = trial_take(&o.t, BASE * out);
    TRY(trial_pattern(&o.t, o.x, rows, p->in, 1, false, e));
    TRY(trial_pattern(&o.t, o.w, p->out, p->in, 2, true, e));
    TRY(cuda_check(cudaMemsetAsync(o.bias, 0, out, c->stream), "cudaMemsetAsync", e));
    *ret = o;
    o.t.memory = NULL;
out:
    trial_end(&o.t);
    return rc;
}

/* Rows `first` to `first + m - 1` of the operands. */
static int multiply_rows(struct cuda *c, struct product *p, const struct operands *o, char *y,
                         int64_t first, int64_t m, struct err *e)
{
    const size_t in = (size_t)p->in * c->ops.act_bytes;
    const struct product_call q = {
        .y = y, .x = o->x + (size_t)first * in, .w = o->w, .bias = o->bias, .m = m};

    return call(c, p, &q, e);
}

/* The same, *ret_ok: the library takes such a call. */
static int try_rows(struct cuda *c, struct product *p, const struct operands *o, char *y,
                    int64_t first, int64_t m, bool *ret_ok, struct err *e)
{
    int rc = multiply_rows(c, p, o, y, first, m, e);

    *ret_ok = rc == 0;
    return was_refused(p) ? 0 : rc;
}

/* Whether p's algorithm gives rows the same bytes in small calls as in one of BASE rows. */
static int small_calls_agree(struct cuda *c, struct product *p, bool *ret_agree, struct err *e)
{
    const int windows[][2] = {{0, 1},    {100, 1},  {255, 1}, {0, 16},  {121, 16},
                              {240, 16}, {128, 64}, {3, 77},  {19, 200}}; /* first row, rows */
    struct operands o = {0};
    size_t out = (size_t)p->out * c->ops.act_bytes;
    int rc = 0;

    TRY(operands_init(c, p, BASE, BASE, &o, e));
    TRY(try_rows(c, p, &o, o.z, 0, BASE, ret_agree, e));
    for (size_t i = 0; i < sizeof windows / sizeof *windows && *ret_agree; i++) {
        int64_t first = windows[i][0], m = windows[i][1];

        TRY(try_rows(c, p, &o, o.y, first, m, ret_agree, e));
        if (*ret_agree)
            TRY(trial_compare(&o.t, o.y, o.z + (size_t)first * out, m * p->out, e));
    }
    if (*ret_agree)
        TRY(trial_result(&o.t, ret_agree, e));
    else
        TRY(cuda_await_all(c, e)); /* a device that is gone is not the algorithm's fault */
out:
    trial_end(&o.t);
    return rc;
}

/*
 * Whether the algorithm multiplies float32 numbers as they are. CUBLAS_EMULATE_SINGLE_PRECISION in
 * a worker's environment makes cuBLAS offer sums of bfloat16 products for them on some devices.
 */
static int is_whole(const cublasLtMatmulAlgo_t *algorithm, bool *ret_whole, struct err *e)
{
    const uint64_t narrow = CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16F |
                            CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF |
                            CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32;
    uint64_t flags = 0;
    size_t written = 0;
    int rc = blas_check(cublasLtMatmulAlgoCapGetAttribute(algorithm,
                                                          CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS,
                                                          &flags, sizeof flags, &written),
                        "cublasLtMatmulAlgoCapGetAttribute(NUMERICAL_IMPL_FLAGS)", e);

    *ret_whole = (flags & narrow) == 0;
    return rc;
}

static int try_algorithm(struct cuda *c, struct product *p, const cublasLtMatmulAlgo_t *algorithm,
                         bool *ret_agree, struct err *e)
{
    bool whole = true;
    int rc = 0;

    if (c->number == KERNEL_F32)
        TRY(is_whole(algorithm, &whole, e));
    if (!whole)
        return 0;
    p->algorithm = *algorithm;
    TRY(small_calls_agree(c, p, ret_agree, e));
    c->ops.trials.refused += !*ret_agree;
out:
    return rc;
}

static int choose(struct cuda *c, struct product *p, struct err *e)
{
    cublasLtMatmulHeuristicResult_t found[TRIED];
    bool agree = false;
    int n = 0, rc = 0;

    TRY(ask(c, p, found, &n, e));
    for (int i = 0; i < n && !agree; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS)
            TRY(try_algorithm(c, p, &found[i].algo, &agree, e));
    if (!agree)
        rc = err_set(e, ERR_INTERNAL,
                     "cuBLASLt has no algorithm for a layer of %lld to %lld numbers whose rows are "
                     "the same in calls of 1 to %d rows (%d were tried)",
                     (long long)p->in, (long long)p->out, BASE, n);
out:
    return rc;
}

int product_get(struct cuda *c, int64_t in, int64_t out, bool bias, struct product **ret_p,
                struct err *e)
{
    struct product *p = c->products;
    int rc = 0;

    while (p != NULL && (p->in != in || p->out != out || p->bias != bias))
        p = p->next;
    if (p != NULL) {
        *ret_p = p;
        return 0;
    }
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, ERR_OOM, "no memory for a layer's product");
    p->in = in;
    p->out = out;
    p->bias = bias;
    TRY(describe(c, p, e));
    TRY(choose(c, p, e));
    p->next = c->products;
    c->products = p;
    *ret_p = p;
    p = NULL;
out:
    product_free(p);
    return rc;
}

/* --- many rows --- */

static const struct rows *rows_known(const struct product *p, int64_t m)
{
    const struct rows *r = p->rows;

    while (r != NULL && r->m != m)
        r = r->next;
    return r;
}

/* Whether the first, the last and rows between of a call of m are as in calls of BASE rows. */
static int many_agree(struct cuda *c, struct product *p, int64_t m, bool *ret_agree, struct err *e)
{
    const int64_t last = m > BASE ? m - BASE : 0, compared = m < BASE ? m : BASE;
    const int64_t windows[] = {0, last, last / 2 | 1};
    struct operands o = {0};
    size_t out = (size_t)p->out * c->ops.act_bytes;
    int rc = 0;

    TRY(operands_init(c, p, last + BASE, m, &o, e));
    TRY(try_rows(c, p, &o, o.y, 0, m, ret_agree, e));
    for (int i = 0; i < (last > 1 ? 3 : last > 0 ? 2 : 1) && *ret_agree; i++) {
        TRY(multiply_rows(c, p, &o, o.z, windows[i], BASE, e));
        TRY(trial_compare(&o.t, o.y + (size_t)windows[i] * out, o.z, compared * p->out, e));
    }
    if (*ret_agree)
        TRY(trial_result(&o.t, ret_agree, e));
    else
        TRY(cuda_await_all(c, e)); /* a device that is gone is not the algorithm's fault */
out:
    trial_end(&o.t);
    return rc;
}

int product_plan(struct cuda *c, struct product *p, int64_t m, struct err *e)
{
    struct rows *r;
    bool agree = false;
    int rc;

    if (rows_known(p, m) != NULL)
        return 0;
    rc = many_agree(c, p, m, &agree, e);
    if (rc == ERR_OOM)
        return 0; /* in pieces this time, and tried again the next */
    if (rc != 0)
        return rc;
    r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(e, ERR_OOM, "no memory for a product's plan");
    *r = (struct rows){m, agree, p->rows};
    p->rows = r;
    agree ? c->ops.trials.whole++ : c->ops.trials.apart++;
    return 0;
}

int product_run(struct cuda *c, struct product *p, const struct product_call *q, struct err *e)
{
    const struct rows *known = rows_known(p, q->m);
    const size_t in = (size_t)p->in * c->ops.act_bytes, out = (size_t)p->out * c->ops.act_bytes;
    int rc = 0;

    if (known != NULL && known->whole)
        return call(c, p, q, e);
    for (int64_t i = 0, step; i < q->m; i += step) {
        size_t at = (size_t)i * out;

        step = q->m - i >= BASE ? BASE : q->m - i >= 16 ? 16 : 1;
        TRY(call(c, p,
                 &(struct product_call){
                     .y = (char *)q->y + at,
                     .x = (const char *)q->x + (size_t)i * in,
                     .w = q->w,
                     .bias = q->bias,
                     .residual = q->residual != NULL ? (const char *)q->residual + at : NULL,
                     .m = step},
                 e));
    }
out:
    return rc;
}
