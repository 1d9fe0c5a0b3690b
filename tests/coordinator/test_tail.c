/* Second attempts at the end of the work, and who may make them: coordinator/tail.h. */
#include "tests/coordinator/table.h"

#include "coordinator/tail.h"

#define STEPS 20 /* of every task here */

static void pause_of(struct table *t, const char *job)
{
    struct msg m = {.type = MSG_PAUSE, .pause = {.request = 1, .job = job}};

    say(t, "client", &m);
}

/* The worker renders one task, of so many milliseconds a step, and is idle then. */
static void pace_as(struct table *t, struct msg_hello h, int64_t step_ms)
{
    char job[20];

    snprintf(job, sizeof job, "pace-%s", h.name);
    submit(t, job, 1);
    hello_with(t, h);
    ready(t, h.name, 1);
    assert_leased(t, h.name, 0, 1);
    progress(t, h.name, 0, 1, 0);
    t->now_ms += step_ms;
    progress(t, h.name, 0, 1, 1);
    result(t, h.name, 0, 1);
    fresh(t);
}

static void pace(struct table *t, const char *name, uint64_t memory, int64_t step_ms)
{
    pace_as(t, (struct msg_hello){.name = name, .memory_bytes = memory, .batch = 4}, step_ms);
}

/* The worker gets that attempt at task 0 of the job of the last submission, and begins it. */
static void begins(struct table *t, const char *name, uint32_t attempt)
{
    ready(t, name, 1);
    assert_leased(t, name, 0, attempt);
    progress(t, name, 0, attempt, 0);
}

/* slow has the only task, and begins it. */
static void slow_and_fast(struct table *t, int64_t slow_ms, int64_t fast_ms)
{
    pace(t, "slow", 8 << 20, slow_ms);
    pace(t, "fast", 4 << 20, fast_ms);
    submit(t, "a", 1);
    begins(t, "slow", 1);
}

static bool tries(struct table *t, const char *name)
{
    fresh(t);
    ready(t, name, 1);
    return count_sent(t, name, MSG_LEASE) == 1;
}

static bool tries_at(int64_t slow_ms, int64_t fast_ms)
{
    void *one = NULL;
    bool does;

    setup(&one);
    slow_and_fast(one, slow_ms, fast_ms);
    does = tries(one, "fast");
    teardown(&one);
    return does;
}

static void a_second_attempt_must_be_half_as_long_again_sooner_and_by_a_second(void **state)
{
    (void)state;
    assert_false(tries_at(1490, 1000));
    assert_true(tries_at(1510, 1000));
    assert_false(tries_at(59, 10)); /* 980 ms sooner */
    assert_true(tries_at(61, 10));  /* 1020 ms */
}

static void what_has_passed_since_the_last_step_is_no_time_to_come(void **state)
{
    struct table *t = *state;

    slow_and_fast(t, 2000, 1000); /* 40 s against 20 s */
    t->now_ms += 12000;           /* now 28 s */
    assert_false(tries(t, "fast"));
}

static void what_waits_for_its_batch_is_counted_as_a_batch(void **state)
{
    struct table *t = *state;

    pace(t, "slow", 0, 100);
    pace(t, "fast", 0, 100);
    submit(t, "a", 3);
    ready(t, "slow", 3);
    assert_leased(t, "slow", 2, 1);
    progress(t, "slow", 0, 1, 0);
    progress(t, "slow", 0, 1, 3); /* 1.7 s; two more as half a batch of four: 1 s; fast: 2 s */
    assert_false(tries(t, "fast"));
}

static void the_task_that_gains_most_is_tried(void **state)
{
    struct table *t = *state;
    char slowest[HASH_HEX_SIZE];
    struct msg m;

    pace(t, "slowest", 0, 4000);
    pace(t, "slow", 0, 2000);
    pace(t, "fast", 0, 100);
    submit(t, "a", 1);
    memcpy(slowest, t->job, sizeof slowest);
    begins(t, "slowest", 1);
    submit(t, "b", 1);
    begins(t, "slow", 1);
    assert_true(tries(t, "fast"));
    assert_true(sent(t, "fast", MSG_LEASE, 0, &m));
    assert_string_equal(m.lease.ref.job, slowest);
    msg_done(&m);
}

static void no_task_has_three_attempts_at_once(void **state)
{
    struct table *t = *state;

    pace(t, "quick", 0, 100);
    slow_and_fast(t, 2000, 1000);
    assert_true(tries(t, "fast"));
    progress(t, "fast", 0, 2, 0);
    assert_false(tries(t, "quick"));
}

