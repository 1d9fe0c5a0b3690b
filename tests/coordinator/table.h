/* The reactor at a table: events go in by hand, the disk answers at once, the outbox is read. */
#ifndef TESTS_COORDINATOR_TABLE_H
#define TESTS_COORDINATOR_TABLE_H

#include "tests/coordinator/fixture.h"

#include "proto/version.h"

struct table {
    struct coord c;
    struct outbox o;
    int64_t now_ms;
    char job[HASH_HEX_SIZE]; /* of the last submission */
    enum probe_answer probe; /* what the disk says to every probe */
    int write_code;          /* what it says to every picture */
    size_t seen;             /* outbox items looked at by effects() */
    struct record *before;   /* what the store says to every look for a frame before */
};

static inline int setup(void **state)
{
    struct table *t = calloc(1, sizeof *t);

    MUST(coord_init(&t->c, &(struct coord_limits){0}, "/srv/out", e));
    t->now_ms = 1000000;
    *state = t;
    return 0;
}

static inline int teardown(void **state)
{
    struct table *t = *state;

    outbox_done(&t->o);
    coord_done(&t->c);
    free(t);
    return 0;
}

static inline void on(struct table *t, const struct event *event)
{
    MUST(reactor_on(&t->c, event, t->now_ms, &t->o, e));
}

static inline const char *folder_given(const struct table *t, uint64_t job)
{
    const char *name = coord_job(&t->c, job)->name;

    for (size_t i = 0; i < t->c.n_jobs; i++)
        if (t->c.jobs[i]->folder && strcmp(t->c.jobs[i]->folder, name) == 0)
            return "folder-of-another-name";
    return name;
}

/* The disk answers everything that was asked of it. */
static inline void effects(struct table *t)
{
    for (; t->seen < t->o.n; t->seen++) {
        struct out out = t->o.items[t->seen];
        struct event event = {.job = out.job, .index = out.index, .text = out.task};

        if (out.type == OUT_OPEN) {
            event.type = EVENT_OPENED;
            event.text = folder_given(t, out.job);
            on(t, &event);
        } else if (out.type == OUT_PROBE) {
            struct record found = {.index = out.index, .bytes = 5};

            event.type = EVENT_PROBED;
            event.probe = t->probe;
            event.found = &found;
            if (t->probe == PROBE_OURS)
                MUST(record_picture(&found, out.path, "", "cpu-avx2", "f32", e));
            if (t->probe == PROBE_FOREIGN || t->probe == PROBE_BLOCKED)
                err_set(&event.failure, ERR_IO, "the disk's text");
            on(t, &event);
            record_done(&found);
        } else if (out.type == OUT_BEFORE) {
            event.type = EVENT_BEFORE;
            event.found = t->before;
            on(t, &event);
        } else if (out.type == OUT_WRITE) {
            t->o.items[t->seen].delivery = NULL;
            event.type = EVENT_WRITTEN;
            event.delivery = out.delivery;
            if (t->write_code)
                err_set(&event.failure, t->write_code, "the disk's text");
            on(t, &event);
        }
    }
}

static inline void settle(struct table *t)
{
    effects(t);
    MUST(reactor_schedule(&t->c, t->now_ms, &t->o, e));
    effects(t);
}

/* A new batch: only what comes now is in the outbox. */
static inline void fresh(struct table *t)
{
    outbox_clear(&t->o);
    t->seen = 0;
}

static inline void say(struct table *t, const char *from, const struct msg *m)
{
    struct event event = {.type = EVENT_MESSAGE, .peer = peer_named(from), .msg = m};

    on(t, &event);
    settle(t);
}

/* The connection to it is gone. */
static inline void lose(struct table *t, const char *name)
{
    on(t, &(struct event){.type = EVENT_UNREACHABLE, .peer = peer_named(name)});
    settle(t);
}

static inline void tick(struct table *t, int64_t later_ms)
{
    t->now_ms += later_ms;
    on(t, &(struct event){.type = EVENT_TICK});
    settle(t);
}

