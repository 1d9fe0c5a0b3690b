/* The store on a real file system: what outlives a restart. */
#include "coordinator/store.h"
#include "tests/coordinator/fixture.h"
#include "tests/coordinator/reopen.h"

#include <sqlite3.h>

static int setup(void **state)
{
    *state = temporary_folder();
    return 0;
}

static int teardown(void **state)
{
    remove_tree(*state);
    free(*state);
    return 0;
}

static void apply(struct store *s, struct store_row row)
{
    MUST(store_begin(s, e));
    MUST(store_apply(s, &row, e));
    MUST(store_commit(s, e));
    if (row.op == STORE_RECORD)
        record_done(&row.record);
}

static struct store *open_with_job(const char *dir, const struct job *job)
{
    struct store *s;

    MUST(store_open(dir, &s, e));
    apply(
        s,
        (struct store_row){
            .op = STORE_JOB, .job = 1, .bundle = job, .folder = job_name(job), .submitted_ms = 5});
    return s;
}

static void settle(struct store *s, uint64_t index, bool failed)
{
    struct store_row row = {.op = STORE_RECORD, .job = 1};

    row.record.index = index;
    row.record.attempt = 2;
    if (failed)
        MUST(record_failure(&row.record, "w", "oom", "too large", e));
    else
        MUST(record_picture(&row.record, "a/x.png", "w", "cpu-x", "f32", e));
    apply(s, row);
}

static void attempt(struct store *s, uint64_t index, uint32_t attempts, const char *worker)
{
    apply(s, (struct store_row){.op = STORE_ATTEMPT,
                                .job = 1,
                                .index = index,
                                .attempts = attempts,
                                .tries = 1,
                                .lost = {2, {1, 3}, {7, UINT64_MAX}},
                                .worker = worker});
}

/* What a restart sees, copied. */
struct seen {
    int jobs;
    uint64_t done, failed, tasks, floor, n_attempts, n_failures;
    struct restored_attempt first;
    struct failure_note failure; /* the first; its texts are gone */
    bool loaded, has_3;
    char state[16], name[16];
};

static int look(void *user, struct restored *r, struct err *e)
{
    struct seen *s = user;

    (void)e;
    s->jobs++;
    s->done = r->done;
    s->failed = r->failed;
    s->tasks = r->tasks;
    s->loaded = r->job != NULL;
    s->floor = r->settled.floor;
    s->has_3 = bits_has(&r->settled, 3);
    s->n_attempts = r->n_attempts;
    s->n_failures = r->n_failures;
    if (r->n_failures)
        s->failure = r->failures[0];
    if (r->n_attempts)
        s->first = r->attempts[0];
    snprintf(s->state, sizeof s->state, "%s", r->state);
    snprintf(s->name, sizeof s->name, "%s", r->name);
    return 0;
}

static void a_second_coordinator_is_refused_and_told_who_has_the_folder(void **state)
{
    struct store *s, *other = NULL;
    struct err why = {0};
    char pid[32];

    MUST(store_open(*state, &s, e));
    assert_int_equal(store_open(*state, &other, &why), ERR_CONFLICT);
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(why.text, pid));
    store_close(s);
    MUST(store_open(*state, &s, e));
    store_close(s);
}

static void a_restart_finds_jobs_records_and_attempts(void **state)
{
    struct job *job = seeds_job("a", 9);
    struct store *s = open_with_job(*state, job);
    struct seen seen = {0};

    attempt(s, 0, 1, "w");
    settle(s, 0, false);
    settle(s, 1, true);
    settle(s, 3, false);
    attempt(s, 2, 4, "w");
    attempt(s, 5, 7, "");
    store_close(s);

    MUST(store_open(*state, &s, e));
    MUST(store_restore(s, look, &seen, e));
    assert_int_equal(seen.jobs, 1);
    assert_int_equal(seen.done, 2);
    assert_int_equal(seen.failed, 1);
    assert_int_equal(seen.floor, 2);
    assert_true(seen.has_3);
    assert_true(seen.loaded);
    assert_int_equal(seen.n_failures, 1);
    assert_int_equal(seen.n_attempts, 2);
    assert_int_equal(seen.first.index, 2);
    assert_int_equal(seen.first.attempts, 4);
    assert_int_equal(seen.first.lost.n, 2);
    assert_int_equal(seen.first.lost.attempt[1], 3);
    assert_true(seen.first.lost.worker[1] == UINT64_MAX);
    assert_true(seen.first.given);
    store_close(s);
    job_free(job);
}

