/* The language: launches, barriers, warps, wmma, with right results. */
#include "engine/ops/cuda/launch.h"

#include <vector>

extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
}

using namespace nvcuda;

static cudaStream_t stream;

template <class T> static T *device(const std::vector<T> &from)
{
    T *p;
    assert_int_equal(cudaMalloc(&p, from.size() * sizeof(T)), cudaSuccess);
    assert_int_equal(
        cudaMemcpyAsync(p, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice, stream),
        cudaSuccess);
    return p;
}

template <class T> static std::vector<T> host(const T *from, size_t n)
{
    std::vector<T> to(n);
    assert_int_equal(
        cudaMemcpyAsync(to.data(), from, n * sizeof(T), cudaMemcpyDeviceToHost, stream),
        cudaSuccess);
    return to;
}

static int begin(void **)
{
    gpusim::reset(1);
    return cudaStreamCreate(&stream);
}

static int end(void **)
{
    gpusim::reset(1);
    return 0;
}

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

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_block_sums_with_shuffles_and_shared_memory, begin, end),
        cmocka_unit_test_setup_teardown(a_warp_multiplies_matrices, begin, end),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
