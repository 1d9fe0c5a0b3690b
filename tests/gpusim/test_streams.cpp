/* Work is late, and streams wait for each other only where told to. */
#include "test.h"

__global__ void fill_kernel(float *y, float value)
{
    y[threadIdx.x] = value;
}

__global__ void double_kernel(float *y)
{
    y[threadIdx.x] *= 2;
}

__global__ void copy_kernel(float *y, const float *x)
{
    y[threadIdx.x] = x[threadIdx.x];
}

template <bool event> static bool second_stream_sees_the_first()
{
    cudaStream_t other;
    cudaEvent_t done;
    OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    OK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    float *x = device(std::vector<float>(8)), *y = device(std::vector<float>(8));
    OK(cudaDeviceSynchronize());
    OK(LAUNCH(fill_kernel, 1, 8, 0, stream, x, 3.0f));
    OK(cudaEventRecord(done, stream));
    if (event)
        OK(cudaStreamWaitEvent(other, done, 0));
    OK(LAUNCH(copy_kernel, 1, 8, 0, other, y, x));
    OK(cudaDeviceSynchronize());
    return host(y, 8)[7] == 3.0f;
}

static void work_on_the_wrong_stream_gives_wrong_numbers(void **)
{
    assert_int_equal(right_orders(16, second_stream_sees_the_first<true>), 16);
    assert_in_range(right_orders(16, second_stream_sees_the_first<false>), 1, 15);
}

template <bool sync> static bool host_sees_a_copy()
{
    float *to = pinned<float>(8), *x = device(std::vector<float>(8));
    OK(LAUNCH(fill_kernel, 1, 8, 0, stream, x, 3.0f));
    OK(cudaMemcpyAsync(to, x, 32, cudaMemcpyDeviceToHost, stream));
    if (sync)
        OK(cudaStreamSynchronize(stream));
    return to[0] == 3.0f;
}

static void a_missing_synchronisation_gives_wrong_numbers(void **)
{
    assert_int_equal(right_orders(16, host_sees_a_copy<true>), 16);
    assert_in_range(right_orders(16, host_sees_a_copy<false>), 0, 12);
}

template <bool sync> static bool pinned_memory_is_used_again()
{
    float *from = pinned<float>(1), *x = device(std::vector<float>(1));
    *from = 1;
    OK(cudaMemcpyAsync(x, from, 4, cudaMemcpyHostToDevice, stream));
    if (sync)
        OK(cudaStreamSynchronize(stream));
    *from = 2;
    return host(x, 1)[0] == 1;
}

static void pinned_memory_changed_before_its_copy_gives_wrong_numbers(void **)
{
    assert_int_equal(right_orders(16, pinned_memory_is_used_again<true>), 16);
    assert_in_range(right_orders(16, pinned_memory_is_used_again<false>), 0, 12);
}

static void pageable_memory_may_change_after_the_call(void **)
{
    float from = 1, *x = device(std::vector<float>(1));
    OK(cudaMemcpyAsync(x, &from, 4, cudaMemcpyHostToDevice, stream));
    from = 2;
    assert_float_equal(host(x, 1)[0], 1, 0);
}

static void copies_with_a_wrong_direction_or_size_are_refused(void **)
{
    float here[8], *x = device(std::vector<float>(4));
    assert_int_equal(cudaMemcpy(x, here, 16, cudaMemcpyDeviceToHost),
                     cudaErrorInvalidMemcpyDirection);
    assert_int_equal(cudaMemcpy(x, here, 17, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(x + 1, 0, 16), cudaErrorInvalidValue);
    OK(cudaMemset(x + 1, 0, 12));
}

static cudaGraphExec_t captured(const std::function<void()> &work)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    work();
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    return exec;
}

static void a_graph_runs_its_kernels_and_copies_each_time(void **)
{
    float *x = device(std::vector<float>(8, 0.5f)), *to = pinned<float>(8);
    OK(LAUNCH(double_kernel, 1, 8, 0, stream, x)); /* loads it */
    cudaGraphExec_t exec = captured([&] {
        OK(LAUNCH(double_kernel, 1, 8, 0, stream, x));
        OK(cudaMemcpyAsync(to, x, 32, cudaMemcpyDeviceToHost, stream));
    });
    assert_true(host(x, 8)[0] == 1.0f); /* a capture runs nothing */
    for (int i = 0; i < 3; i++)
        OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    assert_true(to[7] == 8.0f);
    OK(cudaGraphExecDestroy(exec));
}

