/* Each arrow of "Jobs' states" in proto/PROTOCOL.md: from, by, to. A line here is a line there. */
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
    struct buf axes = {0};

    buf_printf(&axes,
               "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':%d}}]", n);
    submit_job(t, bundle_job((struct spec){
                      .job = "a", .axes = buf_text(&axes), .conduct = conduct, .sheet = sheet}));
    buf_done(&axes);
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

static void by_submit(struct table *t)
{
    queued(t);
}

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

static void by_a_result_after_the_pause(struct table *t)
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

/* The store answers: the job as it was, with nothing of it done. */
static void reopened(struct table *t)
{
    struct job_entry *j = the_job(t);
    struct restored r = {.number = j->number,
                         .name = "a",
                         .folder = "a",
                         .state = "running",
                         .job = seeds_job("a", (int)j->tasks),
                         .tasks = j->tasks};
    size_t asked = count_of(t, OUT_REOPEN);

    memcpy(r.hash, j->hash, sizeof r.hash);
    assert_int_equal(asked, 1);
    on(t, &(struct event){.type = EVENT_RESTORED, .job = j->number, .restored = &r});
    settle(t);
}

static void by_retry(struct table *t)
{
    fresh(t);
    ask(t, MSG_RETRY);
    reopened(t);
    ready(t, "w", 1);
}

static void by_submit_again(struct table *t)
{
    fresh(t);
    submit_with(t, (int)the_job(t)->tasks,
                the_job(t)->tasks == 2 ? "{'deadline_seconds':60}" : NULL, NULL);
    reopened(t);
    ready(t, "w", 1);
}

static void by_remove(struct table *t)
{
    ask(t, MSG_REMOVE);
}

static const struct arrow {
    void (*from)(struct table *t);
    void (*by)(struct table *t);
    const char *before, *to;
} arrows[] = {
    {none, by_submit, "(none)", "queued"},
    {queued, by_a_lease, "queued", "running"},
    {queued, by_pause, "queued", "paused"},
    {running, by_pause, "running", "paused"},
    {waiting, by_pause, "waiting", "paused"},
    {paused, by_resume, "paused", "queued"},
    {begun_and_paused, by_resume, "paused", "running"},
    {queued, by_a_refusing_path, "queued", "waiting"},
    {running, by_a_refusing_path, "running", "waiting"},
    {waiting, by_a_working_disk, "waiting", "running"},
    {queued, by_cancel, "queued", "cancelled"},
    {running, by_cancel, "running", "cancelled"},
    {waiting, by_cancel, "waiting", "cancelled"},
    {paused, by_cancel, "paused", "cancelled"},
    {queued, by_the_deadline, "queued", "failed"},
    {running, by_the_deadline, "running", "failed"},
    {paused, by_the_deadline, "paused", "failed"},
    {waiting, by_the_deadline, "waiting", "failed"},
    {strict_and_paused, by_one_failure_too_many, "paused", "failed"},
    {both_out_and_paused, by_a_result_after_the_pause, "paused", "done"},
    {strict, by_one_failure_too_many, "running", "failed"},
    {last, by_the_last_picture, "running", "done"},
    {last, by_the_last_failure, "running", "failed"},
    {last_before_a_sheet, by_the_last_picture, "running", "finishing"},
    {finishing, by_the_sheet, "finishing", "done"},
    {finishing_with_a_failure, by_the_sheet, "finishing", "failed"},
    {over_done, by_submit_again, "done", "running"},
    {over_failed, by_submit_again, "failed", "running"},
    {over_cancelled, by_submit_again, "cancelled", "running"},
    {over_done, by_retry, "done", "running"},
    {over_failed, by_retry, "failed", "running"},
    {over_cancelled, by_retry, "cancelled", "running"},
    {over_done, by_remove, "done", "(none)"},
    {over_failed, by_remove, "failed", "(none)"},
    {over_cancelled, by_remove, "cancelled", "(none)"},
};

static void each_arrow_leads_where_the_protocol_says(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++) {
        const struct arrow *a = &arrows[i];
        void *one = NULL;
        char before[64], after[64];

        setup(&one);
        a->from(one);
        snprintf(before, sizeof before, "%s", state_of(one));
        a->by(one);
        snprintf(after, sizeof after, "%s", state_of(one));
        if (strcmp(before, a->before) != 0 || strcmp(after, a->to) != 0) {
            print_error("arrow %zu: %s (%s) leads to %s (%s)\n", i, before, a->before, after,
                        a->to);
            wrong++;
        }
        teardown(&one);
    }
    assert_int_equal(wrong, 0);
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
