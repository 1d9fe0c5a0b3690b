/* Convolutions of cuDNN's stand-in against plain loops, by each engine, and what it refuses. */
#include "test.h"

#include <cudnn.h>

struct shape {
    int64_t n, in, h, w, out, kernel, stride, pad;
};

static cudnnHandle_t handle;

static int open(void **state)
{
    OK(begin(state));
    OK(cudnnCreate(&handle));
    return (int)cudnnSetStream(handle, stream);
}

static int close(void **state)
{
    OK(cudnnDestroy(handle));
    return end(state);
}

/* Descriptors, destroyed in the end. */
struct kit {
    std::vector<cudnnBackendDescriptor_t> all;

    ~kit()
    {
        for (cudnnBackendDescriptor_t d : all)
            cudnnBackendDestroyDescriptor(d);
    }
    cudnnBackendDescriptor_t make(cudnnBackendDescriptorType_t type)
    {
        cudnnBackendDescriptor_t d;
        OK(cudnnBackendCreateDescriptor(type, &d));
        all.push_back(d);
        return d;
    }
};

static void set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, const void *value, int64_t n = 1)
{
    OK(cudnnBackendSetAttribute(d, name, type, n, value));
}

static void ints(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                 const std::vector<int64_t> &v)
{
    set(d, name, CUDNN_TYPE_INT64, v.data(), (int64_t)v.size());
}

static cudnnBackendDescriptor_t tensor(kit &k, cudnnDataType_t type, int64_t id, int64_t n,
                                       int64_t c, int64_t h, int64_t w)
{
    cudnnBackendDescriptor_t d = k.make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, &type);
    ints(d, CUDNN_ATTR_TENSOR_DIMENSIONS, {n, c, h, w});
    ints(d, CUDNN_ATTR_TENSOR_STRIDES, {c * h * w, 1, w * c, c});
    ints(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, {id});
    ints(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {16});
    OK(cudnnBackendFinalize(d));
    return d;
}

static int64_t side(const shape &s, int64_t of)
{
    return (of + 2 * s.pad - s.kernel) / s.stride + 1;
}

static cudnnBackendDescriptor_t graph(kit &k, const shape &s, cudnnDataType_t type)
{
    cudnnBackendDescriptor_t c = k.make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    set(c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, &sums);
    set(c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, &mode);
    ints(c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2});
    ints(c, CUDNN_ATTR_CONVOLUTION_DILATIONS, {1, 1});
    ints(c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {s.stride, s.stride});
    ints(c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {s.pad, s.pad});
    ints(c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {s.pad, s.pad});
    OK(cudnnBackendFinalize(c));
    cudnnBackendDescriptor_t x = tensor(k, type, 1, s.n, s.in, s.h, s.w);
    cudnnBackendDescriptor_t w = tensor(k, type, 2, s.out, s.in, s.kernel, s.kernel);
    cudnnBackendDescriptor_t y = tensor(k, type, 3, s.n, s.out, side(s, s.h), side(s, s.w));
    cudnnBackendDescriptor_t op = k.make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    float one = 1, zero = 0;
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, &x);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, &w);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, &y);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, &c);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, &one);
    set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, &zero);
    OK(cudnnBackendFinalize(op));
    cudnnBackendDescriptor_t g = k.make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(g, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, &op);
    set(g, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &handle);
    OK(cudnnBackendFinalize(g));
    return g;
}

/* Configurations in the order in which they are offered. */
static std::vector<cudnnBackendDescriptor_t> offered(kit &k, cudnnBackendDescriptor_t g,
                                                     cudnnBackendHeurMode_t mode)
{
    cudnnBackendDescriptor_t heuristics = k.make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, &g);
    set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, &mode);
    OK(cudnnBackendFinalize(heuristics));
    std::vector<cudnnBackendDescriptor_t> configs(8);
    int64_t found = 0;
    for (auto &c : configs)
        c = k.make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    OK(cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                CUDNN_TYPE_BACKEND_DESCRIPTOR, 8, &found, configs.data()));
    configs.resize((size_t)found);
    return configs;
}

static std::vector<cudnnBackendNumericalNote_t> notes_of(kit &k, cudnnBackendDescriptor_t config)
{
    cudnnBackendDescriptor_t engine = k.make(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    std::vector<cudnnBackendNumericalNote_t> notes(8);
    int64_t n = 0;
    OK(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                1, &n, &engine));
    OK(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                8, &n, notes.data()));
    notes.resize((size_t)n);
    return notes;
}

