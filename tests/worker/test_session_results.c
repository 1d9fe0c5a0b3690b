/* Results and failures: kept until acknowledged, offered again, spilled. */
#include "tests/worker/session_case.h"

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
    renders(s, 2);
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
    renders(s, 1);
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
    renders(s, 1);
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
    renders(s, 1);
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

static void too_many_results_hold_back_the_credits(void **state)
{
    struct session *s = opened(1);
    uint32_t credits = 99;

    (void)state;
    for (uint64_t i = 0; i < SESSION_RESULTS_MAX; i++) {
        renders(s, i);
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

static void results_beyond_the_memory_are_spilled_and_offered_from_disk(void **state)
{
    struct session *s = opened_to_keep(4, 100);
    const struct session_action *a;

    (void)state;
    renders(s, 0);
    render_ends(s, "png0");
    sends(s, MSG_RESULT);
    sends(s, MSG_READY);
    nothing_more(s);
    renders(s, 1);
    render_ends(s, "png1");
    sends(s, MSG_RESULT);
    a = does(s, SESSION_SPILL);
    assert_int_equal(a->ref.index, 1);
    assert_memory_equal(a->msg.result.png, "png1", 4);
    session_spilled(s, &a->ref, true);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 1);
    nothing_more(s);
    meets_a_new_coordinator(s);
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

/* 10 bytes of disk: two results of four bytes go there, further ones stay in memory. */
static void what_is_spilled_stays_within_its_budget(void **state)
{
    struct session *s = opened_to_keep(1, 10);
    const struct session_action *a;
    int spilled = 0;

    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        renders(s, i);
        render_ends(s, "png0");
        while ((a = session_next(s)))
            if (a->what == SESSION_SPILL) {
                session_spilled(s, &a->ref, true);
                spilled++;
            }
    }
    assert_int_equal(spilled, 2);
    hear_ref(s, MSG_ACK, 0, 1); /* room for another one */
    while ((a = session_next(s)))
        if (a->what == SESSION_SPILL) {
            session_spilled(s, &a->ref, true);
            spilled++;
        }
    assert_int_equal(spilled, 3);
    session_free(s);
}

static void a_disk_that_refuses_leaves_the_result_in_memory(void **state)
{
    struct session *s = opened_to_keep(1, 100);
    const struct session_action *a;

    (void)state;
    renders(s, 0);
    render_ends(s, "png0");
    sends(s, MSG_RESULT);
    a = does(s, SESSION_SPILL);
    session_spilled(s, &a->ref, false);
    sends(s, MSG_READY);
    nothing_more(s);
    meets_a_new_coordinator(s);
    a = does(s, SESSION_SEND);
    assert_false(a->spilled);
    assert_memory_equal(a->msg.result.png, "png0", 4);
    nothing_more(s);
    session_free(s);
}

static void a_spilled_result_that_is_lost_becomes_a_failure(void **state)
{
    const struct err why = {.code = ERR_IO, .text = "gone"};
    struct session *s = opened_to_keep(1, 100);
    const struct session_action *a;

    (void)state;
    renders(s, 0);
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
    struct session *s = opened_to_keep(1, 1000);
    const struct session_action *a;
    int sent = 0;

    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        renders(s, i);
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

static void a_picture_that_another_task_starts_from_is_kept_before_it_leaves(void **state)
{
    struct session *s = opened(2);
    const struct session_action *a;

    (void)state;
    hear(s,
         &(struct msg){.type = MSG_LEASE, .lease = {.ref = ref(0, 1), .task = "{}", .keep = true}},
         T0);
    does(s, SESSION_START);
    render_ends(s, "png0");
    a = does(s, SESSION_KEEP);
    assert_memory_equal(a->msg.result.png, "png0", 4);
    assert_int_equal(a->msg.result.png_size, 4);
    sends(s, MSG_RESULT);
    while (session_next(s))
        ;
    renders(s, 1); /* a lease that does not say so */
    render_ends(s, "png1");
    sends(s, MSG_RESULT);
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
    m = sends(s, MSG_READY); /* where the next gang can meet, before this one is done */
    assert_string_equal(m->ready.meeting, "unix:here");
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
        cmocka_unit_test(failure_is_reported_with_its_class_and_kept),
        cmocka_unit_test(unacknowledged_result_is_offered_again_after_a_restart),
        cmocka_unit_test(render_goes_on_while_the_coordinator_is_away),
        cmocka_unit_test(ack_of_another_attempt_or_job_frees_nothing),
        cmocka_unit_test(forgotten_result_is_sent_again),
        cmocka_unit_test(a_picture_that_another_task_starts_from_is_kept_before_it_leaves),
        cmocka_unit_test(too_many_results_hold_back_the_credits),
        cmocka_unit_test(results_beyond_the_memory_are_spilled_and_offered_from_disk),
        cmocka_unit_test(what_is_spilled_stays_within_its_budget),
        cmocka_unit_test(a_disk_that_refuses_leaves_the_result_in_memory),
        cmocka_unit_test(a_spilled_result_that_is_lost_becomes_a_failure),
        cmocka_unit_test(only_so_many_results_are_on_their_way_at_a_time),
        cmocka_unit_test(a_helper_says_so_until_it_is_acknowledged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
