/* NCCL's stand-in between 2 and 4 processes. */
#include "test.h"

#include <nccl.h>

#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

static ncclComm_t comm;

/* A member fails by its exit code: cmocka's asserts belong to the parent. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: rank %d: not so: %s\n", __FILE__, __LINE__, rank, #condition); \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* member(rank) in `size` processes; each ends with 0 but those killed on purpose. */
static void in_processes(int size, const std::function<void(int)> &member, int dies = -1)
{
    ncclUniqueId id;
    std::vector<pid_t> children;
    OK(ncclGetUniqueId(&id));
    for (int rank = 0; rank < size; rank++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            MUST(cudaStreamCreate(&stream) == cudaSuccess);
            MUST(ncclCommInitRank(&comm, size, id, rank) == ncclSuccess);
            member(rank);
            _exit(0);
        }
        children.push_back(child);
    }
    for (int rank = 0; rank < size; rank++) {
        int status;
        assert_int_equal(waitpid(children[(size_t)rank], &status, 0), children[(size_t)rank]);
        if (rank == dies)
            assert_true(WIFSIGNALED(status));
        else
            assert_int_equal(status, 0);
    }
}

static void a_sum_is_the_same_everywhere(int size)
{
    in_processes(size, [size](int rank) {
        std::vector<__half> x(5000);
        for (size_t i = 0; i < x.size(); i++)
            x[i] = __half((float)(i % 50) + (float)rank);
        __half *d = device(x);
        MUST(ncclAllReduce(d, d, x.size(), ncclFloat16, ncclSum, comm, stream) == ncclSuccess);
        std::vector<__half> y = host(d, x.size());
        for (size_t i = 0; i < x.size(); i++) {
            float want = (float)size * (float)(i % 50) + (float)(size * (size - 1) / 2);
            MUST((float)y[i] == want);
        }
        MUST(ncclCommDestroy(comm) == ncclSuccess);
    });
}

static void two_members_add(void **)
{
    a_sum_is_the_same_everywhere(2);
}

static void four_members_add(void **)
{
    a_sum_is_the_same_everywhere(4);
}

static void gathers_and_broadcasts_reach_all(void **)
{
    in_processes(4, [](int rank) {
        float *mine = device(std::vector<float>(3, (float)rank));
        float *all = device(std::vector<float>(12));
        MUST(ncclAllGather(mine, all, 3, ncclFloat32, comm, stream) == ncclSuccess);
        std::vector<float> y = host(all, 12);
        for (size_t i = 0; i < 12; i++)
            MUST(y[i] == (float)(i / 3));
        MUST(ncclBroadcast(mine, mine, 3, ncclFloat32, 2, comm, stream) == ncclSuccess);
        MUST(host(mine, 3)[1] == 2);
        MUST(ncclCommDestroy(comm) == ncclSuccess);
    });
}

static void a_group_of_sends_and_receives_does_not_wait_for_itself(void **)
{
    in_processes(2, [](int rank) {
        size_t n = 1000000; /* more than sockets hold */
        float *out = device(std::vector<float>(n, (float)rank)),
              *in = device(std::vector<float>(n));
        MUST(ncclGroupStart() == ncclSuccess);
        MUST(ncclSend(out, n, ncclFloat32, 1 - rank, comm, stream) == ncclSuccess);
        MUST(ncclRecv(in, n, ncclFloat32, 1 - rank, comm, stream) == ncclSuccess);
        MUST(ncclGroupEnd() == ncclSuccess);
        MUST(host(in, n)[n - 1] == (float)(1 - rank));
        MUST(ncclCommDestroy(comm) == ncclSuccess);
    });
}

