/* A session at a table: events go in by hand, its actions are read one by one. */
#ifndef TESTS_WORKER_SESSION_CASE_H
#define TESTS_WORKER_SESSION_CASE_H

#include "worker/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define JOB "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define T0  INT64_C(1000000) /* ms; any start */

/* What is not said of it is that of any worker. */
static inline struct session *start_with(struct session_options o)
{
    struct session *s = NULL;

    o.name = "w";
    o.device = "cpu: test";
    o.device_class = "cpu-avx2";
    assert_int_equal(session_new(&o, &s, NULL), 0);
    assert_int_equal(session_tick(s, T0, NULL), 0);
    return s;
}

static inline struct session *start(uint32_t capacity)
{
    return start_with((struct session_options){.capacity = capacity});
}

/* The next action, which must be a message of that type. */
static inline const struct msg *sends(struct session *s, enum msg_type type)
{
    const struct session_action *a = session_next(s);

    assert_non_null(a);
    assert_int_equal(a->what, SESSION_SEND);
    assert_string_equal(msg_type_name(a->msg.type), msg_type_name(type));
    return &a->msg;
}

static inline const struct session_action *does(struct session *s, enum session_what what)
{
    const struct session_action *a = session_next(s);

    assert_non_null(a);
    assert_int_equal(a->what, what);
    return a;
}

static inline void nothing_more(struct session *s)
{
    const struct session_action *a = session_next(s);

    if (a)
        fail_msg("unexpected action %d (message %s)", (int)a->what, msg_type_name(a->msg.type));
}

static inline void hear(struct session *s, const struct msg *m, int64_t now_ms)
{
    assert_int_equal(session_message(s, m, now_ms, NULL), 0);
}

static inline void hear_welcome(struct session *s, int64_t now_ms)
{
    const struct msg m = {
        .type = MSG_WELCOME,
        .welcome = {.protocol = 1, .heartbeat_ms = 2000, .silence_ms = 10000, .frame_max = 1000}};

    hear(s, &m, now_ms);
}

static inline void hear_error(struct session *s, const char *code, const char *text, int64_t now_ms)
{
    const struct msg m = {.type = MSG_ERROR, .error = {.code = code, .text = text}};

    hear(s, &m, now_ms);
}

static inline struct attempt_ref ref(uint64_t index, uint32_t attempt)
{
    return (struct attempt_ref){.job = JOB, .index = index, .attempt = attempt};
}

static inline void hear_lease(struct session *s, uint64_t index, uint32_t attempt)
{
    const struct msg m = {.type = MSG_LEASE, .lease = {.ref = ref(index, attempt), .task = "{}"}};

    hear(s, &m, T0);
}

static inline void hear_ref(struct session *s, enum msg_type type, uint64_t index, uint32_t attempt)
{
    struct msg m = {.type = type};

    if (type == MSG_ACK)
        m.ack = (struct msg_ack){.ref = ref(index, attempt), .verdict = "accepted"};
    else
        m.revoke.ref = ref(index, attempt);
    hear(s, &m, T0);
}

static inline void render_ends(struct session *s, const char *png)
{
    struct picture p = {.precision = "f32", .render_seconds = 1.5};

    buf_puts(&p.png, png);
    p.device_class = strdup("cpu-avx2");
    assert_int_equal(session_finished(s, &p, T0, NULL), 0);
    assert_null(p.png.data); /* taken over */
}

/* Past hello, welcome and the first ready. */
static inline struct session *opened_with(struct session_options o)
{
    struct session *s = start_with(o);

    sends(s, MSG_HELLO);
    nothing_more(s);
    hear_welcome(s, T0);
    sends(s, MSG_READY);
    nothing_more(s);
    return s;
}

static inline struct session *opened(uint32_t capacity)
{
    return opened_with((struct session_options){.capacity = capacity});
}

/* Keeps so many bytes of results in memory, so many more on disk. */
static inline struct session *opened_to_keep(uint64_t bytes, uint64_t spill_bytes)
{
    return opened_with(
        (struct session_options){.capacity = 1, .keep_bytes = bytes, .spill_bytes = spill_bytes});
}

/* Attempt 1 of the task is leased and rendered. */
static inline void renders(struct session *s, uint64_t index)
{
    hear_lease(s, index, 1);
    assert_int_equal(does(s, SESSION_START)->ref.index, index);
    nothing_more(s);
}

/* The coordinator is a new one: hello once more, and a ready that says what is held. */
static inline const struct msg *meets_a_new_coordinator(struct session *s)
{
    hear_error(s, "conflict", MSG_HELLO_FIRST, T0);
    sends(s, MSG_HELLO);
    nothing_more(s);
    hear_welcome(s, T0);
    return sends(s, MSG_READY);
}

#endif
