/* What each class of failure means to a task and to the worker: coordinator/policy.h. */
#include "tests/coordinator/table.h"

static void join_with_memory(struct table *t, const char *name, uint64_t bytes, uint32_t credits)
{
    hello_with(t, (struct msg_hello){.name = name, .memory_bytes = bytes});
    ready(t, name, credits);
}

static void every_class_has_its_row(void **state)
{
    static const int codes[] = {ERR_LOST,    ERR_OOM,     ERR_OUTPUT,   ERR_INPUT,
                                ERR_MISSING, ERR_TIMEOUT, ERR_INTERNAL, ERR_DEVICE};

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        assert_int_equal(policy_of(codes[i])->code, codes[i]);
    assert_int_equal(policy_of(-99)->code, ERR_INTERNAL);
    assert_int_equal(policy_of(ERR_INPUT)->where, POLICY_NOWHERE);
    assert_int_equal(policy_of(ERR_OOM)->where, POLICY_LARGER);
    assert_false(policy_of(ERR_LOST)->costs);
}

static void one_worker_lost_again_and_again_is_one_worker(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    for (uint32_t i = 1; i <= 4; i++) {
        join(t, "w1", 1);
        assert_leased(t, "w1", 0, i);
        fresh(t);
        lose(t, "w1");
    }
    assert_null(recorded(t, 0));
    assert_int_equal(the_task(t, 0)->lost.n, 1);
    assert_int_equal(the_task(t, 0)->tries, 0);
}

static void three_tasks_of_a_model_failed_in_one_way_block_the_worker_for_it(void **state)
{
    struct table *t = *state;

    submit(t, "a", 9);
    join(t, "bad", 0);
    join(t, "good", 0);
    for (uint64_t i = 0; i < 3; i++) {
        ready(t, "bad", 1);
        assert_leased(t, "bad", i, 1);
        failed(t, "bad", i, 1, "bad_output");
    }
    assert_int_equal(logged(t, "worker_blocked"), 1);
    fresh(t);
    ready(t, "bad", 1);
    tick(t, 5000);
    assert_int_equal(count_sent(t, "bad", MSG_LEASE), 0);
    ready(t, "good", 1);
    assert_int_equal(count_sent(t, "good", MSG_LEASE), 1);
}

static void a_blocked_worker_works_again_when_it_is_the_only_one(void **state)
{
    struct table *t = *state;

    submit(t, "a", 9);
    join(t, "bad", 0);
    for (uint64_t i = 0; i < 3; i++) {
        ready(t, "bad", 1);
        failed(t, "bad", i, 1, "bad_output");
    }
    fresh(t);
    ready(t, "bad", 1);
    assert_int_equal(count_sent(t, "bad", MSG_LEASE), 1);
}

/* Each of the two waits for the other: one is blocked, the other has failed the task. */
static void a_task_that_the_only_unblocked_worker_failed_goes_to_the_blocked_one(void **state)
{
    struct table *t = *state;

    submit(t, "a", 4);
    join(t, "bad", 0);
    join(t, "good", 0);
    for (uint64_t i = 0; i < 3; i++) {
        ready(t, "bad", 1);
        failed(t, "bad", i, 1, "bad_output");
    }
    ready(t, "good", 4);
    for (uint64_t i = 0; i < 3; i++)
        result(t, "good", i, 2);
    failed(t, "good", 3, 1, "io");
    fresh(t);
    ready(t, "bad", 1);
    ready(t, "good", 1);
    tick(t, 10000);
    assert_leased(t, "bad", 3, 2);
    failed(t, "bad", 3, 2, "io"); /* and comes back to the other one */
    fresh(t);
    ready(t, "bad", 1);
    ready(t, "good", 1);
    tick(t, 10000);
    assert_leased(t, "good", 3, 3);
}

static void workers_shows_what_a_worker_is_blocked_for_until_a_picture_lifts_it(void **state)
{
    struct msg m, ask = {.type = MSG_WORKERS, .workers = {.request = 5}};
    struct table *t = *state;

    submit(t, "a", 9);
    join(t, "bad", 0);
    for (uint64_t i = 0; i < 3; i++) {
        ready(t, "bad", 1);
        failed(t, "bad", i, 1, "internal");
    }
    fresh(t);
    say(t, "client", &ask);
    assert_true(sent(t, "client", MSG_FLEET, 0, &m));
    assert_int_equal(m.fleet.workers[0].n_blocks, 1);
    assert_string_equal(m.fleet.workers[0].blocks[0].model, "sticker-128");
    assert_string_equal(m.fleet.workers[0].blocks[0].code, "internal");
    msg_done(&m);
    ready(t, "bad", 1);
    result(t, "bad", 3, 1);
    fresh(t);
    say(t, "client", &ask);
    assert_true(sent(t, "client", MSG_FLEET, 0, &m));
    assert_int_equal(m.fleet.workers[0].n_blocks, 0);
    msg_done(&m);
}

static void bad_input_is_the_tasks_fault_and_blocks_no_worker(void **state)
{
    struct table *t = *state;

    submit(t, "a", 9);
    join(t, "w", 0);
    for (uint64_t i = 0; i < 4; i++) {
        ready(t, "w", 1);
        failed(t, "w", i, 1, "bad_input");
    }
    assert_int_equal(logged(t, "worker_blocked"), 0);
}

/* A failure as a worker says it, retryable or not. */
static void failed_as(struct table *t, const char *class, bool retryable, uint32_t attempt)
{
    struct msg m = {.type = MSG_FAILED,
                    .failed = {.code = class, .text = "it went wrong", .retryable = retryable}};

    m.failed.ref = ref(t, 0, attempt);
    say(t, "w", &m);
}

