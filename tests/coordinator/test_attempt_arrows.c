/*
 * Each arrow of "An attempt's states" in proto/PROTOCOL.md: where attempt 1 of task 0 stands, what
 * comes, where it stands then, and what its worker hears. Each row there has a line here.
 */
#include "tests/arrows.h"
#include "tests/coordinator/table.h"

/* ---- where it stands */

static void with_a_job(struct table *t)
{
    submit(t, "a", 3);
    hello(t, "w", "worker");
}

static void given(struct table *t)
{
    with_a_job(t);
    ready(t, "w", 1);
}

static void begun(struct table *t)
{
    given(t);
    progress(t, "w", 0, 1, 0);
}

static void writing(struct table *t)
{
    begun(t);
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
}

static struct job *pairs(void)
{
    return bundle_job((struct spec){
        .job = "a",
        .axes = "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':3}}]",
        .conduct = "{'gang':{'guidance':2,'tensor':1}}"});
}

static void meets(struct table *t, const char *name)
{
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = PROTOCOL_VERSION,
                              .protocol_min = PROTOCOL_VERSION_MIN,
                              .role = "worker",
                              .software = "test",
                              .name = name,
                              .device = "a device",
                              .device_class = "cpu",
                              .host = "here"}};

    say(t, name, &m);
    m = (struct msg){.type = MSG_READY, .ready = {.credits = 1, .meeting = name}};
    say(t, name, &m);
}

static void given_to_a_gang(struct table *t)
{
    submit_job(t, pairs());
    meets(t, "w");
    meets(t, "w2");
}

static void begun_by_a_gang(struct table *t)
{
    given_to_a_gang(t);
    progress(t, "w", 0, 1, 0);
}

/* What the store has of attempt 1 is read by another coordinator. */
static void restart(struct table *t)
{
    struct restored_attempt held = {.index = 0, .attempts = 1, .given = true};
    struct restored r = {.number = 1,
                         .name = "a",
                         .folder = "a",
                         .state = "running",
                         .job = seeds_job("a", 3),
                         .tasks = 3,
                         .attempts = &held,
                         .n_attempts = 1};

    coord_done(&t->c);
    MUST(coord_init(&t->c, &(struct coord_limits){0}, "/srv/out", e));
    memcpy(t->job, job_hash(r.job), sizeof t->job);
    MUST(reactor_restore(&t->c, &r, t->now_ms, e));
    fresh(t);
}

static void unclaimed(struct table *t)
{
    restart(t);
}

static void unclaimed_of_a_worker_that_is_back(struct table *t)
{
    restart(t);
    hello(t, "w", "worker");
}

static void silent(struct table *t)
{
    begun(t);
    tick(t, 16000);
}

static void silent_and_back(struct table *t)
{
    silent(t);
    hello(t, "w", "worker");
}

static void stalled(struct table *t)
{
    begun(t);
    for (int i = 0; i < 7; i++) {
        tick(t, 10000);
        say(t, "w", &(struct msg){.type = MSG_PING});
    }
}

static void settled(struct table *t)
{
    begun(t);
    result(t, "w", 0, 1);
}

static void cancel(struct table *t)
{
    say(t, "client", &(struct msg){.type = MSG_CANCEL, .cancel = {.request = 5, .job = "a"}});
}

static void cancelled(struct table *t)
{
    begun(t);
    cancel(t);
}

/* Attempt 1 was given up, 2 is another worker's. */
static void two_at_work(struct table *t)
{
    silent(t);
    join(t, "w2", 1);
    hello(t, "w", "worker");
    ready_holding(t, "w", 0, 0, 1);
}

static void two_at_work_and_it_began(struct table *t)
{
    two_at_work(t);
    progress(t, "w", 0, 1, 1);
}

/* ---- what comes */

static void room(struct table *t)
{
    ready(t, "w", 1);
}

static void fetching(struct table *t)
{
    struct msg m = {.type = MSG_FETCHING, .fetching = {.fetched = 1, .total = 2}};

    m.fetching.ref = ref(t, 0, 1);
    say(t, "w", &m);
}

static void a_step(struct table *t)
{
    progress(t, "w", 0, 1, 3);
}

static void its_result(struct table *t)
{
    result(t, "w", 0, 1);
}

/* So that the state between is seen: the disk has not answered yet. */
static void result_on_its_way(struct table *t)
{
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
}

static void the_disk_refuses_again(struct table *t)
{
    tick(t, 10000);
}

static void the_disk_refuses_and_is_full_of_waiting_ones(struct table *t)
{
    t->c.limits.stuck_bytes = 1;
    tick(t, 10000);
}

