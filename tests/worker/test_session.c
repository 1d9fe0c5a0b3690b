#include "worker/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define JOB "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define T0  INT64_C(1000000) /* ms; any start */

static struct session *start(uint32_t capacity)
{
    const struct session_options o = {.name = "w",
                                      .device = "cpu: test",
                                      .device_class = "cpu-avx2",
                                      .threads = 2,
                                      .capacity = capacity};
    struct session *s = NULL;

    assert_int_equal(session_new(&o, &s, NULL), 0);
    assert_int_equal(session_tick(s, T0, NULL), 0);
    return s;
}

/* The next action, which must be a message of that type. */
static const struct msg *sends(struct session *s, enum msg_type type)
{
    const struct session_action *a = session_next(s);

    assert_non_null(a);
    assert_int_equal(a->what, SESSION_SEND);
    assert_string_equal(msg_type_name(a->msg.type), msg_type_name(type));
    return &a->msg;
}

static const struct session_action *does(struct session *s, enum session_what what)
{
    const struct session_action *a = session_next(s);

    assert_non_null(a);
    assert_int_equal(a->what, what);
    return a;
}

static void nothing_more(struct session *s)
{
    const struct session_action *a = session_next(s);

    if (a)
        fail_msg("unexpected action %d (message %s)", (int)a->what, msg_type_name(a->msg.type));
}

static void hear(struct session *s, const struct msg *m, int64_t now_ms)
{
    assert_int_equal(session_message(s, m, now_ms, NULL), 0);
}

static void hear_welcome(struct session *s, int64_t now_ms)
{
    const struct msg m = {
        .type = MSG_WELCOME,
        .welcome = {.protocol = 1, .heartbeat_ms = 2000, .silence_ms = 10000, .frame_max = 1000}};

    hear(s, &m, now_ms);
}

static void hear_error(struct session *s, const char *code, const char *text, int64_t now_ms)
{
    const struct msg m = {.type = MSG_ERROR, .error = {.code = code, .text = text}};

    hear(s, &m, now_ms);
}

static struct attempt_ref ref(uint64_t index, uint32_t attempt)
{
    return (struct attempt_ref){.job = JOB, .index = index, .attempt = attempt};
}

static void hear_lease(struct session *s, uint64_t index, uint32_t attempt)
{
    const struct msg m = {.type = MSG_LEASE, .lease = {.ref = ref(index, attempt), .task = "{}"}};

    hear(s, &m, T0);
}

static void hear_ref(struct session *s, enum msg_type type, uint64_t index, uint32_t attempt)
{
    struct msg m = {.type = type};

    if (type == MSG_ACK)
        m.ack = (struct msg_ack){.ref = ref(index, attempt), .verdict = "accepted"};
    else
        m.revoke.ref = ref(index, attempt);
    hear(s, &m, T0);
}

static void render_ends(struct session *s, const char *png)
{
    struct picture p = {.precision = "f32", .render_seconds = 1.5};

    buf_puts(&p.png, png);
    p.device_class = strdup("cpu-avx2");
    assert_int_equal(session_finished(s, &p, T0, NULL), 0);
    assert_null(p.png.data); /* taken over */
}

/* Past hello, welcome and the first ready. */
static struct session *opened(uint32_t capacity)
{
    struct session *s = start(capacity);

    sends(s, MSG_HELLO);
    nothing_more(s);
    hear_welcome(s, T0);
    sends(s, MSG_READY);
    nothing_more(s);
    return s;
}

static void hello_then_ready_with_all_credits(void **state)
{
    struct session *s = start(2);
    const struct msg *m = sends(s, MSG_HELLO);

    (void)state;
    assert_string_equal(m->hello.role, "worker");
    assert_string_equal(m->hello.name, "w");
    assert_int_equal(m->hello.protocol, PROTOCOL_VERSION);
    nothing_more(s);
    assert_false(session_is_open(s));
    hear_welcome(s, T0);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.credits, 2);
    assert_int_equal(m->ready.n_held, 0);
    nothing_more(s);
    assert_true(session_is_open(s));
    session_free(s);
}