static void a_job_that_is_over_is_not_loaded(void **state)
{
    struct job *job = seeds_job("a", 2);
    struct store *s = open_with_job(*state, job);
    struct seen seen = {0};

    apply(s, (struct store_row){
                 .op = STORE_STATE, .job = 1, .state = "done", .done = 2, .finished_ms = 9});
    MUST(store_restore(s, look, &seen, e));
    assert_false(seen.loaded);
    assert_int_equal(seen.done, 2);
    assert_string_equal(seen.state, "done");
    store_close(s);
    job_free(job);
}

static void a_job_that_failed_still_tells_its_failures(void **state)
{
    struct job *job = seeds_job("a", 2);
    struct store *s = open_with_job(*state, job);
    struct seen seen = {0};

    settle(s, 0, false);
    settle(s, 1, true);
    apply(s, (struct store_row){.op = STORE_STATE,
                                .job = 1,
                                .state = "failed",
                                .done = 1,
                                .failed = 1,
                                .finished_ms = 9});
    MUST(store_restore(s, look, &seen, e));
    assert_false(seen.loaded);
    assert_int_equal(seen.failed, 1);
    assert_int_equal(seen.n_failures, 1);
    store_close(s);
    job_free(job);
}

static void failures_of_one_text_come_back_as_one_with_their_number(void **state)
{
    struct job *job = seeds_job("a", 60);
    struct store *s = open_with_job(*state, job);
    struct seen seen = {0};

    for (uint64_t i = 0; i < 50; i++)
        settle(s, i, true);
    MUST(store_restore(s, look, &seen, e));
    assert_int_equal(seen.failed, 50);
    assert_int_equal(seen.n_failures, 1);
    assert_int_equal(seen.failure.tasks, 50);
    assert_int_equal(seen.failure.index, 0);
    store_close(s);
    job_free(job);
}

static bool none_missing(void *user, const struct record *record)
{
    (void)user;
    (void)record;
    return false;
}

static bool all_missing(void *user, const struct record *record)
{
    (void)user;
    (void)record;
    return true;
}

static void reopening_forgets_failures_and_missing_pictures(void **state)
{
    struct job *job = seeds_job("a", 3);
    struct store *s = open_with_job(*state, job);
    struct seen seen = {0};

    settle(s, 0, false);
    settle(s, 1, true);
    settle(s, 2, false);
    apply(s, (struct store_row){.op = STORE_STATE, .job = 1, .state = "failed", .done = 2});
    reopen_job(s, REOPEN_MISSING, none_missing, look, &seen);
    assert_true(seen.loaded);
    assert_int_equal(seen.done, 2);
    assert_int_equal(seen.failed, 0);
    assert_int_equal(seen.floor, 1);
    reopen_job(s, REOPEN_MISSING, all_missing, look, &seen);
    assert_int_equal(seen.done, 0);
    store_close(s);
    job_free(job);
}

static int collect(void *user, const struct record *r, struct err *e)
{
    (void)e;
    *(uint64_t *)user = *(uint64_t *)user * 10 + r->index;
    return r->index == 4 ? 1 : 0;
}

static void records_come_in_index_order_from_where_asked(void **state)
{
    struct job *job = seeds_job("a", 9);
    struct store *s = open_with_job(*state, job);
    struct record r;
    struct err why;
    uint64_t order = 0;

    settle(s, 4, false);
    settle(s, 1, false);
    settle(s, 3, true);
    settle(s, 7, false);
    assert_int_equal(store_records(s, 1, 2, collect, &order, NULL), 1);
    assert_int_equal(order, 34);
    MUST(store_record(s, 1, 3, &r, e));
    assert_true(r.failed);
    assert_string_equal(r.text, "too large");
    record_done(&r);
    assert_int_equal(store_record(s, 1, 2, &r, &why), ERR_MISSING);
    assert_int_equal(store_record(s, 1, 8, &r, &why), ERR_MISSING);
    store_close(s);
    job_free(job);
}

static void a_rolled_back_batch_leaves_nothing(void **state)
{
    struct job *job = seeds_job("a", 9);
    struct store *s = open_with_job(*state, job);
    struct store_row row = {
        .op = STORE_ATTEMPT, .job = 1, .index = 1, .attempts = 1, .worker = (char *)"w"};
    struct seen seen = {0};

    MUST(store_begin(s, e));
    MUST(store_apply(s, &row, e));
    store_rollback(s);
    MUST(store_restore(s, look, &seen, e));
    assert_int_equal(seen.n_attempts, 0);
    store_close(s);
    job_free(job);
}

