/* The reactor, driven by events; its outbox is read. No socket, file or database anywhere. */
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

static void a_result_is_written_recorded_and_only_then_acknowledged(void **state)
{
    struct table *t = *state;
    size_t record = 0, ack = 0;

    submit(t, "a", 2);
    join(t, "w", 1);
    fresh(t);
    result(t, "w", 0, 1);
    for (size_t i = 0; i < t->o.n; i++) {
        if (t->o.items[i].type == OUT_STORE && t->o.items[i].row.op == STORE_RECORD)
            record = i + 1;
        if (t->o.items[i].type == OUT_SEND && t->o.items[i].message == MSG_ACK)
            ack = i + 1;
    }
    assert_int_equal(t->o.items[0].type, OUT_WRITE);
    assert_true(record > 1 && record < ack);
    assert_verdict(t, "w", "accepted");
    assert_int_equal(the_job(t)->done, 1);
}

static void the_second_result_of_a_task_is_a_duplicate(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w", 1);
    result(t, "w", 0, 1);
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "duplicate");
    assert_null(recorded(t, 0));
    assert_int_equal(t->c.count.duplicates, 1);
}

static void a_result_of_an_attempt_that_was_never_given_out_is_unknown(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w", 1);
    fresh(t);
    result(t, "w", 0, 2);
    assert_verdict(t, "w", "unknown");
    fresh(t);
    result(t, "w", 2, 1);
    assert_verdict(t, "w", "unknown");
    fresh(t);
    result(t, "w", 99, 1);
    assert_verdict(t, "w", "unknown");
    memset(t->job, 'f', 64);
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "unknown");
    assert_int_equal(t->c.count.unknown, 4);
}

static void a_lost_workers_lease_is_free_and_costs_no_try(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w1", 1);
    join(t, "w2", 0);
    t->now_ms += 10000;
    ready(t, "w2", 0);
    fresh(t);
    tick(t, 6000);
    assert_int_equal(logged(t, "worker_lost"), 1);
    assert_int_equal(coord_task(&t->c, the_job(t), 0)->tries, 0);
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
}

static void an_unreachable_worker_is_lost_at_once(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w1", 1);
    join(t, "w2", 1);
    fresh(t);
    on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named("w1")});
    ready_holding(t, "w2", 1, 1, 1);
    assert_leased(t, "w2", 0, 2);
}

static void the_result_of_a_lost_workers_attempt_still_counts(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named("w1")});
    join(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
    hello(t, "w1", "worker");
    fresh(t);
    result(t, "w1", 0, 1);
    assert_verdict(t, "w1", "accepted");
    assert_int_equal(count_sent(t, "w2", MSG_REVOKE), 1);
    fresh(t);
    result(t, "w2", 0, 2);
    assert_verdict(t, "w2", "duplicate");
}

static void a_worker_that_comes_back_keeps_what_it_holds(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named("w1")});
    hello(t, "w1", "worker");
    fresh(t);
    ready_holding(t, "w1", 1, 0, 1);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    assert_int_equal(the_job(t)->running, 1);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_verdict(t, "w1", "accepted");
}

static void a_lease_that_a_new_session_does_not_hold_is_free(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    hello(t, "w1", "worker");
    fresh(t);
    ready(t, "w1", 1);
    assert_leased(t, "w1", 0, 2);
}

static void a_ready_that_crossed_a_lease_does_not_free_it(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w1", 1);
    fresh(t);
    t->now_ms += 100;
    ready(t, "w1", 1);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    t->now_ms += 11000;
    ready(t, "w1", 1);
    assert_leased(t, "w1", 0, 2);
}

static void a_task_that_loses_three_workers_is_quarantined(void **state)
{
    struct table *t = *state;
    const char *const names[] = {"w1", "w2", "w3"};

    submit(t, "a", 1);
    for (int i = 0; i < 3; i++) {
        join(t, names[i], 1);
        assert_leased(t, names[i], 0, (uint32_t)i + 1);
        fresh(t);
        on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named(names[i])});
        settle(t);
    }
    assert_non_null(recorded(t, 0));
    assert_string_equal(recorded(t, 0)->code, "worker_lost");
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
}

static void only_the_task_at_work_is_blamed_for_a_lost_worker(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w1", 2);
    progress(t, "w1", 1, 1, 0);
    on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named("w1")});
    assert_int_equal(coord_task(&t->c, the_job(t), 0)->losses, 0);
    assert_int_equal(coord_task(&t->c, the_job(t), 1)->losses, 1);
}

static void a_worker_that_says_bye_is_not_blamed(void **state)
{
    struct table *t = *state;
    struct msg bye = {.type = MSG_BYE};

    submit(t, "a", 1);
    join(t, "w1", 1);
    say(t, "w1", &bye);
    assert_int_equal(coord_task(&t->c, the_job(t), 0)->losses, 0);
    assert_int_equal(t->c.n_workers, 0);
}

