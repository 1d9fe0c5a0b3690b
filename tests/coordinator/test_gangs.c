/* Gangs as the coordinator forms and ends them: coordinator/gangs.h. */
#include "tests/coordinator/table.h"

static struct job *gang_job(const char *gang, int n)
{
    char conduct[100];

    snprintf(conduct, sizeof conduct, "{'gang':%s}", gang);
    return seeds_job_with(n, (struct spec){.job = "gang", .conduct = conduct});
}

#define PAIR "{'guidance':2,'tensor':1}"

static void meets(struct table *t, const char *name, const char *host, const char *class)
{
    hello_with(t, (struct msg_hello){.name = name, .device_class = class, .host = host});
}

/* A worker that states an address for members on other hosts. */
static void meets_others(struct table *t, const char *name, const char *host)
{
    hello_with(t, (struct msg_hello){.name = name, .host = host, .gang_address = "127.0.0.1"});
}

static void join_gangs(struct table *t, const char *name)
{
    meets(t, name, "a", "cpu-avx2");
    ready_to_meet(t, name, 2);
}

static void helped(struct table *t, const char *from, uint64_t index, uint32_t attempt)
{
    struct msg m = {.type = MSG_HELPED};

    m.helped.ref = ref(t, index, attempt);
    say(t, from, &m);
}

static void assert_part(const struct table *t, const char *to, uint32_t guidance, uint32_t tensor,
                        uint32_t rank, const char *meeting)
{
    struct msg m;

    assert_true(sent(t, to, MSG_LEASE, 0, &m));
    assert_int_equal(m.lease.gang_guidance, guidance);
    assert_int_equal(m.lease.gang_tensor, tensor);
    assert_int_equal(m.lease.gang_rank, rank);
    assert_string_equal(m.lease.gang_meeting, meeting);
    msg_done(&m);
}

/* A pair at work at task 0: w1 leads attempt 1, w2 has attempt 2. */
static void pair_at_work(struct table *t, int n)
{
    submit_job(t, gang_job(PAIR, n));
    join_gangs(t, "w1");
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    join_gangs(t, "w2");
}

static void two_workers_get_one_task_and_the_leaders_meeting_place(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 3);
    assert_leased(t, "w1", 0, 1);
    assert_leased(t, "w2", 0, 2);
    assert_part(t, "w1", 2, 1, 0, "w1");
    assert_part(t, "w2", 2, 1, 1, "w1");
    assert_int_equal(count_sent(t, "w2", MSG_LEASE), 1);
}

static void the_leaders_picture_ends_the_task_and_the_helper_is_free_before(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 1);
    fresh(t);
    helped(t, "w2", 0, 2);
    assert_verdict(t, "w2", "accepted");
    assert_null(recorded(t, 0));
    result(t, "w1", 0, 1);
    assert_non_null(recorded(t, 0));
    assert_verdict(t, "w1", "accepted");
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    assert_int_equal(count_sent(t, "w2", MSG_REVOKE), 0);
}

static void a_picture_before_the_helpers_word_revokes_it(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 1);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_int_equal(count_sent(t, "w2", MSG_REVOKE), 1);
    fresh(t);
    helped(t, "w2", 0, 2);
    assert_verdict(t, "w2", "duplicate");
}

static void with_a_lost_member_the_others_are_stopped_and_the_task_is_leased_again(void **state)
{
    struct table *t = *state;
    struct msg ping = {.type = MSG_PING};

    pair_at_work(t, 1);
    meets(t, "w3", "a", "cpu-avx2");
    ready_to_meet(t, "w3", 2);
    fresh(t);
    tick(t, 10000);
    say(t, "w1", &ping);
    say(t, "w3", &ping);
    tick(t, 6000); /* w2 is silent for longer than it may be */
    assert_int_equal(logged(t, "worker_lost"), 1);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
    assert_leased(t, "w3", 0, 3); /* w1 has no meeting place before its next ready */
    assert_leased(t, "w1", 0, 4);
}

static void a_members_failure_stops_the_others(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 1);
    fresh(t);
    failed(t, "w2", 0, 2, "io");
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
    assert_int_equal(the_task(t, 0)->n_runs, 0);
}

static void a_failure_of_one_of_four_stops_the_three_others(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job("{'guidance':2,'tensor':2}", 1));
    join_gangs(t, "w1");
    join_gangs(t, "w2");
    join_gangs(t, "w3");
    join_gangs(t, "w4");
    assert_int_equal(the_task(t, 0)->n_runs, 4);
    fresh(t);
    failed(t, "w2", 0, 2, "io");
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
    assert_int_equal(count_sent(t, "w3", MSG_REVOKE), 1);
    assert_int_equal(count_sent(t, "w4", MSG_REVOKE), 1);
    assert_int_equal(the_task(t, 0)->n_runs, 0);
}

