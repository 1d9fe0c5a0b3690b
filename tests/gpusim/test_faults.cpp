/* Faults that a GPU might forgive today: each is planted here and found. */
#include "test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child that runs f() says on stderr; fails unless it dies of it. */
static std::string last_words(const std::function<void()> &f)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        f();
        _exit(0);
    }
    close(ends[1]);
    std::string said;
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        said.append(buffer, (size_t)n);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return said;
}

static void assert_says(const std::string &said, const char *what)
{
    if (said.find(what) == std::string::npos)
        fail_msg("'%s' is not in: %s", what, said.c_str());
}

template <bool barrier> __global__ void reverse_kernel(float *y, const float *x)
{
    __shared__ float row[128];
    row[threadIdx.x] = x[threadIdx.x];
    if (barrier)
        __syncthreads();
    y[threadIdx.x] = row[127 - threadIdx.x];
}

template <bool barrier> static bool reverses()
{
    std::vector<float> x(128);
    for (size_t i = 0; i < 128; i++)
        x[i] = (float)i;
    float *dx = device(x), *dy = device(x);
    OK(LAUNCH(reverse_kernel<barrier>, 1, 128, 0, stream, dy, dx));
    std::vector<float> y = host(dy, 128);
    return std::vector<float>(y.rbegin(), y.rend()) == x;
}

static void a_missing_syncthreads_gives_wrong_numbers(void **)
{
    assert_int_equal(right_orders(5, reverses<true>), 5);
    assert_int_equal(right_orders(5, reverses<false>), 0);
}

/* The second barrier keeps a quick thread from writing what a slow one has still to read. */
template <bool second> __global__ void rotate_kernel(float *y, int times)
{
    __shared__ float row[64];
    float v = (float)threadIdx.x;
    for (int i = 0; i < times; i++) {
        row[threadIdx.x] = v;
        __syncthreads();
        v = row[(threadIdx.x + 1) % 64];
        if (second)
            __syncthreads();
    }
    y[threadIdx.x] = v;
}

template <bool second> static bool rotates()
{
    float *dy = device(std::vector<float>(64));
    OK(LAUNCH(rotate_kernel<second>, 1, 64, 0, stream, dy, 5));
    std::vector<float> y = host(dy, 64);
    for (size_t i = 0; i < 64; i++) {
        if (y[i] != (float)((i + 5) % 64))
            return false;
    }
    return true;
}

static void a_missing_barrier_before_memory_is_used_again_gives_wrong_numbers(void **)
{
    assert_int_equal(right_orders(5, rotates<true>), 5);
    assert_int_equal(right_orders(5, rotates<false>), 0);
}

/*
 * What the second warp wrote must stay until the first has read it, but it goes on to write again
 * after many meetings of its own lanes: it has to run far ahead to be too early.
 */
template <bool second> __global__ void far_ahead_kernel(float *y)
{
    __shared__ float row[64];
    float v = (float)threadIdx.x;
    row[threadIdx.x] = v;
    __syncthreads();
    v = row[63 - threadIdx.x];
    if (second)
        __syncthreads();
    for (int i = 0; i < 40; i++)
        v = __shfl_xor_sync(0xffffffffu, v, 1);
    row[threadIdx.x] = -1;
    y[threadIdx.x] = v;
}

template <bool second> static bool runs_ahead()
{
    float *dy = device(std::vector<float>(64));
    OK(LAUNCH(far_ahead_kernel<second>, 1, 64, 0, stream, dy));
    std::vector<float> y = host(dy, 64);
    for (size_t i = 0; i < 64; i++) {
        if (y[i] != (float)(63 - i))
            return false;
    }
    return true;
}

static void a_warp_that_runs_far_ahead_meets_what_a_missing_barrier_leaves_open(void **)
{
    assert_int_equal(right_orders(20, runs_ahead<true>), 20);
    assert_in_range(right_orders(20, runs_ahead<false>), 0, 12);
}

template <bool sync> __global__ void warp_reverse_kernel(int *y)
{
    __shared__ int row[32];
    row[threadIdx.x] = (int)threadIdx.x;
    if (sync)
        __syncwarp();
    y[threadIdx.x] = row[31 - threadIdx.x];
}