static void bad_input_fails_the_task_at_once(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w", 1);
    fresh(t);
    failed(t, "w", 0, 1, "bad_input");
    assert_string_equal(recorded(t, 0)->code, "bad_input");
    assert_string_equal(recorded(t, 0)->text, "it went wrong");
    assert_verdict(t, "w", "accepted");
}

static void a_retryable_failure_goes_to_another_worker_first(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    fresh(t);
    failed(t, "w1", 0, 1, "internal");
    ready(t, "w1", 1);
    tick(t, 5000);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 0);
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
}

static void a_retryable_failure_fails_the_task_at_the_third_try(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        assert_leased(t, "w", 0, attempt);
        fresh(t);
        failed(t, "w", 0, attempt, "bad_output");
        ready(t, "w", 1);
        tick(t, 5000);
    }
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
    assert_string_equal(the_job(t)->failures[0].code, "bad_output");
    assert_int_equal(the_job(t)->failures[0].attempts, 3);
}

static void a_ready_sent_before_the_ack_of_a_failure_revives_nothing(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    fresh(t);
    failed(t, "w1", 0, 1, "internal");
    ready_holding(t, "w1", 1, 0, 1);
    assert_int_equal(the_job(t)->running, 0);
    tick(t, 5000);
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
}

static void a_missing_model_fails_when_no_connected_worker_is_left_to_ask(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    fresh(t);
    failed(t, "w1", 0, 1, "asset_missing");
    assert_null(recorded(t, 0));
    ready(t, "w2", 1);
    assert_leased(t, "w2", 0, 2);
    failed(t, "w2", 0, 2, "asset_missing");
    assert_string_equal(recorded(t, 0)->code, "asset_missing");
}

static void a_task_too_large_for_all_but_a_lost_worker_fails(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 0);
    failed(t, "w1", 0, 1, "oom");
    on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named("w2")});
    fresh(t);
    tick(t, 1000);
    assert_string_equal(recorded(t, 0)->code, "oom");
}

static void a_lease_whose_steps_stop_is_revoked_and_given_elsewhere(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    join(t, "w2", 1);
    progress(t, "w1", 0, 1, 0);
    fresh(t);
    for (int i = 0; i < 6; i++) {
        ready_holding(t, "w1", 0, 0, 1);
        ready(t, "w2", 1);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 0);
    ready_holding(t, "w1", 0, 0, 1);
    ready(t, "w2", 1);
    tick(t, 1000);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
    assert_leased(t, "w2", 0, 2);
}

static void slow_steps_that_were_learned_are_waited_for(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w1", 1);
    for (uint32_t step = 0; step < 5; step++) { /* 14 s a step: 140 s without one is the limit */
        progress(t, "w1", 0, 1, step);
        t->now_ms += 14000;
    }
    fresh(t);
    for (int i = 0; i < 12; i++) {
        ready_holding(t, "w1", 0, 0, 1);
        tick(t, 10000);
    }
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 0);
    ready_holding(t, "w1", 0, 0, 1);
    tick(t, 10000);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
}

static void progress_of_a_revoked_attempt_is_answered_with_revoke(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w1", 1);
    result(t, "w1", 0, 1);
    fresh(t);
    progress(t, "w1", 0, 1, 3);
    assert_int_equal(count_sent(t, "w1", MSG_REVOKE), 1);
}

static void a_refusing_disk_makes_the_job_wait_and_loses_nothing(void **state)
{
    struct table *t = *state;
    struct msg status = {.type = MSG_STATUS, .status = {.request = 9, .job = "a"}}, m;

    submit(t, "a", 2);
    join(t, "w", 1);
    t->write_code = ERR_IO;
    fresh(t);
    result(t, "w", 0, 1);
    ready(t, "w", 1);
    assert_int_equal(count_sent(t, "w", MSG_ACK), 0);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    assert_int_equal(logged(t, "job_waits"), 1);
    say(t, "client", &status);
    assert_true(sent(t, "client", MSG_JOB, 0, &m));
    assert_string_equal(m.job.failures[0].text, "the disk's text");
    assert_string_equal(m.job.summary.state, "waiting");
    msg_done(&m);
    tick(t, 3000);
    assert_int_equal(logged(t, "job_waits"), 1);
    t->write_code = 0;
    ready(t, "w", 1);
    tick(t, 6000);
    assert_verdict(t, "w", "accepted");
    assert_non_null(recorded(t, 0));
    assert_null(the_job(t)->wait_reason);
    assert_int_equal(t->c.stuck_bytes, 0);
}

