/* What crosses, gets lost or comes twice on the wire: the reactor at its table. */
#include "tests/coordinator/table.h"

/* Every few seconds, so that nobody is silent. */
static void time_passes(struct table *t, const char *const *names, size_t n, int64_t for_ms)
{
    const struct msg pong = {.type = MSG_PONG};

    for (int64_t passed = 0; passed < for_ms; passed += 5000) {
        for (size_t i = 0; i < n; i++)
            say(t, names[i], &pong);
        tick(t, 5000);
    }
}

/* One job of 2 seeds, as the store has it after a restart; task 0's attempts, and what is done. */
static void restart(struct table *t, uint32_t attempts, uint64_t settled)
{
    struct restored_attempt given = {.index = 0, .attempts = attempts, .given = true};

    restore(t, 2, settled, &given, attempts > 0);
}

static void a_worker_that_comes_back_with_its_attempt_did_not_die_of_it(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    progress(t, "w", 0, 1, 0);
    for (int i = 0; i < POLICY_LOSSES_MAX + 1; i++) {
        tick(t, 16000);
        assert_int_equal(the_task(t, 0)->lost.n, 1);
        hello(t, "w", "worker");
        ready_holding(t, "w", 0, 0, 1);
        assert_int_equal(the_task(t, 0)->lost.n, 0);
    }
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "accepted");
    assert_int_equal(the_job(t)->done, 1);
}

/* The same over a restart, as its row has it: it is one worker, and forgiven if it still works. */
static void a_worker_lost_before_and_after_a_restart_is_one_worker(void **state)
{
    struct restored_attempt a = {.index = 0, .attempts = 1, .lost = {1, {1}, {0}}};
    struct peer w = peer_named("w");
    struct table *t = *state;

    a.lost.worker[0] = peer_hash(&w);
    restore(t, 1, 0, &a, 1);
    join(t, "w", 1);
    progress(t, "w", 0, 2, 0);
    tick(t, 16000);
    assert_int_equal(the_task(t, 0)->lost.n, 1);
    hello(t, "w", "worker");
    ready_holding(t, "w", 0, 0, 1);
    assert_int_equal(the_task(t, 0)->lost.n, 0);
}

/* A worker goes on with an attempt whose revocation it never got, and would do so for ever. */
static void a_revoke_that_was_lost_on_the_way_is_said_again(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    progress(t, "w", 0, 1, 0);
    for (int i = 0; i < 7; i++) {
        ready_holding(t, "w", 0, 0, 1);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w", MSG_REVOKE), 1);
    fresh(t);
    ready_holding(t, "w", 0, 0, 1);
    assert_int_equal(count_sent(t, "w", MSG_REVOKE), 1);
    assert_true(the_task(t, 0)->n_runs == 0);
}

static void a_failure_whose_ack_was_lost_is_counted_once(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 1);
    failed(t, "w1", 0, 1, "bad_output");
    assert_leased(t, "w2", 0, 2);
    hello(t, "w1", "worker");
    ready_holding(t, "w1", 1, 0, 1);
    fresh(t);
    failed(t, "w1", 0, 1, "bad_output");
    assert_verdict(t, "w1", "accepted");
    assert_int_equal(the_task(t, 0)->tries, 1);
    assert_int_equal(the_task(t, 0)->n_runs, 1);
}

static void a_lease_that_was_lost_on_the_way_is_given_again(void **state)
{
    static const char *const names[] = {"w"};
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w", 2);
    assert_leased(t, "w", 1, 1);
    time_passes(t, names, 1, 30000);
    fresh(t);
    ready_holding(t, "w", 1, 0, 1);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 1);
    assert_leased(t, "w", 1, 2);
    assert_int_equal(the_task(t, 1)->lost.n, 0);
}

static void a_ready_that_was_lost_on_the_way_is_made_good_by_the_next(void **state)
{
    static const char *const names[] = {"w"};
    struct table *t = *state;

    submit(t, "a", 2);
    hello(t, "w", "worker");
    time_passes(t, names, 1, 30000);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    ready(t, "w", 2);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 2);
}

static void a_result_that_crossed_its_revoke_wins_over_the_next_attempt(void **state)
{
    static const char *const names[] = {"w1", "w2"};
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    progress(t, "w1", 0, 1, 3);
    join(t, "w2", 1);
    time_passes(t, names, 2, 70000);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
    assert_leased(t, "w2", 0, 2);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_verdict(t, "w1", "accepted");
    assert_int_equal(count_sent(t, "w2", MSG_REVOKE), 1);
    fresh(t);
    result(t, "w2", 0, 2);
    assert_verdict(t, "w2", "duplicate");
    assert_int_equal(the_job(t)->done, 1);
}