template <bool sync> static bool warp_reverses()
{
    int *dy = device(std::vector<int>(32));
    OK(LAUNCH(warp_reverse_kernel<sync>, 1, 32, 0, stream, dy));
    std::vector<int> y = host(dy, 32);
    for (int i = 0; i < 32; i++) {
        if (y[(size_t)i] != 31 - i)
            return false;
    }
    return true;
}

static void a_missing_syncwarp_gives_wrong_numbers(void **)
{
    assert_int_equal(right_orders(5, warp_reverses<true>), 5);
    assert_int_equal(right_orders(5, warp_reverses<false>), 0);
}

/* Four turns of 64 numbers: a copy each, on its way while the last one is used. */
template <bool waits, bool second> __global__ void stream_kernel(float *y, const float *x)
{
    __shared__ __align__(16) float row[64];
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        __pipeline_memcpy_async(&row[threadIdx.x], x + 64 * i + threadIdx.x, 4);
        __pipeline_commit();
        if (waits)
            __pipeline_wait_prior(0);
        __syncthreads();
        sum = sum * 2 + row[63 - threadIdx.x];
        if (second)
            __syncthreads();
    }
    y[threadIdx.x] = sum;
}

template <bool waits, bool second> static bool streams()
{
    std::vector<float> x(256), sums(64);
    for (size_t i = 0; i < 256; i++) {
        x[i] = (float)(i * i % 97);
        sums[63 - i % 64] = sums[63 - i % 64] * 2 + x[i];
    }
    float *dx = device(x), *dy = device(sums);
    OK(LAUNCH((stream_kernel<waits, second>), 1, 64, 0, stream, dy, dx));
    return host(dy, 64) == sums;
}

static void a_copy_not_waited_for_or_sent_too_early_gives_wrong_numbers(void **)
{
    assert_int_equal(right_orders(5, streams<true, true>), 5);
    assert_int_equal(right_orders(5, streams<false, true>), 0);
    assert_int_equal(right_orders(5, streams<true, false>), 0);
}

__global__ void half_a_barrier_kernel(int n)
{
    if ((int)threadIdx.x >= n)
        return;
    __syncthreads();
}

static void a_barrier_that_some_threads_never_reach_is_an_error_with_the_kernels_name(void **)
{
    OK(LAUNCH(half_a_barrier_kernel, 2, 64, 0, stream, 40));
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
    assert_says(gpusim::message(), "half_a_barrier_kernel");
    assert_says(gpusim::message(), "40 wait at");
    float *p;
    assert_int_equal(cudaMalloc(&p, 4), cudaErrorLaunchFailure); /* as every call from then on */
}

__global__ void two_barriers_kernel(int n)
{
    if (threadIdx.x % (unsigned)n == 0)
        __syncthreads();
    else
        __syncthreads();
}

static void threads_that_wait_at_different_barriers_are_an_error(void **)
{
    OK(LAUNCH(two_barriers_kernel, 1, 64, 0, stream, 2));
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
    assert_says(gpusim::message(), "divergent barrier");
}

__global__ void lonely_shuffle_kernel(int *y)
{
    if (threadIdx.x < 16)
        y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 1);
    else
        __syncthreads();
}

static void a_shuffle_whose_mask_names_lanes_that_do_not_come_is_an_error(void **)
{
    int *dy = device(std::vector<int>(32));
    OK(LAUNCH(lonely_shuffle_kernel, 1, 32, 0, stream, dy));
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
    assert_says(gpusim::message(), "16 wait for lanes of their warp");
}

__global__ void lane_outside_kernel(float *y)
{
    if (threadIdx.x < 16)
        y[threadIdx.x] = __shfl_down_sync(0x0000ffffu, 1.0f, 8);
}

static void a_shuffle_from_a_lane_outside_of_the_mask_gives_nan(void **)
{
    float *dy = device(std::vector<float>(16));
    OK(LAUNCH(lane_outside_kernel, 1, 32, 0, stream, dy));
    std::vector<float> y = host(dy, 16);
    assert_true(y[7] == 1.0f);
    assert_true(std::isnan(y[8]));
}

