/*
 * cuBLASLt: matrix products of f16, bf16 or f32 with float32 sums, scale, bias, ReLU and (tanh)
 * GELU. Which algorithm the heuristics put first depends on the whole shape, and algorithms differ
 * in the order of their sums, as on a device: bytes that must not depend on the batch show it here.
 * COMPUTE_32F_FAST_TF32 rounds f32 operands to TF32. With CUBLAS_EMULATE_SINGLE_PRECISION=1 in the
 * environment the algorithm that comes first for COMPUTE_32F and f32 is one of bf16 products, with
 * other bytes, as the library does on sm_100.
 *
 * GPUSIM_FAULTS: rows-first: the algorithm that comes first adds otherwise below 16 rows; rows-all:
 * every one does; rows-many: every one does above 300 rows.
 */
#include "numbers.h"
#include "state.h"

#include <cublasLt.h>

#include <cstdlib>
#include <vector>

using namespace gpusim;

struct cublasLtContext {
    int unused;
};

struct layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
    int32_t order = CUBLASLT_ORDER_COL;
    int32_t batch = 1;
    int64_t batch_stride = 0;
};

struct description {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t turn_a = CUBLAS_OP_N, turn_b = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    int32_t bias_type = -1;
    int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
};

struct preference {
    uint64_t workspace = 0;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignment[4] = {256, 256, 256, 256}; /* of A, B, C, D, as cuBLASLt begins */
};

/* What an algorithm is, inside of cublasLtMatmulAlgo_t. */
struct algorithm {
    uint32_t magic, id; /* how the sums are ordered */
    uint32_t alignment[4];
    uint32_t types, turns; /* that it was chosen for */
    uint64_t workspace, flags;
};
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t), "fits");
static const uint32_t magic = 0x67707573;
enum { IN_ORDER, IN_BLOCKS, SPLIT, EMULATED };

static const layout *of(cublasLtMatrixLayout_t l)
{
    return reinterpret_cast<const layout *>(l);
}

static cublasStatus_t refuse(cublasStatus_t code, const char *why)
{
    fail(cudaSuccess, "cuBLASLt: %s", why);
    return code;
}

