/* litho-coordinator as a process: options, its endpoint file, strangers on its socket, signals. */
#include "proto/clock.h"
#include "proto/link.h"
#include "tests/coordinator/fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define PATIENCE_MS 20000

struct place {
    char *dir;
    char state[256], out[256], program[512];
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    const char *bin = getenv("LITHO_BIN");

    p->dir = temporary_folder();
    snprintf(p->state, sizeof p->state, "%s/state", p->dir);
    snprintf(p->out, sizeof p->out, "%s/out", p->dir);
    snprintf(p->program, sizeof p->program, "%s/litho-coordinator", bin ? bin : BINARY_DIR "/bin");
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    remove_tree(p->dir);
    free(p->dir);
    free(p);
    return 0;
}

/* Standard error goes to DIR/log. option: one more, NULL: none. */
static pid_t start_with(const struct place *p, const char *listen, const char *out,
                        const char *option)
{
    char log[300];
    pid_t pid;

    snprintf(log, sizeof log, "%s/log", p->dir);
    pid = fork();
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        dup2(fd, STDERR_FILENO);
        execl(p->program, p->program, "--listen", listen, "--state", p->state, "--out", out, option,
              (char *)NULL);
        _exit(127);
    }
    return pid;
}

static pid_t start(const struct place *p, const char *listen, const char *out)
{
    return start_with(p, listen, out, NULL);
}

static int wait_exit(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void assert_logged(const struct place *p, const char *text)
{
    struct buf log = {0}, path = {0};

    buf_printf(&path, "%s/log", p->dir);
    MUST(buf_read_file(&log, buf_text(&path), 1 << 20, e));
    if (!strstr(buf_text(&log), text))
        fail_msg("'%s' is not in the log:\n%s", text, buf_text(&log));
    buf_done(&log);
    buf_done(&path);
}

/* The endpoint, once the program has published it. */
static void read_endpoint(const struct place *p, pid_t pid, struct buf *ret)
{
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct buf path = {0};

    buf_printf(&path, "%s/endpoint", p->state);
    while (buf_read_file(ret, buf_text(&path), 256, NULL) != 0) {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        assert_true(clock_monotonic_ms() < end_ms);
        poll(NULL, 0, 5);
    }
    ret->data[--ret->size] = 0; /* the newline */
    buf_done(&path);
}

static void take_answer(struct link *link, struct msg *ret_m, struct buf *frame)
{
    int64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct peer peer;
    struct err why;
    int got;

    while ((got = link_receive(link, &peer, frame, &why)) == 0) {
        assert_true(clock_monotonic_ms() < end_ms);
        link_wait(link, NULL, 0, 100, &why);
    }
    assert_int_equal(got, 1);
    MUST(msg_decode(frame->data, frame->size, ret_m, e));
}

static void garbage_on_the_socket_is_answered_and_does_no_harm(void **state)
{
    struct place *p = *state;
    struct msg hello = {
        .type = MSG_HELLO,
        .hello = {.protocol = 1, .protocol_min = 1, .role = "client", .software = "test"}};
    struct buf endpoint = {0}, frame = {0};
    pid_t pid = start(p, "tcp://127.0.0.1:0", p->out);
    struct link *link;
    struct msg m;

    read_endpoint(p, pid, &endpoint);
    MUST(link_connect(buf_text(&endpoint), NULL, &link, e));
    MUST(link_send(link, NULL, "\xc1\xff garbage", 10, e));
    take_answer(link, &m, &frame);
    assert_int_equal(m.type, MSG_ERROR);
    assert_string_equal(m.error.code, "bad_input");
    msg_done(&m);
    hello.hello.protocol = hello.hello.protocol_min = 77;
    frame.size = 0;
    MUST(msg_encode(&hello, &frame, e));
    MUST(link_send(link, NULL, frame.data, frame.size, e));
    take_answer(link, &m, &frame);
    assert_int_equal(m.type, MSG_ERROR);
    assert_string_equal(m.error.code, "conflict");
    msg_done(&m);
    hello.hello.protocol = hello.hello.protocol_min = 1;
    frame.size = 0;
    MUST(msg_encode(&hello, &frame, e));
    MUST(link_send(link, NULL, frame.data, frame.size, e));
    take_answer(link, &m, &frame);
    assert_int_equal(m.type, MSG_WELCOME);
    msg_done(&m);
    link_close(link, 0);
    kill(pid, SIGTERM);
    assert_int_equal(wait_exit(pid), 0);
    buf_done(&endpoint);
    buf_done(&frame);
}

static void a_second_coordinator_on_one_state_folder_is_refused(void **state)
{
    struct place *p = *state;
    struct buf endpoint = {0};
    pid_t first = start(p, "tcp://127.0.0.1:0", p->out), second;
    char named[64];

    read_endpoint(p, first, &endpoint);
    second = start(p, "tcp://127.0.0.1:0", p->out);
    assert_int_equal(wait_exit(second), 1);
    snprintf(named, sizeof named, "in use by another coordinator (process %ld)", (long)first);
    assert_logged(p, named);
    kill(first, SIGINT);
    assert_int_equal(wait_exit(first), 0);
    buf_done(&endpoint);
}

static void addresses_beyond_loopback_are_refused(void **state)
{
    struct place *p = *state;

    assert_int_equal(wait_exit(start(p, "tcp://0.0.0.0:0", p->out)), 1);
    assert_logged(p, "loopback");
}

static void times_that_cannot_be_kept_are_refused(void **state)
{
    struct place *p = *state;

    assert_int_equal(wait_exit(start_with(p, "tcp://127.0.0.1:0", p->out, "--silence=3000")), 2);
    assert_logged(p, "at least twice");
    assert_int_equal(wait_exit(start_with(p, "tcp://127.0.0.1:0", p->out, "--grace=soon")), 2);
    assert_logged(p, "(ms)");
    assert_int_equal(wait_exit(start_with(p, "tcp://127.0.0.1:0", p->out, "--heartbeat=0")), 2);
    assert_logged(p, "(ms)");
}

static void an_output_folder_that_cannot_be_made_is_refused(void **state)
{
    struct place *p = *state;

    assert_int_equal(wait_exit(start(p, "tcp://127.0.0.1:0", "/dev/null/out")), 1);
    assert_logged(p, "output folder");
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(garbage_on_the_socket_is_answered_and_does_no_harm),
        SENTENCE(a_second_coordinator_on_one_state_folder_is_refused),
        SENTENCE(addresses_beyond_loopback_are_refused),
        SENTENCE(times_that_cannot_be_kept_are_refused),
        SENTENCE(an_output_folder_that_cannot_be_made_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