static void lease_renders_and_result_waits_for_its_ack(void **state)
{
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    hear_lease(s, 7, 1);
    assert_string_equal(does(s, SESSION_START)->task, "{}");
    nothing_more(s);
    assert_int_equal(session_progress(s, 3, 20, T0, NULL), 0);
    m = sends(s, MSG_PROGRESS);
    assert_int_equal(m->progress.ref.index, 7);
    assert_int_equal(m->progress.step, 3);
    nothing_more(s);
    render_ends(s, "PNG");
    m = sends(s, MSG_RESULT);
    assert_int_equal(m->result.ref.index, 7);
    assert_int_equal(m->result.png_size, 3);
    assert_memory_equal(m->result.png, "PNG", 3);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.credits, 2);
    assert_int_equal(m->ready.n_held, 1);
    nothing_more(s);
    hear_ref(s, MSG_ACK, 7, 1);
    nothing_more(s);
    assert_int_equal(session_held(s), 0);
    session_free(s);
}

static void second_lease_waits_and_starts_when_the_first_ends(void **state)
{
    struct session *s = opened(2);

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_lease(s, 2, 1);
    nothing_more(s);
    render_ends(s, "one");
    sends(s, MSG_RESULT);
    assert_int_equal(does(s, SESSION_START)->ref.index, 2);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    session_free(s);
}

static void duplicate_lease_is_ignored(void **state)
{
    struct session *s = opened(2);

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_lease(s, 1, 1);
    nothing_more(s);
    render_ends(s, "one");
    sends(s, MSG_RESULT);
    sends(s, MSG_READY);
    hear_lease(s, 1, 1); /* its result is on the way */
    nothing_more(s);
    assert_int_equal(session_held(s), 1);
    session_free(s);
}

static void failure_is_reported_with_its_class_and_kept(void **state)
{
    struct session *s = opened(1);
    const struct msg *m;
    struct err why;

    (void)state;
    hear_lease(s, 1, 2);
    does(s, SESSION_START);
    err_set(&why, ERR_OUTPUT, "NaN at step 3");
    assert_int_equal(session_failed(s, &why, T0, NULL), 0);
    m = sends(s, MSG_FAILED);
    assert_string_equal(m->failed.code, "bad_output");
    assert_string_equal(m->failed.text, "NaN at step 3");
    assert_true(m->failed.retryable);
    assert_int_equal(m->failed.ref.attempt, 2);
    sends(s, MSG_READY);
    assert_int_equal(session_held(s), 1);
    hear_ref(s, MSG_ACK, 1, 2);
    assert_int_equal(session_held(s), 0);
    hear_lease(s, 2, 1);
    does(s, SESSION_START);
    err_set(&why, ERR_INPUT, "ddim with karras");
    assert_int_equal(session_failed(s, &why, T0, NULL), 0);
    assert_false(sends(s, MSG_FAILED)->failed.retryable);
    session_free(s);
}

static void unacknowledged_result_is_offered_again_after_a_restart(void **state)
{
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_lease(s, 2, 1);
    render_ends(s, "one");
    sends(s, MSG_RESULT);
    does(s, SESSION_START);
    sends(s, MSG_READY);
    nothing_more(s);

    hear_error(s, "conflict", MSG_HELLO_FIRST, T0); /* the coordinator is a new one */
    sends(s, MSG_HELLO);
    nothing_more(s);
    hear_error(s, "conflict", MSG_HELLO_FIRST, T0); /* answers an older frame of ours */
    nothing_more(s);
    hear_welcome(s, T0);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.n_held, 2);
    assert_int_equal(m->ready.held[0].index, 1);
    assert_int_equal(m->ready.held[1].index, 2);
    assert_int_equal(m->ready.credits, 1);
    m = sends(s, MSG_RESULT);
    assert_memory_equal(m->result.png, "one", 3);
    nothing_more(s);
    session_free(s);
}

