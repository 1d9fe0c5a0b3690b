/* Each arrow of "Jobs' states" in proto/PROTOCOL.md: from, by, to. A line here is a line there. */
#include "tests/arrows.h"
#include "tests/coordinator/table.h"

static void ask(struct table *t, enum msg_type type)
{
    struct msg m = {.type = type, .cancel = {.request = 3, .job = "a"}};

    if (type == MSG_RETRY)
        m.retry = (struct msg_retry){.request = 3, .job = "a"};
    say(t, "client", &m);
}

static const char *state_of(struct table *t)
{
    static char state[64];
    struct msg m;

    fresh(t);
    hello(t, "client", "client");
    ask(t, MSG_STATUS);
    if (!sent(t, "client", MSG_JOB, 0, &m))
        return "(none)";
    snprintf(state, sizeof state, "%s", m.job.summary.state);
    msg_done(&m);
    return state;
}

static void submit_with(struct table *t, int n, const char *conduct, const char *sheet)
{
    submit_job(t, seeds_job_with(n, (struct spec){.job = "a", .conduct = conduct, .sheet = sheet}));
}

/* ---- how a job comes to a state */

static void none(struct table *t)
{
    (void)t;
}

static void queued(struct table *t)
{
    submit_with(t, 2, "{'deadline_seconds':60}", NULL);
}

static void running(struct table *t)
{
    queued(t);
    join(t, "w", 1);
}

static void waiting(struct table *t)
{
    running(t);
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
}

static void paused(struct table *t)
{
    queued(t);
    ask(t, MSG_PAUSE);
}

static void begun_and_paused(struct table *t)
{
    running(t);
    ask(t, MSG_PAUSE);
}

static void strict(struct table *t)
{
    submit_with(t, 100, "{'max_failed':'1%'}", NULL);
    join(t, "w", 2);
    failed(t, "w", 0, 1, "bad_input");
}

static void strict_and_paused(struct table *t)
{
    strict(t);
    ask(t, MSG_PAUSE);
}

static void strict_and_waiting(struct table *t)
{
    submit_with(t, 100, "{'max_failed':'1%'}", NULL);
    join(t, "w", 3);
    failed(t, "w", 0, 1, "bad_input");
    t->write_code = ERR_IO;
    result(t, "w", 2, 1);
}

static void both_out_and_paused(struct table *t)
{
    queued(t);
    join(t, "w", 2);
    ask(t, MSG_PAUSE);
}

static void last(struct table *t)
{
    submit_with(t, 1, NULL, NULL);
    join(t, "w", 1);
}

static void last_waiting_for_the_disk(struct table *t)
{
    last(t);
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
}

static void last_and_paused(struct table *t)
{
    last(t);
    ask(t, MSG_PAUSE);
}

static void last_before_a_sheet(struct table *t)
{
    submit_with(t, 1, NULL, "{'x':'seed'}");
    join(t, "w", 1);
}

static void finishing(struct table *t)
{
    last_before_a_sheet(t);
    result(t, "w", 0, 1);
}

static void finishing_with_a_failure(struct table *t)
{
    submit_with(t, 2, NULL, "{'x':'seed'}");
    join(t, "w", 2);
    failed(t, "w", 0, 1, "bad_input");
    result(t, "w", 1, 1);
}

static void over_done(struct table *t)
{
    last(t);
    result(t, "w", 0, 1);
}

static void over_failed(struct table *t)
{
    last(t);
    failed(t, "w", 0, 1, "bad_input");
}

static void over_cancelled(struct table *t)
{
    running(t);
    ask(t, MSG_CANCEL);
}

/* ---- what moves it */

static void by_a_lease(struct table *t)
{
    join(t, "w", 1);
}

static void by_pause(struct table *t)
{
    ask(t, MSG_PAUSE);
}

static void by_resume(struct table *t)
{
    ask(t, MSG_RESUME);
}

static void by_a_refusing_path(struct table *t)
{
    t->probe = PROBE_BLOCKED;
    join(t, "w2", 1);
}

static void by_a_refusing_disk(struct table *t)
{
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
}

static void by_a_working_disk(struct table *t)
{
    t->write_code = 0;
    for (int i = 0; i < 8; i++) {
        ready(t, "w", 1);
        tick(t, 1000);
    }
}

static void by_cancel(struct table *t)
{
    ask(t, MSG_CANCEL);
}

