/* NCCL's gang (engine/gang/nccl.h) between processes, on the emulated device. */
#include "engine/gang/nccl.h"
#include "tests/gpusim/control.h"

#include <nccl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000 /* only a failing test waits this long */
#define N           5003

/* One member, in a process of its own. */
struct member {
    struct gang *host, *gang;
    cudaStream_t stream;
    void *device; /* of N floats */
    cudaGraphExec_t graph;
    int tell; /* a pipe: a byte says that the first sum is done */
};

typedef int (*part_fn)(struct member *m);

struct crew {
    struct gang_offer *offer;
    int size, stop, tell[2];
    pid_t pids[GANG_SIZE_MAX];
};

static int sees(cudaError_t code)
{
    return code == cudaSuccess ? 0 : ERR_INTERNAL;
}

static void let_go(void *owner)
{
    struct member *m = owner;

    if (m->graph != NULL)
        cudaGraphExecDestroy(m->graph);
    m->graph = NULL;
}

static int told(cudaError_t code, const char *call, struct err *e)
{
    int class = code == cudaErrorIllegalAddress ? ERR_DEVICE : ERR_INTERNAL;

    return code == cudaSuccess ? 0 : err_set(e, class, "%s: (%d)", call, (int)code);
}

static int member_run(const struct gang_place *p, int tell, part_fn part)
{
    struct member m = {.tell = tell};
    struct err e = {0};
    int rc = 0;

    TRY(gang_join(p, &m.host, &e));
    TRY(sees(cudaStreamCreateWithFlags(&m.stream, cudaStreamNonBlocking)));
    TRY(sees(cudaMalloc(&m.device, N * sizeof(float))));
    TRY(nccl_open(
        &(struct nccl_place){
            .host = m.host, .stream = m.stream, .error = told, .let_go = let_go, .owner = &m},
        &m.gang, &e));
    TRY(part(&m));
out:
    if (rc != 0 && e.code != 0)
        fprintf(stderr, "member %d: %s\n", p->rank, e.text);
    if (m.gang != NULL)
        m.gang->free(m.gang);
    if (m.host != NULL)
        m.host->free(m.host);
    return -rc;
}

