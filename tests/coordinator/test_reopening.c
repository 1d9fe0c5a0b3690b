/* Jobs opened again in slices, on real files: what each slice leaves, and what a process that dies
 * between two of them does. */
#include "coordinator/batch.h"
#include "coordinator/index.h"
#include "coordinator/requests.h"
#include "proto/version.h"
#include "tests/coordinator/fixture.h"

#include <sys/stat.h>

#define TASKS   4500 /* over two slices of records, and as many of lines */
#define MISSING 45   /* every hundredth */

struct place {
    char *dir;
    struct buf state, out;
    struct coord coord;
    struct store *store;
    struct output *output;
    struct batch batch;
    struct job *job;
    int sent[MSG_TYPE_COUNT];
    char state_told[20];
};

static int on_send(void *user, const struct peer *peer, const struct buf *frame, struct err *why)
{
    struct place *p = user;
    struct msg m;

    (void)peer;
    (void)why;
    MUST(msg_decode(frame->data, frame->size, &m, e));
    p->sent[m.type]++;
    if (m.type == MSG_JOB)
        snprintf(p->state_told, sizeof p->state_told, "%s", m.job.summary.state);
    msg_done(&m);
    return 0;
}

static void on_log(void *user, enum log_level level, const char *event, const char *text)
{
    (void)user;
    (void)level;
    (void)event;
    (void)text;
}

static int on_draw(void *user, uint64_t job, struct err *e)
{
    (void)user;
    (void)job;
    (void)e;
    return 0;
}

static int restore_one(void *user, struct restored *r, struct err *e)
{
    struct place *p = user;

    return reactor_restore(&p->coord, r, 0, e);
}

static void start(struct place *p)
{
    MUST(store_open(buf_text(&p->state), &p->store, e));
    MUST(output_open(buf_text(&p->out), &p->output, e));
    MUST(coord_init(&p->coord, &(struct coord_limits){0}, output_dir(p->output), e));
    MUST(store_restore(p->store, restore_one, p, e));
    p->batch = (struct batch){.coord = &p->coord,
                              .store = p->store,
                              .output = p->output,
                              .user = p,
                              .send = on_send,
                              .log = on_log,
                              .draw = on_draw};
    memset(p->sent, 0, sizeof p->sent);
}

/* As kill -9 leaves it. */
static void stop(struct place *p)
{
    batch_done(&p->batch);
    coord_done(&p->coord);
    output_close(p->output);
    store_close(p->store);
}

static void apply(struct place *p, struct store_row row)
{
    MUST(store_begin(p->store, e));
    MUST(store_apply(p->store, &row, e));
    MUST(store_commit(p->store, e));
}

static bool is_missing(uint64_t index)
{
    return index % 100 == 7;
}

/* Pictures of one path, which is there, and of another, which is not. */
static void settle_all(struct place *p)
{
    struct buf lines = {0};

    MUST(store_begin(p->store, e));
    for (uint64_t i = 0; i < TASKS; i++) {
        struct store_row row = {.op = STORE_RECORD, .job = 1, .record = {.index = i, .attempt = 1}};

        MUST(record_picture(&row.record, is_missing(i) ? "a/gone.png" : "a/there.png", "w", "cpu",
                            "f32", e));
        memset(row.record.sha256, 'a', HASH_HEX_SIZE - 1);
        MUST(store_apply(p->store, &row, e));
        MUST(index_line(p->job, &row.record, &lines, e));
        record_done(&row.record);
    }
    MUST(store_commit(p->store, e));
    MUST(index_append(p->output, "a", &lines, e));
    buf_done(&lines);
    apply(p, (struct store_row){.op = STORE_STATE, .job = 1, .state = "done", .done = TASKS});
}

static void make_file(struct place *p, const char *name)
{
    struct buf path = {0};
    FILE *f;

    buf_printf(&path, "%s/a/%s", buf_text(&p->out), name);
    f = fopen(buf_text(&path), "wb");
    assert_non_null(f);
    fclose(f);
    buf_done(&path);
}