static void by_the_deadline(struct table *t)
{
    tick(t, 61000);
}

static void by_the_last_picture(struct table *t)
{
    result(t, "w", 0, 1);
}

static void by_the_last_failure(struct table *t)
{
    failed(t, "w", 0, 1, "bad_input");
}

static void by_both_results(struct table *t)
{
    result(t, "w", 0, 1);
    result(t, "w", 1, 1);
}

static void by_one_failure_too_many(struct table *t)
{
    failed(t, "w", 1, 1, "bad_input");
}

static void by_the_sheet(struct table *t)
{
    on(t, &(struct event){.type = EVENT_DRAWN, .job = 1, .text = "/srv/out/a/sheet.png"});
}

/* What it has is looked at; the store's answer is due. */
static void by_retry(struct table *t)
{
    fresh(t);
    ask(t, MSG_RETRY);
}

static void by_submit_again(struct table *t)
{
    struct msg m = {.type = MSG_SUBMIT, .submit = {.request = 8}};

    m.submit.bundle = job_bundle(the_job(t)->job, &m.submit.bundle_size);
    fresh(t);
    say(t, "client", &m);
}

static void done_and_looked_at(struct table *t)
{
    over_done(t);
    by_retry(t);
}

static void failed_and_looked_at(struct table *t)
{
    over_failed(t);
    by_submit_again(t);
}

static void cancelled_and_looked_at(struct table *t)
{
    over_cancelled(t);
    by_retry(t);
}

static void done_and_submitted_again(struct table *t)
{
    over_done(t);
    by_submit_again(t);
}

/* The store answers: the job as it was, with so many of its tasks done. */
static void looked_at(struct table *t, uint64_t done)
{
    struct job_entry *j = the_job(t);
    struct restored r = {.number = j->number,
                         .name = "a",
                         .folder = "a",
                         .state = "running",
                         .job = seeds_job("a", (int)j->tasks),
                         .tasks = j->tasks,
                         .done = done};

    memcpy(r.hash, j->hash, sizeof r.hash);
    bits_raise(&r.settled, done);
    on(t, &(struct event){.type = EVENT_RESTORED, .job = j->number, .restored = &r});
    bits_done(&r.settled);
    job_free(r.job);
    settle(t);
}

static void by_something_missing(struct table *t)
{
    looked_at(t, 0);
    ready(t, "w", 1);
}

static void by_nothing_missing(struct table *t)
{
    looked_at(t, the_job(t)->tasks);
}

static void by_remove(struct table *t)
{
    ask(t, MSG_REMOVE);
}

