/* Jobs opened again in slices, on real files: what each slice leaves, and what a process that dies
 * between two of them does. */
#include "coordinator/requests.h"
#include "tests/coordinator/place.h"

#include <sys/stat.h>

#define TASKS   4500 /* over two slices of records, and as many of lines */
#define MISSING 45   /* every hundredth */

struct bench {
    struct place p;
    struct job *job;
    int sent[MSG_TYPE_COUNT];
    char state_told[20];
};

static int on_send(void *user, const struct peer *peer, const struct buf *frame, struct err *why)
{
    struct bench *b = user;
    struct msg m;

    (void)peer;
    (void)why;
    MUST(msg_decode(frame->data, frame->size, &m, e));
    b->sent[m.type]++;
    if (m.type == MSG_JOB)
        snprintf(b->state_told, sizeof b->state_told, "%s", m.job.summary.state);
    msg_done(&m);
    return 0;
}

static void restart(struct bench *b)
{
    place_kill(&b->p);
    place_start(&b->p);
    memset(b->sent, 0, sizeof b->sent);
}

static void apply(struct bench *b, struct store_row row)
{
    place_apply(&b->p, &row, 1);
}

static bool is_missing(uint64_t index)
{
    return index % 100 == 7;
}

/* Pictures of one path, which is there, and of another, which is not. */
static void settle_all(struct bench *b)
{
    struct buf lines = {0};

    MUST(store_begin(b->p.store, e));
    for (uint64_t i = 0; i < TASKS; i++) {
        struct store_row row = {.op = STORE_RECORD, .job = 1, .record = {.index = i, .attempt = 1}};

        MUST(record_picture(&row.record, is_missing(i) ? "a/gone.png" : "a/there.png", "w", "cpu",
                            "f32", e));
        memset(row.record.sha256, 'a', HASH_HEX_SIZE - 1);
        MUST(store_apply(b->p.store, &row, e));
        MUST(index_line(b->job, &row.record, &lines, e));
        record_done(&row.record);
    }
    MUST(store_commit(b->p.store, e));
    MUST(index_append(b->p.output, "a", &lines, e));
    buf_done(&lines);
    apply(b, (struct store_row){.op = STORE_STATE, .job = 1, .state = "done", .done = TASKS});
}

/* A finished job, as a new coordinator finds it. */
static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    b->p = (struct place){.now_ms = 1000, .user = b, .send = on_send};
    b->job = seeds_job("a", TASKS);
    place_open(&b->p, temporary_folder());
    MUST(output_claim(b->p.output, "a", b->job, e));
    place_file(&b->p, "a/there.png");
    apply(b,
          (struct store_row){.op = STORE_JOB, .job = 1, .bundle = b->job, .folder = (char *)"a"});
    settle_all(b);
    restart(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    place_close(&b->p);
    job_free(b->job);
    free(b);
    return 0;
}

static void submit(struct bench *b, const char *client, bool force)
{
    place_hears_client(&b->p, client);
    place_hears_submit(&b->p, client, b->job, force);
}

static void run(struct bench *b)
{
    place_run(&b->p);
}