#define NEED(condition, code)                                                                      \
    if (!(condition))                                                                              \
    return refuse(code, "needs " #condition)

/* A failure that a test planned, or a dead device. */
#define ASK(call, takes_memory)                                                                    \
    if (cublasStatus_t s_ = asked_as(call, takes_memory, CUBLAS_STATUS_SUCCESS,                    \
                                     CUBLAS_STATUS_ALLOC_FAILED, CUBLAS_STATUS_EXECUTION_FAILED))  \
    return s_

/* ---- objects ---- */

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an invalid value was given";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "the execution failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the function is not supported";
    default:
        return "unknown";
    }
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    return cublasLtGetStatusString(status);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *ret)
{
    guard g(lock);
    ASK("cublasLtCreate", true);
    *ret = new cublasLtContext{0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *ret, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    guard g(lock);
    ASK("cublasLtMatrixLayoutCreate", true);
    NEED(type == CUDA_R_16F || type == CUDA_R_16BF || type == CUDA_R_32F,
         CUBLAS_STATUS_NOT_SUPPORTED);
    auto *l = new layout;
    l->type = type;
    l->rows = rows;
    l->cols = cols;
    l->ld = ld;
    *ret = reinterpret_cast<cublasLtMatrixLayout_t>(l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete of(l);
    return CUBLAS_STATUS_SUCCESS;
}

template <class T> static cublasStatus_t assign(T *to, const void *from, size_t size)
{
    NEED(size == sizeof(T), CUBLAS_STATUS_INVALID_VALUE);
    std::memcpy(to, from, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l,
                                                cublasLtMatrixLayoutAttribute_t name,
                                                const void *value, size_t size)
{
    guard g(lock);
    ASK("cublasLtMatrixLayoutSetAttribute", false);
    auto *to = reinterpret_cast<layout *>(l);
    switch (name) {
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        return assign(&to->rows, value, size);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        return assign(&to->cols, value, size);
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return assign(&to->ld, value, size);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return assign(&to->order, value, size);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return assign(&to->batch, value, size);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return assign(&to->batch_stride, value, size);
    default:
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "this attribute of a layout is not emulated");
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *ret, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    guard g(lock);
    ASK("cublasLtMatmulDescCreate", true);
    NEED(compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_FAST_TF32,
         CUBLAS_STATUS_NOT_SUPPORTED);
    NEED(scale == CUDA_R_32F, CUBLAS_STATUS_NOT_SUPPORTED);
    auto *d = new description;
    d->compute = compute;
    d->scale = scale;
    *ret = reinterpret_cast<cublasLtMatmulDesc_t>(d);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete reinterpret_cast<description *>(d);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t size)
{
    guard g(lock);
    ASK("cublasLtMatmulDescSetAttribute", false);
    auto *to = reinterpret_cast<description *>(d);
    switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return assign(&to->turn_a, value, size);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return assign(&to->turn_b, value, size);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return assign(&to->epilogue, value, size);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return assign(&to->bias, value, size);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return assign(&to->bias_type, value, size);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
        return assign(&to->pointer_mode, value, size);
    default:
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "this attribute of a product is not emulated");
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *ret)
{
    guard g(lock);
    ASK("cublasLtMatmulPreferenceCreate", true);
    *ret = reinterpret_cast<cublasLtMatmulPreference_t>(new preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete reinterpret_cast<preference *>(p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void *value, size_t size)
{
    guard g(lock);
    ASK("cublasLtMatmulPreferenceSetAttribute", false);
    auto *to = reinterpret_cast<preference *>(p);
    switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return assign(&to->workspace, value, size);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return assign(&to->reductions, value, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return assign(&to->alignment[0], value, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return assign(&to->alignment[1], value, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return assign(&to->alignment[2], value, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return assign(&to->alignment[3], value, size);
    default:
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "this preference is not emulated");
    }
}

/* ---- one product ---- */

static number number_of(cudaDataType_t type)
{
    return type == CUDA_R_16F ? number::f16 : type == CUDA_R_16BF ? number::bf16 : number::f32;
}

/* D[m, n] = epilogue(alpha op(A)[m, k] op(B)[k, n] + beta C). */
struct matmul {
    description d;
    layout a, b, c, out;
    algorithm how;
    size_t m, n, k;
    const void *pa, *pb, *pc;
    void *pd;
    float alpha, beta;
    char *workspace;

    bool operator()() const;
    void one(size_t batch) const;
};

/* Element (row, col) of a matrix, turned or not, in numbers from its start. */
static size_t step_row(const layout &l, bool turned)
{
    return (l.order == CUBLASLT_ORDER_ROW) != turned ? (size_t)l.ld : 1;
}
static size_t step_col(const layout &l, bool turned)
{
    return (l.order == CUBLASLT_ORDER_ROW) != turned ? 1 : (size_t)l.ld;
}

static bool overlaps(const void *p, const void *q)
{
    return p == q;
}

static size_t extent(const layout &l)
{
    size_t lines = l.order == CUBLASLT_ORDER_ROW ? l.rows : l.cols;
    size_t width = l.order == CUBLASLT_ORDER_ROW ? l.cols : l.rows;
    if (lines == 0 || width == 0)
        return 0;
    return (size_t)(l.batch - 1) * (size_t)l.batch_stride + (lines - 1) * (size_t)l.ld + width;
}

static cublasStatus_t check_layout(const layout &l)
{
    NEED(l.order == CUBLASLT_ORDER_COL || l.order == CUBLASLT_ORDER_ROW,
         CUBLAS_STATUS_NOT_SUPPORTED);
    NEED(l.ld >= (int64_t)(l.order == CUBLASLT_ORDER_ROW ? l.cols : l.rows),
         CUBLAS_STATUS_INVALID_VALUE);
    NEED(l.batch >= 1 && l.batch_stride >= 0, CUBLAS_STATUS_INVALID_VALUE);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_shapes(matmul &w)
{
    bool ta = w.d.turn_a != CUBLAS_OP_N, tb = w.d.turn_b != CUBLAS_OP_N;
    NEED(w.d.turn_a == CUBLAS_OP_N || w.d.turn_a == CUBLAS_OP_T, CUBLAS_STATUS_NOT_SUPPORTED);
    NEED(w.d.turn_b == CUBLAS_OP_N || w.d.turn_b == CUBLAS_OP_T, CUBLAS_STATUS_NOT_SUPPORTED);
    NEED(w.d.pointer_mode == CUBLASLT_POINTER_MODE_HOST, CUBLAS_STATUS_NOT_SUPPORTED);
    for (const layout *l : {&w.a, &w.b, &w.c, &w.out}) {
        cublasStatus_t s = check_layout(*l);
        if (s != CUBLAS_STATUS_SUCCESS)
            return s;
        NEED(l->batch == w.out.batch, CUBLAS_STATUS_INVALID_VALUE);
    }
    w.m = ta ? w.a.cols : w.a.rows;
    w.k = ta ? w.a.rows : w.a.cols;
    w.n = tb ? w.b.rows : w.b.cols;
    NEED((tb ? w.b.cols : w.b.rows) == w.k, CUBLAS_STATUS_INVALID_VALUE);
    NEED(w.out.rows == w.m && w.out.cols == w.n, CUBLAS_STATUS_INVALID_VALUE);
    NEED(w.c.rows == w.m && w.c.cols == w.n && w.c.order == w.out.order,
         CUBLAS_STATUS_INVALID_VALUE);
    NEED(w.a.type == w.b.type && w.c.type == w.out.type, CUBLAS_STATUS_NOT_SUPPORTED);
    NEED(w.out.type == w.a.type || w.out.type == CUDA_R_32F, CUBLAS_STATUS_NOT_SUPPORTED);
    NEED(w.a.type == CUDA_R_32F || w.d.compute == CUBLAS_COMPUTE_32F, CUBLAS_STATUS_NOT_SUPPORTED);
    return CUBLAS_STATUS_SUCCESS;
}

static uint32_t types_of(const matmul &w)
{
    return (uint32_t)w.d.compute << 16 | (uint32_t)w.a.type << 8 | (uint32_t)w.out.type;
}

static uint32_t turns_of(const matmul &w)
{
    return (uint32_t)w.d.turn_a | (uint32_t)w.d.turn_b << 4 | (uint32_t)w.a.order << 8 |
           (uint32_t)w.b.order << 12 | (uint32_t)w.out.order << 16;
}

/* How the algorithm multiplies, as it tells those who ask. */
static uint64_t flags_of(const matmul &w, uint32_t id)
{
    uint64_t cores =
        CUBLASLT_NUMERICAL_IMPL_FLAGS_HMMA | CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F;
    if (w.a.type == CUDA_R_16F)
        return cores | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16F;
    if (w.a.type == CUDA_R_16BF || id == EMULATED)
        return cores | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF;
    if (w.d.compute == CUBLAS_COMPUTE_32F_FAST_TF32)
        return cores | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32;
    return CUBLASLT_NUMERICAL_IMPL_FLAGS_FMA | CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F |
           CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F;
}

static bool emulates(const matmul &w)
{
    const char *wish = getenv("CUBLAS_EMULATE_SINGLE_PRECISION");
    return wish && std::strcmp(wish, "1") == 0 && w.a.type == CUDA_R_32F &&
           w.d.compute == CUBLAS_COMPUTE_32F;
}

static const uint64_t split_workspace = 4096;

/* Promises of an alignment are kept by matrices whose numbers are aligned. */
static cublasStatus_t check_alignment(const matmul &w, const preference &wish)
{
    const layout *layouts[] = {&w.a, &w.b, &w.c, &w.out};
    for (int i = 0; i < 4; i++) {
        uint32_t bytes = wish.alignment[i];
        NEED(bytes > 0 && (bytes & (bytes - 1)) == 0, CUBLAS_STATUS_INVALID_VALUE);
        NEED(bytes % size_of(number_of(layouts[i]->type)) == 0, CUBLAS_STATUS_NOT_SUPPORTED);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t d,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out,
                                              cublasLtMatmulPreference_t p, int asked,
                                              cublasLtMatmulHeuristicResult_t ret[], int *found)
{
    guard g(lock);
    ASK("cublasLtMatmulAlgoGetHeuristic", false);
    NEED(handle && p && asked > 0, CUBLAS_STATUS_INVALID_VALUE);
    matmul w = {};
    w.d = *reinterpret_cast<description *>(d);
    w.a = *of(a), w.b = *of(b), w.c = *of(c), w.out = *of(out);
    cublasStatus_t s = check_shapes(w);
    if (s != CUBLAS_STATUS_SUCCESS)
        return s;
    auto *wish = reinterpret_cast<preference *>(p);
    s = check_alignment(w, *wish);
    if (s != CUBLAS_STATUS_SUCCESS)
        return s;
    std::vector<uint32_t> ids = {IN_ORDER, IN_BLOCKS};
    if (w.n % 2 == 1)
        ids = {IN_BLOCKS, IN_ORDER};
    bool split = wish->reductions != CUBLASLT_REDUCTION_SCHEME_NONE &&
                 wish->workspace >= split_workspace && w.k >= 64 && w.n <= 64;
    if (split)
        ids.insert(ids.begin(), SPLIT);
    if (emulates(w))
        ids.insert(ids.begin(), EMULATED);
    *found = 0;
    for (uint32_t id : ids) {
        if (*found == asked)
            break;
        algorithm how = {magic,          id,          {},
                         types_of(w),    turns_of(w), id == SPLIT ? split_workspace : 0,
                         flags_of(w, id)};
        std::memcpy(how.alignment, wish->alignment, sizeof how.alignment);
        cublasLtMatmulHeuristicResult_t &r = ret[(*found)++];
        r = {};
        std::memcpy(&r.algo, &how, sizeof how);
        r.workspaceSize = how.workspace;
        r.state = CUBLAS_STATUS_SUCCESS;
        r.wavesCount = 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCapGetAttribute(const cublasLtMatmulAlgo_t *of_algorithm,
                                                 cublasLtMatmulAlgoCapAttributes_t name,
                                                 void *value, size_t size, size_t *written)
{
    guard g(lock);
    ASK("cublasLtMatmulAlgoCapGetAttribute", false);
    algorithm how;
    std::memcpy(&how, of_algorithm, sizeof how);
    NEED(how.magic == magic && value && written, CUBLAS_STATUS_INVALID_VALUE);
    if (name != CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "this property of algorithms is not emulated");
    NEED(size == sizeof how.flags, CUBLAS_STATUS_INVALID_VALUE);
    std::memcpy(value, &how.flags, size);
    *written = size;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_memory(const matmul &w, size_t workspace_bytes)
{
    const void *places[] = {w.pa, w.pb, w.pc, w.pd};
    const layout *layouts[] = {&w.a, &w.b, &w.c, &w.out};
    static const char *const names = "ABCD";
    for (int i = 0; i < 4; i++) {
        if (i == 2 && w.beta == 0)
            continue;
        size_t bytes = extent(*layouts[i]) * size_of(number_of(layouts[i]->type));
        if (!device_range(places[i], bytes, true)) {
            fail(cudaSuccess, "cuBLASLt: %c: %zu bytes are not in one allocation of the device",
                 names[i], bytes);
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        if ((uintptr_t)places[i] % w.how.alignment[i] != 0) {
            fail(cudaSuccess, "cuBLASLt: %c is not aligned to the %u bytes of the algorithm",
                 names[i], w.how.alignment[i]);
            return CUBLAS_STATUS_INVALID_VALUE;
        }
    }
    NEED(!overlaps(w.pd, w.pa) && !overlaps(w.pd, w.pb), CUBLAS_STATUS_INVALID_VALUE);
    NEED(w.beta == 0 || w.pc != w.pd || w.c.ld == w.out.ld, CUBLAS_STATUS_INVALID_VALUE);
    NEED(w.how.workspace <= workspace_bytes, CUBLAS_STATUS_INVALID_VALUE);
    NEED(workspace_bytes == 0 || device_range(w.workspace, workspace_bytes, false),
         CUBLAS_STATUS_INVALID_VALUE);
    NEED((uintptr_t)w.workspace % 16 == 0, CUBLAS_STATUS_INVALID_VALUE);
    return CUBLAS_STATUS_SUCCESS;
}

static bool has_bias(uint32_t epilogue)
{
    return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS ||
           epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
}

static cudaDataType_t bias_type(const matmul &w)
{
    return w.d.bias_type < 0 ? w.out.type : (cudaDataType_t)w.d.bias_type;
}

static cublasStatus_t check_epilogue(const matmul &w)
{
    switch (w.d.epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_GELU:
        return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
        NEED(device_range(w.d.bias, w.m * size_of(number_of(bias_type(w))), false),
             CUBLAS_STATUS_INVALID_VALUE);
        return CUBLAS_STATUS_SUCCESS;
    default:
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "this epilogue is not emulated");
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t d, const void *alpha,
                              const void *A, cublasLtMatrixLayout_t a, const void *B,
                              cublasLtMatrixLayout_t b, const void *beta, const void *C,
                              cublasLtMatrixLayout_t c, void *D, cublasLtMatrixLayout_t out,
                              const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream)
{
    guard g(lock);
    ASK("cublasLtMatmul", false);
    NEED(handle && d && alpha && beta && a && b && c && out, CUBLAS_STATUS_INVALID_VALUE);
    if (!algo)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                      "a product without an algorithm is not emulated");
    matmul w = {};
    w.d = *reinterpret_cast<description *>(d);
    w.a = *of(a), w.b = *of(b), w.c = *of(c), w.out = *of(out);
    w.pa = A, w.pb = B, w.pc = C, w.pd = D;
    w.workspace = (char *)workspace;
    std::memcpy(&w.alpha, alpha, sizeof w.alpha);
    std::memcpy(&w.beta, beta, sizeof w.beta);
    std::memcpy(&w.how, algo, sizeof w.how);
    cublasStatus_t s = check_shapes(w);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = check_epilogue(w);
    if (s != CUBLAS_STATUS_SUCCESS)
        return s;
    NEED(w.how.magic == magic && w.how.types == types_of(w) && w.how.turns == turns_of(w),
         CUBLAS_STATUS_INVALID_VALUE);
    s = check_memory(w, workspace_bytes);
    if (s != CUBLAS_STATUS_SUCCESS)
        return s;
    return submit(stream, "cublasLtMatmul", w) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                              : CUBLAS_STATUS_EXECUTION_FAILED;
}

/* ---- running ---- */

static float activated(uint32_t epilogue, float x)
{
    bool relu = epilogue == CUBLASLT_EPILOGUE_RELU || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS;
    bool gelu = epilogue == CUBLASLT_EPILOGUE_GELU || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
    if (relu)
        return x > 0 ? x : 0;
    if (gelu)
        return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
    return x;
}

/* sums[n, m] = op(B)^T op(A)^T, in the algorithm's order. */
static void ordered(std::vector<float> &sums, const std::vector<float> &b,
                    const std::vector<float> &a, size_t n, size_t m, size_t k, uint32_t id)
{
    bool few = n < 16 && (planted("rows-all") || (planted("rows-first") && id == IN_ORDER));
    if (few || (n > 300 && planted("rows-many")))
        id = id == IN_ORDER ? IN_BLOCKS : IN_ORDER;
    size_t block = id == IN_ORDER ? k : id == IN_BLOCKS ? 32 : id == EMULATED ? 8 : (k + 1) / 2;
    std::vector<float> part(id == IN_ORDER ? 0 : sums.size());
    for (size_t p = 0; p < k; p += block) {
        size_t width = k - p < block ? k - p : block;
        if (id == IN_ORDER) {
            multiply_add(sums.data(), b.data(), a.data(), n, m, k, k);
            continue;
        }
        part.assign(part.size(), 0);
        multiply_add(part.data(), b.data() + p, a.data() + p * m, n, m, width, k);
        for (size_t i = 0; i < part.size(); i++)
            sums[i] += part[i];
    }
}

void matmul::one(size_t batch) const
{
    bool ta = d.turn_a != CUBLAS_OP_N, tb = d.turn_b != CUBLAS_OP_N;
    number in = number_of(a.type), to = number_of(out.type);
    const char *from_a = (const char *)pa + batch * (size_t)a.batch_stride * size_of(in);
    const char *from_b = (const char *)pb + batch * (size_t)b.batch_stride * size_of(in);
    const char *from_c = (const char *)pc + batch * (size_t)c.batch_stride * size_of(to);
    char *to_d = (char *)pd + batch * (size_t)out.batch_stride * size_of(to);
    std::vector<float> left(n * k), right(k * m), sums(n * m), line(m), bias(m);
    for (size_t j = 0; j < n; j++)
        to_float(&left[j * k], 1, from_b + j * step_col(b, tb) * size_of(in), step_row(b, tb), in,
                 k);
    for (size_t i = 0; i < m; i++)
        to_float(&right[i], m, from_a + i * step_row(a, ta) * size_of(in), step_col(a, ta), in, k);
    if (d.compute == CUBLAS_COMPUTE_32F_FAST_TF32) {
        round_to_tf32(left.data(), left.size());
        round_to_tf32(right.data(), right.size());
    }
    ordered(sums, left, right, n, m, k, how.id);
    if (has_bias(d.epilogue))
        to_float(bias.data(), 1, d.bias, 1, number_of(bias_type(*this)), m);
    for (size_t j = 0; j < n; j++) {
        if (beta != 0)
            to_float(line.data(), 1, from_c + j * step_col(c, false) * size_of(to),
                     step_row(c, false), to, m);
        for (size_t i = 0; i < m; i++) {
            float x = alpha * sums[j * m + i];
            if (beta != 0)
                x += beta * line[i];
            sums[j * m + i] = activated(d.epilogue, x + bias[i]);
        }
        from_float(to_d + j * step_col(out, false) * size_of(to), step_row(out, false), to,
                   &sums[j * m], m);
    }
}

bool matmul::operator()() const
{
    for (int i = 0; i < out.batch; i++)
        one((size_t)i);
    if (how.workspace > 0)
        std::memset(workspace, 0xff, how.workspace);
    return true;
}