/* Null if the engine does not take the shape. */
static cudnnBackendDescriptor_t plan_by(kit &k, cudnnBackendDescriptor_t config)
{
    cudnnBackendDescriptor_t p = k.make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set(p, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, &handle);
    set(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, &config);
    return cudnnBackendFinalize(p) == CUDNN_STATUS_SUCCESS ? p : nullptr;
}

/* By the engine offered at that place. */
static cudnnBackendDescriptor_t plan(kit &k, cudnnBackendDescriptor_t g, int engine)
{
    return plan_by(k, offered(k, g, CUDNN_HEUR_MODE_A)[(size_t)engine]);
}

static cudnnStatus_t execute(kit &k, cudnnBackendDescriptor_t p, const void *x, const void *w,
                             void *y, void *workspace)
{
    cudnnBackendDescriptor_t pack = k.make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    const void *places[] = {x, w, y};
    ints(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {1, 2, 3});
    set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, places, 3);
    set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, &workspace);
    OK(cudnnBackendFinalize(pack));
    return cudnnBackendExecute(handle, p, pack);
}

template <class T> static std::vector<T> numbers(int64_t n, int seed)
{
    std::vector<T> v((size_t)n);
    for (int64_t i = 0; i < n; i++)
        v[(size_t)i] = T((float)((i * 5 + seed) % 7 - 3));
    return v;
}

static float wanted(const shape &s, const std::vector<float> &x, const std::vector<float> &w,
                    int64_t n, int64_t oh, int64_t ow, int64_t o)
{
    float sum = 0;
    for (int64_t r = 0; r < s.kernel; r++) {
        for (int64_t c = 0; c < s.kernel; c++) {
            int64_t h = oh * s.stride + r - s.pad, v = ow * s.stride + c - s.pad;
            if (h < 0 || h >= s.h || v < 0 || v >= s.w)
                continue;
            for (int64_t i = 0; i < s.in; i++)
                sum += x[(size_t)(((n * s.h + h) * s.w + v) * s.in + i)] *
                       w[(size_t)(((o * s.kernel + r) * s.kernel + c) * s.in + i)];
        }
    }
    return sum;
}

template <class T> static void check(const shape &s, cudnnDataType_t type)
{
    int64_t ho = side(s, s.h), wo = side(s, s.w), nx = s.n * s.h * s.w * s.in,
            nw = s.out * s.kernel * s.kernel * s.in;
    T *x = device(numbers<T>(nx, 1)), *w = device(numbers<T>(nw, 2));
    std::vector<float> fx = numbers<float>(nx, 1), fw = numbers<float>(nw, 2);
    char *workspace = device(std::vector<char>(1024));
    for (int engine = 0; engine < 3; engine++) {
        kit k;
        cudnnBackendDescriptor_t p = plan(k, graph(k, s, type), engine);
        int tensor_cores = type == CUDNN_DATA_FLOAT ? 2 : 1, by = 16 / (int)sizeof(T);
        assert_true((p != nullptr) ==
                    (engine != tensor_cores || (s.in % by == 0 && s.out % by == 0)));
        if (!p)
            continue;
        T *y = device(std::vector<T>((size_t)(s.n * ho * wo * s.out)));
        OK(execute(k, p, x, w, y, workspace));
        std::vector<T> got = host(y, (size_t)(s.n * ho * wo * s.out));
        for (int64_t i = 0; i < (int64_t)got.size(); i++) {
            int64_t o = i % s.out, ow = i / s.out % wo, oh = i / s.out / wo % ho;
            float want = wanted(s, fx, fw, i / s.out / wo / ho, oh, ow, o);
            assert_float_equal((float)got[(size_t)i], (float)T(want), 0);
        }
    }
}

static void convolutions_equal_plain_loops(void **)
{
    const shape table[] = {
        {1, 8, 5, 6, 16, 3, 1, 1},
        {2, 3, 7, 4, 5, 3, 2, 1},
        {1, 16, 4, 4, 8, 1, 1, 0},
        {1, 8, 6, 6, 8, 3, 2, 0},
    };
    for (const shape &s : table) {
        check<__half>(s, CUDNN_DATA_HALF);
        check<__nv_bfloat16>(s, CUDNN_DATA_BFLOAT16);
        check<float>(s, CUDNN_DATA_FLOAT);
    }
}

/* Whether the plan gives what 8 numbers of 1 + 2^-12, which TF32 and f16 have not, sum up to. */
static bool sums_fine_numbers(kit &k, cudnnBackendDescriptor_t p)
{
    float *x = device(std::vector<float>(8, 1.0f + 0x1p-12f)), *y = device(std::vector<float>(8));
    float *w = device(std::vector<float>(64, 1.0f));
    OK(execute(k, p, x, w, y, device(std::vector<char>(1024))));
    return host(y, 1)[0] == 8.0f + 0x1p-9f;
}

