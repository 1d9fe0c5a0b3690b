/* `gang: auto`: where workers share a task because it pays, or since it is too large for one. */
#include "tests/coordinator/gangs.h"

static void auto_shares_the_last_task_and_no_other(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job("'auto'", 3));
    meets(t, "w1", "a", "cpu-avx2");
    ready_to_meet(t, "w1", 1);
    meets(t, "w2", "a", "cpu-avx2");
    ready_to_meet(t, "w2", 1);
    assert_part(t, "w1", 0, 0, 0, "");
    assert_part(t, "w2", 0, 0, 0, "");
    result(t, "w1", 0, 1);
    result(t, "w2", 1, 1);
    fresh(t);
    the_job(t)->wait_until_ms = 0;
    t->c.workers[0]->credits = 0;
    ready_to_meet(t, "w2", 1); /* w1 has no room yet: nobody waits for it */
    assert_part(t, "w2", 0, 0, 0, "");
}

static void auto_takes_two_where_two_are_free(void **state)
{
    struct table *t = *state;

    meets(t, "w1", "a", "cpu-avx2");
    ready_to_meet(t, "w1", 2);
    meets(t, "w2", "a", "cpu-avx2");
    ready_to_meet(t, "w2", 2);
    submit_job(t, gang_job("'auto'", 1));
    assert_part(t, "w1", 2, 1, 0, "w1");
    assert_part(t, "w2", 2, 1, 1, "w1");
}

static void steps_of(struct table *t, const char *name, uint64_t index, uint32_t attempt,
                     int64_t ms)
{
    for (uint32_t step = 0; step < 5; step++) {
        t->now_ms += ms;
        progress(t, name, index, attempt, step);
    }
}

/* w1 renders so many pictures of the kind at once, with steps of `ms`. */
static void alone_before(struct table *t, int n, int64_t ms)
{
    char axes[100];

    snprintf(axes, sizeof axes,
             "[{'name':'seed','columns':['seed'],'range':{'first':50,'step':1,'count':%d}}]", n);
    meets(t, "w1", "a", "cpu-avx2");
    ready_to_meet(t, "w1", (uint32_t)n);
    submit_job(t, bundle_job((struct spec){.job = "alone", .axes = axes}));
    for (uint32_t step = 0; step < 5; step++) {
        t->now_ms += ms;
        for (uint64_t i = 0; i < (uint64_t)n; i++) /* as a batch: they step together */
            progress(t, "w1", i, 1, step);
    }
    for (uint64_t i = 0; i < (uint64_t)n; i++)
        result(t, "w1", i, 1);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    fresh(t);
}

/* w1 and w2 are free again for another picture of the kind. */
static void ask_again(struct table *t)
{
    fresh(t);
    ready_to_meet(t, "w1", 1);
    ready_to_meet(t, "w2", 1);
    submit_job(t, bundle_job((struct spec){.job = "again",
                                           .axes = "[{'name':'seed','columns':['seed'],"
                                                   "'range':{'first':7,'step':1,'count':1}}]",
                                           .conduct = "{'gang':'auto'}"}));
    tick(t, 100);
}

/* Steps of `ms` in a gang of two, of 100 alone, then another picture of the kind. */
static void learn_and_ask_again(struct table *t, int64_t ms)
{
    alone_before(t, 1, 100);
    ready_to_meet(t, "w1", 1);
    meets(t, "w2", "a", "cpu-avx2");
    ready_to_meet(t, "w2", 1);
    fresh(t);
    submit_job(t, gang_job("'auto'", 1)); /* nothing is known of two: they learn */
    assert_part(t, "w1", 2, 1, 0, "w1");
    steps_of(t, "w1", 0, 1, ms);
    helped(t, "w2", 0, 2);
    result(t, "w1", 0, 1);
    ask_again(t);
}

/* More tasks than could all be shared: two workers render two, which is faster than both by turns.
 */
static void auto_shares_nothing_while_there_is_work_for_everybody(void **state)
{
    struct table *t = *state;

    meets(t, "w1", "a", "cpu-avx2");
    ready_to_meet(t, "w1", 1);
    meets(t, "w2", "a", "cpu-avx2");
    ready_to_meet(t, "w2", 1);
    submit_job(t, gang_job("'auto'", 2));
    assert_int_equal(t->c.count.gangs, 0);
    assert_int_equal(t->c.count.leases, 2);
}