__global__ void read_at_kernel(float *y, const float *x, int at)
{
    y[0] = x[at];
}

template <class T> static __global__ void shared_at_kernel(T *y, int at)
{
    __shared__ T row[10];
    T *p = row;
    asm volatile("" : "+r"(p)); /* UBSan would see the array's size through it */
    p[threadIdx.x] = 1;
    y[0] = p[at];
}

__global__ void dynamic_at_kernel(float *y, int at)
{
    DYNAMIC_SHARED(float, row);
    row[threadIdx.x] = 1;
    y[0] = row[at];
}

static void reads_out_of_bounds_are_found(void **)
{
#ifdef __SANITIZE_ADDRESS__
    float *dx = device(std::vector<float>(10)), *dy = device(std::vector<float>(1));
    OK(cudaStreamSynchronize(stream));
    assert_says(last_words([=] {
                    LAUNCH(read_at_kernel, 1, 1, 0, stream, dy, dx, 10);
                    cudaStreamSynchronize(stream);
                }),
                "read_at_kernel");
    assert_says(last_words([=] {
                    LAUNCH(read_at_kernel, 1, 1, 0, stream, dy, dx, -1);
                    cudaStreamSynchronize(stream);
                }),
                "use-after-poison");
    assert_says(last_words([=] {
                    LAUNCH(shared_at_kernel<float>, 1, 1, 0, stream, dy, 11);
                    cudaStreamSynchronize(stream);
                }),
                "global-buffer-overflow");
    assert_says(last_words([=] {
                    LAUNCH(dynamic_at_kernel, 1, 1, 40, stream, dy, 10);
                    cudaStreamSynchronize(stream);
                }),
                "heap-buffer-overflow");
#else
    skip();
#endif
}

__global__ void write_at_kernel(float *y, int at)
{
    y[at] = 1;
}

__global__ void shift_kernel(int *y, int by)
{
    y[0] = 1 << by;
}

static void writes_out_of_bounds_and_undefined_numbers_are_found(void **)
{
#ifdef __SANITIZE_ADDRESS__
    float *dy = device(std::vector<float>(10));
    int *di = device(std::vector<int>(1));
    OK(cudaStreamSynchronize(stream));
    assert_says(last_words([=] {
                    LAUNCH(write_at_kernel, 1, 1, 0, stream, dy, 10);
                    cudaStreamSynchronize(stream);
                }),
                "write_at_kernel");
    assert_says(last_words([=] {
                    LAUNCH(shift_kernel, 1, 1, 0, stream, di, 40);
                    cudaStreamSynchronize(stream);
                }),
                "shift exponent 40 is too large");
    assert_says(last_words([=] {
                    LAUNCH(write_at_kernel, 1, 1, 0, stream, dy, 1 << 20);
                    cudaStreamSynchronize(stream);
                }),
                "outside of device allocations");
#else
    skip();
#endif
}

static void freed_memory_is_not_used_again(void **)
{
    float *dx = device(std::vector<float>(10)), *dy = device(std::vector<float>(1));
    OK(cudaFree(dx));
    assert_int_equal(LAUNCH(read_at_kernel, 1, 1, 0, stream, dy, dx, 0), cudaErrorInvalidValue);
    assert_says(gpusim::message(), "argument 1 holds a freed device pointer");
    assert_int_equal(cudaFree(dx), cudaErrorInvalidValue);
}

struct pair {
    int n;
    const float *x;
};

__global__ void pair_kernel(float *y, pair p)
{
    y[0] = p.x[p.n];
}

static void a_host_pointer_is_refused_at_the_launch(void **)
{
    float on_host[4] = {};
    float *dy = device(std::vector<float>(1));
    assert_int_equal(LAUNCH(read_at_kernel, 1, 1, 0, stream, dy, on_host, 0),
                     cudaErrorInvalidValue);
    assert_says(gpusim::message(), "kernel read_at_kernel: argument 1 holds a host pointer");
    std::vector<float> heap(4);
    pair p = {0, heap.data()};
    assert_int_equal(LAUNCH(pair_kernel, 1, 1, 0, stream, dy, p), cudaErrorInvalidValue);
    p.x = dy;
    OK(LAUNCH(pair_kernel, 1, 1, 0, stream, dy, p));
}