static void render_goes_on_while_the_coordinator_is_away(void **state)
{
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_lease(s, 2, 1);
    assert_int_equal(session_tick(s, T0 + 10000, NULL), 0); /* silence_ms */
    assert_int_equal(does(s, SESSION_RECONNECT)->why.code, ERR_TIMEOUT);
    sends(s, MSG_HELLO);
    nothing_more(s);
    assert_int_equal(session_progress(s, 1, 2, T0 + 10000, NULL), 0);
    nothing_more(s);
    render_ends(s, "one");
    assert_int_equal(does(s, SESSION_START)->ref.index, 2);
    nothing_more(s);
    render_ends(s, "two");
    nothing_more(s);
    hear_welcome(s, T0 + 11000);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.credits, 2);
    assert_int_equal(m->ready.n_held, 2);
    assert_memory_equal(sends(s, MSG_RESULT)->result.png, "one", 3);
    assert_memory_equal(sends(s, MSG_RESULT)->result.png, "two", 3);
    nothing_more(s);
    session_free(s);
}

static void unanswered_hello_is_said_again_on_a_new_connection(void **state)
{
    struct session *s = start(1);

    (void)state;
    sends(s, MSG_HELLO);
    assert_int_equal(session_tick(s, T0 + SESSION_GREETING_MS - 1, NULL), 0);
    nothing_more(s);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(session_tick(s, T0 + i * SESSION_GREETING_MS, NULL), 0);
        does(s, SESSION_RECONNECT);
        sends(s, MSG_HELLO);
        nothing_more(s);
    }
    session_free(s);
}

static void ping_leaves_at_every_heartbeat_even_in_a_long_step(void **state)
{
    struct session *s = opened(1);
    const struct msg pong = {.type = MSG_PONG};
    int pings = 0;

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    for (int64_t t = T0 + 100; t <= T0 + 60000; t += 100) {
        const struct session_action *a;

        assert_int_equal(session_tick(s, t, NULL), 0);
        while ((a = session_next(s))) {
            assert_int_equal(a->what, SESSION_SEND);
            assert_true(a->msg.type == MSG_PING || a->msg.type == MSG_READY);
            pings += a->msg.type == MSG_PING;
        }
        hear(s, &pong, t);
        nothing_more(s);
    }
    assert_int_equal(pings, 30);
    session_free(s);
}

static void ping_is_answered(void **state)
{
    struct session *s = opened(1);
    const struct msg ping = {.type = MSG_PING};

    (void)state;
    hear(s, &ping, T0);
    sends(s, MSG_PONG);
    nothing_more(s);
    session_free(s);
}

static void any_frame_holds_off_the_silence(void **state)
{
    struct session *s = opened(1);
    const struct msg strange = {.type = MSG_FLEET, .fleet = {.request = 1}};

    (void)state;
    hear(s, &strange, T0 + 9000);
    assert_int_equal(session_tick(s, T0 + 18999, NULL), 0);
    sends(s, MSG_PING);
    nothing_more(s);
    assert_true(session_is_open(s));
    assert_int_equal(session_tick(s, T0 + 19000, NULL), 0);
    does(s, SESSION_RECONNECT);
    session_free(s);
}

static void revoke_of_a_waiting_lease_frees_its_place(void **state)
{
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_lease(s, 2, 1);
    hear_ref(s, MSG_REVOKE, 2, 1);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.credits, 1);
    assert_int_equal(m->ready.n_held, 1);
    nothing_more(s);
    session_free(s);
}

static void revoke_of_the_running_lease_cancels_and_reports_nothing(void **state)
{
    struct session *s = opened(2);
    struct err cancelled;
    const struct msg *m;

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_lease(s, 2, 1);
    hear_ref(s, MSG_REVOKE, 1, 1);
    does(s, SESSION_CANCEL);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.credits, 0); /* the device is still busy with it */
    assert_int_equal(m->ready.n_held, 1);
    nothing_more(s);
    hear_ref(s, MSG_REVOKE, 1, 1); /* twice is once */
    nothing_more(s);
    assert_int_equal(session_progress(s, 5, 20, T0, NULL), 0);
    nothing_more(s);
    err_set(&cancelled, ERR_CANCELLED, "cancelled at step 5");
    assert_int_equal(session_failed(s, &cancelled, T0, NULL), 0);
    assert_int_equal(does(s, SESSION_START)->ref.index, 2);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    session_free(s);
}

