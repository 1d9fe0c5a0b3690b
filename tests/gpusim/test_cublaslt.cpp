/* Products of cuBLASLt's stand-in against plain loops, and the calls that it refuses. */
#include "test.h"

#include <cublasLt.h>

#include <type_traits>

struct product {
    size_t m, n, k;
    bool turn_a, turn_b, bias, add_c;
    cublasLtEpilogue_t epilogue;
    cublasLtOrder_t order; /* of all */
};

static cublasLtHandle_t handle;

static int open(void **state)
{
    OK(begin(state));
    return cublasLtCreate(&handle);
}

static int close(void **state)
{
    OK(cublasLtDestroy(handle));
    return end(state);
}

template <class T> static cudaDataType_t type_of()
{
    return std::is_same_v<T, __half>  ? CUDA_R_16F
           : std::is_same_v<T, float> ? CUDA_R_32F
                                      : CUDA_R_16BF;
}

/* Small integers: exact in every type, so that any order of sums gives the same. */
static float small(size_t i, int seed)
{
    return (float)((int)(i * 7 + (size_t)seed * 3) % 5 - 2);
}

template <class T> static std::vector<T> matrix(size_t n, int seed)
{
    std::vector<T> v(n);
    for (size_t i = 0; i < n; i++)
        v[i] = T(small(i, seed));
    return v;
}

struct layouts {
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulDesc_t d;
    cublasLtMatmulPreference_t p;

    template <class V> void set(cublasLtMatmulDescAttributes_t name, V value)
    {
        OK(cublasLtMatmulDescSetAttribute(d, name, &value, sizeof value));
    }
    layouts(const product &w, cudaDataType_t type, const void *bias,
            cublasComputeType_t compute = CUBLAS_COMPUTE_32F)
    {
        bool row = w.order == CUBLASLT_ORDER_ROW;
        size_t ar = w.turn_a ? w.k : w.m, ac = w.turn_a ? w.m : w.k;
        size_t br = w.turn_b ? w.n : w.k, bc = w.turn_b ? w.k : w.n;
        OK(cublasLtMatrixLayoutCreate(&a, type, ar, ac, (int64_t)(row ? ac : ar)));
        OK(cublasLtMatrixLayoutCreate(&b, type, br, bc, (int64_t)(row ? bc : br)));
        OK(cublasLtMatrixLayoutCreate(&c, type, w.m, w.n, (int64_t)(row ? w.n : w.m)));
        for (cublasLtMatrixLayout_t l : {a, b, c}) {
            int32_t order = w.order;
            OK(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, 4));
        }
        OK(cublasLtMatmulDescCreate(&d, compute, CUDA_R_32F));
        set(CUBLASLT_MATMUL_DESC_TRANSA, w.turn_a ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_TRANSB, w.turn_b ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, w.epilogue);
        if (w.bias)
            set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
        OK(cublasLtMatmulPreferenceCreate(&p));
    }
    ~layouts()
    {
        cublasLtMatmulPreferenceDestroy(p);
        cublasLtMatmulDescDestroy(d);
        for (cublasLtMatrixLayout_t l : {a, b, c})
            cublasLtMatrixLayoutDestroy(l);
    }
    cublasLtMatmulAlgo_t first()
    {
        cublasLtMatmulHeuristicResult_t r;
        int n;
        OK(cublasLtMatmulAlgoGetHeuristic(handle, d, a, b, c, c, p, 1, &r, &n));
        assert_int_equal(n, 1);
        return r.algo;
    }
};

static float wanted(const product &w, const std::vector<float> &a, const std::vector<float> &b,
                    float bias, float c, size_t i, size_t j)
{
    bool row = w.order == CUBLASLT_ORDER_ROW;
    float sum = 0;
    for (size_t p = 0; p < w.k; p++) {
        size_t ai = w.turn_a != row ? p + i * w.k : i + p * w.m;
        size_t bi = w.turn_b != row ? j + p * w.n : p + j * w.k;
        sum += a[ai] * b[bi];
    }
    float x = 0.5f * sum + (w.add_c ? c : 0) + (w.bias ? bias : 0);
    if (w.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS)
        return x > 0 ? x : 0;
    if (w.epilogue == CUBLASLT_EPILOGUE_GELU)
        return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    return x;
}