/* Whoever says hello with more than a name: the test says what, the rest is like everybody's. */
static inline void hello_with(struct table *t, struct msg_hello h)
{
    struct msg m = {.type = MSG_HELLO};

    h.protocol = PROTOCOL_VERSION;
    h.protocol_min = PROTOCOL_VERSION_MIN;
    h.role = h.role ? h.role : "worker";
    h.software = "test";
    h.device = "a device";
    if (!h.device_class)
        h.device_class = strcmp(h.role, "worker") == 0 ? "cpu-avx2" : "";
    m.hello = h;
    say(t, h.name, &m);
}

static inline void hello(struct table *t, const char *name, const char *role)
{
    hello_with(t, (struct msg_hello){.name = name, .role = role});
}

static inline void ready(struct table *t, const char *name, uint32_t credits)
{
    struct msg m = {.type = MSG_READY, .ready = {.credits = credits}};

    say(t, name, &m);
}

static inline struct attempt_ref ref(const struct table *t, uint64_t index, uint32_t attempt)
{
    struct attempt_ref r = {.index = index, .attempt = attempt};

    memcpy(r.job, t->job, sizeof r.job);
    return r;
}

static inline void ready_holding(struct table *t, const char *name, uint32_t credits,
                                 uint64_t index, uint32_t attempt)
{
    struct attempt_ref held = ref(t, index, attempt);
    struct msg m = {.type = MSG_READY, .ready = {.credits = credits, .held = &held, .n_held = 1}};

    say(t, name, &m);
}

/* Free room, and a place where members of its next gang would meet. */
static inline void ready_to_meet_at(struct table *t, const char *name, uint32_t credits,
                                    const char *place)
{
    struct msg m = {.type = MSG_READY, .ready = {.credits = credits, .meeting = place}};

    say(t, name, &m);
}

/* At its name: that is no new place for a second gang. */
static inline void ready_to_meet(struct table *t, const char *name, uint32_t credits)
{
    ready_to_meet_at(t, name, credits, name);
}

static inline void join(struct table *t, const char *name, uint32_t credits)
{
    hello(t, name, "worker");
    ready(t, name, credits);
}

static inline void submit_job(struct table *t, struct job *job)
{
    struct msg m = {.type = MSG_SUBMIT, .submit = {.request = 7}};

    m.submit.bundle = job_bundle(job, &m.submit.bundle_size);
    memcpy(t->job, job_hash(job), sizeof t->job);
    hello(t, "client", "client");
    say(t, "client", &m);
    job_free(job);
}

static inline void submit(struct table *t, const char *name, int n)
{
    submit_job(t, seeds_job(name, n));
}

static inline void result(struct table *t, const char *from, uint64_t index, uint32_t attempt)
{
    struct msg m = {.type = MSG_RESULT,
                    .result = {.png = "bytes",
                               .png_size = 5,
                               .device_class = "cpu-avx2",
                               .precision = "f32",
                               .render_seconds = 1}};

    m.result.ref = ref(t, index, attempt);
    memset(m.result.sha256, 'a', HASH_HEX_SIZE - 1);
    say(t, from, &m);
}

static inline void failed(struct table *t, const char *from, uint64_t index, uint32_t attempt,
                          const char *code)
{
    struct msg m = {.type = MSG_FAILED,
                    .failed = {.code = code,
                               .text = "it went wrong",
                               .retryable = err_retryable(err_from_name(code))}};

    m.failed.ref = ref(t, index, attempt);
    say(t, from, &m);
}

static inline void progress(struct table *t, const char *from, uint64_t index, uint32_t attempt,
                            uint32_t step)
{
    struct msg m = {.type = MSG_PROGRESS, .progress = {.step = step, .steps = 20}};

    m.progress.ref = ref(t, index, attempt);
    say(t, from, &m);
}

/* The n-th message of that type to that peer in the outbox (from 0), decoded into *ret_m. */
static inline bool sent(const struct table *t, const char *to, enum msg_type type, size_t n,
                        struct msg *ret_m)
{
    struct peer peer = peer_named(to);