/* The survivor speaks first: the one that died is waited for, and blamed. */
static void who_only_tells_of_another_ones_end_is_not_blamed(void **state)
{
    struct table *t = *state;
    struct msg ping = {.type = MSG_PING};

    pair_at_work(t, 1);
    progress(t, "w2", 0, 2, 0);
    fresh(t);
    failed(t, "w1", 0, 1, "worker_lost");
    assert_int_equal(count_sent(t, "w2", MSG_REVOKE), 0);
    assert_int_equal(the_task(t, 0)->n_runs, 1);
    tick(t, 10000);
    say(t, "w1", &ping);
    tick(t, 6000);
    assert_int_equal(the_task(t, 0)->lost.n, 1);
    assert_int_equal(the_task(t, 0)->tries, 0);
    assert_int_equal(the_task(t, 0)->phase, TASK_READY);
}

/* Its lease came late, or the revocation was lost: it would wait for members that never come. */
static void who_still_holds_a_part_of_a_gang_that_is_over_is_told_again(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 1);
    failed(t, "w2", 0, 2, "io");
    fresh(t);
    ready_holding(t, "w1", 1, 0, 1);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
}

static void workers_of_another_class_or_host_are_no_members(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job(PAIR, 3));
    join_gangs(t, "w1");
    meets(t, "other", "a", "cpu-amx");
    ready_to_meet(t, "other", 2);
    meets(t, "far", "b", "cpu-avx2");
    ready_to_meet(t, "far", 2);
    join(t, "alone", 2); /* takes part in none */
    assert_int_equal(t->c.count.leases, 0);
    assert_string_equal(
        the_job(t)->wait_reason,
        "a gang of 2 needs as many workers of one device class on one host, or with "
        "--gang-address");
    join_gangs(t, "w2");
    assert_int_equal(t->c.count.leases, 2);
    assert_null(the_job(t)->wait_reason);
}

/* A busy worker whose turn comes to the gang takes nothing else until it is free. */
static void a_busy_worker_drains_for_the_gang(void **state)
{
    struct table *t = *state;

    submit(t, "plain", 100);
    join_gangs(t, "w1");
    join_gangs(t, "w2");
    assert_int_equal(t->c.count.leases, 4);
    t->c.jobs[0]->priority = 1;
    submit_job(t, gang_job(PAIR, 1));
    for (uint64_t i = 0; i < 4; i++) {
        char gang[HASH_HEX_SIZE];

        memcpy(gang, t->job, sizeof gang);
        memcpy(t->job, t->c.jobs[0]->hash, sizeof t->job);
        result(t, i % 2 ? "w2" : "w1", i < 2 ? i : i, 1);
        memcpy(t->job, gang, sizeof gang);
    }
    for (size_t i = 0; i < t->c.n_workers; i++)
        assert_int_equal(t->c.workers[i]->n_tasks, 0);
    fresh(t);
    ready_to_meet(t, "w1", 2);
    ready_to_meet(t, "w2", 2);
    assert_true(the_task(t, 0)->n_runs == 2);
}

/* The worker failed three tasks of the job's model. */
static void block(struct table *t, const char *name)
{
    struct peer peer = peer_named(name);
    struct worker *w = coord_worker(&t->c, &peer);
    struct needs needs;

    MUST(queue_needs(the_job(t), 0, &needs, e));
    for (uint64_t task = 1; task <= 3; task++)
        MUST(block_note(&w->blocks, "sticker-128", needs.model_key, ERR_INTERNAL, 0, task, e));
}

static void a_blocked_worker_is_a_member_where_others_are_too_few(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job(PAIR, 9));
    join_gangs(t, "bad");
    block(t, "bad");
    join_gangs(t, "w2");
    assert_int_equal(t->c.count.gangs, 1);
    assert_int_equal(count_sent(t, "bad", MSG_LEASE), 1);
    assert_int_equal(count_sent(t, "w2", MSG_LEASE), 1);
}

/* And the job's tasks are neither rendered alone meanwhile nor begun in numbers. */
static void for_others_that_are_busy_a_blocked_worker_is_no_substitute(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job(PAIR, 90));
    join_gangs(t, "bad");
    block(t, "bad");
    meets(t, "w2", "a", "cpu-avx2");
    ready_to_meet(t, "w2", 0);
    join_gangs(t, "w3");
    for (int i = 0; i < 30; i++) {
        tick(t, 500);
        ready_to_meet(t, "w3", 2);
    }
    assert_int_equal(t->c.count.leases, 0);
    assert_in_range(t->c.n_tasks, 0, 10);
    ready_to_meet(t, "w2", 2);
    assert_int_equal(count_sent(t, "w2", MSG_LEASE) + count_sent(t, "w3", MSG_LEASE), 2);
    assert_int_equal(count_sent(t, "bad", MSG_LEASE), 0);
}

