/* The language: launches, barriers, warps, wmma, with right results. */
#include "test.h"

using namespace nvcuda;

__global__ void __launch_bounds__(256) sum_kernel(float *y, const float *x, int n)
{
    __shared__ float part[8];
    float v = 0;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        v += x[i];
    for (int d = 16; d > 0; d /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, d);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < 8; i++)
            v += part[i];
        *y = v;
    }
}

static void a_block_sums_with_shuffles_and_shared_memory(void **)
{
    std::vector<float> x(1000);
    for (size_t i = 0; i < x.size(); i++)
        x[i] = (float)i;
    float *dx = device(x), *dy = device(std::vector<float>(1));
    assert_int_equal(LAUNCH(sum_kernel, 1, 256, 0, stream, dy, dx, 1000), cudaSuccess);
    assert_float_equal(host(dy, 1)[0], 499500.0f, 0);
}

template <class A, class B>
__global__ void product_kernel(float *y, const __half *a, const __half *b)
{
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, A> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, B> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> c;
    wmma::fill_fragment(c, 1.0f);
    wmma::load_matrix_sync(fa, a, 16);
    wmma::load_matrix_sync(fb, b, 16);
    wmma::mma_sync(c, fa, fb, c);
    wmma::store_matrix_sync(y, c, 16, wmma::mem_row_major);
}

static void a_warp_multiplies_matrices(void **)
{
    std::vector<__half> a(256), b(256);
    for (int i = 0; i < 256; i++) {
        a[(size_t)i] = __float2half((float)(i % 7 - 3));
        b[(size_t)i] = __float2half((float)(i % 5 - 2));
    }
    __half *da = device(a), *db = device(b);
    float *dy = device(std::vector<float>(256));
    auto kernel = product_kernel<wmma::row_major, wmma::col_major>;
    assert_int_equal(LAUNCH(kernel, 1, 32, 0, stream, dy, da, db), cudaSuccess);
    std::vector<float> y = host(dy, 256);
    for (int i = 0; i < 256; i++) {
        float want = 1;
        for (int k = 0; k < 16; k++)
            want += (float)((i / 16 * 16 + k) % 7 - 3) * (float)((i % 16 * 16 + k) % 5 - 2);
        assert_float_equal(y[(size_t)i], want, 0);
    }
}

__global__ void types_kernel(float *y, int *atomic)
{
    unsigned lane = threadIdx.x;
    y[lane] = __shfl_up_sync(0xffffffffu, (float)lane, 1);
    y[32 + lane] = __shfl_down_sync(0xffffffffu, (float)lane, 2);
    y[64 + lane] = __shfl_sync(0xffffffffu, (float)lane, 3, 8);
    y[96 + lane] = (float)__ballot_sync(0xffffffffu, lane < 5);
    y[128 + lane] =
        (float)(__any_sync(0xffffffffu, lane == 31) + 2 * __all_sync(0xffffffffu, lane < 31));
    y[160 + lane] = (float)__syncthreads_count(lane % 4 == 0);
    y[192 + lane] = (float)(__syncthreads_or(lane == 9) + 2 * __syncthreads_and(lane < 32));
    atomicAdd(atomic, (int)lane);
    atomicMax(atomic + 1, (int)(lane ^ 21));
}

static void warps_vote_and_shuffle_as_the_manual_says(void **)
{
    float *dy = device(std::vector<float>(224));
    int *da = device(std::vector<int>(2));
    OK(LAUNCH(types_kernel, 1, 32, 0, stream, dy, da));
    std::vector<float> y = host(dy, 224);
    for (unsigned lane = 0; lane < 32; lane++) {
        const float want[] = {(float)(lane ? lane - 1 : 0),
                              (float)(lane < 30 ? lane + 2 : lane),
                              (float)(lane / 8 * 8 + 3),
                              31,
                              1,
                              8,
                              3};
        for (unsigned i = 0; i < 7; i++)
            assert_float_equal(y[i * 32 + lane], want[i], 0);
    }
    std::vector<int> a = host(da, 2);
    assert_int_equal(a[0], 31 * 32 / 2);
    assert_int_equal(a[1], 31);
}

__global__ void where_kernel(unsigned *y)
{
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    atomicAdd(&y[block * (blockDim.x * blockDim.y * blockDim.z) + thread], 1u);
}

static void every_thread_of_every_block_runs_once(void **)
{
    unsigned *dy = device(std::vector<unsigned>(2 * 3 * 5 * 7 * 4 * 2));
    OK(LAUNCH(where_kernel, dim3(2, 3, 5), dim3(7, 4, 2), 0, stream, dy));
    for (unsigned n : host(dy, 2 * 3 * 5 * 7 * 4 * 2))
        assert_int_equal(n, 1);
}

__global__ void atomics_kernel(unsigned *y)
{
    unsigned lane = threadIdx.x;
    atomicMin(&y[0], lane + 3);
    atomicOr(&y[1], 1u << lane);
    if (atomicExch(&y[2], 1u) == 0)
        atomicAdd(&y[3], 1u); /* one thread alone came first */
    for (unsigned old = y[4], seen; (seen = atomicCAS(&y[4], old, old + 2)) != old;)
        old = seen;
}

static void atomics_change_and_tell_what_was(void **)
{
    unsigned *dy = device(std::vector<unsigned>{99, 0, 0, 0, 0});
    OK(LAUNCH(atomics_kernel, 1, 32, 0, stream, dy));
    std::vector<unsigned> y = host(dy, 5);
    assert_int_equal(y[0], 3);
    assert_int_equal(y[1], 0xffffffffu);
    assert_int_equal(y[2], 1);
    assert_int_equal(y[3], 1);
    assert_int_equal(y[4], 64);
}

__global__ void ticket_kernel(unsigned *y, unsigned *next)
{
    y[threadIdx.x] = atomicAdd(next, 1u);
}

static std::vector<unsigned> order_of(uint64_t seed)
{
    gpusim::reset(seed);
    OK(cudaStreamCreate(&stream));
    unsigned *dy = device(std::vector<unsigned>(64)), *dn = device(std::vector<unsigned>(1));
    OK(LAUNCH(ticket_kernel, 1, 64, 0, stream, dy, dn));
    return host(dy, 64);
}

static void threads_run_in_an_order_that_the_seed_draws(void **)
{
    std::vector<unsigned> in_order(64);
    for (unsigned i = 0; i < 64; i++)
        in_order[i] = i;
    assert_true(order_of(1) == order_of(1));
    assert_true(order_of(1) != order_of(2));
    assert_true(order_of(2) != order_of(3));
    for (uint64_t seed = 1; seed <= 4; seed++) {
        std::vector<unsigned> order = order_of(seed);
        assert_true(order != in_order);
        assert_true(order != std::vector<unsigned>(in_order.rbegin(), in_order.rend()));
    }
}

int main()
{
    const CMUnitTest tests[] = {
        TEST(a_block_sums_with_shuffles_and_shared_memory),
        TEST(warps_vote_and_shuffle_as_the_manual_says),
        TEST(every_thread_of_every_block_runs_once),
        TEST(a_warp_multiplies_matrices),
        TEST(atomics_change_and_tell_what_was),
        TEST(threads_run_in_an_order_that_the_seed_draws),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