static void who_failed_the_task_gets_no_second_attempt_at_it(void **state)
{
    struct table *t = *state;

    pace(t, "slow", 0, 2000);
    pace(t, "fast", 0, 100);
    submit(t, "a", 1);
    begins(t, "fast", 1);
    failed(t, "fast", 0, 1, "internal");
    begins(t, "slow", 2);
    assert_false(tries(t, "fast"));
}

static void who_is_blocked_for_the_model_gets_no_second_attempt(void **state)
{
    struct table *t = *state;

    pace(t, "slow", 0, 2000);
    pace(t, "fast", 0, 100);
    submit(t, "bad", 3);
    ready(t, "fast", 3);
    for (uint64_t i = 0; i < 3; i++)
        failed(t, "fast", i, 1, "bad_output");
    assert_int_equal(logged(t, "worker_blocked"), 1);
    ready(t, "slow", 3);
    for (uint64_t i = 0; i < 3; i++)
        result(t, "slow", i, 2);
    submit(t, "a", 1);
    begins(t, "slow", 1);
    assert_false(tries(t, "fast"));
}

static void who_has_no_more_memory_than_was_too_little_gets_no_second_attempt(void **state)
{
    struct table *t = *state;

    pace(t, "slow", 8 << 20, 2000);
    pace(t, "fast", 4 << 20, 100);
    submit(t, "a", 1);
    hello_with(t, (struct msg_hello){.name = "small", .memory_bytes = 4 << 20});
    begins(t, "small", 1);
    failed(t, "small", 0, 1, "oom");
    begins(t, "slow", 2);
    assert_false(tries(t, "fast"));
}

static void a_second_attempt_takes_the_workers_room(void **state)
{
    struct table *t = *state;

    slow_and_fast(t, 2000, 100);
    assert_true(tries(t, "fast"));
    fresh(t);
    submit(t, "b", 1);
    assert_int_equal(count_sent(t, "fast", MSG_LEASE), 0);
}

/* Whether a fast worker of that class tries the second frame of a chain whose first one cpu-avx2
 * made, as result() says. */
static bool tries_frame_as(const char *device_class)
{
    void *one = NULL;
    struct table *t;
    bool does;

    setup(&one);
    t = one;
    pace(t, "slow", 0, 2000);
    pace_as(t, (struct msg_hello){.name = "fast", .device_class = device_class}, 100);
    submit_job(t, bundle_job((struct spec){
                      .axes = "[{'name':'frame','columns':['frame'],'range':{'first':0,'step':1,"
                              "'count':2}}]",
                      .chain = "{'axis':'frame','seed_behavior':'iter'}"}));
    ready(t, "slow", 1);
    result(t, "slow", 0, 1);
    ready(t, "slow", 1);
    assert_leased(t, "slow", 1, 1);
    progress(t, "slow", 1, 1, 0);
    does = tries(t, "fast");
    teardown(&one);
    return does;
}

static void a_second_attempt_at_a_frame_is_of_its_chains_class(void **state)
{
    (void)state;
    assert_true(tries_frame_as("cpu-avx2"));
    assert_false(tries_frame_as("cpu-avx512"));
}

static void a_paused_job_gets_no_second_attempt(void **state)
{
    struct table *t = *state;

    slow_and_fast(t, 2000, 100);
    pause_of(t, "a");
    assert_false(tries(t, "fast"));
}

static void a_job_that_waits_for_its_disk_gets_no_second_attempt(void **state)
{
    struct table *t = *state;

    slow_and_fast(t, 2000, 100);
    MUST(job_wait(the_job(t), t->now_ms + 60000, "no room", e));
    assert_false(tries(t, "fast"));
    MUST(job_wait(the_job(t), 0, NULL, e));
    assert_true(tries(t, "fast"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_second_attempt_must_be_half_as_long_again_sooner_and_by_a_second),
        SENTENCE(what_has_passed_since_the_last_step_is_no_time_to_come),
        SENTENCE(what_waits_for_its_batch_is_counted_as_a_batch),
        SENTENCE(the_task_that_gains_most_is_tried),
        SENTENCE(no_task_has_three_attempts_at_once),
        SENTENCE(who_failed_the_task_gets_no_second_attempt_at_it),
        SENTENCE(who_is_blocked_for_the_model_gets_no_second_attempt),
        SENTENCE(who_has_no_more_memory_than_was_too_little_gets_no_second_attempt),
        SENTENCE(a_second_attempt_at_a_frame_is_of_its_chains_class),
        SENTENCE(a_second_attempt_takes_the_workers_room),
        SENTENCE(a_paused_job_gets_no_second_attempt),
        SENTENCE(a_job_that_waits_for_its_disk_gets_no_second_attempt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
