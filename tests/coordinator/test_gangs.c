/* Gangs as the coordinator forms and ends them: coordinator/gangs.h. */
#include "tests/coordinator/gangs.h"

/* A worker that states an address for members on other hosts. */
static void meets_others(struct table *t, const char *name, const char *host)
{
    hello_with(t, (struct msg_hello){.name = name, .host = host, .gang_address = "127.0.0.1"});
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

/* A `ready` that crossed the lease says the place that is used up when the gang has met there. */
static void no_second_gang_meets_where_the_first_did(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 2);
    ready_to_meet(t, "w1", 2); /* was on its way */
    ready_to_meet(t, "w2", 2);
    helped(t, "w2", 0, 2);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_leased(t, "w2", 1, 1); /* who has not led yet */
    assert_part(t, "w1", 2, 1, 1, "w2");
}

/* Its lease was lost on the way: nobody met there. */
static void a_place_where_no_gang_met_is_good_for_the_next(void **state)
{
    struct table *t = *state;

    pair_at_work(t, 1);
    fresh(t);
    tick(t, 11000);
    ready(t, "w2", 2); /* leads none */
    ready_to_meet(t, "w1", 2);
    assert_part(t, "w1", 2, 1, 0, "w1");
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
        result(t, i < 2 ? "w1" : "w2", i, 1);
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
        SENTENCE(no_second_gang_meets_where_the_first_did),
        SENTENCE(a_place_where_no_gang_met_is_good_for_the_next),
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
        SENTENCE(a_member_that_leaves_before_the_lease_gives_the_others_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