static void another_program_may_peek_while_it_is_open(void **state)
{
    struct job *job = seeds_job("a", 9);
    struct store *s = open_with_job(*state, job);
    uint64_t done, failed;
    struct err why;

    settle(s, 0, false);
    settle(s, 1, true);
    MUST(store_peek(*state, job_hash(job), &done, &failed, e));
    assert_int_equal(done, 1);
    assert_int_equal(failed, 1);
    store_close(s);
    MUST(store_peek(*state, job_hash(job), &done, &failed, e));
    assert_int_equal(done, 1);
    assert_int_equal(store_peek(*state, "0000", &done, &failed, &why), ERR_MISSING);
    assert_int_equal(store_peek("/nonexistent", "0000", &done, &failed, &why), ERR_MISSING);
    job_free(job);
}

static void a_state_of_a_newer_version_is_refused(void **state)
{
    struct buf path = {0};
    struct store *s;
    struct err why = {0};
    sqlite3 *db;

    MUST(store_open(*state, &s, e));
    store_close(s);
    buf_printf(&path, "%s/litho.db", (char *)*state);
    assert_int_equal(sqlite3_open(buf_text(&path), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 999", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(store_open(*state, &s, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.text, "newer"));
    buf_done(&path);
}

static void a_database_of_another_program_is_refused_and_stays_as_it_is(void **state)
{
    struct buf path = {0};
    struct store *s;
    struct err why = {0};
    sqlite3 *db;

    buf_printf(&path, "%s/litho.db", (char *)*state);
    assert_int_equal(sqlite3_open(buf_text(&path), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE jobs (a)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(store_open(*state, &s, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.text, "litho.db: it is another program's"));
    assert_int_equal(sqlite3_open(buf_text(&path), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT count(a) FROM jobs", NULL, NULL, NULL), SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(db, "SELECT 1 FROM records", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    buf_done(&path);
}

/* By somebody's hand, while no coordinator is at work. */
static void change(const char *dir, const char *line)
{
    struct buf path = {0};
    sqlite3 *db;

    buf_printf(&path, "%s/litho.db", dir);
    assert_int_equal(sqlite3_open(buf_text(&path), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, line, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    buf_done(&path);
}

static void a_version_that_never_was_is_refused(void **state)
{
    struct err why = {0};
    struct store *s;

    MUST(store_open(*state, &s, e));
    store_close(s);
    change(*state, "PRAGMA user_version = -1");
    assert_int_equal(store_open(*state, &s, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.text, "it is another program's"));
}

static int pass_over(void *user, struct restored *r, struct err *e)
{
    (void)user;
    (void)r;
    (void)e;
    return 0;
}

static int restored(const char *dir, struct err *e)
{
    struct store *s;
    int rc;

    assert_int_equal(store_open(dir, &s, e), 0);
    rc = store_restore(s, pass_over, NULL, e);
    store_close(s);
    return rc;
}

/* Nobody waits for tasks that are none, and no job is mistaken for another. */
static void rows_that_cannot_be_are_refused_by_name(void **state)
{
    static const char *const wrong[][2] = {
        {"UPDATE jobs SET hash = 'zz'", "the store's row is damaged"},
        {"UPDATE jobs SET tasks = 99999999999", "the store's row is damaged"},
        {"UPDATE jobs SET bundle = x'7b7d'", "the store's bundle is damaged"}};
    struct job *job = seeds_job("a", 3);
    struct err why = {0};
    struct buf right = {0};

    store_close(open_with_job(*state, job));
    buf_printf(&right, "UPDATE jobs SET hash = '%s', tasks = 3", job_hash(job));
    assert_int_equal(restored(*state, &why), 0);
    for (size_t i = 0; i < 3; i++) {
        change(*state, wrong[i][0]);
        assert_int_equal(restored(*state, &why), ERR_INPUT);
        assert_non_null(strstr(why.text, wrong[i][1]));
        change(*state, buf_text(&right));
    }
    buf_done(&right);
    job_free(job);
}

static void a_file_that_is_no_database_is_an_error(void **state)
{
    struct buf path = {0};
    struct store *s;
    struct err why = {0};
    FILE *f;

    buf_printf(&path, "%s/litho.db", (char *)*state);
    f = fopen(buf_text(&path), "w");
    for (int i = 0; i < 1000; i++)
        fputs("no database", f);
    fclose(f);
    assert_int_equal(store_open(*state, &s, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "move it away"));
    buf_done(&path);
}

static int history_one(void *user, const struct history_row *row, struct err *e)
{
    int *seen = user;

    (void)e;
    seen[0]++;
    assert_int_equal(row->attempt, seen[0]);
    assert_string_equal(row->code, "internal");
    assert_int_equal(row->started_ms, 10);
    return 0;
}

static void attempt_ended(struct store *s, uint64_t index, uint32_t attempt)
{
    apply(s, (struct store_row){.op = STORE_HISTORY,
                                .job = 1,
                                .index = index,
                                .attempts = attempt,
                                .worker = (char *)"w",
                                .code = "internal",
                                .text = (char *)"text",
                                .started_ms = 10,
                                .finished_ms = 20});
}

static void attempts_that_gave_no_picture_are_kept_in_order(void **state)
{
    struct job *job = seeds_job("a", 3);
    struct store *s = open_with_job(*state, job);
    int seen = 0;

    attempt_ended(s, 1, 2);
    attempt_ended(s, 1, 1);
    attempt_ended(s, 2, 1);
    MUST(store_history(s, 1, 1, history_one, &seen, e));
    assert_int_equal(seen, 2);
    store_close(s);
    job_free(job);
}

static void a_record_whose_picture_was_replaced_is_no_longer_counted(void **state)
{
    struct job *job = seeds_job("a", 3);
    struct store *s = open_with_job(*state, job);
    struct record record;
    struct seen seen = {0};
    uint64_t done;

    settle(s, 0, false);
    settle(s, 1, false);
    apply(s, (struct store_row){.op = STORE_FORGET, .job = 1, .index = 0});
    apply(s, (struct store_row){.op = STORE_FORGET, .job = 1, .index = 2}); /* never was */
    MUST(store_count_done(s, 1, &done, e));
    assert_int_equal(done, 1);
    assert_int_equal(store_record(s, 1, 0, &record, NULL), ERR_MISSING);
    MUST(store_restore(s, look, &seen, e));
    assert_int_equal(seen.done, 1);
    store_close(s);
    job_free(job);
}

static void a_removed_job_is_gone_at_once_and_its_rows_bit_by_bit(void **state)
{
    struct job *job = seeds_job("a", 3);
    struct store *s = open_with_job(*state, job);
    struct seen seen = {0};
    bool more = true;
    int turns = 0;

    for (uint64_t i = 0; i < 3; i++)
        settle(s, i, i == 1);
    attempt_ended(s, 1, 1);
    apply(s, (struct store_row){.op = STORE_REMOVE, .job = 1});
    for (; more; turns++)
        MUST(store_purge(s, 1, &more, e));
    assert_in_range(turns, 5, 20);
    apply(s,
          (struct store_row){
              .op = STORE_JOB, .job = 1, .bundle = job, .folder = (char *)"a", .submitted_ms = 5});
    MUST(store_restore(s, look, &seen, e));
    assert_int_equal(seen.jobs, 1);
    assert_int_equal(seen.done, 0);
    store_close(s);
    job_free(job);
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(a_second_coordinator_is_refused_and_told_who_has_the_folder),
        SENTENCE(a_restart_finds_jobs_records_and_attempts),
        SENTENCE(a_job_that_is_over_is_not_loaded),
        SENTENCE(a_job_that_failed_still_tells_its_failures),
        SENTENCE(failures_of_one_text_come_back_as_one_with_their_number),
        SENTENCE(reopening_forgets_failures_and_missing_pictures),
        SENTENCE(records_come_in_index_order_from_where_asked),
        SENTENCE(a_rolled_back_batch_leaves_nothing),
        SENTENCE(another_program_may_peek_while_it_is_open),
        SENTENCE(a_state_of_a_newer_version_is_refused),
        SENTENCE(a_database_of_another_program_is_refused_and_stays_as_it_is),
        SENTENCE(a_version_that_never_was_is_refused),
        SENTENCE(rows_that_cannot_be_are_refused_by_name),
        SENTENCE(a_file_that_is_no_database_is_an_error),
        SENTENCE(attempts_that_gave_no_picture_are_kept_in_order),
        SENTENCE(a_record_whose_picture_was_replaced_is_no_longer_counted),
        SENTENCE(a_removed_job_is_gone_at_once_and_its_rows_bit_by_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
