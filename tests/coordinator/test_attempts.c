/* How attempts end: results, failures, who tries next. */
#include "tests/coordinator/table.h"

static void a_result_is_written_recorded_and_only_then_acknowledged(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w", 1);
    fresh(t);
    result(t, "w", 0, 1);
    assert_int_equal(t->o.items[0].type, OUT_WRITE);
    assert_recorded_before_ack(t);
    assert_verdict(t, "w", "accepted");
    assert_int_equal(the_job(t)->done, 1);
}

static void the_second_result_of_a_task_is_a_duplicate(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w", 1);
    result(t, "w", 0, 1);
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "duplicate");
    assert_null(recorded(t, 0));
    assert_int_equal(t->c.count.duplicates, 1);
}

static void a_result_of_an_attempt_that_was_never_given_out_is_unknown(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w", 1);
    fresh(t);
    result(t, "w", 0, 2);
    assert_verdict(t, "w", "unknown");
    fresh(t);
    result(t, "w", 2, 1);
    assert_verdict(t, "w", "unknown");
    fresh(t);
    result(t, "w", 99, 1);
    assert_verdict(t, "w", "unknown");
    memset(t->job, 'f', 64);
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "unknown");
    assert_int_equal(t->c.count.unknown, 4);
}

static void bad_input_fails_the_task_at_once(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w", 1);
    fresh(t);
    failed(t, "w", 0, 1, "bad_input");
    assert_string_equal(recorded(t, 0)->code, "bad_input");
    assert_string_equal(recorded(t, 0)->text, "it went wrong");
    assert_verdict(t, "w", "accepted");
}

static void a_retryable_failure_goes_to_another_worker_first(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    fresh(t);
    failed(t, "w1", 0, 1, "internal");
    ready(t, "w1", 1);
    tick(t, 5000);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
}

static void a_retryable_failure_fails_the_task_at_the_third_try(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        assert_leased(t, "w", 0, attempt);
        fresh(t);
        failed(t, "w", 0, attempt, "bad_output");
        ready(t, "w", 1);
        tick(t, 5000);
    }
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
    assert_string_equal(the_job(t)->failures[0].code, "bad_output");
    assert_int_equal(the_job(t)->failures[0].attempts, 3);
}

static void the_same_worker_gets_a_failed_task_again_later_each_time(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    for (uint32_t attempt = 1; attempt <= 2; attempt++) { /* half a second, then a whole one */
        failed(t, "w", 0, attempt, "internal");
        ready(t, "w", 1);
        fresh(t);
        tick(t, 500 * attempt - 1);
        assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
        tick(t, 1);
        assert_leased(t, "w", 0, attempt + 1);
    }
}

static void a_ready_sent_before_the_ack_of_a_failure_revives_nothing(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    fresh(t);
    failed(t, "w1", 0, 1, "internal");
    ready_holding(t, "w1", 1, 0, 1);
    assert_int_equal(the_job(t)->running, 0);
    tick(t, 5000);
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
}

static void a_missing_model_fails_when_no_connected_worker_is_left_to_ask(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    fresh(t);
    failed(t, "w1", 0, 1, "asset_missing");
    assert_null(recorded(t, 0));
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
    failed(t, "w2", 0, 2, "asset_missing");
    assert_string_equal(recorded(t, 0)->code, "asset_missing");
}

static void a_task_too_large_for_all_but_a_lost_worker_fails(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    failed(t, "w1", 0, 1, "oom");
    lose(t, "w2");
    fresh(t);
    tick(t, 1000);
    assert_string_equal(recorded(t, 0)->code, "oom");
}

static void bytes_that_do_not_match_their_hash_count_as_a_failed_attempt(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    t->write_code = ERR_OUTPUT;
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "unknown");
    assert_int_equal(the_task(t, 0)->tries, 1);
    t->write_code = 0;
    ready(t, "w", 1);
    tick(t, 2000);
    assert_leased(t, "w", 0, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_result_is_written_recorded_and_only_then_acknowledged),
        SENTENCE(the_second_result_of_a_task_is_a_duplicate),
        SENTENCE(a_result_of_an_attempt_that_was_never_given_out_is_unknown),
        SENTENCE(bad_input_fails_the_task_at_once),
        SENTENCE(a_retryable_failure_goes_to_another_worker_first),
        SENTENCE(a_retryable_failure_fails_the_task_at_the_third_try),
        SENTENCE(the_same_worker_gets_a_failed_task_again_later_each_time),
        SENTENCE(a_ready_sent_before_the_ack_of_a_failure_revives_nothing),
        SENTENCE(a_missing_model_fails_when_no_connected_worker_is_left_to_ask),
        SENTENCE(a_task_too_large_for_all_but_a_lost_worker_fails),
        SENTENCE(bytes_that_do_not_match_their_hash_count_as_a_failed_attempt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
