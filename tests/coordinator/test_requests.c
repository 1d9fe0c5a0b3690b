/* What clients ask: jobs submitted, found, listed, cancelled; workers shown. */
#include "tests/coordinator/table.h"

static void the_same_job_submitted_twice_is_known(void **state)
{
    struct table *t = *state;
    struct msg m;

    submit(t, "a", 3);
    fresh(t);
    submit(t, "a", 3);
    assert_true(sent(t, "client", MSG_SUBMITTED, 0, &m));
    assert_true(m.submitted.known);
    assert_int_equal(m.submitted.tasks, 3);
    assert_int_equal(t->c.n_jobs, 1);
    msg_done(&m);
}

static void jobs_of_one_name_get_folders_of_their_own(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    submit(t, "a", 4);
    assert_string_equal(t->c.jobs[0]->folder, "a");
    assert_string_not_equal(t->c.jobs[1]->folder, "a");
}

static void a_hostile_bundle_is_refused_with_a_reason(void **state)
{
    struct table *t = *state;
    struct msg m = {.type = MSG_SUBMIT,
                    .submit = {.request = 3, .bundle = "{\"litho\":1", .bundle_size = 10}};

    hello(t, "client", "client");
    fresh(t);
    say(t, "client", &m);
    assert_refused(t, "client", "bad_input");
    assert_int_equal(t->c.n_jobs, 0);
}

static void jobs_are_found_by_name_hash_or_prefix(void **state)
{
    struct table *t = *state;
    struct job_entry *j;
    struct err why;
    char prefix[5] = {0};

    submit(t, "a", 3);
    submit(t, "a", 4);
    memcpy(prefix, t->job, 4);
    assert_int_equal(coord_job_find(&t->c, "a", &j, &why), 0);
    assert_int_equal(j->number, 2);
    assert_int_equal(coord_job_find(&t->c, t->job, &j, &why), 0);
    assert_int_equal(coord_job_find(&t->c, prefix, &j, &why), 0);
    prefix[3] = 0;
    assert_int_equal(coord_job_find(&t->c, prefix, &j, &why), ERR_MISSING);
    assert_int_equal(coord_job_find(&t->c, "nobody", &j, &why), ERR_MISSING);
}

static void an_ambiguous_prefix_lists_the_candidates(void **state)
{
    struct table *t = *state;
    struct job_entry *j;
    struct err why;

    submit(t, "a", 3);
    submit(t, "b", 4);
    memcpy(t->c.jobs[0]->hash, "abcd0", 5);
    memcpy(t->c.jobs[1]->hash, "abcd1", 5);
    assert_int_equal(coord_job_find(&t->c, "abcd", &j, &why), ERR_ARG);
    assert_non_null(strstr(why.text, "abcd0"));
    assert_non_null(strstr(why.text, "(b)"));
}

static void cancel_revokes_and_later_results_are_not_wanted(void **state)
{
    struct table *t = *state;
    struct msg cancel = {.type = MSG_CANCEL, .cancel = {.request = 4, .job = "a"}}, m;

    submit(t, "a", 3);
    join(t, "w", 1);
    fresh(t);
    say(t, "client", &cancel);
    assert_int_equal(count_sent(t, "w", MSG_REVOKE), 1);
    assert_true(sent(t, "client", MSG_JOB, 0, &m));
    assert_string_equal(m.job.summary.state, "cancelled");
    assert_int_equal(m.job.summary.running, 0);
    msg_done(&m);
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "unknown");
    ready(t, "w", 1);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
}

static void status_counts_add_up(void **state)
{
    struct table *t = *state;
    struct msg status = {.type = MSG_STATUS, .status = {.request = 9, .job = "a"}}, m;

    submit(t, "a", 6);
    join(t, "w", 3);
    result(t, "w", 0, 1);
    failed(t, "w", 1, 1, "bad_input");
    fresh(t);
    say(t, "client", &status);
    assert_true(sent(t, "client", MSG_JOB, 0, &m));
    assert_int_equal(m.job.summary.pending, 3);
    assert_int_equal(m.job.summary.running, 1);
    assert_int_equal(m.job.summary.done, 1);
    assert_int_equal(m.job.summary.failed, 1);
    assert_int_equal(m.job.n_running, 1);
    assert_string_equal(m.job.running[0].worker, "w");
    assert_string_equal(m.job.summary.folder, "/srv/out/a");
    msg_done(&m);
}

static void jobs_are_listed_latest_first_and_in_pages(void **state)
{
    struct table *t = *state;
    struct msg list = {.type = MSG_LIST, .list = {.request = 9, .offset = 1, .limit = 1}}, m;

    submit(t, "a", 1);
    submit(t, "b", 2);
    submit(t, "c", 3);
    fresh(t);
    say(t, "client", &list);
    assert_true(sent(t, "client", MSG_JOBS, 0, &m));
    assert_int_equal(m.jobs.total, 3);
    assert_int_equal(m.jobs.n_jobs, 1);
    assert_string_equal(m.jobs.jobs[0].name, "b");
    msg_done(&m);
}

static void workers_are_shown_busy_idle_and_lost(void **state)
{
    struct table *t = *state;
    struct msg ask = {.type = MSG_WORKERS, .workers = {.request = 9}}, m;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 1);
    join(t, "w3", 1);
    lose(t, "w3");
    fresh(t);
    say(t, "client", &ask);
    assert_true(sent(t, "client", MSG_FLEET, 0, &m));
    assert_int_equal(m.fleet.n_workers, 3);
    assert_string_equal(m.fleet.workers[0].state, "busy");
    assert_int_equal(m.fleet.workers[0].n_running, 1);
    assert_string_equal(m.fleet.workers[1].state, "idle");
    assert_string_equal(m.fleet.workers[2].state, "lost");
    msg_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(the_same_job_submitted_twice_is_known),
        SENTENCE(jobs_of_one_name_get_folders_of_their_own),
        SENTENCE(a_hostile_bundle_is_refused_with_a_reason),
        SENTENCE(jobs_are_found_by_name_hash_or_prefix),
        SENTENCE(an_ambiguous_prefix_lists_the_candidates),
        SENTENCE(cancel_revokes_and_later_results_are_not_wanted),
        SENTENCE(status_counts_add_up),
        SENTENCE(jobs_are_listed_latest_first_and_in_pages),
        SENTENCE(workers_are_shown_busy_idle_and_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