static void auto_splits_no_guidance_where_there_is_none(void **state)
{
    struct table *t = *state;

    meets(t, "w1", "a", "cpu-avx2");
    ready_to_meet(t, "w1", 1);
    meets(t, "w2", "a", "cpu-avx2");
    ready_to_meet(t, "w2", 1);
    submit_job(t, bundle_job((struct spec){.job = "gang",
                                           .axes = "[{'name':'cfg_scale','columns':['cfg_scale'],"
                                                   "'rows':[[1]]}]",
                                           .conduct = "{'gang':'auto'}"}));
    assert_int_equal(t->c.count.gangs, 0);
    assert_int_equal(t->c.count.leases, 1);
}

static void a_job_that_asks_for_no_gangs_gets_none(void **state)
{
    struct table *t = *state;

    meets(t, "w1", "a", "cpu-avx2");
    ready_to_meet(t, "w1", 1);
    meets(t, "w2", "a", "cpu-avx2");
    ready_to_meet(t, "w2", 1);
    submit(t, "plain", 1);
    assert_int_equal(t->c.count.gangs, 0);
    assert_int_equal(t->c.count.leases, 1);
    failed(t, "w1", 0, 1, "oom");
    failed(t, "w2", 0, 2, "oom");
    tick(t, 2000);
    assert_int_equal(t->c.count.gangs, 0);
    assert_int_equal(the_job(t)->failed, 1);
}

static void auto_leaves_a_gang_that_does_not_pay(void **state)
{
    struct table *t = *state;

    learn_and_ask_again(t, 90); /* 1.1 times as fast */
    assert_int_equal(t->c.count.gangs, 1);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE) + count_sent(t, "w2", MSG_LEASE), 1);
}

static void auto_keeps_a_gang_that_pays(void **state)
{
    struct table *t = *state;

    learn_and_ask_again(t, 70); /* 1.4 times */
    assert_int_equal(t->c.count.gangs, 2);
}

/* No one has room for it, nor two, by guidance or by parts: four are asked. */
static void what_is_too_large_for_two_goes_to_four(void **state)
{
    struct table *t = *state;
    static const char *const names[] = {"w1", "w2", "w3", "w4"};
    const struct task_entry *task;
    struct msg m;

    submit_job(t, gang_job("'auto'", 1));
    for (int i = 0; i < 4; i++)
        join_gangs(t, names[i]);
    task = the_task(t, 0);
    for (int turn = 0; turn < 12 && task->n_runs != 4; turn++) {
        const char *leader = coord_session(&t->c, task->runs[0].session)->name;

        fresh(t);
        failed(t, leader, 0, task->runs[0].attempt, "oom");
        for (int i = 0; i < 4; i++)
            ready_to_meet(t, names[i], 2);
        tick(t, 2000);
        assert_int_equal(the_job(t)->failed, 0);
        assert_in_range(task->n_runs, 1, 4);
    }
    assert_int_equal(task->n_runs, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(sent(t, names[i], MSG_LEASE, 0, &m));
        assert_int_equal(m.lease.gang_guidance, 1);
        assert_int_equal(m.lease.gang_tensor, 4);
        msg_done(&m);
    }
}

/* The task fits no worker: each of two, then of four, holds a part. */
static void auto_gives_what_is_too_large_to_more_workers(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job("'auto'", 1));
    join_gangs(t, "w1");
    assert_part(t, "w1", 0, 0, 0, "");
    join_gangs(t, "w2");
    failed(t, "w1", 0, 1, "oom");
    assert_leased(t, "w2", 0, 2); /* its memory may be larger */
    fresh(t);
    ready_to_meet(t, "w1", 2);
    failed(t, "w2", 0, 2, "oom");
    ready_to_meet(t, "w2", 2);
    tick(t, 2000);
    assert_part(t, "w1", 1, 2, 0, "w1");
    assert_part(t, "w2", 1, 2, 1, "w1");
    failed(t, "w2", 0, 4, "oom");
    assert_int_equal(the_job(t)->failed, 1); /* there are no four */
}