static void results_beyond_the_memory_for_stuck_ones_are_rendered_again(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    t->c.limits.stuck_bytes = 4; /* a result has 5 */
    join(t, "w", 1);
    t->write_code = ERR_IO;
    fresh(t);
    result(t, "w", 0, 1);
    assert_int_equal(count_sent(t, "w", MSG_REVOKE), 1);
    t->write_code = 0;
    ready(t, "w", 1);
    tick(t, 4000);
    assert_leased(t, "w", 0, 2);
}

static void a_strangers_file_fails_the_task_before_it_is_leased(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    t->probe = PROBE_FOREIGN;
    fresh(t);
    join(t, "w", 1);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    assert_string_equal(recorded(t, 0)->code, "bad_input");
    assert_int_equal(coord_worker(&t->c, &(struct peer){.size = 1, .id = "w"})->credits, 1);
}

static void a_strangers_file_that_appeared_meanwhile_fails_the_task(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    t->write_code = ERR_CONFLICT;
    fresh(t);
    result(t, "w", 0, 1);
    assert_string_equal(recorded(t, 0)->code, "bad_input");
    assert_int_equal(count_sent(t, "w", MSG_ACK), 1);
}

static void a_picture_found_in_the_folder_needs_no_lease(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    t->probe = PROBE_OURS;
    fresh(t);
    join(t, "w", 1);
    for (int i = 0; i < 3; i++)
        settle(t);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    assert_int_equal(recorded(t, 0)->attempt, 0);
    assert_int_equal(the_job(t)->done, 3);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
}

static void bytes_that_do_not_match_their_hash_count_as_a_failed_attempt(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    t->write_code = ERR_OUTPUT;
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "unknown");
    assert_int_equal(coord_task(&t->c, the_job(t), 0)->tries, 1);
    t->write_code = 0;
    ready(t, "w", 1);
    tick(t, 2000);
    assert_leased(t, "w", 0, 2);
}

static void a_job_ends_failed_when_one_task_did(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w", 2);
    result(t, "w", 0, 1);
    assert_int_equal(the_job(t)->phase, JOB_RUNNING);
    failed(t, "w", 1, 1, "bad_input");
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
    tick(t, 1000);
    assert_null(the_job(t)->job);
}

static void a_job_with_a_sheet_is_finishing_until_it_is_drawn(void **state)
{
    struct table *t = *state;
    struct event drawn = {.type = EVENT_DRAWN, .job = 1, .text = "/srv/out/a/sheet.png"};

    submit_job(t, bundle_job((struct spec){.job = "a",
                                           .axes = "[{'name':'seed','columns':['seed'],"
                                                   "'range':{'first':0,'step':1,'count':1}}]",
                                           .sheet = "{'x':'seed'}"}));
    join(t, "w", 1);
    fresh(t);
    result(t, "w", 0, 1);
    assert_int_equal(the_job(t)->phase, JOB_FINISHING);
    tick(t, 1000);
    assert_int_equal(the_job(t)->phase, JOB_FINISHING);
    on(t, &drawn);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    assert_string_equal(the_job(t)->sheet, "/srv/out/a/sheet.png");
}

static void a_sheet_that_cannot_be_drawn_only_warns(void **state)
{
    struct table *t = *state;
    struct event drawn = {.type = EVENT_DRAWN, .job = 1, .text = ""};

    submit_job(t, bundle_job((struct spec){.job = "a",
                                           .axes = "[{'name':'seed','columns':['seed'],"
                                                   "'range':{'first':0,'step':1,'count':1}}]",
                                           .sheet = "{'x':'seed'}"}));
    join(t, "w", 1);
    result(t, "w", 0, 1);
    err_set(&drawn.failure, ERR_INTERNAL, "no font");
    fresh(t);
    on(t, &drawn);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    assert_int_equal(logged(t, "no_sheet"), 1);
}

static void a_sheet_on_a_full_disk_waits_for_room(void **state)
{
    struct table *t = *state;
    struct event drawn = {.type = EVENT_DRAWN, .job = 1, .text = ""};

    submit_job(t, bundle_job((struct spec){.job = "a",
                                           .axes = "[{'name':'seed','columns':['seed'],"
                                                   "'range':{'first':0,'step':1,'count':1}}]",
                                           .sheet = "{'x':'seed'}"}));
    join(t, "w", 1);
    result(t, "w", 0, 1);
    err_set(&drawn.failure, ERR_IO, "a/sheet.png: No space left on device");
    fresh(t);
    on(t, &drawn);
    assert_int_equal(the_job(t)->phase, JOB_FINISHING);
    assert_string_equal(the_job(t)->wait_reason, "a/sheet.png: No space left on device");
    assert_int_equal(logged(t, "job_waits"), 1);

    tick(t, 60000);
    assert_int_equal(count_of(t, OUT_SHEET), 1);
    tick(t, 60000); /* it is being drawn */
    assert_int_equal(count_of(t, OUT_SHEET), 1);
    drawn = (struct event){.type = EVENT_DRAWN, .job = 1, .text = "/srv/out/a/sheet.png"};
    on(t, &drawn);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    assert_null(the_job(t)->wait_reason);
}

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
    on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named("w3")});
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
    struct restored r = {.number = 1,
                         .name = "a",
                         .folder = "a",
                         .state = "running",
                         .job = seeds_job("a", 3),
                         .tasks = 3,
                         .attempts = attempts,
                         .n_attempts = 2};

    memcpy(t->job, job_hash(r.job), sizeof t->job);
    MUST(reactor_restore(&t->c, &r, t->now_ms, e));
    hello(t, "w1", "worker");
    ready_holding(t, "w1", 2, 0, 4);
    /* Task 0 is claimed, 1 may still be: the worker gets 2. */
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 1);
    assert_leased(t, "w1", 2, 1);
    fresh(t);
    tick(t, 7000);
    assert_leased(t, "w1", 1, 3);
    fresh(t);
    result(t, "w1", 0, 4);
    assert_verdict(t, "w1", "accepted");
}