static void engines_that_round_float32_say_so_and_come_first(void **)
{
    for (int64_t stride : {1, 2}) {
        for (cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
            kit k;
            size_t exact = 0;
            auto configs =
                offered(k, graph(k, {1, 8, 1, 1, 8, 1, stride, 0}, CUDNN_DATA_FLOAT), mode);
            for (cudnnBackendDescriptor_t c : configs) {
                bool noted = !notes_of(k, c).empty();
                assert_true(sums_fine_numbers(k, plan_by(k, c)) == !noted);
                assert_false(noted && exact > 0);
                exact += !noted;
            }
            assert_int_equal(exact, mode == CUDNN_HEUR_MODE_FALLBACK || stride == 1);
        }
    }
}

static void a_capture_may_hold_no_making_and_no_first_run_of_a_plan(void **)
{
    kit k;
    cudaGraph_t g;
    cudnnBackendDescriptor_t p = plan(k, graph(k, {1, 8, 4, 4, 8, 3, 1, 1}, CUDNN_DATA_HALF), 1);
    __half *x = device(numbers<__half>(128, 1)), *w = device(numbers<__half>(576, 2));
    __half *y = device(numbers<__half>(128, 3));
    char *workspace = device(std::vector<char>(1024));
    cudnnBackendDescriptor_t late = k.make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    for (int ran = 0; ran < 2; ran++) {
        OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        assert_int_equal(execute(k, p, x, w, y, workspace),
                         ran ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED);
        assert_int_equal(cudnnBackendFinalize(late), CUDNN_STATUS_EXECUTION_FAILED);
        assert_int_equal(cudaStreamEndCapture(stream, &g),
                         ran ? cudaSuccess : cudaErrorStreamCaptureInvalidated);
        OK(execute(k, p, x, w, y, workspace));
    }
    assert_int_equal(cudnnBackendFinalize(late),
                     CUDNN_STATUS_BAD_PARAM); /* unfinished, as before */
}

static void numbers_of_four_bytes_are_aligned_to_four(void **)
{
    for (cudnnDataType_t type : {CUDNN_DATA_HALF, CUDNN_DATA_FLOAT}) {
        kit k;
        cudnnBackendDescriptor_t d = k.make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
        set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, &type);
        ints(d, CUDNN_ATTR_TENSOR_DIMENSIONS, {1, 8, 4, 4});
        ints(d, CUDNN_ATTR_TENSOR_STRIDES, {128, 1, 32, 8});
        ints(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, {1});
        ints(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {2});
        assert_int_equal(cudnnBackendFinalize(d),
                         type == CUDNN_DATA_FLOAT ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_SUCCESS);
    }
}

static void wrong_memory_is_refused(void **)
{
    const shape s = {1, 8, 4, 4, 8, 3, 1, 1};
    kit k;
    cudnnBackendDescriptor_t p = plan(k, graph(k, s, CUDNN_DATA_HALF), 1);
    __half *x = device(numbers<__half>(128, 1)), *w = device(numbers<__half>(576, 2));
    __half *y = device(numbers<__half>(128, 3));
    char *workspace = device(std::vector<char>(1024));
    std::vector<__half> on_host(128);
    OK(execute(k, p, x, w, y, workspace));
    assert_int_equal(execute(k, p, on_host.data(), w, y, workspace), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(execute(k, p, x + 8, w, y, workspace), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(execute(k, p, x, w, y, workspace + 8), CUDNN_STATUS_BAD_PARAM);
    assert_int_equal(execute(k, p, x, w, y, nullptr), CUDNN_STATUS_BAD_PARAM);
}

static void unfinished_and_unknown_descriptors_are_refused(void **)
{
    kit k;
    cudnnBackendDescriptor_t d = k.make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    assert_int_equal(cudnnBackendFinalize(d), CUDNN_STATUS_BAD_PARAM);
    cudnnBackendDescriptor_t other;
    assert_int_equal(
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, &other),
        CUDNN_STATUS_NOT_SUPPORTED);
}

int main()
{
#define WITH(f) cmocka_unit_test_setup_teardown(f, open, close)
    const CMUnitTest tests[] = {
        WITH(convolutions_equal_plain_loops),
        WITH(engines_that_round_float32_say_so_and_come_first),
        WITH(a_capture_may_hold_no_making_and_no_first_run_of_a_plan),
        WITH(numbers_of_four_bytes_are_aligned_to_four),
        WITH(wrong_memory_is_refused),
        WITH(unfinished_and_unknown_descriptors_are_refused),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
