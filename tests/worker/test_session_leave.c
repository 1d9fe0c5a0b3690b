/* How a session ends: stopping, leaving, refusals. */
#include "tests/worker/session_case.h"

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

static void stop_cancels_says_bye_and_ends(void **state)
{
    struct session *s = opened(2);

    (void)state;
    renders(s, 1);
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

static void leaving_hands_back_what_waits_and_finishes_what_runs(void **state)
{
    const struct msg leave = {.type = MSG_LEAVE};
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    renders(s, 0);
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
    renders(s, 0);
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
    renders(s, 0);
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
    renders(s, 0);
    hear(s, &leave, T0);
    nothing_more(s);
    hear_lease(s, 1, 1);
    assert_int_equal(sends(s, MSG_READY)->ready.n_held, 1);
    nothing_more(s);
    session_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_protocol_version_ends_with_the_reason),
        cmocka_unit_test(other_refusal_is_met_with_a_new_hello_after_a_pause),
        cmocka_unit_test(stop_cancels_says_bye_and_ends),
        cmocka_unit_test(stop_before_welcome_says_nothing),
        cmocka_unit_test(leaving_hands_back_what_waits_and_finishes_what_runs),
        cmocka_unit_test(leaving_at_a_signal_hands_back_what_runs_too),
        cmocka_unit_test(leaving_does_not_wait_for_ever_for_an_ack),
        cmocka_unit_test(a_lease_that_crosses_with_leaving_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
