/* The reactor, driven by events; its outbox is read: leases, greetings, restarts. No socket, file
 * or database anywhere. */
#include "tests/coordinator/table.h"

static void tasks_are_leased_in_index_order_within_the_credits(void **state)
{
    struct table *t = *state;

    submit(t, "a", 5);
    join(t, "w", 2);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 2);
    assert_leased(t, "w", 0, 1);
    assert_leased(t, "w", 1, 1);
}

static void a_lease_carries_the_tasks_canonical_json(void **state)
{
    struct table *t = *state;
    struct task task = {0};
    struct msg m;

    submit(t, "a", 5);
    join(t, "w", 1);
    assert_true(sent(t, "w", MSG_LEASE, 0, &m));
    MUST(task_from_json(m.lease.task, strlen(m.lease.task), &task, e));
    assert_int_equal(task.seed, 0);
    assert_string_equal(m.lease.ref.job, t->job);
    task_done(&task);
    msg_done(&m);
}

static void the_attempt_row_comes_before_the_lease_it_allows(void **state)
{
    struct table *t = *state;
    size_t row = 0, lease = 0;

    submit(t, "a", 1);
    join(t, "w", 1);
    for (size_t i = 0; i < t->o.n; i++) {
        if (t->o.items[i].type == OUT_STORE && t->o.items[i].row.op == STORE_ATTEMPT)
            row = i;
        if (t->o.items[i].type == OUT_SEND && t->o.items[i].message == MSG_LEASE)
            lease = i;
    }
    assert_true(row > 0 && row < lease);
}

static void a_foreign_protocol_version_is_refused(void **state)
{
    struct table *t = *state;
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = 99,
                              .protocol_min = 98,
                              .role = "worker",
                              .software = "test",
                              .name = "w",
                              .device = "",
                              .device_class = "cpu"}};

    say(t, "w", &m);
    assert_refused(t, "w", "conflict");
    assert_int_equal(t->c.n_workers, 0);
}

static void a_stranger_is_told_to_say_hello_first(void **state)
{
    struct table *t = *state;
    struct msg m;

    ready(t, "w", 1);
    assert_true(sent(t, "w", MSG_ERROR, 0, &m));
    assert_string_equal(m.error.text, MSG_HELLO_FIRST);
    msg_done(&m);
}

static void garbage_is_answered_each_time_and_logged_once(void **state)
{
    struct table *t = *state;
    struct event garbage = {.type = EVENT_GARBAGE, .peer = peer_named("x")};

    err_set(&garbage.failure, ERR_INPUT, "not a map");
    for (int i = 0; i < 50; i++)
        on(t, &garbage);
    assert_int_equal(count_sent(t, "x", MSG_ERROR), 50);
    assert_int_equal(logged(t, "message_refused"), 1);
}

static void messages_in_the_wrong_direction_are_refused(void **state)
{
    struct table *t = *state;
    struct msg lease = {.type = MSG_LEASE, .lease = {.task = "{}"}};

    join(t, "w", 0);
    hello(t, "client", "client");
    fresh(t);
    say(t, "w", &lease);
    assert_refused(t, "w", "bad_input");
    ready(t, "client", 1);
    assert_refused(t, "client", "bad_input");
}

static void after_a_restart_running_attempts_are_adopted(void **state)
{
    struct table *t = *state;
    struct restored_attempt attempts[] = {{.index = 0, .attempts = 4, .given = true},
                                          {.index = 1, .attempts = 2, .given = true}};

    restore(t, 3, 0, attempts, 2);
    hello(t, "w1", "worker");
    ready_holding(t, "w1", 2, 0, 4);
    /* Task 0 is claimed, 1 may still be: the worker gets 2. */
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 1);
    assert_leased(t, "w1", 2, 1);
    fresh(t);
    tick(t, 5000);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    tick(t, 2000);
    assert_leased(t, "w1", 1, 3);
    fresh(t);
    result(t, "w1", 0, 4);
    assert_verdict(t, "w1", "accepted");
}

static void a_restored_job_with_nothing_left_ends_at_the_first_tick(void **state)
{
    struct table *t = *state;

    restore(t, 2, 2, NULL, 0);
    tick(t, 1000);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
}

static void idle_workers_are_pinged(void **state)
{
    struct table *t = *state;

    join(t, "w", 1);
    fresh(t);
    tick(t, 1000);
    assert_int_equal(count_sent(t, "w", MSG_PING), 0);
    tick(t, 1000);
    assert_int_equal(count_sent(t, "w", MSG_PING), 1);
}

static void memory_does_not_grow_with_the_tasks_of_a_job(void **state)
{
    struct table *t = *state;

    submit(t, "a", 100000000);
    join(t, "w", 2);
    for (uint64_t i = 0; i < 3000; i++) {
        result(t, "w", i, 1);
        ready(t, "w", 2);
        fresh(t);
    }
    assert_int_equal(t->c.n_tasks, 2);
    assert_int_equal(the_job(t)->settled.floor, 3000);
    assert_true(the_job(t)->settled.n_pages <= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(tasks_are_leased_in_index_order_within_the_credits),
        SENTENCE(a_lease_carries_the_tasks_canonical_json),
        SENTENCE(the_attempt_row_comes_before_the_lease_it_allows),
        SENTENCE(a_foreign_protocol_version_is_refused),
        SENTENCE(a_stranger_is_told_to_say_hello_first),
        SENTENCE(garbage_is_answered_each_time_and_logged_once),
        SENTENCE(messages_in_the_wrong_direction_are_refused),
        SENTENCE(after_a_restart_running_attempts_are_adopted),
        SENTENCE(a_restored_job_with_nothing_left_ends_at_the_first_tick),
        SENTENCE(idle_workers_are_pinged),
        SENTENCE(memory_does_not_grow_with_the_tasks_of_a_job),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