static void durable(struct table *t)
{
    t->write_code = 0;
    tick(t, 10000);
}

static void other_bytes(struct table *t)
{
    t->write_code = ERR_OUTPUT;
    tick(t, 10000);
}

static void path_taken(struct table *t)
{
    t->write_code = ERR_CONFLICT;
    tick(t, 10000);
}

static void failure(struct table *t)
{
    failed(t, "w", 0, 1, "bad_input");
}

static void helped(struct table *t)
{
    struct msg m = {.type = MSG_HELPED};

    m.helped.ref = ref(t, 0, 1);
    say(t, "w", &m);
}

static void bye(struct table *t)
{
    say(t, "w", &(struct msg){.type = MSG_BYE});
}

static void silence(struct table *t)
{
    tick(t, 16000);
}

static void ready_without_it(struct table *t)
{
    t->now_ms += 11000;
    ready(t, "w", 0);
}

static void nothing_for_long(struct table *t)
{
    for (int i = 0; i < 62; i++) {
        tick(t, 10000);
        say(t, "w", &(struct msg){.type = MSG_PING});
    }
}

static void the_other_one_fails(struct table *t)
{
    failed(t, "w2", 0, 2, "io");
}

static void the_other_picture(struct table *t)
{
    result(t, "w2", 0, 2);
}

static void holding(struct table *t)
{
    ready_holding(t, "w", 0, 0, 1);
}

static void back_holding(struct table *t)
{
    hello(t, "w", "worker");
    holding(t);
}

static void the_grace_is_over(struct table *t)
{
    tick(t, 7000);
}

static void cancel_and_the_next_try(struct table *t)
{
    cancel(t);
    tick(t, 10000);
}

/* ---- where it stands, as the coordinator has it */

static const char *state_of(struct table *t)
{
    struct job_entry *j = t->job[0] ? the_job(t) : NULL;
    const struct task_entry *e = j ? coord_task(&t->c, j, 0) : NULL;

    if (!j || (!e && !bits_has(&j->settled, 0) && j->phase == JOB_RUNNING))
        return "(none)";
    for (size_t i = 0; e && i < e->n_runs; i++)
        if (e->runs[i].attempt == 1)
            return e->runs[i].session == 0 ? "unclaimed" : e->runs[i].started ? "begun" : "given";
    return e && e->phase == TASK_WRITING ? "writing" : "over";
}

/* "revoke, ack accepted": what of what it heard is about attempt 1 of task 0; a lease of it too. */
static void heard(const struct table *t, char *ret_text, size_t size)
{
    struct peer peer = peer_named("w");
    size_t at = 0;

    ret_text[0] = 0;
    for (size_t i = 0; i < t->o.n; i++) {
        const struct out *out = &t->o.items[i];
        const char *comma = at ? ", " : "";
        struct msg m;

        if (out->type != OUT_SEND || !peer_equal(&out->peer, &peer))
            continue;
        MUST(msg_decode(out->frame.data, out->frame.size, &m, e));
        if (m.type == MSG_LEASE && m.lease.ref.index == 0 && m.lease.ref.attempt == 1)
            at += (size_t)snprintf(ret_text + at, size - at, "%slease", comma);
        if (m.type == MSG_REVOKE && m.revoke.ref.index == 0 && m.revoke.ref.attempt == 1)
            at += (size_t)snprintf(ret_text + at, size - at, "%srevoke", comma);
        if (m.type == MSG_ACK && m.ack.ref.index == 0 && m.ack.ref.attempt == 1)
            at += (size_t)snprintf(ret_text + at, size - at, "%sack %s", comma, m.ack.verdict);
        msg_done(&m);
    }
}

#define REFUSES  "the disk refuses"
#define DURABLE  "file, folders and row are durable"
#define TOO_FULL "the disk refuses, and as much waits already as may (256 MiB)"
#define NOT_HELD "a ready that does not hold it"
#define QUIET    "nothing for too long: its steps stop, or its model does not load"
#define GANG     "another of its gang ends"
#define GIVEN_UP "its job is cancelled, or given up"
#define OTHER    "another attempt's picture"
#define HOLDS    "a ready that holds it"
#define GRACE    "the grace is over (6 s)"
#define REVOKED  "a ready that holds it, and it was revoked"
#define NEW      "a ready that holds it, the first of a new session"
#define OPEN     "its result, while the task is open"