/* Until it has nothing to go on with. How many turns that took. */
static int run_on(struct bench *b)
{
    int turns = 0;

    do {
        run(b);
        if (++turns > 1000)
            fail_msg("it does not end");
    } while (!batch_waits(&b->p.batch));
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
static void has(struct bench *b, uint64_t records)
{
    struct buf path = {0}, text = {0};
    uint64_t n = 0, settled = 0, lines = 0;

    MUST(store_records(b->p.store, 1, 0, count, &n, e));
    MUST(store_count_done(b->p.store, 1, &settled, e));
    buf_printf(&path, "%s/a/index.jsonl", buf_text(&b->p.out));
    MUST(buf_read_file(&text, buf_text(&path), 100 << 20, e));
    for (size_t i = 0; i < text.size; i++)
        lines += text.data[i] == '\n';
    assert_int_equal(n, records);
    assert_int_equal(settled, records);
    assert_int_equal(lines, records);
    buf_done(&path);
    buf_done(&text);
}

static struct job_entry *the_job(struct bench *b)
{
    assert_int_equal(b->p.coord.n_jobs, 1);
    return b->p.coord.jobs[0];
}

static void runs_with(struct bench *b, uint64_t done)
{
    const struct job_entry *j = the_job(b);

    assert_int_equal(j->phase, JOB_RUNNING);
    assert_int_equal(j->done, done);
    assert_false(j->reopening);
    has(b, done);
}

static void a_large_job_is_looked_at_over_many_turns(void **state)
{
    struct bench *b = *state;

    submit(b, "c", false);
    run(b);
    assert_int_equal(b->sent[MSG_SUBMITTED], 0);
    assert_int_equal(the_job(b)->phase, JOB_DONE);
    assert_true(the_job(b)->reopening);
    assert_false(batch_waits(&b->p.batch));
    assert_true(run_on(b) >= 4);
    assert_int_equal(b->sent[MSG_SUBMITTED], 1);
    runs_with(b, TASKS - MISSING);
}

static void a_job_that_lacks_nothing_stays_over(void **state)
{
    struct bench *b = *state;

    place_file(&b->p, "a/gone.png");
    submit(b, "c", false);
    run_on(b);
    assert_int_equal(b->sent[MSG_SUBMITTED], 1);
    assert_int_equal(the_job(b)->phase, JOB_DONE);
    has(b, TASKS);
}

static void force_takes_all_back_over_many_turns(void **state)
{
    struct bench *b = *state;

    submit(b, "c", true);
    run(b);
    assert_int_equal(b->sent[MSG_SUBMITTED], 0);
    assert_true(run_on(b) >= 2);
    assert_int_equal(b->sent[MSG_SUBMITTED], 1);
    runs_with(b, 0);
    assert_true(the_job(b)->force);
}

/* Killed after any number of turns, the next coordinator comes to the same end. */
static void killed_after(struct bench *b, bool force, uint64_t left)
{
    for (int turns = 1;; turns++) {
        bool before_end;

        submit(b, "c", force);
        for (int i = 0; i < turns && (i == 0 || !batch_waits(&b->p.batch)); i++)
            run(b);
        before_end = the_job(b)->reopening;
        restart(b);
        run_on(b);
        runs_with(b, left);
        if (!before_end)
            break;
        apply(b, (struct store_row){.op = STORE_STATE, .job = 1, .state = "done"});
        MUST(store_begin(b->p.store, e));
        for (uint64_t i = 0; i < TASKS; i++)
            MUST(store_apply(b->p.store,
                             &(struct store_row){.op = STORE_FORGET, .job = 1, .index = i}, e));
        MUST(store_commit(b->p.store, e));
        MUST(index_begin(b->p.output, "a", e));
        settle_all(b);
        restart(b);
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
    struct bench *b = *state;

    submit(b, "c", false);
    run(b);
    submit(b, "d", true);
    run_on(b);
    assert_int_equal(b->sent[MSG_ERROR], 1); /* c: another asked meanwhile */
    assert_int_equal(b->sent[MSG_SUBMITTED], 1);
    runs_with(b, 0);
}

static void who_asked_is_answered_while_a_large_job_is_looked_at(void **state)
{
    const struct event tick = {.type = EVENT_TICK};
    struct bench *b = *state;
    struct msg m = {.type = MSG_STATUS, .status = {.request = 3, .job = job_hash(b->job)}};

    submit(b, "c", false);
    run(b);
    submit(b, "c", false); /* asked again, as clients do that hear nothing */
    MUST(reactor_on(&b->p.coord, &tick, 1000 + REOPEN_ANSWER_MS, &b->p.batch.outbox, e));
    place_hears(&b->p, "c", &m);
    run(b);
    assert_int_equal(b->sent[MSG_ERROR], 0);
    assert_int_equal(b->sent[MSG_SUBMITTED], 1);
    assert_int_equal(b->sent[MSG_JOB], 1);
    assert_string_equal(b->state_told, "waiting");
    run_on(b);
    assert_int_equal(b->sent[MSG_SUBMITTED], 1); /* once */
    runs_with(b, TASKS - MISSING);
}

static void a_job_removed_meanwhile_is_let_go(void **state)
{
    struct bench *b = *state;
    struct msg m = {.type = MSG_REMOVE, .remove = {.request = 2}};

    submit(b, "c", false);
    run(b);
    m.remove.job = job_hash(b->job);
    place_hears(&b->p, "c", &m);
    run_on(b);
    assert_int_equal(b->p.coord.n_jobs, 0);
    assert_true(batch_waits(&b->p.batch));
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