/* A finished job, as a new coordinator finds it. */
static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    p->dir = temporary_folder();
    buf_printf(&p->state, "%s/state", p->dir);
    buf_printf(&p->out, "%s/out", p->dir);
    p->job = seeds_job("a", TASKS);
    start(p);
    MUST(output_claim(p->output, "a", p->job, e));
    make_file(p, "there.png");
    apply(p,
          (struct store_row){.op = STORE_JOB, .job = 1, .bundle = p->job, .folder = (char *)"a"});
    settle_all(p);
    stop(p);
    start(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    stop(p);
    job_free(p->job);
    buf_done(&p->state);
    buf_done(&p->out);
    remove_tree(p->dir);
    free(p->dir);
    free(p);
    return 0;
}

static void say(struct place *p, const char *client, const struct msg *m)
{
    struct event event = {.type = EVENT_MESSAGE, .peer = peer_named(client), .msg = m};

    MUST(reactor_on(&p->coord, &event, 1000, &p->batch.outbox, e));
}

static void submit(struct place *p, const char *client, bool force)
{
    struct msg hello = {.type = MSG_HELLO,
                        .hello = {.protocol = PROTOCOL_VERSION,
                                  .protocol_min = PROTOCOL_VERSION_MIN,
                                  .role = "client",
                                  .software = "test"}};
    struct msg m = {.type = MSG_SUBMIT, .submit = {.request = 1, .force = force}};

    m.submit.bundle = job_bundle(p->job, &m.submit.bundle_size);
    say(p, client, &hello);
    say(p, client, &m);
}

static void run(struct place *p)
{
    MUST(batch_run(&p->batch, 1000, e));
}

/* Until it has nothing to go on with. How many turns that took. */
static int run_on(struct place *p)
{
    int turns = 0;

    do {
        run(p);
        if (++turns > 1000)
            fail_msg("it does not end");
    } while (!batch_waits(&p->batch));
    return turns;
}

static int count(void *user, const struct record *r, struct err *e)
{
    (void)r;
    (void)e;
    ++*(uint64_t *)user;
    return 0;
}

/* Records in the store, by themselves and by its pages of bits, and lines in the index. */
static void has(struct place *p, uint64_t records)
{
    struct buf path = {0}, text = {0};
    uint64_t n = 0, settled = 0, lines = 0;

    MUST(store_records(p->store, 1, 0, count, &n, e));
    MUST(store_count_done(p->store, 1, &settled, e));
    buf_printf(&path, "%s/a/index.jsonl", buf_text(&p->out));
    MUST(buf_read_file(&text, buf_text(&path), 100 << 20, e));
    for (size_t i = 0; i < text.size; i++)
        lines += text.data[i] == '\n';
    assert_int_equal(n, records);
    assert_int_equal(settled, records);
    assert_int_equal(lines, records);
    buf_done(&path);
    buf_done(&text);
}

static struct job_entry *the_job(struct place *p)
{
    assert_int_equal(p->coord.n_jobs, 1);
    return p->coord.jobs[0];
}

static void runs_with(struct place *p, uint64_t done)
{
    const struct job_entry *j = the_job(p);

    assert_int_equal(j->phase, JOB_RUNNING);
    assert_int_equal(j->done, done);
    assert_false(j->reopening);
    has(p, done);
}

static void a_large_job_is_looked_at_over_many_turns(void **state)
{
    struct place *p = *state;

    submit(p, "c", false);
    run(p);
    assert_int_equal(p->sent[MSG_SUBMITTED], 0);
    assert_int_equal(the_job(p)->phase, JOB_DONE);
    assert_true(the_job(p)->reopening);
    assert_false(batch_waits(&p->batch));
    assert_true(run_on(p) >= 4);
    assert_int_equal(p->sent[MSG_SUBMITTED], 1);
    runs_with(p, TASKS - MISSING);
}

static void a_job_that_lacks_nothing_stays_over(void **state)
{
    struct place *p = *state;

    make_file(p, "gone.png");
    submit(p, "c", false);
    run_on(p);
    assert_int_equal(p->sent[MSG_SUBMITTED], 1);
    assert_int_equal(the_job(p)->phase, JOB_DONE);
    has(p, TASKS);
}