template <class T> static void check_product(const product &w)
{
    auto a = matrix<T>(w.m * w.k, 1), b = matrix<T>(w.k * w.n, 2), c = matrix<T>(w.m * w.n, 3),
         bias = matrix<T>(w.m, 4);
    auto fa = matrix<float>(w.m * w.k, 1), fb = matrix<float>(w.k * w.n, 2);
    T *da = device(a), *db = device(b), *dc = device(c), *dbias = device(bias);
    layouts l(w, type_of<T>(), dbias);
    cublasLtMatmulAlgo_t algorithm = l.first();
    float alpha = 0.5f, beta = w.add_c;
    OK(cublasLtMatmul(handle, l.d, &alpha, da, l.a, db, l.b, &beta, dc, l.c, dc, l.c, &algorithm,
                      nullptr, 0, stream));
    std::vector<T> y = host(dc, w.m * w.n);
    for (size_t i = 0; i < w.m; i++) {
        for (size_t j = 0; j < w.n; j++) {
            size_t at = w.order == CUBLASLT_ORDER_ROW ? i * w.n + j : i + j * w.m;
            float want = wanted(w, fa, fb, small(i, 4), small(at, 3), i, j);
            assert_float_equal((float)y[at], (float)T(want), 1e-6f);
        }
    }
}

static void products_equal_plain_loops(void **)
{
    const product table[] = {
        {5, 3, 17, true, false, true, false, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_ORDER_COL},
        {8, 64, 40, true, false, false, true, CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_ORDER_COL},
        {7, 4, 9, false, true, true, true, CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_ORDER_COL},
        {7, 4, 9, false, false, false, false, CUBLASLT_EPILOGUE_GELU, CUBLASLT_ORDER_ROW},
        {3, 5, 70, true, true, true, false, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_ORDER_ROW},
    };
    for (const product &w : table) {
        check_product<__half>(w);
        check_product<__nv_bfloat16>(w);
        check_product<float>(w);
    }
}

static const product plain = {
    16, 8, 32, true, false, false, false, CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_ORDER_COL};

static void products_with_wrong_memory_are_refused(void **)
{
    __half *a = device(matrix<__half>(16 * 32, 1)), *b = device(matrix<__half>(32 * 8, 2));
    __half *c = device(matrix<__half>(16 * 8, 3));
    std::vector<__half> on_host(16 * 32);
    layouts l(plain, CUDA_R_16F, nullptr);
    cublasLtMatmulAlgo_t how = l.first();
    float one = 1, zero = 0;
    char *workspace = device(std::vector<char>(64));
    auto run = [&](const void *pa, void *pc, size_t room_at = 0) {
        return cublasLtMatmul(handle, l.d, &one, pa, l.a, b, l.b, &zero, pc, l.c, pc, l.c, &how,
                              workspace + room_at, 32, stream);
    };
    OK(run(a, c));
    assert_int_equal(run(on_host.data(), c), CUBLAS_STATUS_INVALID_VALUE);
    assert_int_equal(run(a + 8, c), CUBLAS_STATUS_INVALID_VALUE); /* beyond its end */
    assert_int_equal(run(a, a), CUBLAS_STATUS_INVALID_VALUE);     /* in place of an operand */
    assert_int_equal(run(a, c + 1), CUBLAS_STATUS_INVALID_VALUE); /* not aligned as promised */
    OK(run(a, c, 16));
    assert_int_equal(run(a, c, 8), CUBLAS_STATUS_INVALID_VALUE); /* a workspace's 16 bytes */
}

static void numbers_of_four_bytes_are_aligned_to_four(void **)
{
    for (cudaDataType_t type : {CUDA_R_16F, CUDA_R_32F}) {
        layouts l(plain, type, nullptr);
        cublasLtMatmulHeuristicResult_t r;
        uint32_t two = 2;
        int n;
        OK(cublasLtMatmulPreferenceSetAttribute(l.p, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                &two, sizeof two));
        assert_int_equal(
            cublasLtMatmulAlgoGetHeuristic(handle, l.d, l.a, l.b, l.c, l.c, l.p, 1, &r, &n),
            type == CUDA_R_32F ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS);
    }
}

static uint64_t flags_of(const cublasLtMatmulAlgo_t &how)
{
    uint64_t flags;
    size_t written;
    OK(cublasLtMatmulAlgoCapGetAttribute(&how, CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS, &flags,
                                         sizeof flags, &written));
    return flags;
}