static void the_host_cannot_touch_device_memory(void **)
{
    float *dx = device(std::vector<float>(10));
    OK(cudaStreamSynchronize(stream));
    assert_says(last_words([=] {
                    float *again; /* so that the watch is set in the child */
                    cudaMalloc(&again, 4);
                    dx[0] = 1;
                }),
                "gpusim: the host touched device memory");
}

__global__ void shared_once_kernel(float *y)
{
    __shared__ float row[1];
    if (blockIdx.x == 0)
        row[0] = 5;
    __syncthreads();
    y[blockIdx.x] = row[0];
}

static void memory_is_nan_until_written(void **)
{
    float *dx;
    OK(cudaMalloc(&dx, 16 * sizeof *dx));
    for (float f : host(dx, 16))
        assert_true(std::isnan(f));
    OK(LAUNCH(shared_once_kernel, 16, 1, 0, stream, dx));
    std::vector<float> y = host(dx, 16);
    assert_true(y[0] == 5);
    for (size_t i = 1; i < 16; i++)
        assert_true(std::isnan(y[i])); /* no block sees what another left */
}

__global__ void dynamic_kernel(float *y, int from)
{
    DYNAMIC_SHARED(float, row);
    y[blockIdx.x * 8 + threadIdx.x] = row[threadIdx.x];
    if ((int)threadIdx.x >= from)
        row[threadIdx.x] = 1;
}

static void dynamic_shared_memory_is_nan_in_every_block(void **)
{
    float *dy = device(std::vector<float>(32));
    OK(LAUNCH(dynamic_kernel, 4, 8, 32, stream, dy, 0));
    for (float f : host(dy, 32))
        assert_true(std::isnan(f));
}

static void a_launch_that_no_device_takes_is_refused(void **)
{
    assert_int_equal(LAUNCH(half_a_barrier_kernel, 1, 1025, 0, stream, 1),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(LAUNCH(half_a_barrier_kernel, 0, 1, 0, stream, 1),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(LAUNCH(half_a_barrier_kernel, 1, 1, 64 << 10, stream, 1),
                     cudaErrorInvalidValue);
    OK(cudaFuncSetAttribute((const void *)half_a_barrier_kernel,
                            cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10));
    OK(LAUNCH(half_a_barrier_kernel, 1, 1, 64 << 10, stream, 1));
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue); /* of the refused launch */
    OK(cudaGetLastError());
}

static void memory_runs_out(void **)
{
    float *p;
    setenv("GPUSIM_MEMORY", "1000", 1);
    assert_int_equal(cudaMalloc(&p, 1001), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&p, 1000));
    unsetenv("GPUSIM_MEMORY");
}

int main()
{
    const CMUnitTest tests[] = {
        TEST(a_missing_syncthreads_gives_wrong_numbers),
        TEST(a_missing_barrier_before_memory_is_used_again_gives_wrong_numbers),
        TEST(a_warp_that_runs_far_ahead_meets_what_a_missing_barrier_leaves_open),
        TEST(a_copy_not_waited_for_or_sent_too_early_gives_wrong_numbers),
        TEST(a_missing_syncwarp_gives_wrong_numbers),
        TEST(a_barrier_that_some_threads_never_reach_is_an_error_with_the_kernels_name),
        TEST(threads_that_wait_at_different_barriers_are_an_error),
        TEST(a_shuffle_whose_mask_names_lanes_that_do_not_come_is_an_error),
        TEST(a_shuffle_from_a_lane_outside_of_the_mask_gives_nan),
        TEST(reads_out_of_bounds_are_found),
        TEST(writes_out_of_bounds_and_undefined_numbers_are_found),
        TEST(freed_memory_is_not_used_again),
        TEST(a_host_pointer_is_refused_at_the_launch),
        TEST(the_host_cannot_touch_device_memory),
        TEST(memory_is_nan_until_written),
        TEST(dynamic_shared_memory_is_nan_in_every_block),
        TEST(a_launch_that_no_device_takes_is_refused),
        TEST(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