/* by: as the protocol has it. */
static const struct arrow {
    void (*start)(struct table *t);
    void (*move)(struct table *t);
    const char *from, *by, *to, *hears;
} arrows[] = {
    {with_a_job, room, "(none)", "room at a worker, its row durable", "given", "lease"},
    {given, fetching, "given", "fetching", "given", ""},
    {given, a_step, "given", "progress", "begun", ""},
    {begun, a_step, "begun", "progress", "begun", ""},
    {given, result_on_its_way, "given", "result", "writing", ""},
    {begun, result_on_its_way, "begun", "result", "writing", ""},
    {writing, the_disk_refuses_again, "writing", REFUSES, "writing", ""},
    {writing, the_disk_refuses_and_is_full_of_waiting_ones, "writing", TOO_FULL, "over", "revoke"},
    {writing, durable, "writing", DURABLE, "over", "ack accepted"},
    {writing, other_bytes, "writing", "the bytes are not those of its hash", "over", "ack unknown"},
    {writing, path_taken, "writing", "another's file has its path", "over", "ack unknown"},
    {writing, its_result, "writing", "its result again", "writing", ""},
    {given, failure, "given", "failed", "over", "ack accepted"},
    {begun, failure, "begun", "failed", "over", "ack accepted"},
    {given, helped, "given", "helped", "over", "ack accepted"},
    {begun, helped, "begun", "helped", "over", "ack accepted"},
    {given, bye, "given", "bye", "over", ""},
    {begun, bye, "begun", "bye", "over", ""},
    {given, silence, "given", "silence", "over", ""},
    {begun, silence, "begun", "silence", "over", ""},
    {given, ready_without_it, "given", NOT_HELD, "over", ""},
    {begun, ready_without_it, "begun", NOT_HELD, "over", ""},
    {given, nothing_for_long, "given", QUIET, "over", "revoke"},
    {begun, nothing_for_long, "begun", QUIET, "over", "revoke"},
    {given_to_a_gang, the_other_one_fails, "given", GANG, "over", "revoke"},
    {begun_by_a_gang, the_other_one_fails, "begun", GANG, "over", "revoke"},
    {given, cancel, "given", GIVEN_UP, "over", "revoke"},
    {begun, cancel, "begun", GIVEN_UP, "over", "revoke"},
    {writing, cancel_and_the_next_try, "writing", GIVEN_UP, "over", "ack unknown"},
    {two_at_work, the_other_picture, "given", OTHER, "over", "revoke"},
    {two_at_work_and_it_began, the_other_picture, "begun", OTHER, "over", "revoke"},
    {given, restart, "given", "the coordinator restarts", "unclaimed", ""},
    {begun, restart, "begun", "the coordinator restarts", "unclaimed", ""},
    {unclaimed, back_holding, "unclaimed", HOLDS, "given", ""},
    {unclaimed_of_a_worker_that_is_back, result_on_its_way, "unclaimed", "its result", "writing",
     ""},
    {unclaimed, the_grace_is_over, "unclaimed", GRACE, "over", ""},
    {stalled, result_on_its_way, "over", OPEN, "writing", ""},
    {silent_and_back, result_on_its_way, "over", OPEN, "writing", ""},
    {settled, its_result, "over", "its result, later", "over", "ack duplicate"},
    {cancelled, its_result, "over", "its result, later", "over", "ack unknown"},
    {settled, a_step, "over", "its progress", "over", "revoke"},
    {stalled, a_step, "over", "its progress", "over", "revoke"},
    {stalled, holding, "over", REVOKED, "over", "revoke"},
    {silent, back_holding, "over", NEW, "given", ""},
};

static const char *const states[] = {"(none)", "given", "begun", "writing", "over", "unclaimed"};

static bool as_the_protocol_says(struct rules *rules, const struct arrow *a)
{
    char before[64], after[64], hears[200];
    void *one = NULL;
    bool right;

    setup(&one);
    a->start(one);
    snprintf(before, sizeof before, "%s", state_of(one));
    fresh(one);
    a->move(one);
    snprintf(after, sizeof after, "%s", state_of(one));
    heard(one, hears, sizeof hears);
    right =
        strcmp(before, a->from) == 0 && strcmp(after, a->to) == 0 && strcmp(hears, a->hears) == 0;
    if (!right)
        print_error("from %s (%s) by '%s' to %s (%s), hears '%s' ('%s')\n", before, a->from, a->by,
                    after, a->to, hears, a->hears);
    teardown(&one);
    return right & rules_take(rules, a->from, a->by, a->to);
}

static void each_arrow_leads_where_the_protocol_says(void **state)
{
    struct rules rules;
    size_t wrong = 0;

    (void)state;
    rules_read(&rules, "**An attempt's states**", states, sizeof states / sizeof *states);
    for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++)
        wrong += !as_the_protocol_says(&rules, &arrows[i]);
    assert_int_equal(wrong + rules_left(&rules), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_arrow_leads_where_the_protocol_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
