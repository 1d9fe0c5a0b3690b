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

/* w1, which has only that task, goes on saying so for so long without a step of it. */
static bool is_revoked_within(struct table *t, int seconds)
{
    fresh(t);
    for (int i = 0; i < seconds; i += 10) {
        ready_holding(t, "w1", 0, 0, 1);
        tick(t, 10000);
    }
    return count_sent(t, "w1", MSG_REVOKE) > 0;
}

/* A job of one task for w1, which begins it. */
static void begin_with(struct table *t, const char *job, const char *fixed)
{
    submit_job(t, seeds_job_with(1, (struct spec){.job = job, .fixed = fixed}));
    ready(t, "w1", 1);
    assert_leased(t, "w1", 0, 1);
    progress(t, "w1", 0, 1, 0);
}

static void what_was_learned_of_other_steps_gives_no_patience(void **state)
{
    static const char *const others[] = {"'model':'m2'", "'width':256", "'sampler':'euler'"};
    struct table *t = *state;

    hello(t, "w1", "worker");
    begin_with(t, "a", "'steps':20");
    for (uint32_t step = 1; step < 5; step++) { /* 14 s a step: 140 s are waited for */
        t->now_ms += 14000;
        progress(t, "w1", 0, 1, step);
    }
    result(t, "w1", 0, 1);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char name[2] = {(char)('b' + i), 0};

        fresh(t);
        begin_with(t, name, others[i]);
        assert_true(is_revoked_within(t, 80));
        failed(t, "w1", 0, 1, "bad_input");
        tick(t, 1000);
        ready(t, "w1", 1);
        result(t, "w1", 0, 2);
    }
}

/* Twice the side is four times the pixels, and attention grows with their square. */
static void the_larger_second_pass_is_waited_for(void **state)
{
    struct table *t = *state;

    hello(t, "w1", "worker");
    begin_with(t, "a", "'hr_scale':2,'denoising_strength':0.5");
    t->now_ms += 1000;
    progress(t, "w1", 0, 1, 1); /* 1 s a step: 10 s, and 160 s in the second pass */
    assert_false(is_revoked_within(t, 160));
    assert_true(is_revoked_within(t, 20));
}

static void a_model_may_take_ten_minutes_to_open(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    assert_false(is_revoked_within(t, 600));
    assert_true(is_revoked_within(t, 20));
}

static void a_step_said_again_or_beyond_the_last_is_no_progress(void **state)
{
    static const uint32_t steps[] = {3, 2, 21};
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    progress(t, "w1", 0, 1, 0);
    progress(t, "w1", 0, 1, 3);
    fresh(t);
    for (int i = 0; i < 7; i++) {
        progress(t, "w1", 0, 1, steps[i % 3]);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
}

static void files_that_do_not_come_in_are_no_progress(void **state)
{
    struct msg m = {.type = MSG_FETCHING, .fetching = {.fetched = 5, .total = 10}};
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    m.fetching.ref = ref(t, 0, 1);
    fresh(t);
    for (int i = 0; i < 61; i++) {
        say(t, "w1", &m);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
}

static void a_new_process_of_a_worker_died_of_what_was_begun(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w1", 2);
    progress(t, "w1", 0, 1, 0);
    hello(t, "w1", "worker");
    ready(t, "w1", 0);
    assert_int_equal(the_task(t, 0)->lost.n, 1);
    assert_int_equal(the_task(t, 1)->lost.n, 0); /* not begun */
}

static void a_task_that_its_only_worker_could_not_do_waits_for_the_next_one(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    failed(t, "w1", 0, 1, "asset_missing");
    fresh(t);
    lose(t, "w1");
    lose(t, "w2");
    tick(t, 60000);
    assert_null(recorded(t, 0)); /* nobody is connected to ask */
    join(t, "w3", 1);
    assert_leased(t, "w3", 0, 2);
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
        SENTENCE(what_was_learned_of_other_steps_gives_no_patience),
        SENTENCE(the_larger_second_pass_is_waited_for),
        SENTENCE(a_model_may_take_ten_minutes_to_open),
        SENTENCE(a_step_said_again_or_beyond_the_last_is_no_progress),
        SENTENCE(files_that_do_not_come_in_are_no_progress),
        SENTENCE(a_new_process_of_a_worker_died_of_what_was_begun),
        SENTENCE(a_task_that_its_only_worker_could_not_do_waits_for_the_next_one),
        SENTENCE(progress_of_a_revoked_attempt_is_answered_with_revoke),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