static void a_restored_job_with_nothing_left_ends_at_the_first_tick(void **state)
{
    struct table *t = *state;
    struct restored r = {.number = 1,
                         .name = "a",
                         .folder = "a",
                         .state = "running",
                         .job = seeds_job("a", 2),
                         .tasks = 2,
                         .done = 2};

    memcpy(t->job, job_hash(r.job), sizeof t->job);
    bits_raise(&r.settled, 2);
    MUST(reactor_restore(&t->c, &r, t->now_ms, e));
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
        SENTENCE(a_result_is_written_recorded_and_only_then_acknowledged),
        SENTENCE(the_second_result_of_a_task_is_a_duplicate),
        SENTENCE(a_result_of_an_attempt_that_was_never_given_out_is_unknown),
        SENTENCE(a_lost_workers_lease_is_free_and_costs_no_try),
        SENTENCE(an_unreachable_worker_is_lost_at_once),
        SENTENCE(the_result_of_a_lost_workers_attempt_still_counts),
        SENTENCE(a_worker_that_comes_back_keeps_what_it_holds),
        SENTENCE(a_lease_that_a_new_session_does_not_hold_is_free),
        SENTENCE(a_ready_that_crossed_a_lease_does_not_free_it),
        SENTENCE(a_task_that_loses_three_workers_is_quarantined),
        SENTENCE(only_the_task_at_work_is_blamed_for_a_lost_worker),
        SENTENCE(a_worker_that_says_bye_is_not_blamed),
        SENTENCE(bad_input_fails_the_task_at_once),
        SENTENCE(a_retryable_failure_goes_to_another_worker_first),
        SENTENCE(a_retryable_failure_fails_the_task_at_the_third_try),
        SENTENCE(a_ready_sent_before_the_ack_of_a_failure_revives_nothing),
        SENTENCE(a_missing_model_fails_when_no_connected_worker_is_left_to_ask),
        SENTENCE(a_task_too_large_for_all_but_a_lost_worker_fails),
        SENTENCE(a_lease_whose_steps_stop_is_revoked_and_given_elsewhere),
        SENTENCE(slow_steps_that_were_learned_are_waited_for),
        SENTENCE(progress_of_a_revoked_attempt_is_answered_with_revoke),
        SENTENCE(a_refusing_disk_makes_the_job_wait_and_loses_nothing),
        SENTENCE(results_beyond_the_memory_for_stuck_ones_are_rendered_again),
        SENTENCE(a_strangers_file_fails_the_task_before_it_is_leased),
        SENTENCE(a_strangers_file_that_appeared_meanwhile_fails_the_task),
        SENTENCE(a_picture_found_in_the_folder_needs_no_lease),
        SENTENCE(bytes_that_do_not_match_their_hash_count_as_a_failed_attempt),
        SENTENCE(a_job_ends_failed_when_one_task_did),
        SENTENCE(a_job_with_a_sheet_is_finishing_until_it_is_drawn),
        SENTENCE(a_sheet_that_cannot_be_drawn_only_warns),
        SENTENCE(a_sheet_on_a_full_disk_waits_for_room),
        SENTENCE(the_same_job_submitted_twice_is_known),
        SENTENCE(jobs_of_one_name_get_folders_of_their_own),
        SENTENCE(a_hostile_bundle_is_refused_with_a_reason),
        SENTENCE(jobs_are_found_by_name_hash_or_prefix),
        SENTENCE(an_ambiguous_prefix_lists_the_candidates),
        SENTENCE(cancel_revokes_and_later_results_are_not_wanted),
        SENTENCE(status_counts_add_up),
        SENTENCE(jobs_are_listed_latest_first_and_in_pages),
        SENTENCE(workers_are_shown_busy_idle_and_lost),
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