static void four_share_both_ways(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job("{'guidance':2,'tensor':2}", 1));
    join_gangs(t, "w1");
    join_gangs(t, "w2");
    join_gangs(t, "w3");
    assert_int_equal(t->c.count.leases, 0);
    join_gangs(t, "w4");
    assert_part(t, "w1", 2, 2, 0, "w1");
    assert_part(t, "w4", 2, 2, 3, "w1");
}

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
    fresh(t);
    ready_to_meet(t, "w1", 1);
    ready_to_meet(t, "w2", 1);
    submit_job(t, bundle_job((struct spec){.job = "again",
                                           .axes = "[{'name':'seed','columns':['seed'],"
                                                   "'range':{'first':7,'step':1,'count':1}}]",
                                           .conduct = "{'gang':'auto'}"}));
    tick(t, 100);
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

static void a_member_that_leaves_before_the_lease_gives_the_others_back(void **state)
{
    struct table *t = *state;
    struct msg bye = {.type = MSG_BYE};

    submit_job(t, gang_job(PAIR, 1));
    join_gangs(t, "w1");
    t->probe = PROBE_BLOCKED; /* the lease does not come about */
    join_gangs(t, "w2");
    assert_int_equal(t->c.count.leases, 0);
    for (size_t i = 0; i < t->c.n_workers; i++) {
        assert_false(t->c.workers[i]->reserved);
        assert_int_equal(t->c.workers[i]->credits, 2);
    }
    say(t, "w1", &bye);
    t->probe = PROBE_FREE;
    tick(t, 6000);
    assert_int_equal(t->c.count.leases, 0);
    join_gangs(t, "w1");
    assert_int_equal(t->c.count.leases, 2);
}

static void a_gang_spans_hosts_whose_workers_state_an_address(void **state)
{
    struct table *t = *state;

    submit_job(t, gang_job(PAIR, 1));
    meets_others(t, "w1", "a");
    ready_to_meet(t, "w1", 2);
    meets(t, "w2", "b", "cpu-avx2"); /* states none */
    ready_to_meet(t, "w2", 2);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    meets_others(t, "w3", "c");
    ready_to_meet(t, "w3", 2);
    assert_leased(t, "w1", 0, 1);
    assert_leased(t, "w3", 0, 2);
    assert_part(t, "w3", 2, 1, 1, "w1");
    assert_int_equal(count_sent(t, "w2", MSG_LEASE), 0);
}

static void members_of_the_leaders_host_come_first(void **state)
{
    struct table *t = *state;

    meets_others(t, "w1", "b");
    ready_to_meet(t, "w1", 2);
    meets_others(t, "w2", "a");
    ready_to_meet(t, "w2", 2);
    meets_others(t, "w3", "a");
    ready_to_meet(t, "w3", 2);
    submit_job(t, gang_job("{'guidance':2,'tensor':1}", 1));
    tick(t, 100);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    assert_int_equal(count_sent(t, "w2", MSG_LEASE), 1);
    assert_int_equal(count_sent(t, "w3", MSG_LEASE), 1);
}

static void a_gang_of_four_takes_the_own_host_and_fills_up_with_others(void **state)
{
    struct table *t = *state;

    for (int i = 0; i < 5; i++) {
        char name[3] = {'w', (char)('1' + i), 0};

        meets_others(t, name, i < 2 ? "b" : "a");
        ready_to_meet(t, name, 2);
    }
    submit_job(t, gang_job("{'guidance':2,'tensor':2}", 1));
    tick(t, 100);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE) + count_sent(t, "w2", MSG_LEASE) +
                         count_sent(t, "w3", MSG_LEASE) + count_sent(t, "w4", MSG_LEASE) +
                         count_sent(t, "w5", MSG_LEASE),
                     4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(two_workers_get_one_task_and_the_leaders_meeting_place),
        SENTENCE(the_leaders_picture_ends_the_task_and_the_helper_is_free_before),
        SENTENCE(a_picture_before_the_helpers_word_revokes_it),
        SENTENCE(with_a_lost_member_the_others_are_stopped_and_the_task_is_leased_again),
        SENTENCE(a_members_failure_stops_the_others),
        SENTENCE(a_failure_of_one_of_four_stops_the_three_others),
        SENTENCE(a_gang_spans_hosts_whose_workers_state_an_address),
        SENTENCE(members_of_the_leaders_host_come_first),
        SENTENCE(a_gang_of_four_takes_the_own_host_and_fills_up_with_others),
        SENTENCE(who_only_tells_of_another_ones_end_is_not_blamed),
        SENTENCE(who_still_holds_a_part_of_a_gang_that_is_over_is_told_again),
        SENTENCE(workers_of_another_class_or_host_are_no_members),
        SENTENCE(a_busy_worker_drains_for_the_gang),
        SENTENCE(a_blocked_worker_is_a_member_where_others_are_too_few),
        SENTENCE(for_others_that_are_busy_a_blocked_worker_is_no_substitute),
        SENTENCE(four_share_both_ways),
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
        SENTENCE(a_member_that_leaves_before_the_lease_gives_the_others_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