static void revoked_render_that_still_finishes_is_thrown_away(void **state)
{
    struct session *s = opened(1);

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_ref(s, MSG_REVOKE, 1, 1);
    does(s, SESSION_CANCEL);
    sends(s, MSG_READY);
    render_ends(s, "too late");
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    assert_int_equal(session_held(s), 0);
    session_free(s);
}

static void ack_of_another_attempt_or_job_frees_nothing(void **state)
{
    struct msg other = {.type = MSG_ACK, .ack = {.ref = ref(1, 2), .verdict = "accepted"}};
    struct session *s = opened(1);

    (void)state;
    hear_lease(s, 1, 2);
    does(s, SESSION_START);
    render_ends(s, "one");
    sends(s, MSG_RESULT);
    sends(s, MSG_READY);
    hear_ref(s, MSG_ACK, 1, 1);
    assert_int_equal(session_held(s), 1);
    other.ack.ref.job[0] = 'f';
    hear(s, &other, T0);
    assert_int_equal(session_held(s), 1);
    hear_ref(s, MSG_ACK, 1, 2);
    assert_int_equal(session_held(s), 0);
    nothing_more(s);
    session_free(s);
}

static void forgotten_result_is_sent_again(void **state)
{
    struct session *s = opened(1);
    const struct msg pong = {.type = MSG_PONG};
    int results = 0;

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    render_ends(s, "one");
    sends(s, MSG_RESULT);
    sends(s, MSG_READY);
    for (int64_t t = T0; t < T0 + 2 * SESSION_RESEND_MS + 1000; t += 1000) {
        const struct session_action *a;

        assert_int_equal(session_tick(s, t, NULL), 0);
        while ((a = session_next(s)))
            results += a->what == SESSION_SEND && a->msg.type == MSG_RESULT;
        hear(s, &pong, t);
        nothing_more(s);
    }
    assert_int_equal(results, 2);
    session_free(s);
}

static void room_is_stated_again_in_case_a_frame_was_lost(void **state)
{
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    for (int64_t at = 2000; at < SESSION_RESEND_MS; at += 2000) {
        assert_int_equal(session_tick(s, T0 + at, NULL), 0);
        sends(s, MSG_PING);
        nothing_more(s);
        hear(s, &(struct msg){.type = MSG_PONG}, T0 + at);
    }
    assert_int_equal(session_tick(s, T0 + SESSION_RESEND_MS, NULL), 0);
    sends(s, MSG_PING);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.credits, 1);
    assert_int_equal(m->ready.n_held, 1);
    nothing_more(s);
    session_free(s);
}

static void every_welcome_is_answered_with_ready(void **state)
{
    struct session *s = opened(2);

    (void)state;
    hear_welcome(s, T0);
    sends(s, MSG_READY);
    nothing_more(s);
    session_free(s);
}

static void too_many_results_hold_back_the_credits(void **state)
{
    struct session *s = opened(1);
    uint32_t credits = 99;

    (void)state;
    for (uint64_t i = 0; i < SESSION_RESULTS_MAX; i++) {
        hear_lease(s, i, 1);
        does(s, SESSION_START);
        render_ends(s, "x");
        sends(s, MSG_RESULT);
        credits = sends(s, MSG_READY)->ready.credits;
        assert_int_equal(credits, i + 1 < SESSION_RESULTS_MAX ? 1 : 0);
    }
    hear_ref(s, MSG_ACK, 0, 1);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    session_free(s);
}

static void leases_beyond_all_bounds_are_not_taken(void **state)
{
    struct session *s = opened(2);

    (void)state;
    for (uint64_t i = 0; i < SESSION_LEASES_MAX; i++)
        hear_lease(s, i, 1), session_next(s), nothing_more(s);
    hear_lease(s, 1000, 1);
    assert_int_equal(sends(s, MSG_READY)->ready.n_held, SESSION_LEASES_MAX);
    assert_int_equal(session_held(s), SESSION_LEASES_MAX);
    session_free(s);
}

