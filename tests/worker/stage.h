/* The coordinator's side of the wire, played by a test for a litho-worker that it starts. */
#ifndef TESTS_WORKER_STAGE_H
#define TESTS_WORKER_STAGE_H

#include "proto/clock.h"
#include "proto/link.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 30000 /* only a failing test waits this long */

#define JOB "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TASK(steps)                                                                                \
    "{\"cfg_scale\":5,\"height\":64,\"model\":\"sticker-128\",\"negative_prompt\":\"\","           \
    "\"precision\":\"f32\",\"prompt\":\"a red apple\",\"sampler\":\"dpmpp_2m\","                   \
    "\"scheduler\":\"automatic\",\"seed\":7,\"steps\":" steps ",\"width\":64}"

/* The coordinator's side. */
struct stage {
    char folder[40], endpoint[80];
    struct link *router;
    struct peer worker;
    struct buf frame;
    struct msg m; /* the last one heard */
    pid_t pid;
};

static inline void enter(struct stage *s)
{
    struct err e = {0};

    *s = (struct stage){.folder = "/tmp/test_program.XXXXXX"};
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->endpoint, sizeof s->endpoint, "ipc://%s/wire", s->folder);
    if (link_listen(s->endpoint, &s->router, &e) != 0)
        fail_msg("%s", e.text);
}

/* cache: where fetched files go; NULL: nothing is to be fetched. */
static inline void start_worker_with(struct stage *s, const char *cache)
{
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves nothing behind */
        execl(BINARY_DIR "/bin/litho-worker", "litho-worker", "--connect", s->endpoint, "--models",
              SOURCE_DIR "/models", "--name", "tested", "--threads", "2", "--log-level", "warn",
              cache ? "--cache-dir" : (char *)NULL, cache, (char *)NULL);
        _exit(127);
    }
    assert_true(s->pid > 0);
}

static inline void start_worker(struct stage *s)
{
    start_worker_with(s, NULL);
}

static inline int exit_code(struct stage *s)
{
    int status = 0;

    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void leave(struct stage *s)
{
    msg_done(&s->m);
    buf_done(&s->frame);
    link_close(s->router, 0);
    assert_true(unlink(s->endpoint + strlen("ipc://")) == 0);
    assert_int_equal(rmdir(s->folder), 0);
}

static inline void say(struct stage *s, const struct msg *m)
{
    struct buf frame = {0};
    struct err e = {0};

    if (msg_encode(m, &frame, &e) != 0 ||
        link_send(s->router, &s->worker, frame.data, frame.size, &e) != 0)
        fail_msg("%s", e.text);
    buf_done(&frame);
}

/* The next message; heartbeats are answered. NULL: none came in time. */
static inline const struct msg *hear_any(struct stage *s, int64_t deadline_ms)
{
    const struct msg pong = {.type = MSG_PONG};
    struct err e = {0};
    int got;

    while (clock_monotonic_ms() < deadline_ms) {
        if ((got = link_receive(s->router, &s->worker, &s->frame, &e)) < 0)
            fail_msg("%s", e.text);
        if (got == 0) {
            link_wait(s->router, NULL, 0, 1000, &e);
            continue;
        }
        msg_done(&s->m);
        if (msg_decode(s->frame.data, s->frame.size, &s->m, &e) != 0)
            fail_msg("%s", e.text);
        if (s->m.type == MSG_PING)
            say(s, &pong);
        return &s->m;
    }
    return NULL;
}

/* The next message of a type; the rest is passed over. */
static inline const struct msg *hear(struct stage *s, enum msg_type type)
{
    int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
    const struct msg *m;

    while ((m = hear_any(s, deadline_ms)))
        if (m->type == type)
            return m;
    fail_msg("no %s came", msg_type_name(type));
    return NULL;
}

static inline void welcome(struct stage *s)
{
    const struct msg m = {.type = MSG_WELCOME,
                          .welcome = {.protocol = 1,
                                      .software = "test",
                                      .heartbeat_ms = 500,
                                      .silence_ms = 60000,
                                      .frame_max = MSG_FRAME_MAX}};

    hear(s, MSG_HELLO);
    say(s, &m);
}

static inline void lease(struct stage *s, uint64_t index, uint32_t attempt, const char *task)
{
    const struct msg m = {
        .type = MSG_LEASE,
        .lease = {.ref = {.job = JOB, .index = index, .attempt = attempt}, .task = task}};

    say(s, &m);
}

static inline void acknowledge(struct stage *s, uint64_t index, uint32_t attempt)
{
    const struct msg m = {
        .type = MSG_ACK,
        .ack = {.ref = {.job = JOB, .index = index, .attempt = attempt}, .verdict = "accepted"}};

    say(s, &m);
}

#endif
