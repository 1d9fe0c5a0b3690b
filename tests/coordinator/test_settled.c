/* The store's bits of settled tasks say what its records say, whatever happened in between. */
#include "coordinator/schema.h"
#include "coordinator/store.h"
#include "tests/coordinator/fixture.h"
#include "tests/coordinator/reopen.h"

#include <sqlite3.h>

#define N 400000 /* tasks: more pages than are held at a time */

struct place {
    char *dir;
    struct job *job;
    struct store *s;
    bool plain[N];
    uint64_t done, failed;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct store_row row = {.op = STORE_JOB, .job = 1, .folder = (char *)"a"};

    p->dir = temporary_folder();
    p->job = seeds_job("a", N);
    row.bundle = p->job;
    MUST(store_open(p->dir, &p->s, e));
    MUST(store_begin(p->s, e));
    MUST(store_apply(p->s, &row, e));
    MUST(store_commit(p->s, e));
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    store_close(p->s);
    job_free(p->job);
    remove_tree(p->dir);
    free(p->dir);
    free(p);
    return 0;
}

static void settle(struct place *p, uint64_t index, bool failed)
{
    struct store_row row = {.op = STORE_RECORD, .job = 1, .record = {.index = index}};

    if (failed)
        MUST(record_failure(&row.record, "w", "oom", "too large", e));
    else
        MUST(record_picture(&row.record, "a/x.png", "w", "cpu", "f32", e));
    MUST(store_apply(p->s, &row, e));
    record_done(&row.record);
}

static void settle_and_note(struct place *p, uint64_t index, bool failed)
{
    if (p->plain[index])
        return;
    settle(p, index, failed);
    p->plain[index] = true;
    *(failed ? &p->failed : &p->done) += 1;
}

/* Far apart, in no order. */
static void settle_many(struct place *p, int n, uint32_t seed)
{
    MUST(store_begin(p->s, e));
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        settle_and_note(p, (seed >> 8) % N, seed % 7 == 0);
    }
    MUST(store_commit(p->s, e));
}

static int compare(void *user, struct restored *r, struct err *e)
{
    struct place *p = user;

    (void)e;
    assert_int_equal(r->done, p->done);
    assert_int_equal(r->failed, p->failed);
    for (uint64_t i = 0; i < N; i++)
        if (bits_has(&r->settled, i) != p->plain[i])
            fail_msg("task %llu", (unsigned long long)i);
    return 0;
}

static void reopen(struct place *p)
{
    store_close(p->s);
    MUST(store_open(p->dir, &p->s, e));
}

static void bits_and_counts_are_those_of_the_records(void **state)
{
    struct place *p = *state;
    uint64_t done;

    settle_many(p, 1500, 1);
    settle_many(p, 1500, 2);
    MUST(store_restore(p->s, compare, p, e));
    reopen(p);
    settle_many(p, 100, 3);
    MUST(store_restore(p->s, compare, p, e));
    MUST(store_count_done(p->s, 1, &done, e));
    assert_int_equal(done, p->done);
}

static void what_is_rolled_back_leaves_no_bit(void **state)
{
    struct place *p = *state;

    settle_many(p, 10, 1);
    MUST(store_begin(p->s, e));
    for (uint64_t i = 0; i < 100; i++)
        if (!p->plain[i * 4096 % N])
            settle(p, i * 4096 % N, false);
    store_rollback(p->s);
    settle_many(p, 10, 2);
    MUST(store_restore(p->s, compare, p, e));
}

static bool every_other_missing(void *user, const struct record *record)
{
    static int n;

    (void)user;
    (void)record;
    return n++ % 2 == 0;
}

static int nothing(void *user, struct restored *r, struct err *e)
{
    (void)user;
    (void)r;
    (void)e;
    return 0;
}

static int count_of(void *user, const struct record *r, struct err *e)
{
    struct place *p = user;

    (void)e;
    p->plain[r->index] = true;
    *(r->failed ? &p->failed : &p->done) += 1;
    return 0;
}

static void a_reopened_job_has_the_bits_of_what_is_left(void **state)
{
    struct place *p = *state;

    settle_many(p, 300, 1);
    memset(p->plain, 0, sizeof p->plain);
    p->done = p->failed = 0;
    reopen_job(p->s, REOPEN_MISSING, every_other_missing, nothing, NULL);
    MUST(store_records(p->s, 1, 0, count_of, p, e));
    MUST(store_restore(p->s, compare, p, e));
}

/* As a state was before bits were kept. */
static void an_older_state_gets_its_bits_at_the_first_start(void **state)
{
    struct place *p = *state;
    char path[300], line[64] = "";
    sqlite3 *db;

    settle_many(p, 300, 1);
    store_close(p->s);
    snprintf(path, sizeof path, "%s/litho.db", p->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "DROP TRIGGER settled_job_removed; DROP TABLE settled;"
                                  "DROP TRIGGER index_marks_job_removed; DROP TABLE index_marks;"
                                  "DROP TRIGGER job_assets_job_removed; DROP TABLE job_assets;"
                                  "ALTER TABLE attempts DROP COLUMN lost;"
                                  "ALTER TABLE records DROP COLUMN frame_before;"
                                  "ALTER TABLE jobs DROP COLUMN reopen;"
                                  "ALTER TABLE attempts DROP COLUMN task_hash;"
                                  "ALTER TABLE records DROP COLUMN task_hash",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    for (int i = 0; i < schema_version; i++)
        if (strstr(schema_migrations[i], "CREATE TABLE settled "))
            snprintf(line, sizeof line, "PRAGMA user_version = %d", i);
    assert_int_equal(sqlite3_exec(db, line, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    MUST(store_open(p->dir, &p->s, e));
    MUST(store_restore(p->s, compare, p, e));
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(bits_and_counts_are_those_of_the_records),
        SENTENCE(what_is_rolled_back_leaves_no_bit),
        SENTENCE(a_reopened_job_has_the_bits_of_what_is_left),
        SENTENCE(an_older_state_gets_its_bits_at_the_first_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