static void other_protocol_version_ends_with_the_reason(void **state)
{
    const struct msg welcome = {.type = MSG_WELCOME, .welcome = {.protocol = 2}};
    const struct session_action *a;
    struct session *s = start(1);

    (void)state;
    sends(s, MSG_HELLO);
    hear_error(s, "conflict", "this coordinator speaks protocol 2 to 3", T0);
    a = does(s, SESSION_END);
    assert_int_equal(a->why.code, ERR_CONFLICT);
    assert_string_equal(a->why.text, "this coordinator speaks protocol 2 to 3");
    nothing_more(s);
    assert_int_equal(session_tick(s, T0 + 60000, NULL), 0);
    nothing_more(s);
    session_free(s);

    s = start(1);
    sends(s, MSG_HELLO);
    hear(s, &welcome, T0);
    assert_int_equal(does(s, SESSION_END)->why.code, ERR_CONFLICT);
    session_free(s);
}

static void other_refusal_is_met_with_a_new_hello_after_a_pause(void **state)
{
    struct session *s = opened(1);

    (void)state;
    hear_error(s, "bad_input", "that frame was no message", T0);
    nothing_more(s);
    assert_false(session_is_open(s));
    assert_int_equal(session_tick(s, T0 + SESSION_GREETING_MS, NULL), 0);
    does(s, SESSION_RECONNECT);
    sends(s, MSG_HELLO);
    nothing_more(s);
    session_free(s);
}

static void answers_to_requests_do_not_end_the_session(void **state)
{
    const struct msg m = {.type = MSG_ERROR,
                          .error = {.request = 4, .code = "conflict", .text = MSG_HELLO_FIRST}};
    struct session *s = opened(1);

    (void)state;
    hear(s, &m, T0);
    nothing_more(s);
    assert_true(session_is_open(s));
    session_free(s);
}

static void unsent_message_means_a_new_connection(void **state)
{
    struct session *s = opened(1);

    (void)state;
    assert_int_equal(session_unsent(s, T0, NULL), 0);
    does(s, SESSION_RECONNECT);
    sends(s, MSG_HELLO);
    nothing_more(s);
    assert_int_equal(session_unsent(s, T0, NULL), 0); /* no second one for the same trouble */
    nothing_more(s);
    session_free(s);
}

static void stop_cancels_says_bye_and_ends(void **state)
{
    struct session *s = opened(2);

    (void)state;
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    hear_lease(s, 2, 1);
    assert_int_equal(session_stop(s, NULL), 0);
    does(s, SESSION_CANCEL);
    sends(s, MSG_BYE);
    assert_int_equal(does(s, SESSION_END)->why.code, 0);
    nothing_more(s);
    hear_lease(s, 3, 1);
    nothing_more(s);
    session_free(s);
}

static void stop_before_welcome_says_nothing(void **state)
{
    struct session *s = start(1);

    (void)state;
    sends(s, MSG_HELLO);
    assert_int_equal(session_stop(s, NULL), 0);
    does(s, SESSION_END);
    nothing_more(s);
    session_free(s);
}

static void leases_of_an_earlier_session_are_not_taken(void **state)
{
    struct session *s = opened(1);

    (void)state;
    hear_error(s, "conflict", MSG_HELLO_FIRST, T0);
    sends(s, MSG_HELLO);
    hear_lease(s, 5, 1); /* was on the way */
    nothing_more(s);
    hear_welcome(s, T0);
    assert_int_equal(sends(s, MSG_READY)->ready.n_held, 0);
    nothing_more(s);
    session_free(s);
}

static void waits_are_never_longer_than_the_next_duty(void **state)
{
    struct session *s = start(1);

    (void)state;
    sends(s, MSG_HELLO);
    nothing_more(s);
    assert_int_equal(session_wait_ms(s, T0 + SESSION_GREETING_MS - 3), 3);
    hear_welcome(s, T0);
    sends(s, MSG_READY);
    nothing_more(s);
    assert_int_equal(session_wait_ms(s, T0 + 1500), 500);
    assert_int_equal(session_wait_ms(s, T0), 1000);
    assert_int_equal(session_wait_ms(s, T0 + 99999), 0);
    session_free(s);
}

