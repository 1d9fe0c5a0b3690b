#include "coordinator/lacks.h"
#include "tests/coordinator/answers.h"

/* The job's model is not here, and the coordinator has said so. */
static void nowhere(struct table *t, int n)
{
    submit_job(t, seeds_job("typo", n));
    answer_model(t, NULL);
}

/* The worker fails the oldest lease that it holds, in words that name a file. */
static void lacks_as(struct table *t, const char *name, const char *file)
{
    const struct peer peer = peer_named(name);
    const struct worker *w = coord_worker(&t->c, &peer);
    char text[200];
    struct msg m = {.type = MSG_FAILED,
                    .failed = {.code = "asset_missing", .text = text, .retryable = true}};

    snprintf(text, sizeof text, "model '%s' is not in the model library", file);
    assert_true(w->n_tasks > 0);
    m.failed.ref = ref(t, w->tasks[0]->index, run_of(w->tasks[0], w)->attempt);
    t->now_ms += 10;
    say(t, name, &m);
}

static void lacks(struct table *t, const char *name)
{
    lacks_as(t, name, "sticker-128");
}

static const struct worker *worker_named(const struct table *t, const char *name)
{
    const struct peer peer = peer_named(name);

    return coord_worker(&t->c, &peer);
}

static size_t held_by(const struct table *t, const char *name)
{
    return worker_named(t, name)->n_tasks;
}

static void fail_all(struct table *t, const char *name)
{
    while (held_by(t, name) > 0)
        lacks(t, name);
}

static void a_file_that_nobody_has_costs_each_worker_its_leases_and_no_task_more(void **state)
{
    struct table *t = *state;

    join(t, "w1", 2);
    join(t, "w2", 2);
    nowhere(t, 10000);
    fail_all(t, "w1");
    fail_all(t, "w2");
    for (int i = 0; i < 20 && the_job(t)->failed < 10000; i++) {
        ready(t, "w1", 2);
        ready(t, "w2", 2);
        for (int turn = 0; turn < 1000 && the_job(t)->failed < 10000; turn++)
            tick(t, 1);
    }
    assert_int_equal(the_job(t)->failed, 10000);
    assert_in_range(t->c.count.leases, 2, 8);
}

static void what_nobody_has_is_told_once_with_where_and_what_to_do(void **state)
{
    struct table *t = *state;
    struct job_entry *j;

    join(t, "w1", 1);
    nowhere(t, 50);
    fail_all(t, "w1");
    ready(t, "w1", 1);
    tick(t, 1);
    tick(t, 1);
    j = the_job(t);
    assert_int_equal(j->failed, 50);
    assert_int_equal(j->n_failures, 1);
    assert_int_equal(j->failures[0].tasks, 50);
    assert_int_equal(j->failures[0].index, 0);
    assert_string_equal(j->failures[0].code, "asset_missing");
    assert_string_equal(j->failures[0].text,
                        "it is not here; no connected worker has it either: put it there, or give "
                        "its folder to litho-coordinator or a worker with --models, then 'litho "
                        "retry'");
}

static void what_nobody_has_blocks_nobody(void **state)
{
    struct table *t = *state;

    join(t, "w1", 8);
    join(t, "w2", 8);
    nowhere(t, 100);
    fail_all(t, "w1"); /* eight tasks of one model */
    fail_all(t, "w2");
    assert_int_equal(worker_named(t, "w1")->blocks.n, 0);
    assert_int_equal(worker_named(t, "w2")->blocks.n, 0);
}

static void a_worker_that_may_have_it_is_waited_for_and_others_are_not_asked_again(void **state)
{
    struct table *t = *state;
    uint64_t leases;

    join(t, "w1", 1);
    join(t, "has", 0); /* busy with another job's */
    nowhere(t, 1000);
    fail_all(t, "w1");
    leases = t->c.count.leases;
    ready(t, "w1", 1);
    tick(t, 1);
    assert_int_equal(t->c.count.leases, leases);
    assert_int_equal(the_job(t)->failed, 0);
    assert_true(t->c.n_tasks < 4); /* nor are its tasks taken out of the queue for nothing */
    ready(t, "has", 2);
    assert_int_equal(held_by(t, "has"), 2);
    result(t, "has", worker_named(t, "has")->tasks[0]->index, 2);
}

/* A lot of its own, and the same missing model. */
static void other_sizes_of_a_missing_model_are_not_tried_either(void **state)
{
    struct table *t = *state;

    join(t, "w1", 1);
    join(t, "busy", 0);
    submit_job(t, bundle_job((struct spec){.axes = "[{'name':'w','columns':['width'],'rows':[[64],"
                                                   "[128],[256],[512]]}]"}));
    answer_model(t, NULL);
    fail_all(t, "w1");
    ready(t, "w1", 1);
    tick(t, 1);
    assert_int_equal(t->c.count.leases, 1);
    lose(t, "busy"); /* nobody is left to wait for */
    tick(t, 1);
    tick(t, 1);
    assert_int_equal(the_job(t)->failed, 4);
    assert_int_equal(t->c.count.leases, 1);
}

static void the_worker_is_asked_again_after_some_seconds(void **state)
{
    struct table *t = *state;

    join(t, "w1", 1);
    join(t, "busy", 0);
    nowhere(t, 10);
    fail_all(t, "w1");
    ready(t, "w1", 1);
    assert_int_equal(held_by(t, "w1"), 0);
    tick(t, ASSETS_FRESH_MS);
    answer_model(t, NULL);
    assert_int_equal(held_by(t, "w1"), 1);
}

static void a_new_job_looks_again_at_once(void **state)
{
    struct table *t = *state;

    join(t, "w1", 1);
    nowhere(t, 3);
    fail_all(t, "w1");
    ready(t, "w1", 1);
    tick(t, 1);
    assert_int_equal(the_job(t)->failed, 3);
    submit_job(t, seeds_job("again", 3));
    answer_model(t, NULL);
    assert_int_equal(held_by(t, "w1"), 1);
}

static void a_failure_that_names_another_file_tells_nothing_of_this_one(void **state)
{
    struct table *t = *state;

    join(t, "w1", 4);
    join(t, "w2", 0);
    nowhere(t, 100);
    for (int i = 0; i < 3; i++)
        lacks_as(t, "w1", "another");
    assert_int_equal(worker_named(t, "w1")->lacks.n, 0);
    assert_int_equal(worker_named(t, "w1")->blocks.at[0].n, 3);
}

static void a_file_that_the_coordinator_has_counts_against_the_worker_as_ever(void **state)
{
    struct table *t = *state;

    join(t, "w1", 3);
    join(t, "w2", 0);
    submit_job(t, seeds_job("here", 100));
    answer_model(t, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    fail_all(t, "w1");
    assert_int_equal(worker_named(t, "w1")->lacks.n, 0);
    assert_int_equal(worker_named(t, "w1")->blocks.at[0].n, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_assets, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_nobody_has_costs_each_worker_its_leases_and_no_task_more),
        TEST(what_nobody_has_is_told_once_with_where_and_what_to_do),
        TEST(what_nobody_has_blocks_nobody),
        TEST(a_worker_that_may_have_it_is_waited_for_and_others_are_not_asked_again),
        TEST(other_sizes_of_a_missing_model_are_not_tried_either),
        TEST(the_worker_is_asked_again_after_some_seconds),
        TEST(a_new_job_looks_again_at_once),
        TEST(a_failure_that_names_another_file_tells_nothing_of_this_one),
        TEST(a_file_that_the_coordinator_has_counts_against_the_worker_as_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