template <bool join> static bool graph_branches_meet()
{
    cudaStream_t other;
    cudaEvent_t fork, done;
    OK(cudaStreamCreate(&other));
    OK(cudaEventCreate(&fork));
    OK(cudaEventCreate(&done));
    float *x = device(std::vector<float>(8, 1.0f)), *y = device(std::vector<float>(8));
    cudaGraphExec_t exec = captured([&] {
        OK(cudaEventRecord(fork, stream));
        OK(cudaStreamWaitEvent(other, fork, 0));
        OK(LAUNCH(fill_kernel, 1, 8, 0, other, x, 3.0f));
        OK(cudaEventRecord(done, other));
        if (join)
            OK(cudaStreamWaitEvent(stream, done, 0));
        OK(LAUNCH(copy_kernel, 1, 8, 0, stream, y, x));
        if (!join)
            OK(cudaStreamWaitEvent(stream, done, 0));
    });
    OK(cudaGraphLaunch(exec, stream));
    return host(y, 8)[0] == 3.0f;
}

static void branches_of_a_graph_wait_only_where_told(void **)
{
    assert_int_equal(right_orders(16, graph_branches_meet<true>), 16);
    assert_in_range(right_orders(16, graph_branches_meet<false>), 1, 15);
}

static void a_branch_that_does_not_come_back_is_an_error(void **)
{
    cudaStream_t other;
    cudaEvent_t fork;
    cudaGraph_t graph;
    OK(cudaStreamCreate(&other));
    OK(cudaEventCreate(&fork));
    float *x = device(std::vector<float>(8));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaEventRecord(fork, stream));
    OK(cudaStreamWaitEvent(other, fork, 0));
    OK(LAUNCH(fill_kernel, 1, 8, 0, other, x, 3.0f));
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureUnjoined);
}

static void calls_that_wait_spoil_a_capture(void **)
{
    cudaGraph_t graph;
    float *p;
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    assert_int_equal(cudaMalloc(&p, 4), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaMallocHost((void **)&p, 4), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
}

__global__ void unseen_kernel(float *y)
{
    y[threadIdx.x] = 1;
}

static void a_kernel_that_a_capture_is_the_first_to_launch_is_refused(void **)
{
    cudaGraph_t graph;
    float *x = device(std::vector<float>(8));
    for (int seen = 0; seen < 2; seen++) {
        OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        assert_int_equal(LAUNCH(unseen_kernel, 1, 8, 0, stream, x),
                         seen ? cudaSuccess : cudaErrorStreamCaptureUnsupported);
        assert_int_equal(cudaStreamEndCapture(stream, &graph),
                         seen ? cudaSuccess : cudaErrorStreamCaptureInvalidated);
        OK(LAUNCH(unseen_kernel, 1, 8, 0, stream, x));
    }
}

static void a_thread_that_did_not_set_its_device_has_no_use_of_the_others_streams(void **)
{
    setenv("GPUSIM_DEVICES", "2", 1);
    float *x = device(std::vector<float>(8));
    OK(cudaSetDevice(1));
    assert_int_equal(LAUNCH(unseen_kernel, 1, 8, 0, stream, x), cudaErrorInvalidResourceHandle);
    assert_non_null(std::strstr(gpusim::message(), "the stream is of device 0"));
    OK(cudaSetDevice(0));
    OK(LAUNCH(unseen_kernel, 1, 8, 0, stream, x));
    unsetenv("GPUSIM_DEVICES");
}

int main()
{
    const CMUnitTest tests[] = {
        TEST(work_on_the_wrong_stream_gives_wrong_numbers),
        TEST(a_missing_synchronisation_gives_wrong_numbers),
        TEST(pinned_memory_changed_before_its_copy_gives_wrong_numbers),
        TEST(pageable_memory_may_change_after_the_call),
        TEST(copies_with_a_wrong_direction_or_size_are_refused),
        TEST(a_graph_runs_its_kernels_and_copies_each_time),
        TEST(branches_of_a_graph_wait_only_where_told),
        TEST(a_branch_that_does_not_come_back_is_an_error),
        TEST(calls_that_wait_spoil_a_capture),
        TEST(a_kernel_that_a_capture_is_the_first_to_launch_is_refused),
        TEST(a_thread_that_did_not_set_its_device_has_no_use_of_the_others_streams),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