static void force_takes_all_back_over_many_turns(void **state)
{
    struct place *p = *state;

    submit(p, "c", true);
    run(p);
    assert_int_equal(p->sent[MSG_SUBMITTED], 0);
    assert_true(run_on(p) >= 2);
    assert_int_equal(p->sent[MSG_SUBMITTED], 1);
    runs_with(p, 0);
    assert_true(the_job(p)->force);
}

/* Killed after any number of turns, the next coordinator comes to the same end. */
static void killed_after(struct place *p, bool force, uint64_t left)
{
    for (int turns = 1;; turns++) {
        bool before_end;

        submit(p, "c", force);
        for (int i = 0; i < turns && (i == 0 || !batch_waits(&p->batch)); i++)
            run(p);
        before_end = the_job(p)->reopening;
        stop(p);
        start(p);
        run_on(p);
        runs_with(p, left);
        if (!before_end)
            break;
        apply(p, (struct store_row){.op = STORE_STATE, .job = 1, .state = "done"});
        MUST(store_begin(p->store, e));
        for (uint64_t i = 0; i < TASKS; i++)
            MUST(store_apply(p->store,
                             &(struct store_row){.op = STORE_FORGET, .job = 1, .index = i}, e));
        MUST(store_commit(p->store, e));
        MUST(index_begin(p->output, "a", e));
        settle_all(p);
        stop(p);
        start(p);
    }
}

static void a_coordinator_killed_between_slices_is_gone_on_from(void **state)
{
    killed_after(*state, false, TASKS - MISSING);
}

static void so_is_one_that_was_forced(void **state)
{
    killed_after(*state, true, 0);
}

static void a_second_client_is_answered_and_may_force(void **state)
{
    struct place *p = *state;

    submit(p, "c", false);
    run(p);
    submit(p, "d", true);
    run_on(p);
    assert_int_equal(p->sent[MSG_ERROR], 1); /* c: another asked meanwhile */
    assert_int_equal(p->sent[MSG_SUBMITTED], 1);
    runs_with(p, 0);
}

static void who_asked_is_answered_while_a_large_job_is_looked_at(void **state)
{
    const struct event tick = {.type = EVENT_TICK};
    struct place *p = *state;
    struct msg m = {.type = MSG_STATUS, .status = {.request = 3, .job = job_hash(p->job)}};

    submit(p, "c", false);
    run(p);
    submit(p, "c", false); /* asked again, as clients do that hear nothing */
    MUST(reactor_on(&p->coord, &tick, 1000 + REOPEN_ANSWER_MS, &p->batch.outbox, e));
    say(p, "c", &m);
    run(p);
    assert_int_equal(p->sent[MSG_ERROR], 0);
    assert_int_equal(p->sent[MSG_SUBMITTED], 1);
    assert_int_equal(p->sent[MSG_JOB], 1);
    assert_string_equal(p->state_told, "waiting");
    run_on(p);
    assert_int_equal(p->sent[MSG_SUBMITTED], 1); /* once */
    runs_with(p, TASKS - MISSING);
}

static void a_job_removed_meanwhile_is_let_go(void **state)
{
    struct place *p = *state;
    struct msg m = {.type = MSG_REMOVE, .remove = {.request = 2}};

    submit(p, "c", false);
    run(p);
    m.remove.job = job_hash(p->job);
    say(p, "c", &m);
    run_on(p);
    assert_int_equal(p->coord.n_jobs, 0);
    assert_true(batch_waits(&p->batch));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_large_job_is_looked_at_over_many_turns),
        TEST(a_job_that_lacks_nothing_stays_over),
        TEST(force_takes_all_back_over_many_turns),
        TEST(a_coordinator_killed_between_slices_is_gone_on_from),
        TEST(so_is_one_that_was_forced),
        TEST(a_second_client_is_answered_and_may_force),
        TEST(who_asked_is_answered_while_a_large_job_is_looked_at),
        TEST(a_job_removed_meanwhile_is_let_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