/* by: as the protocol has it. */
static const struct arrow {
    void (*start)(struct table *t);
    void (*move)(struct table *t);
    const char *from, *by, *to;
} arrows[] = {
    {none, queued, "(none)", "submit", "queued"},
    {queued, by_a_lease, "queued", "a lease", "running"},
    {queued, by_pause, "queued", "pause", "paused"},
    {running, by_pause, "running", "pause", "paused"},
    {waiting, by_pause, "waiting", "pause", "paused"},
    {paused, by_resume, "paused", "resume", "queued"},
    {begun_and_paused, by_resume, "paused", "resume", "running"},
    {queued, by_a_refusing_path, "queued", "a disk that refuses", "waiting"},
    {running, by_a_refusing_path, "running", "a disk that refuses", "waiting"},
    {running, by_a_refusing_disk, "running", "a disk that refuses", "waiting"},
    {waiting, by_a_working_disk, "waiting", "the disk takes writes again", "running"},
    {queued, by_cancel, "queued", "cancel", "cancelled"},
    {running, by_cancel, "running", "cancel", "cancelled"},
    {waiting, by_cancel, "waiting", "cancel", "cancelled"},
    {paused, by_cancel, "paused", "cancel", "cancelled"},
    {finishing, by_cancel, "finishing", "cancel", "cancelled"},
    {queued, by_the_deadline, "queued", "`deadline` is past", "failed"},
    {running, by_the_deadline, "running", "`deadline` is past", "failed"},
    {paused, by_the_deadline, "paused", "`deadline` is past", "failed"},
    {waiting, by_the_deadline, "waiting", "`deadline` is past", "failed"},
    {strict, by_one_failure_too_many, "running", "more failures than `max_failed`", "failed"},
    {strict_and_paused, by_one_failure_too_many, "paused", "more failures than `max_failed`",
     "failed"},
    {strict_and_waiting, by_one_failure_too_many, "waiting", "more failures than `max_failed`",
     "failed"},
    {last, by_the_last_picture, "running", "the last task is settled", "done"},
    {last, by_the_last_failure, "running", "the last task is settled", "failed"},
    {last_and_paused, by_the_last_failure, "paused", "the last task is settled", "failed"},
    {last_waiting_for_the_disk, by_a_working_disk, "waiting", "the last task is settled", "done"},
    {last_before_a_sheet, by_the_last_picture, "running", "the last task is settled", "finishing"},
    {both_out_and_paused, by_both_results, "paused", "the last task is settled", "done"},
    {finishing, by_the_sheet, "finishing", "the sheet is drawn", "done"},
    {finishing_with_a_failure, by_the_sheet, "finishing", "the sheet is drawn", "failed"},
    {over_done, by_submit_again, "done", "submit", "waiting"},
    {over_failed, by_submit_again, "failed", "submit", "waiting"},
    {over_cancelled, by_submit_again, "cancelled", "submit", "waiting"},
    {over_done, by_retry, "done", "retry", "waiting"},
    {over_failed, by_retry, "failed", "retry", "waiting"},
    {over_cancelled, by_retry, "cancelled", "retry", "waiting"},
    {done_and_looked_at, by_something_missing, "waiting", "something is missing", "running"},
    {failed_and_looked_at, by_something_missing, "waiting", "something is missing", "running"},
    {cancelled_and_looked_at, by_something_missing, "waiting", "something is missing", "running"},
    {done_and_looked_at, by_nothing_missing, "waiting", "nothing is missing", "done"},
    {done_and_submitted_again, by_nothing_missing, "waiting", "nothing is missing", "done"},
    {over_done, by_remove, "done", "remove", "(none)"},
    {over_failed, by_remove, "failed", "remove", "(none)"},
    {over_cancelled, by_remove, "cancelled", "remove", "(none)"},
};

static const char *const states[] = {"(none)",    "queued", "running", "paused",   "waiting",
                                     "finishing", "done",   "failed",  "cancelled"};

static void each_arrow_leads_where_the_protocol_says(void **state)
{
    struct rules rules;
    size_t wrong = 0;

    (void)state;
    rules_read(&rules, "**Jobs' states**", states, sizeof states / sizeof *states);
    for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++) {
        const struct arrow *a = &arrows[i];
        void *one = NULL;
        char before[64], after[64];

        setup(&one);
        a->start(one);
        snprintf(before, sizeof before, "%s", state_of(one));
        a->move(one);
        snprintf(after, sizeof after, "%s", state_of(one));
        if (strcmp(before, a->from) != 0 || strcmp(after, a->to) != 0) {
            print_error("arrow %zu: %s (%s) leads by '%s' to %s (%s)\n", i, before, a->from, a->by,
                        after, a->to);
            wrong++;
        }
        wrong += !rules_take(&rules, a->from, a->by, a->to);
        teardown(&one);
    }
    assert_int_equal(wrong + rules_left(&rules), 0);
}

/* What leads nowhere is answered by an error, and the state stays. */
static const struct refusal {
    void (*from)(struct table *t);
    enum msg_type by;
    const char *stays;
} refusals[] = {
    {over_done, MSG_PAUSE, "done"},           {over_failed, MSG_PAUSE, "failed"},
    {over_cancelled, MSG_PAUSE, "cancelled"}, {over_done, MSG_RESUME, "done"},
    {over_failed, MSG_RESUME, "failed"},      {over_cancelled, MSG_RESUME, "cancelled"},
    {queued, MSG_REMOVE, "queued"},           {running, MSG_REMOVE, "running"},
    {paused, MSG_REMOVE, "paused"},           {waiting, MSG_REMOVE, "waiting"},
    {finishing, MSG_REMOVE, "finishing"},
};

static void what_leads_nowhere_is_refused_as_a_conflict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *a = &refusals[i];
        void *one = NULL;

        setup(&one);
        a->from(one);
        hello(one, "client", "client");
        fresh(one);
        ask(one, a->by);
        assert_refused(one, "client", "conflict");
        assert_string_equal(state_of(one), a->stays);
        teardown(&one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_arrow_leads_where_the_protocol_says),
        cmocka_unit_test(what_leads_nowhere_is_refused_as_a_conflict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