/* The sum of 32 times 1 + 2^-12, a number that TF32 has not. */
static float sum_of_fine_numbers(cublasComputeType_t compute, uint64_t *ret_flags)
{
    float *a = device(std::vector<float>(16 * 32, 1.0f + 0x1p-12f));
    float *b = device(std::vector<float>(32 * 8, 1.0f)), *c = device(std::vector<float>(16 * 8));
    float one = 1, zero = 0;
    layouts l(plain, CUDA_R_32F, nullptr, compute);
    cublasLtMatmulAlgo_t how = l.first();
    *ret_flags = flags_of(how);
    OK(cublasLtMatmul(handle, l.d, &one, a, l.a, b, l.b, &zero, c, l.c, c, l.c, &how, nullptr, 0,
                      stream));
    return host(c, 1)[0];
}

static void fast_tf32_rounds_float32_and_says_so(void **)
{
    uint64_t flags;
    assert_true(sum_of_fine_numbers(CUBLAS_COMPUTE_32F, &flags) == 32.0f + 0x1p-7f);
    assert_true(flags & CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F);
    assert_true(sum_of_fine_numbers(CUBLAS_COMPUTE_32F_FAST_TF32, &flags) == 32.0f);
    assert_true(flags & CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32);
}

static void an_emulation_that_the_environment_asks_for_is_told(void **)
{
    uint64_t flags;
    setenv("CUBLAS_EMULATE_SINGLE_PRECISION", "1", 1);
    sum_of_fine_numbers(CUBLAS_COMPUTE_32F, &flags);
    unsetenv("CUBLAS_EMULATE_SINGLE_PRECISION");
    assert_true(flags & CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF);
}

static void an_algorithm_serves_only_the_kind_of_product_that_it_was_chosen_for(void **)
{
    __half *a = device(matrix<__half>(16 * 32, 1)), *b = device(matrix<__half>(32 * 8, 2));
    __half *c = device(matrix<__half>(16 * 8, 3));
    layouts l(plain, CUDA_R_16F, nullptr), other(plain, CUDA_R_16BF, nullptr);
    cublasLtMatmulAlgo_t how = other.first();
    float one = 1, zero = 0;
    assert_int_equal(cublasLtMatmul(handle, l.d, &one, a, l.a, b, l.b, &zero, c, l.c, c, l.c, &how,
                                    nullptr, 0, stream),
                     CUBLAS_STATUS_INVALID_VALUE);
}

/* The bytes of column 0 with n columns, by the algorithm that comes first for n. */
static std::vector<float> first_column(size_t n)
{
    product w = plain;
    w.n = n;
    w.k = 512;
    std::vector<float> x(w.k * (w.m + n));
    for (size_t i = 0; i < x.size(); i++)
        x[i] = std::sin((float)(i % (w.k * (w.m + 1)))) + 0.1f;
    float *a = device(std::vector<float>(x.begin(), x.begin() + (long)(w.m * w.k)));
    float *b = device(std::vector<float>(x.begin() + (long)(w.m * w.k), x.end()));
    float *c = device(std::vector<float>(w.m * n));
    layouts l(w, CUDA_R_32F, nullptr);
    cublasLtMatmulAlgo_t how = l.first();
    float one = 1, zero = 0;
    OK(cublasLtMatmul(handle, l.d, &one, a, l.a, b, l.b, &zero, c, l.c, c, l.c, &how, nullptr, 0,
                      stream));
    return host(c, w.m);
}

static void bytes_depend_on_the_batch_if_the_algorithm_is_chosen_for_each_shape(void **)
{
    assert_true(first_column(4) == first_column(8));
    assert_false(first_column(4) == first_column(5));
}

int main()
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, open, close)
    const CMUnitTest tests[] = {
        WITH(products_equal_plain_loops),
        WITH(products_with_wrong_memory_are_refused),
        WITH(numbers_of_four_bytes_are_aligned_to_four),
        WITH(fast_tf32_rounds_float32_and_says_so),
        WITH(an_emulation_that_the_environment_asks_for_is_told),
        WITH(an_algorithm_serves_only_the_kind_of_product_that_it_was_chosen_for),
        WITH(bytes_depend_on_the_batch_if_the_algorithm_is_chosen_for_each_shape),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
