/* Pictures on their way to the folder: a refusing disk, files that lie there already, the sheet. */
#include "tests/coordinator/table.h"

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

static void a_worker_cannot_take_or_spoil_what_another_has(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    join(t, "liar", 0);
    t->write_code = ERR_OUTPUT;
    fresh(t);
    result(t, "liar", 0, 1);
    assert_verdict(t, "liar", "unknown");
    hello(t, "thief", "worker");
    fresh(t);
    ready_holding(t, "thief", 0, 0, 1);
    assert_int_equal(count_sent(t, "thief", MSG_REVOKE), 1);
    progress(t, "w", 0, 1, 1);
    assert_int_equal(count_sent(t, "w", MSG_REVOKE), 0);
    assert_int_equal(the_task(t, 0)->tries, 0);
    t->write_code = 0;
    fresh(t);
    result(t, "w", 0, 1);
    assert_verdict(t, "w", "accepted");
}

static void broken_results_of_attempts_that_are_over_cost_no_try(void **state)
{
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    lose(t, "w");
    join(t, "w", 0);
    t->write_code = ERR_OUTPUT;
    for (int i = 0; i < 5; i++) {
        fresh(t);
        result(t, "w", 0, 1);
        assert_verdict(t, "w", "unknown");
    }
    assert_int_equal(the_task(t, 0)->tries, 0);
    t->write_code = 0;
    ready(t, "w", 1);
    assert_leased(t, "w", 0, 2);
}

static void times_that_cannot_be_are_brought_within_bounds(void **state)
{
    static const double said[] = {-1e308, 1e308, 0.19889885100000002};
    static const double kept[] = {0, 1e9, 0.199};
    struct table *t = *state;

    submit(t, "a", 3);
    join(t, "w", 3);
    for (uint32_t i = 0; i < 3; i++) {
        struct msg m = {.type = MSG_RESULT,
                        .result = {.ref = {.index = i, .attempt = 1},
                                   .png = "bytes",
                                   .png_size = 5,
                                   .device_class = "cpu",
                                   .precision = "f32",
                                   .load_seconds = said[i],
                                   .render_seconds = said[i]}};

        memcpy(m.result.ref.job, the_job(t)->hash, HASH_HEX_SIZE);
        say(t, "w", &m);
        assert_true(recorded(t, i)->load_seconds == kept[i]);
        assert_true(recorded(t, i)->render_seconds == kept[i]);
    }
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

static void a_picture_made_from_other_files_is_rendered_again(void **state)
{
    struct table *t = *state;

    submit(t, "a", 3);
    t->probe = PROBE_STALE;
    fresh(t);
    join(t, "w", 1);
    assert_leased(t, "w", 0, 1);
    assert_null(recorded(t, 0));
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

static void submit_with_sheet(struct table *t)
{
    submit_job(t, seeds_job_with(1, (struct spec){.job = "a", .sheet = "{'x':'seed'}"}));
}

static void a_job_with_a_sheet_is_finishing_until_it_is_drawn(void **state)
{
    struct table *t = *state;
    struct event drawn = {.type = EVENT_DRAWN, .job = 1, .text = "/srv/out/a/sheet.png"};

    submit_with_sheet(t);
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

    submit_with_sheet(t);
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

    submit_with_sheet(t);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_refusing_disk_makes_the_job_wait_and_loses_nothing),
        SENTENCE(a_worker_cannot_take_or_spoil_what_another_has),
        SENTENCE(broken_results_of_attempts_that_are_over_cost_no_try),
        SENTENCE(times_that_cannot_be_are_brought_within_bounds),
        SENTENCE(results_beyond_the_memory_for_stuck_ones_are_rendered_again),
        SENTENCE(a_strangers_file_fails_the_task_before_it_is_leased),
        SENTENCE(a_strangers_file_that_appeared_meanwhile_fails_the_task),
        SENTENCE(a_picture_found_in_the_folder_needs_no_lease),
        SENTENCE(a_picture_made_from_other_files_is_rendered_again),
        SENTENCE(a_job_ends_failed_when_one_task_did),
        SENTENCE(a_job_with_a_sheet_is_finishing_until_it_is_drawn),
        SENTENCE(a_sheet_that_cannot_be_drawn_only_warns),
        SENTENCE(a_sheet_on_a_full_disk_waits_for_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