static void a_captured_sum_is_summed_at_each_launch(void **)
{
    in_processes(2, [](int rank) {
        cudaGraph_t graph;
        cudaGraphExec_t exec;
        float *d = device(std::vector<float>(10, 1.0f));
        MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
        MUST(ncclAllReduce(d, d, 10, ncclFloat32, ncclSum, comm, stream) == ncclSuccess);
        MUST(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
        MUST(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
        for (int i = 0; i < 3; i++)
            MUST(cudaGraphLaunch(exec, stream) == cudaSuccess);
        MUST(host(d, 10)[9] == 8.0f);
        MUST(cudaGraphExecDestroy(exec) == cudaSuccess);
        MUST(cudaGraphDestroy(graph) == cudaSuccess);
        MUST(ncclCommDestroy(comm) == ncclSuccess);
    });
}

static void different_calls_are_an_error_at_both(void **)
{
    in_processes(2, [](int rank) {
        ncclResult_t state;
        float *d = device(std::vector<float>(10, 1.0f));
        size_t n = rank == 0 ? 10 : 9;
        MUST(ncclAllReduce(d, d, n, ncclFloat32, ncclSum, comm, stream) == ncclSuccess);
        MUST(cudaStreamSynchronize(stream) == cudaSuccess);
        MUST(ncclCommGetAsyncError(comm, &state) == ncclSuccess);
        MUST(state == ncclInvalidUsage);
        MUST(ncclCommAbort(comm) == ncclSuccess);
    });
}

static void an_abort_ends_the_wait_for_a_dead_member(void **)
{
    in_processes(
        2,
        [](int rank) {
            if (rank == 1)
                raise(SIGKILL);
            float *d = device(std::vector<float>(10, 1.0f));
            MUST(cudaStreamSynchronize(stream) == cudaSuccess);
            MUST(ncclAllReduce(d, d, 10, ncclFloat32, ncclSum, comm, stream) == ncclSuccess);
            for (int i = 0; i < 50; i++)
                MUST(cudaStreamQuery(stream) == cudaErrorNotReady);
            std::thread waits([&] { MUST(cudaStreamSynchronize(stream) == cudaSuccess); });
            MUST(ncclCommAbort(comm) == ncclSuccess);
            waits.join();
        },
        1);
}

static void host_memory_and_unknown_sums_are_refused(void **)
{
    in_processes(2, [](int rank) {
        std::vector<float> here(10);
        float *d = device(here);
        MUST(ncclAllReduce(here.data(), d, 10, ncclFloat32, ncclSum, comm, stream) ==
             ncclInvalidArgument);
        MUST(ncclAllReduce(d, d, 11, ncclFloat32, ncclSum, comm, stream) == ncclInvalidArgument);
        MUST(ncclAllReduce(d, d, 10, ncclFloat32, ncclMax, comm, stream) == ncclInvalidArgument);
        MUST(ncclCommDestroy(comm) == ncclSuccess);
    });
}

static void a_communicator_that_does_not_block_comes_about_by_asking(void **)
{
    ncclUniqueId id;
    OK(ncclGetUniqueId(&id));
    pid_t child = fork();
    int rank = child == 0;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclResult_t state = ncclCommInitRankConfig(&comm, 2, id, rank, &config);
    MUST(state == ncclInProgress || state == ncclSuccess);
    do {
        MUST(ncclCommGetAsyncError(comm, &state) == ncclSuccess);
    } while (state == ncclInProgress);
    MUST(state == ncclSuccess);
    MUST(ncclCommDestroy(comm) == ncclSuccess);
    if (child == 0)
        _exit(0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main()
{
    const CMUnitTest tests[] = {
        TEST(two_members_add),
        TEST(four_members_add),
        TEST(gathers_and_broadcasts_reach_all),
        TEST(a_group_of_sends_and_receives_does_not_wait_for_itself),
        TEST(a_captured_sum_is_summed_at_each_launch),
        TEST(different_calls_are_an_error_at_both),
        TEST(an_abort_ends_the_wait_for_a_dead_member),
        TEST(host_memory_and_unknown_sums_are_refused),
        TEST(a_communicator_that_does_not_block_comes_about_by_asking),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
