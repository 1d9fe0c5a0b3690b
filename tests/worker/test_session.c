/* The conversation: hello, welcome, heartbeats, leases, revokes. */
#include "tests/worker/session_case.h"

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
    renders(s, 1);
    hear_lease(s, 2, 1);
    nothing_more(s);
    render_ends(s, "one");
    sends(s, MSG_RESULT);
    assert_int_equal(does(s, SESSION_START)->ref.index, 2);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    session_free(s);
}

static void names_of_the_tasks_own_are_looked_for_before_it_starts(void **state)
{
    static const char task[] =
        "{\"cfg_scale\":1,\"height\":64,\"loras\":{\"ink\":\"/a/ink.safetensors\"},\"model\":\"m\","
        "\"negative_prompt\":\"\",\"precision\":\"f32\",\"prompt\":\"a\",\"sampler\":\"euler\","
        "\"scheduler\":\"uniform\",\"seed\":1,\"steps\":1,\"width\":64}";
    const struct msg m = {.type = MSG_LEASE, .lease = {.ref = ref(1, 1), .task = task}};
    struct session *s = opened(1);
    const struct session_action *a;
    struct attempt_ref first = ref(1, 1);

    (void)state;
    hear(s, &m, T0); /* no file is listed */
    a = does(s, SESSION_GATHER);
    assert_string_equal(a->task, task);
    assert_int_equal(a->n_assets, 0);
    nothing_more(s);
    assert_int_equal(session_gathered(s, &first, T0, NULL), 0);
    does(s, SESSION_START);
    session_free(s);
}

static void duplicate_lease_is_ignored(void **state)
{
    struct session *s = opened(2);

    (void)state;
    renders(s, 1);
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
    renders(s, 1);
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
    renders(s, 1);
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
    renders(s, 1);
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
    renders(s, 1);
    hear_ref(s, MSG_REVOKE, 1, 1);
    does(s, SESSION_CANCEL);
    sends(s, MSG_READY);
    render_ends(s, "too late");
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    assert_int_equal(session_held(s), 0);
    session_free(s);
}

static void room_is_stated_again_in_case_a_frame_was_lost(void **state)
{
    struct session *s = opened(2);
    const struct msg *m;

    (void)state;
    renders(s, 0);
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
    renders(s, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_then_ready_with_all_credits),
        cmocka_unit_test(lease_renders_and_result_waits_for_its_ack),
        cmocka_unit_test(second_lease_waits_and_starts_when_the_first_ends),
        cmocka_unit_test(names_of_the_tasks_own_are_looked_for_before_it_starts),
        cmocka_unit_test(duplicate_lease_is_ignored),
        cmocka_unit_test(unanswered_hello_is_said_again_on_a_new_connection),
        cmocka_unit_test(ping_leaves_at_every_heartbeat_even_in_a_long_step),
        cmocka_unit_test(ping_is_answered),
        cmocka_unit_test(any_frame_holds_off_the_silence),
        cmocka_unit_test(revoke_of_a_waiting_lease_frees_its_place),
        cmocka_unit_test(revoke_of_the_running_lease_cancels_and_reports_nothing),
        cmocka_unit_test(revoked_render_that_still_finishes_is_thrown_away),
        cmocka_unit_test(room_is_stated_again_in_case_a_frame_was_lost),
        cmocka_unit_test(every_welcome_is_answered_with_ready),
        cmocka_unit_test(leases_beyond_all_bounds_are_not_taken),
        cmocka_unit_test(answers_to_requests_do_not_end_the_session),
        cmocka_unit_test(unsent_message_means_a_new_connection),
        cmocka_unit_test(leases_of_an_earlier_session_are_not_taken),
        cmocka_unit_test(waits_are_never_longer_than_the_next_duty),
        cmocka_unit_test(what_is_held_is_stated_again_in_case_a_revoke_was_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
