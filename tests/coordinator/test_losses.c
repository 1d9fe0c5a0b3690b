/* When workers fall silent, leave or stop stepping: what their tasks lose. */
#include "tests/coordinator/table.h"

static void a_lost_workers_lease_is_free_and_costs_no_try(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w1", 1);
    join(t, "w2", 0);
    t->now_ms += 10000;
    ready(t, "w2", 0);
    fresh(t);
    tick(t, 6000);
    assert_int_equal(logged(t, "worker_lost"), 1);
    assert_int_equal(the_task(t, 0)->tries, 0);
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
}

static void an_unreachable_worker_is_lost_at_once(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w1", 1);
    join(t, "w2", 1);
    fresh(t);
    lose(t, "w1");
    ready_holding(t, "w2", 1, 1, 1);
    assert_leased(t, "w2", 0, 2);
}

static void the_result_of_a_lost_workers_attempt_still_counts(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    lose(t, "w1");
    join(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
    hello(t, "w1", "worker");
    fresh(t);
    result(t, "w1", 0, 1);
    assert_verdict(t, "w1", "accepted");
    assert_int_equal(count_sent(t, "w2", MSG_REVOKE), 1);
    fresh(t);
    result(t, "w2", 0, 2);
    assert_verdict(t, "w2", "duplicate");
}

static void a_worker_that_comes_back_keeps_what_it_holds(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    lose(t, "w1");
    hello(t, "w1", "worker");
    fresh(t);
    ready_holding(t, "w1", 1, 0, 1);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    assert_int_equal(the_job(t)->running, 1);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_verdict(t, "w1", "accepted");
}

static void a_lease_that_a_new_session_does_not_hold_is_free(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    hello(t, "w1", "worker");
    fresh(t);
    ready(t, "w1", 1);
    assert_leased(t, "w1", 0, 2);
}

static void a_ready_that_crossed_a_lease_does_not_free_it(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w1", 1);
    fresh(t);
    t->now_ms += 100;
    ready(t, "w1", 1);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    t->now_ms += 11000;
    ready(t, "w1", 1);
    assert_leased(t, "w1", 0, 2);
}

static void a_task_that_loses_three_workers_is_quarantined(void **state)
{
    struct table *t = *state;
    const char *const names[] = {"w1", "w2", "w3"};

    submit(t, "a", 1);
    for (int i = 0; i < 3; i++) {
        join(t, names[i], 1);
        assert_leased(t, names[i], 0, (uint32_t)i + 1);
        fresh(t);
        lose(t, names[i]);
    }
    assert_non_null(recorded(t, 0));
    assert_string_equal(recorded(t, 0)->code, "worker_lost");
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
}

static void only_the_task_at_work_is_blamed_for_a_lost_worker(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w1", 2);
    progress(t, "w1", 1, 1, 0);
    lose(t, "w1");
    assert_int_equal(the_task(t, 0)->lost.n, 0);
    assert_int_equal(the_task(t, 1)->lost.n, 1);
}

static void a_worker_that_says_bye_is_not_blamed(void **state)
{
    struct table *t = *state;
    struct msg bye = {.type = MSG_BYE};

    submit(t, "a", 1);
    join(t, "w1", 1);
    say(t, "w1", &bye);
    assert_int_equal(the_task(t, 0)->lost.n, 0);
    assert_int_equal(t->c.n_workers, 0);
}

static void a_lease_whose_steps_stop_is_revoked_and_given_elsewhere(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 1);
    progress(t, "w1", 0, 1, 0);
    fresh(t);
    for (int i = 0; i < 6; i++) {
        ready_holding(t, "w1", 0, 0, 1);
        ready(t, "w2", 1);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 0);
    ready_holding(t, "w1", 0, 0, 1);
    ready(t, "w2", 1);
    tick(t, 1000);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
    assert_leased(t, "w2", 0, 2);
}

static void slow_steps_that_were_learned_are_waited_for(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    for (uint32_t step = 0; step < 5; step++) { /* 14 s a step: 140 s without one is the limit */
        progress(t, "w1", 0, 1, step);
        t->now_ms += 14000;
    }
    fresh(t);
    for (int i = 0; i < 12; i++) {
        ready_holding(t, "w1", 0, 0, 1);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 0);
    ready_holding(t, "w1", 0, 0, 1);
    tick(t, 10000);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
}

static void progress_of_a_revoked_attempt_is_answered_with_revoke(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w1", 1);
    result(t, "w1", 0, 1);
    fresh(t);
    progress(t, "w1", 0, 1, 3);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_lost_workers_lease_is_free_and_costs_no_try),
        SENTENCE(an_unreachable_worker_is_lost_at_once),
        SENTENCE(the_result_of_a_lost_workers_attempt_still_counts),
        SENTENCE(a_worker_that_comes_back_keeps_what_it_holds),
        SENTENCE(a_lease_that_a_new_session_does_not_hold_is_free),
        SENTENCE(a_ready_that_crossed_a_lease_does_not_free_it),
        SENTENCE(a_task_that_loses_three_workers_is_quarantined),
        SENTENCE(only_the_task_at_work_is_blamed_for_a_lost_worker),
        SENTENCE(a_worker_that_says_bye_is_not_blamed),
        SENTENCE(a_lease_whose_steps_stop_is_revoked_and_given_elsewhere),
        SENTENCE(slow_steps_that_were_learned_are_waited_for),
        SENTENCE(progress_of_a_revoked_attempt_is_answered_with_revoke),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