/* What status says of the job's gangs, in ms a step and in times as fast as one worker. */
static void assert_measured(struct table *t, double step_ms, double speedup)
{
    struct msg status = {.type = MSG_STATUS, .status = {.request = 9, .job = "gang"}}, m;

    fresh(t);
    say(t, "client", &status);
    assert_true(sent(t, "client", MSG_JOB, 0, &m));
    assert_string_equal(m.job.gang, "guidance 2, tensor 1");
    assert_true(m.job.gang_step_ms > step_ms - 0.5 && m.job.gang_step_ms < step_ms + 0.5);
    assert_true(m.job.gang_speedup > speedup - 0.01 && m.job.gang_speedup < speedup + 0.01);
    msg_done(&m);
}

/* Steps of 120 ms alone and 80 in a gang: 1.5 times as fast. */
static void the_speed_up_is_the_ratio_of_the_steps_times(void **state)
{
    struct table *t = *state;

    alone_before(t, 1, 120);
    pair_at_work(t, 2);
    assert_measured(t, 0, 0);
    for (uint32_t step = 0; step < 5; step++) {
        t->now_ms += 80;
        progress(t, "w1", 0, 1, step);
        progress(t, "w2", 0, 2, step);
        if (step == 0)
            assert_measured(t, 0, 0); /* loading, encoding */
    }
    assert_measured(t, 80, 1.5);
}

static void without_a_step_alone_there_is_no_speed_up(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 2);
    steps_of(t, "w1", 0, 1, 80);
    assert_measured(t, 80, 0);
}

/* Four pictures at once take 300 ms a step; one was never seen. */
static void a_batch_is_no_measure_of_one_worker(void **state)
{
    struct table *t = *state;

    alone_before(t, 4, 300);
    pair_at_work(t, 2);
    steps_of(t, "w1", 0, 1, 80);
    assert_measured(t, 80, 0);
}

/* Its steps say when its own parts ended, not how long the gang takes. */
static void a_helpers_steps_are_no_second_measure_of_the_gang(void **state)
{
    struct table *t = *state;

    alone_before(t, 1, 120);
    pair_at_work(t, 2);
    progress(t, "w2", 0, 2, 0);
    steps_of(t, "w1", 0, 1, 80);
    progress(t, "w2", 0, 2, 1); /* 400 ms after its first one */
    assert_measured(t, 80, 1.5);
}

/* A job that asks for pairs taught it: there is nothing yet that says the pair does not pay. */
static void auto_shares_where_two_are_known_and_one_alone_is_not(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 1);
    steps_of(t, "w1", 0, 1, 80);
    helped(t, "w2", 0, 2);
    result(t, "w1", 0, 1);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    ask_again(t);
    assert_int_equal(t->c.count.gangs, 2);
}

/* Of two, nothing is known by it. */
static void a_gang_of_four_that_does_not_pay_says_nothing_of_two(void **state)
{
    struct table *t = *state;
    static const char *const names[] = {"w1", "w2", "w3", "w4"};

    alone_before(t, 1, 100);
    submit_job(t, gang_job("{'guidance':2,'tensor':2}", 1));
    for (int i = 0; i < 4; i++)
        join_gangs(t, names[i]);
    assert_part(t, "w1", 2, 2, 0, "w1");
    steps_of(t, "w1", 0, 1, 95);
    for (uint32_t i = 1; i < 4; i++)
        helped(t, names[i], 0, 1 + i);
    result(t, "w1", 0, 1);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    ask_again(t);
    assert_int_equal(t->c.count.gangs, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(auto_shares_the_last_task_and_no_other),
        SENTENCE(auto_takes_two_where_two_are_free),
        SENTENCE(auto_shares_nothing_while_there_is_work_for_everybody),
        SENTENCE(auto_splits_no_guidance_where_there_is_none),
        SENTENCE(a_job_that_asks_for_no_gangs_gets_none),
        SENTENCE(auto_leaves_a_gang_that_does_not_pay),
        SENTENCE(auto_keeps_a_gang_that_pays),
        SENTENCE(auto_gives_what_is_too_large_to_more_workers),
        SENTENCE(what_is_too_large_for_two_goes_to_four),
        SENTENCE(the_speed_up_is_the_ratio_of_the_steps_times),
        SENTENCE(without_a_step_alone_there_is_no_speed_up),
        SENTENCE(a_batch_is_no_measure_of_one_worker),
        SENTENCE(a_helpers_steps_are_no_second_measure_of_the_gang),
        SENTENCE(auto_shares_where_two_are_known_and_one_alone_is_not),
        SENTENCE(a_gang_of_four_that_does_not_pay_says_nothing_of_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