    for (size_t i = 0; i < t->o.n; i++) {
        const struct out *out = &t->o.items[i];

        if (out->type != OUT_SEND || out->message != type || !peer_equal(&out->peer, &peer) ||
            n-- > 0)
            continue;
        MUST(msg_decode(out->frame.data, out->frame.size, ret_m, e));
        return true;
    }
    return false;
}

static inline size_t count_of(const struct table *t, enum out_type type)
{
    size_t n = 0;

    for (size_t i = 0; i < t->o.n; i++)
        n += t->o.items[i].type == type;
    return n;
}

static inline size_t count_sent(const struct table *t, const char *to, enum msg_type type)
{
    struct msg m;
    size_t n = 0;

    while (sent(t, to, type, n, &m)) {
        msg_done(&m);
        n++;
    }
    return n;
}

static inline void assert_leased(const struct table *t, const char *to, uint64_t index,
                                 uint32_t attempt)
{
    struct msg m;

    for (size_t n = 0; sent(t, to, MSG_LEASE, n, &m); n++) {
        bool it = m.lease.ref.index == index && m.lease.ref.attempt == attempt;

        msg_done(&m);
        if (it)
            return;
    }
    fail_msg("no lease of task %d attempt %u to %s", (int)index, attempt, to);
}

static inline void assert_verdict(const struct table *t, const char *to, const char *verdict)
{
    struct msg m;

    if (!sent(t, to, MSG_ACK, 0, &m))
        fail_msg("no ack to %s", to);
    assert_string_equal(m.ack.verdict, verdict);
    msg_done(&m);
}

static inline void assert_refused(const struct table *t, const char *to, const char *code)
{
    struct msg m;

    if (!sent(t, to, MSG_ERROR, 0, &m))
        fail_msg("no error to %s", to);
    assert_string_equal(m.error.code, code);
    msg_done(&m);
}

static inline const struct record *recorded(const struct table *t, uint64_t index)
{
    for (size_t i = 0; i < t->o.n; i++)
        if (t->o.items[i].type == OUT_STORE && t->o.items[i].row.op == STORE_RECORD &&
            t->o.items[i].row.record.index == index)
            return &t->o.items[i].row.record;
    return NULL;
}

/* The record's row is in the outbox, and the first acknowledgement after it. */
static inline void assert_recorded_before_ack(const struct table *t)
{
    size_t record = 0, ack = 0;

    for (size_t i = 0; i < t->o.n; i++) {
        if (t->o.items[i].type == OUT_STORE && t->o.items[i].row.op == STORE_RECORD)
            record = i + 1;
        if (t->o.items[i].type == OUT_SEND && t->o.items[i].message == MSG_ACK)
            ack = i + 1;
    }
    assert_true(record > 0 && record < ack);
}

static inline size_t logged(const struct table *t, const char *event)
{
    size_t n = 0;

    for (size_t i = 0; i < t->o.n; i++)
        n += t->o.items[i].type == OUT_LOG && strcmp(t->o.items[i].event, event) == 0;
    return n;
}

static inline struct job_entry *the_job(struct table *t)
{
    return coord_job_by_hash(&t->c, t->job);
}

static inline struct task_entry *the_task(struct table *t, uint64_t index)
{
    return coord_task(&t->c, the_job(t), index);
}

/* A job of n seeds as the store has it after a restart, with these attempts; the first of them may
 * be settled. */
static inline void restore(struct table *t, int n, uint64_t settled,
                           struct restored_attempt *attempts, size_t n_attempts)
{
    struct restored r = {.number = 1,
                         .name = "a",
                         .folder = "a",
                         .state = "running",
                         .job = seeds_job("a", n),
                         .tasks = (uint64_t)n,
                         .done = settled,
                         .attempts = attempts,
                         .n_attempts = n_attempts};

    memcpy(t->job, job_hash(r.job), sizeof t->job);
    bits_raise(&r.settled, settled);
    MUST(reactor_restore(&t->c, &r, t->now_ms, e));
}

#define SENTENCE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