static void what_is_held_is_stated_again_in_case_a_revoke_was_lost(void **state)
{
    struct session *s = opened(1);
    const struct session_action *a;
    const struct msg ping = {.type = MSG_PING};
    bool stated = false;

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    for (int64_t at = T0; at <= T0 + SESSION_RESEND_MS; at += 1000) {
        hear(s, &ping, at);
        while (session_next(s)) {
        }
        assert_int_equal(session_tick(s, at, NULL), 0);
        while ((a = session_next(s)))
            stated |= a->what == SESSION_SEND && a->msg.type == MSG_READY &&
                      a->msg.ready.credits == 0 && a->msg.ready.n_held == 1;
    }
    assert_true(stated);
    session_free(s);
}

static struct session *opened_with(uint32_t capacity, uint64_t keep, uint64_t spill)
{
    const struct session_options o = {.name = "w",
                                      .device = "cpu: test",
                                      .device_class = "cpu-avx2",
                                      .capacity = capacity,
                                      .keep_bytes = keep,
                                      .spill_bytes = spill};
    struct session *s = NULL;

    assert_int_equal(session_new(&o, &s, NULL), 0);
    assert_int_equal(session_tick(s, T0, NULL), 0);
    sends(s, MSG_HELLO);
    nothing_more(s);
    hear_welcome(s, T0);
    sends(s, MSG_READY);
    nothing_more(s);
    return s;
}

static void leaving_hands_back_what_waits_and_finishes_what_runs(void **state)
{
    const struct msg leave = {.type = MSG_LEAVE};
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    hear_lease(s, 1, 1);
    nothing_more(s);
    hear(s, &leave, T0);
    m = sends(s, MSG_FAILED);
    assert_int_equal(m->failed.ref.index, 1);
    assert_string_equal(m->failed.code, "cancelled");
    assert_true(m->failed.retryable);
    nothing_more(s);
    hear_ref(s, MSG_ACK, 1, 1);
    nothing_more(s);
    render_ends(s, "png");
    sends(s, MSG_RESULT);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.credits, 0);
    nothing_more(s);
    hear_ref(s, MSG_ACK, 0, 1);
    sends(s, MSG_BYE);
    assert_int_equal(does(s, SESSION_END)->why.code, 0);
    nothing_more(s);
    session_free(s);
}

static void leaving_at_a_signal_hands_back_what_runs_too(void **state)
{
    const struct err cancelled = {.code = ERR_CANCELLED, .text = "stopped"};
    struct session *s = opened(1);

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    assert_int_equal(session_leave(s, false, T0, NULL), 0);
    does(s, SESSION_CANCEL);
    nothing_more(s);
    assert_int_equal(session_failed(s, &cancelled, T0, NULL), 0);
    assert_string_equal(sends(s, MSG_FAILED)->failed.code, "cancelled");
    sends(s, MSG_READY);
    nothing_more(s);
    hear_ref(s, MSG_ACK, 0, 1);
    sends(s, MSG_BYE);
    does(s, SESSION_END);
    nothing_more(s);
    session_free(s);
}

static void leaving_does_not_wait_for_ever_for_an_ack(void **state)
{
    struct session *s = opened(1);

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    render_ends(s, "png");
    sends(s, MSG_RESULT);
    sends(s, MSG_READY);
    nothing_more(s);
    assert_int_equal(session_leave(s, false, T0, NULL), 0);
    nothing_more(s);
    assert_int_equal(session_tick(s, T0 + SESSION_LEAVE_MS, NULL), 0);
    while (session_next(s)) {
    }
    assert_false(session_is_open(s));
    session_free(s);
}

static void a_lease_that_crosses_with_leaving_is_not_taken(void **state)
{
    const struct msg leave = {.type = MSG_LEAVE};
    struct session *s = opened(2);

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    hear(s, &leave, T0);
    nothing_more(s);
    hear_lease(s, 1, 1);
    assert_int_equal(sends(s, MSG_READY)->ready.n_held, 1);
    nothing_more(s);
    session_free(s);
}