static void what_would_fail_everywhere_is_tried_once_whatever_the_worker_says(void **state)
{
    static const char *const classes[] = {"bad_input", "bad_argument", "conflict"};

    (void)state;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        void *one = NULL;
        struct table *t;

        setup(&one);
        t = one;
        submit(t, "a", 1);
        join(t, "w", 1);
        fresh(t);
        failed_as(t, classes[i], true, 1);
        assert_non_null(recorded(t, 0));
        assert_string_equal(recorded(t, 0)->code, classes[i]);
        teardown(&one);
    }
}

static void what_the_worker_calls_final_is_not_tried_again(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    fresh(t);
    failed_as(t, "internal", false, 1);
    assert_non_null(recorded(t, 0));
}

static void a_cancelled_attempt_is_no_try(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    for (uint32_t attempt = 1; attempt <= 5; attempt++) {
        assert_leased(t, "w", 0, attempt);
        fresh(t);
        failed_as(t, "cancelled", true, attempt);
        ready(t, "w", 1);
        tick(t, 1000);
    }
    assert_null(recorded(t, 0));
    assert_int_equal(the_task(t, 0)->tries, 0);
}

static void oom_goes_to_a_worker_with_more_memory_only(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join_with_memory(t, "small", 4 << 20, 1);
    join_with_memory(t, "same", 4 << 20, 0);
    join_with_memory(t, "large", 8 << 20, 0);
    failed(t, "small", 0, 1, "oom");
    fresh(t);
    ready(t, "same", 1);
    ready(t, "small", 1);
    tick(t, 5000);
    assert_int_equal(count_sent(t, "same", MSG_LEASE) + count_sent(t, "small", MSG_LEASE), 0);
    ready(t, "large", 1);
    assert_leased(t, "large", 0, 2);
}

static void oom_of_the_largest_worker_fails_the_task(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join_with_memory(t, "large", 8 << 20, 1);
    join_with_memory(t, "small", 4 << 20, 0);
    fresh(t);
    failed(t, "large", 0, 1, "oom");
    assert_string_equal(recorded(t, 0)->code, "oom");
}

static struct job *job_with(const char *conduct, int n)
{
    return seeds_job_with(n, (struct spec){.job = "a", .conduct = conduct});
}

static void max_failed_stops_the_job_early_and_says_why(void **state)
{
    struct msg m, ask = {.type = MSG_STATUS, .status = {.request = 5, .job = "a"}};
    struct table *t = *state;

    submit_job(t, job_with("{'max_failed':'1%'}", 100));
    join(t, "w", 1);
    failed(t, "w", 0, 1, "bad_input");
    tick(t, 1000);
    assert_int_equal(the_job(t)->phase, JOB_RUNNING);
    ready(t, "w", 2);
    fresh(t);
    failed(t, "w", 1, 1, "bad_input");
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
    assert_int_equal(count_sent(t, "w", MSG_REVOKE), 1);
    say(t, "client", &ask);
    assert_true(sent(t, "client", MSG_JOB, 0, &m));
    assert_string_equal(m.job.summary.state, "failed");
    assert_non_null(strstr(m.job.summary.reason, "max_failed: 2 of 100"));
    assert_int_equal(m.job.summary.pending, 98);
    msg_done(&m);
}

static void a_deadline_gives_up_what_is_open(void **state)
{
    struct table *t = *state;

    submit_job(t, job_with("{'deadline_seconds':60}", 3));
    join(t, "w", 1);
    result(t, "w", 0, 1);
    tick(t, 59000);
    assert_int_equal(the_job(t)->phase, JOB_RUNNING);
    tick(t, 2000);
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
    assert_int_equal(the_job(t)->done, 1);
    assert_non_null(strstr(the_job(t)->stop_reason, "deadline"));
}

static void what_became_of_an_attempt_is_kept_as_a_row(void **state)
{
    struct table *t = *state;
    const struct store_row *row = NULL;

    submit(t, "a", 1);
    join(t, "w", 1);
    fresh(t);
    failed(t, "w", 0, 1, "internal");
    for (size_t i = 0; i < t->o.n; i++)
        if (t->o.items[i].type == OUT_STORE && t->o.items[i].row.op == STORE_HISTORY)
            row = &t->o.items[i].row;
    assert_non_null(row);
    assert_int_equal(row->attempts, 1);
    assert_string_equal(row->worker, "w");
    assert_string_equal(row->code, "internal");
    assert_string_equal(row->text, "it went wrong");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(every_class_has_its_row),
        SENTENCE(one_worker_lost_again_and_again_is_one_worker),
        SENTENCE(three_tasks_of_a_model_failed_in_one_way_block_the_worker_for_it),
        SENTENCE(a_blocked_worker_works_again_when_it_is_the_only_one),
        SENTENCE(a_task_that_the_only_unblocked_worker_failed_goes_to_the_blocked_one),
        SENTENCE(workers_shows_what_a_worker_is_blocked_for_until_a_picture_lifts_it),
        SENTENCE(bad_input_is_the_tasks_fault_and_blocks_no_worker),
        SENTENCE(what_would_fail_everywhere_is_tried_once_whatever_the_worker_says),
        SENTENCE(what_the_worker_calls_final_is_not_tried_again),
        SENTENCE(a_cancelled_attempt_is_no_try),
        SENTENCE(oom_goes_to_a_worker_with_more_memory_only),
        SENTENCE(oom_of_the_largest_worker_fails_the_task),
        SENTENCE(max_failed_stops_the_job_early_and_says_why),
        SENTENCE(a_deadline_gives_up_what_is_open),
        SENTENCE(what_became_of_an_attempt_is_kept_as_a_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