static void a_result_offered_again_while_the_disk_refuses_is_answered_once(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
    hello(t, "w", "worker");
    ready_holding(t, "w", 1, 0, 1);
    result(t, "w", 0, 1);
    assert_int_equal(count_sent(t, "w", MSG_ACK), 0);
    assert_int_equal(count_sent(t, "w", MSG_REVOKE), 0);
    t->write_code = 0;
    tick(t, 4000);
    assert_int_equal(count_sent(t, "w", MSG_ACK), 1);
    assert_verdict(t, "w", "accepted");
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "duplicate");
}

static void a_coordinator_that_was_stopped_blames_nobody_for_it(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w", 2);
    progress(t, "w", 0, 1, 3);
    t->now_ms += 3600000;
    coord_absent(&t->c, 3600000);
    tick(t, 250);
    assert_int_equal(the_task(t, 0)->n_runs, 1);
    assert_int_equal(the_task(t, 1)->n_runs, 1);
    assert_int_equal(logged(t, "worker_lost"), 0);
    tick(t, 16000);
    assert_int_equal(logged(t, "worker_lost"), 1);
}

static void a_failure_counted_before_a_restart_is_not_counted_again(void **state)
{
    struct table *t = *state;
    struct restored_attempt a = {
        .index = 0, .attempts = 1, .tries = 1, .failed = {1}, .n_failed = 1};

    restore(t, 1, 0, &a, 1);
    hello(t, "w", "worker");
    ready_holding(t, "w", 0, 0, 1); /* the ack was lost with the coordinator */
    failed(t, "w", 0, 1, "internal");
    assert_verdict(t, "w", "accepted");
    assert_int_equal(the_task(t, 0)->tries, 1);
}

static void claims_may_come_after_a_pause(void **state)
{
    struct table *t = *state;

    restart(t, 1, 0);
    t->now_ms += 60000;
    coord_absent(&t->c, 60000);
    tick(t, 250);
    hello(t, "w", "worker");
    ready_holding(t, "w", 1, 0, 1);
    assert_int_equal(the_task(t, 0)->n_runs, 1);
    assert_int_equal(the_task(t, 0)->attempts, 1);
}

static void a_lease_committed_before_a_crash_and_never_sent_is_given_again(void **state)
{
    struct table *t = *state;

    restart(t, 1, 0);
    hello(t, "w", "worker");
    ready(t, "w", 2);
    assert_leased(t, "w", 1, 1);
    tick(t, 7000);
    assert_leased(t, "w", 0, 2);
    assert_int_equal(the_task(t, 0)->lost.n, 0);
}

static void a_result_from_before_a_crash_counts_after_the_next_attempt_began(void **state)
{
    struct table *t = *state;

    restart(t, 1, 0);
    join(t, "w2", 2);
    tick(t, 7000);
    assert_leased(t, "w2", 0, 2);
    hello(t, "w1", "worker");
    ready_holding(t, "w1", 2, 0, 1);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_verdict(t, "w1", "accepted");
    assert_int_equal(count_sent(t, "w2", MSG_REVOKE), 1);
}

static void a_result_recorded_before_a_crash_is_acknowledged_after_it(void **state)
{
    struct table *t = *state;

    restart(t, 0, 1);
    hello(t, "w", "worker");
    ready_holding(t, "w", 1, 0, 1);
    assert_verdict(t, "w", "duplicate");
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "duplicate");
    assert_int_equal(the_job(t)->done, 1);
}

static void hello_twice_and_then_ready_gets_leases(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    hello(t, "w", "worker");
    hello(t, "w", "worker");
    ready(t, "w", 1);
    assert_int_equal(count_sent(t, "w", MSG_WELCOME), 2);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 1);
    hello(t, "w", "worker"); /* the lease was lost with the connection */
    ready(t, "w", 1);
    assert_leased(t, "w", 0, 2);
    assert_int_equal(the_task(t, 0)->lost.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_worker_that_comes_back_with_its_attempt_did_not_die_of_it),
        SENTENCE(a_worker_lost_before_and_after_a_restart_is_one_worker),
        SENTENCE(a_revoke_that_was_lost_on_the_way_is_said_again),
        SENTENCE(a_failure_whose_ack_was_lost_is_counted_once),
        SENTENCE(a_lease_that_was_lost_on_the_way_is_given_again),
        SENTENCE(a_ready_that_was_lost_on_the_way_is_made_good_by_the_next),
        SENTENCE(a_result_that_crossed_its_revoke_wins_over_the_next_attempt),
        SENTENCE(a_result_offered_again_while_the_disk_refuses_is_answered_once),
        SENTENCE(a_lease_committed_before_a_crash_and_never_sent_is_given_again),
        SENTENCE(a_result_from_before_a_crash_counts_after_the_next_attempt_began),
        SENTENCE(a_result_recorded_before_a_crash_is_acknowledged_after_it),
        SENTENCE(hello_twice_and_then_ready_gets_leases),
        SENTENCE(a_coordinator_that_was_stopped_blames_nobody_for_it),
        SENTENCE(a_failure_counted_before_a_restart_is_not_counted_again),
        SENTENCE(claims_may_come_after_a_pause),
    };

    return cmocka_run_group_tests_name("races", tests, NULL, NULL);
}