/* Results of 4 bytes, room for one in memory. */
static void results_beyond_the_memory_are_spilled_and_offered_from_disk(void **state)
{
    struct session *s = opened_with(1, 4, 100);
    const struct session_action *a;

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    render_ends(s, "png0");
    sends(s, MSG_RESULT);
    sends(s, MSG_READY);
    nothing_more(s);
    hear_lease(s, 1, 1);
    does(s, SESSION_START);
    nothing_more(s);
    render_ends(s, "png1");
    sends(s, MSG_RESULT);
    a = does(s, SESSION_SPILL);
    assert_int_equal(a->ref.index, 1);
    assert_memory_equal(a->msg.result.png, "png1", 4);
    session_spilled(s, &a->ref, true);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    hear_error(s, "conflict", MSG_HELLO_FIRST, T0);
    sends(s, MSG_HELLO);
    nothing_more(s);
    hear_welcome(s, T0);
    sends(s, MSG_READY);
    assert_false(does(s, SESSION_SEND)->spilled);
    a = does(s, SESSION_SEND);
    assert_true(a->spilled);
    assert_int_equal(a->ref.index, 1);
    assert_int_equal(a->msg.result.png_size, 4);
    nothing_more(s);
    hear_ref(s, MSG_ACK, 1, 1);
    assert_int_equal(does(s, SESSION_UNSPILL)->ref.index, 1);
    nothing_more(s);
    session_free(s);
}

static void a_disk_that_refuses_leaves_the_result_in_memory(void **state)
{
    struct session *s = opened_with(1, 1, 100);
    const struct session_action *a;

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    render_ends(s, "png0");
    sends(s, MSG_RESULT);
    a = does(s, SESSION_SPILL);
    session_spilled(s, &a->ref, false);
    sends(s, MSG_READY);
    nothing_more(s);
    hear_error(s, "conflict", MSG_HELLO_FIRST, T0);
    sends(s, MSG_HELLO);
    nothing_more(s);
    hear_welcome(s, T0);
    sends(s, MSG_READY);
    a = does(s, SESSION_SEND);
    assert_false(a->spilled);
    assert_memory_equal(a->msg.result.png, "png0", 4);
    nothing_more(s);
    session_free(s);
}

static void a_spilled_result_that_is_lost_becomes_a_failure(void **state)
{
    const struct err why = {.code = ERR_IO, .text = "gone"};
    struct session *s = opened_with(1, 1, 100);
    const struct session_action *a;

    (void)state;
    hear_lease(s, 0, 1);
    does(s, SESSION_START);
    nothing_more(s);
    render_ends(s, "png0");
    sends(s, MSG_RESULT);
    a = does(s, SESSION_SPILL);
    session_spilled(s, &a->ref, true);
    sends(s, MSG_READY);
    nothing_more(s);
    assert_int_equal(
        session_spill_lost(s, &(struct attempt_ref){.job = JOB, .attempt = 1}, &why, T0, NULL), 0);
    assert_string_equal(sends(s, MSG_FAILED)->failed.code, "io");
    nothing_more(s);
    session_free(s);
}

static void only_so_many_results_are_on_their_way_at_a_time(void **state)
{
    struct session *s = opened_with(1, 1, 1000);
    const struct session_action *a;
    int sent = 0;

    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        hear_lease(s, i, 1);
        does(s, SESSION_START);
        nothing_more(s);
        render_ends(s, "png0");
        while ((a = session_next(s))) {
            sent += a->what == SESSION_SEND && a->msg.type == MSG_RESULT;
            if (a->what == SESSION_SPILL)
                session_spilled(s, &a->ref, true);
        }
    }
    assert_int_equal(sent, SESSION_OFFERS_MAX);
    hear_ref(s, MSG_ACK, 0, 1);
    while ((a = session_next(s)))
        sent += a->what == SESSION_SEND && a->msg.type == MSG_RESULT;
    assert_int_equal(sent, SESSION_OFFERS_MAX + 1);
    session_free(s);
}

