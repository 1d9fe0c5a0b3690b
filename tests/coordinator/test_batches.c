/* Workers that render several leases together, as the reactor sees them. */
#include "tests/coordinator/table.h"

static bool alone(const struct table *t, const char *to, uint64_t index)
{
    struct msg m;
    bool found = false, answer = false;

    for (size_t n = 0; sent(t, to, MSG_LEASE, n, &m); n++) {
        if (m.lease.ref.index == index) {
            found = true;
            answer = m.lease.alone;
        }
        msg_done(&m);
    }
    assert_true(found);
    return answer;
}

static void all_that_a_lost_worker_had_begun_is_blamed_and_then_rendered_alone(void **state)
{
    struct table *t = *state;

    submit(t, "a", 4);
    join(t, "w1", 3);
    assert_false(alone(t, "w1", 0));
    progress(t, "w1", 0, 1, 2);
    progress(t, "w1", 1, 1, 2);
    lose(t, "w1");
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(the_task(t, i)->lost.n, i < 2);
    fresh(t);
    join(t, "w2", 4);
    assert_true(alone(t, "w2", 0));
    assert_true(alone(t, "w2", 1));
    assert_false(alone(t, "w2", 2)); /* it waited */
    assert_false(alone(t, "w2", 3));
}

static void a_task_that_failed_is_rendered_alone(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 1);
    fresh(t);
    failed(t, "w1", 0, 1, "bad_output");
    assert_true(alone(t, "w2", 0));
}

static void a_batch_whose_steps_stop_is_revoked_as_a_whole(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w1", 3);
    progress(t, "w1", 0, 1, 1);
    progress(t, "w1", 1, 1, 1);
    fresh(t);
    for (int i = 0; i < 7; i++) {
        struct msg ping = {.type = MSG_PING};

        say(t, "w1", &ping);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 2);
    assert_non_null(run_numbered(the_task(t, 2), 1)); /* it waits behind */
}

static void a_step_of_a_batch_is_learned_once(void **state)
{
    struct table *t = *state;
    struct worker *w;
    struct task_entry *first;

    submit(t, "a", 2);
    join(t, "w1", 2);
    for (uint32_t step = 0; step < 4; step++) {
        progress(t, "w1", 0, 1, step);
        progress(t, "w1", 1, 1, step);
        t->now_ms += 500;
    }
    w = coord_worker(&t->c, &(struct peer){.size = 2, .id = "w1"});
    first = the_task(t, 0);
    assert_true(speed_ms(&w->speeds, first->speed_key) == 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(all_that_a_lost_worker_had_begun_is_blamed_and_then_rendered_alone),
        SENTENCE(a_task_that_failed_is_rendered_alone),
        SENTENCE(a_batch_whose_steps_stop_is_revoked_as_a_whole),
        SENTENCE(a_step_of_a_batch_is_learned_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