static void start(struct crew *c, int size, part_fn part)
{
    *c = (struct crew){.size = size, .stop = eventfd(0, EFD_CLOEXEC)};
    assert_int_equal(pipe(c->tell), 0);
    assert_int_equal(gang_offer_new(GANG_UNIX, NULL, &c->offer, NULL), 0);
    for (int i = 0; i < size; i++) {
        const struct gang_place p = {.rank = i,
                                     .size = size,
                                     .offer = i == 0 ? c->offer : NULL,
                                     .meeting = gang_offer_text(c->offer),
                                     .abort_fd = c->stop,
                                     .patience_ms = PATIENCE_MS};

        c->pids[i] = fork();
        assert_true(c->pids[i] >= 0);
        if (c->pids[i] > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(member_run(&p, c->tell[1], part));
    }
}

/* The exit code; negative: the signal that ended it. */
static int finish(struct crew *c, int rank)
{
    int status = 0;

    assert_int_equal(waitpid(c->pids[rank], &status, 0), c->pids[rank]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void done(struct crew *c)
{
    gang_offer_free(c->offer);
    close(c->stop);
    close(c->tell[0]);
    close(c->tell[1]);
}

static void all_do(int size, part_fn part)
{
    struct crew c;

    start(&c, size, part);
    for (int i = 0; i < size; i++)
        assert_int_equal(finish(&c, i), 0);
    done(&c);
}

static int barrier(struct gang *host)
{
    int64_t counts[GANG_SIZE_MAX];
    float words[GANG_SIZE_MAX] = {0};

    for (int i = 0; i < host->size; i++)
        counts[i] = 1;
    return host->all_gather(host, words, counts, NULL);
}

static int sums_floats(struct member *m)
{
    static const float large[4] = {1e8f, 1.25f, -1e8f, 3.5f};
    float x[N], want;
    int rc = 0;

    for (int i = 0; i < N; i++)
        x[i] = large[(m->gang->rank + i) % 4];
    TRY(sees(cudaMemcpyAsync(m->device, x, sizeof x, cudaMemcpyHostToDevice, m->stream)));
    TRY(m->gang->all_reduce(m->gang, m->device, N, GANG_F32, NULL));
    TRY(sees(cudaMemcpyAsync(x, m->device, sizeof x, cudaMemcpyDeviceToHost, m->stream)));
    TRY(sees(cudaStreamSynchronize(m->stream)));
    for (int i = 0; i < N && rc == 0; i++) {
        want = large[i % 4];
        for (int k = 1; k < m->gang->size; k++)
            want += large[(k + i) % 4];
        rc = x[i] == want ? 0 : ERR_OUTPUT;
    }
    rc = rc != 0 ? rc : barrier(m->host);
out:
    return rc;
}

static void sums_go_from_device_to_device(void **state)
{
    (void)state;
    all_do(2, sums_floats);
    all_do(4, sums_floats);
}

/* 1 + 2 of two members is 3, in both formats that activations have. */
static int sums_halves(struct member *m)
{
    const uint16_t one[2] = {0x3c00, 0x3f80}, two[2] = {0x4000, 0x4000},
                   three[2] = {0x4200, 0x4040};
    uint16_t x;
    int rc = 0;

    for (int i = 0; i < 2; i++) {
        x = m->gang->rank == 0 ? one[i] : two[i];
        TRY(sees(cudaMemcpyAsync(m->device, &x, 2, cudaMemcpyHostToDevice, m->stream)));
        TRY(m->gang->all_reduce(m->gang, m->device, 1, i == 0 ? GANG_F16 : GANG_BF16, NULL));
        TRY(sees(cudaMemcpyAsync(&x, m->device, 2, cudaMemcpyDeviceToHost, m->stream)));
        TRY(sees(cudaStreamSynchronize(m->stream)));
        TRY(x == three[i] ? 0 : ERR_OUTPUT);
    }
    rc = barrier(m->host);
out:
    return rc;
}

static void halves_of_both_kinds_are_added(void **state)
{
    (void)state;
    all_do(2, sums_halves);
}

static int swaps(struct member *m)
{
    char x[200], *device = m->device;
    const struct gang_transfer t = {1 - m->gang->rank, device, 100, device + 100, 100};
    int rc = 0;

    memset(x, 'a' + m->gang->rank, sizeof x);
    TRY(sees(cudaMemcpyAsync(device, x, sizeof x, cudaMemcpyHostToDevice, m->stream)));
    TRY(m->gang->exchange(m->gang, &t, 1, NULL));
    TRY(sees(cudaMemcpyAsync(x, device, sizeof x, cudaMemcpyDeviceToHost, m->stream)));
    TRY(sees(cudaStreamSynchronize(m->stream)));
    TRY(x[99] == 'a' + m->gang->rank && x[100] == 'b' - m->gang->rank ? 0 : ERR_OUTPUT);
    rc = barrier(m->host);
out:
    return rc;
}

static void neighbours_exchange(void **state)
{
    (void)state;
    all_do(2, swaps);
}

/* 1 becomes size, size^2, size^3: a captured sum adds nothing until it is launched, and then again.
 */
static int sums_in_a_graph(struct member *m)
{
    float x = 1, want = 1;
    cudaGraph_t graph = NULL;
    int rc = 0;

    TRY(m->gang->all_reduce(m->gang, m->device, 1, GANG_F32, NULL)); /* NCCL connects outside */
    TRY(sees(cudaMemcpyAsync(m->device, &x, sizeof x, cudaMemcpyHostToDevice, m->stream)));
    TRY(sees(cudaStreamBeginCapture(m->stream, cudaStreamCaptureModeThreadLocal)));
    TRY(m->gang->all_reduce(m->gang, m->device, 1, GANG_F32, NULL));
    TRY(sees(cudaStreamEndCapture(m->stream, &graph)));
    TRY(sees(cudaGraphInstantiate(&m->graph, graph, 0)));
    TRY(sees(cudaGraphDestroy(graph)));
    for (int i = 0; i < 3; i++) {
        want *= (float)m->gang->size;
        TRY(sees(cudaGraphLaunch(m->graph, m->stream)));
    }
    TRY(sees(cudaMemcpyAsync(&x, m->device, sizeof x, cudaMemcpyDeviceToHost, m->stream)));
    TRY(sees(cudaStreamSynchronize(m->stream)));
    TRY(x == want ? 0 : ERR_OUTPUT);
    TRY(barrier(m->host));
    m->gang->free(
        m->gang); /* lets go of the graph first: else NCCL waits for it, and that is told */
    m->gang = NULL;
    rc = m->graph == NULL ? sees(cudaDeviceSynchronize()) : ERR_OUTPUT;
out:
    return rc;
}

static void captured_sums_are_taken_at_each_launch(void **state)
{
    (void)state;
    all_do(2, sums_in_a_graph);
    all_do(4, sums_in_a_graph);
}

static int sums_for_ever(struct member *m)
{
    int rc = 0;

    TRY(sees(cudaMemsetAsync(m->device, 0, N * sizeof(float), m->stream)));
    TRY(m->gang->all_reduce(m->gang, m->device, N, GANG_F32, NULL));
    if (write(m->tell, "", 1) != 1)
        return ERR_IO;
    while (rc == 0)
        rc = m->gang->all_reduce(m->gang, m->device, N, GANG_F32, NULL);
out:
    return rc;
}

static void begun(struct crew *c)
{
    char byte;

    for (int i = 0; i < c->size; i++)
        assert_int_equal(read(c->tell[0], &byte, 1), 1);
}

/* NCCL itself would wait for ever. */
static void a_killed_member_hangs_nobody(void **state)
{
    (void)state;
    for (int size = 2; size <= 4; size += 2) {
        struct crew c;

        start(&c, size, sums_for_ever);
        begun(&c);
        kill(c.pids[1], SIGKILL);
        for (int i = 0; i < size; i++)
            assert_int_equal(finish(&c, i), i == 1 ? -SIGKILL : -ERR_LOST);
        done(&c);
    }
}

static void told_to_stop_they_stop(void **state)
{
    const uint64_t one = 1;
    struct crew c;

    (void)state;
    start(&c, 2, sums_for_ever);
    begun(&c);
    assert_int_equal(write(c.stop, &one, sizeof one), sizeof one);
    for (int i = 0; i < 2; i++) {
        int code = finish(&c, i);

        assert_true(code == -ERR_CANCELLED || code == -ERR_LOST);
    }
    done(&c);
}

/* Member 0's nth call that the fault is for fails: what its exchange says. Member 1 ends after it.
 */
static int exchange_fails(struct member *m, enum gpusim_fault fault, uint64_t nth, int code,
                          const char *call)
{
    char *device = m->device;
    const struct gang_transfer t = {1 - m->gang->rank, device, 100, device + 100, 100};
    struct err e = {0};
    int rc;

    if (m->gang->rank == 1) {
        rc = m->gang->exchange(m->gang, &t, 1, &e);
        return (rc == 0 || rc == ERR_LOST) && barrier(m->host) == ERR_LOST ? 0 : ERR_INTERNAL;
    }
    gpusim_control.plan(fault, nth);
    rc = m->gang->exchange(m->gang, &t, 1, &e);
    gpusim_control.plan(GPUSIM_FAIL_NONE, 0);
    if (rc == code && strstr(e.text, call) != NULL)
        return 0;
    fprintf(stderr, "not %s: %d, %s\n", call, rc, e.text);
    return ERR_OUTPUT;
}

/* The third call is the receive: the group that it is in must end all the same. */
static int fails_in_a_group(struct member *m)
{
    static float numbers[10];
    int rc = exchange_fails(m, GPUSIM_FAIL_ANY, 3, ERR_INTERNAL, "ncclRecv: ");
    ncclComm_t alone;
    ncclUniqueId id;

    if (rc != 0 || m->gang->rank != 0)
        return rc;
    /* The thread's next call is in no group: what it queues is done. */
    TRY(ncclGetUniqueId(&id) == ncclSuccess ? 0 : ERR_INTERNAL);
    TRY(ncclCommInitRank(&alone, 1, id, 0) == ncclSuccess ? 0 : ERR_INTERNAL);
    TRY(sees(cudaMemsetAsync(m->device, 0, sizeof numbers, m->stream)));
    TRY(ncclAllReduce(m->device, (float *)m->device + 10, 10, ncclFloat32, ncclSum, alone,
                      m->stream) == ncclSuccess
            ? 0
            : ERR_INTERNAL);
    numbers[9] = 1;
    TRY(sees(cudaMemcpyAsync(numbers, (float *)m->device + 10, sizeof numbers,
                             cudaMemcpyDeviceToHost, m->stream)));
    TRY(sees(cudaStreamSynchronize(m->stream)));
    rc = numbers[9] == 0 ? 0 : ERR_OUTPUT;
    ncclCommDestroy(alone);
out:
    return rc;
}

static void a_group_that_fails_is_ended(void **state)
{
    (void)state;
    all_do(2, fails_in_a_group);
}

static int finds_no_memory(struct member *m)
{
    return exchange_fails(m, GPUSIM_FAIL_MEMORY, 1, ERR_OOM, "ncclSend: ");
}

static void nccls_words_of_memory_are_class_oom(void **state)
{
    (void)state;
    all_do(2, finds_no_memory);
}

static int loses_the_device(struct member *m)
{
    return exchange_fails(m, GPUSIM_FAIL_DEVICE, 2, ERR_DEVICE, "ncclSend: ");
}

static void a_device_lost_beneath_nccl_is_told_as_such(void **state)
{
    (void)state;
    all_do(2, loses_the_device);
}

/* NCCL takes the sum; that it failed only ncclCommGetAsyncError() says. */
static int fails_later(struct member *m)
{
    struct err e = {0};
    int rc;

    if (m->gang->rank == 1) {
        rc = m->gang->all_reduce(m->gang, m->device, 10, GANG_F32, &e);
        return (rc == 0 || rc == ERR_LOST) && barrier(m->host) == ERR_LOST ? 0 : ERR_INTERNAL;
    }
    gpusim_control.plan(GPUSIM_FAIL_LATER, 1);
    rc = m->gang->all_reduce(m->gang, m->device, 10, GANG_F32, &e);
    gpusim_control.plan(GPUSIM_FAIL_NONE, 0);
    return rc == ERR_INTERNAL && strstr(e.text, "ncclAllReduce: ") != NULL ? 0 : ERR_OUTPUT;
}

static void what_fails_after_it_was_taken_is_told(void **state)
{
    (void)state;
    all_do(2, fails_later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_go_from_device_to_device),
        cmocka_unit_test(halves_of_both_kinds_are_added),
        cmocka_unit_test(neighbours_exchange),
        cmocka_unit_test(captured_sums_are_taken_at_each_launch),
        cmocka_unit_test(a_killed_member_hangs_nobody),
        cmocka_unit_test(told_to_stop_they_stop),
        cmocka_unit_test(a_group_that_fails_is_ended),
        cmocka_unit_test(nccls_words_of_memory_are_class_oom),
        cmocka_unit_test(a_device_lost_beneath_nccl_is_told_as_such),
        cmocka_unit_test(what_fails_after_it_was_taken_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