/* A part in a gang goes to START as it came; the helper's word is kept until it is acknowledged. */
static void a_helper_says_so_until_it_is_acknowledged(void **state)
{
    const struct msg lease = {.type = MSG_LEASE,
                              .lease = {.ref = ref(3, 2),
                                        .task = "{}",
                                        .gang_guidance = 2,
                                        .gang_tensor = 4,
                                        .gang_rank = 5,
                                        .gang_meeting = "unix:there"}};
    struct session *s = opened(2);
    const struct session_action *a;
    const struct msg *m;
    int again = 0;

    (void)state;
    session_meeting(s, "unix:here");
    hear(s, &lease, T0);
    a = does(s, SESSION_START);
    assert_int_equal(a->gang.guidance, 2);
    assert_int_equal(a->gang.tensor, 4);
    assert_int_equal(a->gang.rank, 5);
    assert_string_equal(a->gang.meeting, "unix:there");
    nothing_more(s);
    assert_int_equal(session_helped(s, T0, NULL), 0);
    m = sends(s, MSG_HELPED);
    assert_int_equal(m->helped.ref.index, 3);
    m = sends(s, MSG_READY);
    assert_int_equal(m->ready.n_held, 1);
    assert_string_equal(m->ready.meeting, "unix:here");
    nothing_more(s);
    assert_int_equal(session_tick(s, T0 + SESSION_RESEND_MS, NULL), 0);
    while (session_next(s))
        ;
    hear_welcome(s, T0 + SESSION_RESEND_MS);
    while ((a = session_next(s)))
        again += a->what == SESSION_SEND && a->msg.type == MSG_HELPED;
    assert_int_equal(again, 1);
    hear_ref(s, MSG_ACK, 3, 2);
    assert_int_equal(session_held(s), 0);
    while (session_next(s))
        ;
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_then_ready_with_all_credits),
        cmocka_unit_test(lease_renders_and_result_waits_for_its_ack),
        cmocka_unit_test(second_lease_waits_and_starts_when_the_first_ends),
        cmocka_unit_test(duplicate_lease_is_ignored),
        cmocka_unit_test(failure_is_reported_with_its_class_and_kept),
        cmocka_unit_test(unacknowledged_result_is_offered_again_after_a_restart),
        cmocka_unit_test(render_goes_on_while_the_coordinator_is_away),
        cmocka_unit_test(unanswered_hello_is_said_again_on_a_new_connection),
        cmocka_unit_test(ping_leaves_at_every_heartbeat_even_in_a_long_step),
        cmocka_unit_test(ping_is_answered),
        cmocka_unit_test(any_frame_holds_off_the_silence),
        cmocka_unit_test(revoke_of_a_waiting_lease_frees_its_place),
        cmocka_unit_test(revoke_of_the_running_lease_cancels_and_reports_nothing),
        cmocka_unit_test(revoked_render_that_still_finishes_is_thrown_away),
        cmocka_unit_test(ack_of_another_attempt_or_job_frees_nothing),
        cmocka_unit_test(forgotten_result_is_sent_again),
        cmocka_unit_test(room_is_stated_again_in_case_a_frame_was_lost),
        cmocka_unit_test(every_welcome_is_answered_with_ready),
        cmocka_unit_test(too_many_results_hold_back_the_credits),
        cmocka_unit_test(leases_beyond_all_bounds_are_not_taken),
        cmocka_unit_test(other_protocol_version_ends_with_the_reason),
        cmocka_unit_test(other_refusal_is_met_with_a_new_hello_after_a_pause),
        cmocka_unit_test(answers_to_requests_do_not_end_the_session),
        cmocka_unit_test(unsent_message_means_a_new_connection),
        cmocka_unit_test(stop_cancels_says_bye_and_ends),
        cmocka_unit_test(stop_before_welcome_says_nothing),
        cmocka_unit_test(leases_of_an_earlier_session_are_not_taken),
        cmocka_unit_test(waits_are_never_longer_than_the_next_duty),
        cmocka_unit_test(leaving_hands_back_what_waits_and_finishes_what_runs),
        cmocka_unit_test(leaving_at_a_signal_hands_back_what_runs_too),
        cmocka_unit_test(leaving_does_not_wait_for_ever_for_an_ack),
        cmocka_unit_test(a_lease_that_crosses_with_leaving_is_not_taken),
        cmocka_unit_test(results_beyond_the_memory_are_spilled_and_offered_from_disk),
        cmocka_unit_test(a_disk_that_refuses_leaves_the_result_in_memory),
        cmocka_unit_test(a_spilled_result_that_is_lost_becomes_a_failure),
        cmocka_unit_test(only_so_many_results_are_on_their_way_at_a_time),
        cmocka_unit_test(what_is_held_is_stated_again_in_case_a_revoke_was_lost),
        cmocka_unit_test(a_helper_says_so_until_it_is_acknowledged),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
