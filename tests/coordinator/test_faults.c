/*
 * The store on a disk that fails: SQLite's file calls go through a layer that lets the n-th of them
 * fail, for every n. Whatever fails, a batch that was committed is there, one that was refused can
 * be tried again, and no row is there twice.
 */
#include "coordinator/store.h"
#include "tests/coordinator/fixture.h"

#include <sqlite3.h>

#define BATCHES   6
#define STRIDE    5000 /* of the batches' tasks: each has a page of settled ones to itself */
#define TASKS     (BATCHES * STRIDE + 1)
#define TRIES_MAX 50

/* Which call fails, and how; one for all files of the process. */
static struct {
    long left;   /* calls until the failure; 0: none fails */
    long calls;  /* counted since the last reset */
    long syncs;  /* the same */
    int code;    /* what it fails with */
    bool struck; /* it failed */
    bool deadly; /* and so do all calls behind it, as of a process that was killed there */
    sqlite3_vfs *real;
} faults;

static bool strikes(void)
{
    faults.calls++;
    if (faults.struck && faults.deadly)
        return true;
    if (faults.left == 0 || --faults.left > 0)
        return false;
    faults.struck = true;
    return true;
}

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* in the memory behind this */
};

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct file *)f)->real;
}

static int f_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}
static int f_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return strikes() ? SQLITE_IOERR_READ : real_of(f)->pMethods->xRead(real_of(f), to, n, at);
}
/* A write that fails may have written a part. */
static int f_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    if (!strikes())
        return real_of(f)->pMethods->xWrite(real_of(f), from, n, at);
    if (n > 1)
        real_of(f)->pMethods->xWrite(real_of(f), from, n / 2, at);
    return faults.code;
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return strikes() ? SQLITE_IOERR_TRUNCATE : real_of(f)->pMethods->xTruncate(real_of(f), size);
}
static int f_sync(sqlite3_file *f, int flags)
{
    faults.syncs++;
    return strikes() ? SQLITE_IOERR_FSYNC : real_of(f)->pMethods->xSync(real_of(f), flags);
}
static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return strikes() ? SQLITE_IOERR_FSTAT : real_of(f)->pMethods->xFileSize(real_of(f), size);
}
static int f_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}
static int f_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}
static int f_reserved(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}
static int f_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}
static int f_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}
static int f_device(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}
static int f_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return strikes() ? SQLITE_IOERR_SHMMAP
                     : real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, out);
}
static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), offset, n, flags);
}
static void f_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}
static int f_unmap(sqlite3_file *f, int remove_it)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), remove_it);
}

static const sqlite3_io_methods methods = {2,         f_close,  f_read,   f_write,  f_truncate,
                                           f_sync,    f_size,   f_lock,   f_unlock, f_reserved,
                                           f_control, f_sector, f_device, f_map,    f_shm_lock,
                                           f_barrier, f_unmap,  NULL,     NULL};

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct file *file = (struct file *)f;
    int rc;

    (void)vfs;
    f->pMethods = NULL;
    if (strikes())
        return SQLITE_CANTOPEN;
    file->real = (sqlite3_file *)(file + 1);
    rc = faults.real->xOpen(faults.real, name, file->real, flags, out);
    if (rc == SQLITE_OK)
        f->pMethods = &methods;
    return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    return strikes() ? SQLITE_IOERR_DELETE : faults.real->xDelete(faults.real, name, sync);
}

static void faults_install(void)
{
    static sqlite3_vfs vfs;

    faults.real = sqlite3_vfs_find(NULL);
    vfs = *faults.real;
    vfs.zName = "faults";
    vfs.szOsFile = (int)sizeof(struct file) + faults.real->szOsFile;
    vfs.xOpen = v_open;
    vfs.xDelete = v_delete;
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
}

static int apply_batch(struct store *s, struct job *job, int batch, struct err *e)
{
    struct record record = {.index = (uint64_t)batch * STRIDE, .attempt = 1, .bytes = 5};
    struct store_row row = {.op = STORE_JOB, .job = 1, .bundle = job, .folder = (char *)"folder"};
    int rc;

    if (batch == 0)
        TRY(store_apply(s, &row, e));
    row = (struct store_row){.op = STORE_ATTEMPT,
                             .job = 1,
                             .index = (uint64_t)batch * STRIDE,
                             .attempts = 1,
                             .worker = (char *)"w"};
    TRY(store_apply(s, &row, e));
    row = (struct store_row){.op = STORE_HISTORY,
                             .job = 1,
                             .index = (uint64_t)batch * STRIDE,
                             .attempts = 1,
                             .worker = (char *)"w",
                             .code = "internal",
                             .text = (char *)"text"};
    TRY(store_apply(s, &row, e));
    memset(record.sha256, 'a', HASH_HEX_SIZE - 1);
    TRY(record_picture(&record, "path", "w", "cpu", "f32", e));
    row = (struct store_row){.op = STORE_RECORD, .job = 1, .record = record};
    TRY(store_apply(s, &row, e));
out:
    record_done(&record);
    return rc;
}

static int commit_batch(struct store *s, struct job *job, int batch, struct err *e)
{
    int rc;

    TRY(store_begin(s, e));
    TRY(apply_batch(s, job, batch, e));
    TRY(store_commit(s, e));
out:
    if (rc != 0)
        store_rollback(s);
    return rc;
}

static struct store *open_insisting(const char *dir)
{
    struct store *s = NULL;
    struct err e;
    int rc = ERR_IO;

    for (int i = 0; rc == ERR_IO && i < TRIES_MAX; i++)
        rc = store_open(dir, &s, &e);
    if (rc != 0)
        fail_msg("open after call %ld: %s: %s", faults.calls, err_name(rc), e.text);
    return s;
}

static int count_one(void *user, const struct record *r, struct err *e)
{
    (void)r;
    (void)e;
    ++*(int *)user;
    return 0;
}

static int counted(struct store *s)
{
    int n = 0;

    MUST(store_records(s, 1, 0, count_one, &n, e));
    return n;
}

/* The whole story with the n-th call failing. false: there is no n-th call. */
static bool one_failure(struct job *job, long n, int code)
{
    char *dir = temporary_folder();
    struct store *s;
    uint64_t done;
    bool struck;

    faults.left = n;
    faults.calls = 0;
    faults.struck = false;
    faults.code = code;
    s = open_insisting(dir);
    for (int batch = 0; batch < BATCHES; batch++) {
        struct err e;
        int rc = ERR_IO;

        for (int i = 0; rc == ERR_IO && i < TRIES_MAX; i++)
            rc = commit_batch(s, job, batch, &e);
        if (rc != 0)
            fail_msg("call %ld, batch %d: %s: %s", n, batch, err_name(rc), e.text);
    }
    store_close(s);
    struck = faults.struck;
    faults.left = 0;
    s = open_insisting(dir);
    assert_int_equal(counted(s), BATCHES);
    MUST(store_count_done(s, 1, &done, e));
    assert_int_equal(done, BATCHES);
    store_close(s);
    remove_tree(dir);
    free(dir);
    return struck;
}

static bool is_odd(void *user, const struct record *r)
{
    (void)user;
    return r->index / STRIDE % 2 == 1;
}

static bool never(void *user)
{
    (void)user;
    return false;
}

/* The job as a start, or the end of its opening, finds it. */
struct opening {
    bool loaded, reopening;
};

static int look(void *user, struct restored *r, struct err *e)
{
    (void)e;
    *(struct opening *)user = (struct opening){.loaded = r->job != NULL, .reopening = r->reopening};
    return 0;
}

/* How many records are left of all, by what was asked. */
static int left_by(enum reopen what)
{
    return what == REOPEN_ALL ? 0 : BATCHES / 2;
}

static int reopen_slice(struct store *s, enum reopen what, uint64_t *next, bool *over,
                        struct err *e)
{
    const struct store_slice slice = {.job = 1, .what = what, .again = is_odd, .enough = never};
    size_t taken;

    return store_reopen_slice(s, &slice, next, &taken, over, e);
}

/* One step of opening a job again, tried until the disk takes it. */
static void insist(struct store *s, enum reopen what, bool end, uint64_t *next, bool *over,
                   struct opening *found)
{
    struct err e;
    int rc = ERR_IO;

    for (int i = 0; rc == ERR_IO && i < TRIES_MAX; i++)
        rc = end ? store_reopen_end(s, 1, what, look, found, &e)
                 : reopen_slice(s, what, next, over, &e);
    if (rc != 0)
        fail_msg("call %ld, end %d: %s: %s", faults.calls, end, err_name(rc), e.text);
}

static void reopen_all(struct store *s, enum reopen what)
{
    struct opening found = {0};
    uint64_t next = 0;
    bool over = false;

    while (!over)
        insist(s, what, false, &next, &over, &found);
    insist(s, what, true, &next, &over, &found);
    assert_true(found.loaded && !found.reopening);
}

/* It runs, has the records that it is to have, and is not being opened. */
static void assert_reopened(const char *dir, enum reopen what)
{
    struct store *s = open_insisting(dir);
    struct opening found = {0};
    uint64_t done;

    assert_int_equal(counted(s), left_by(what));
    MUST(store_count_done(s, 1, &done, e));
    assert_int_equal(done, left_by(what));
    MUST(store_restore(s, look, &found, e));
    assert_true(found.loaded && !found.reopening);
    store_close(s);
}

static struct store *finished(const char *dir, struct job *job)
{
    const struct store_row row = {.op = STORE_STATE, .job = 1, .state = "done", .done = BATCHES};
    struct store *s = open_insisting(dir);

    for (int batch = 0; batch < BATCHES; batch++)
        MUST(commit_batch(s, job, batch, e));
    MUST(store_begin(s, e));
    MUST(store_apply(s, &row, e));
    MUST(store_commit(s, e));
    return s;
}

/* A finished job that is opened again with the n-th call failing. */
static bool one_failure_of_reopening(struct job *job, enum reopen what, long n)
{
    char *dir = temporary_folder();
    struct store *s = finished(dir, job);
    bool struck;

    faults.left = n;
    faults.calls = 0;
    faults.struck = false;
    faults.code = SQLITE_FULL;
    reopen_all(s, what);
    store_close(s);
    struck = faults.struck;
    faults.left = 0;
    assert_reopened(dir, what);
    remove_tree(dir);
    free(dir);
    return struck;
}

/* The process is killed there instead: the next one finds that the job is being opened, or that it
 * was not begun, or all of it done; never a job that runs with a part of its records taken back. */
static bool one_death_of_reopening(struct job *job, enum reopen what, long n)
{
    char *dir = temporary_folder();
    struct store *s = finished(dir, job);
    struct opening found = {0};
    bool over = false, alive = true, struck;
    uint64_t next = 0;

    faults.left = n;
    faults.calls = 0;
    faults.struck = false;
    faults.deadly = true;
    faults.code = SQLITE_IOERR_WRITE;
    while (alive && !over)
        alive = reopen_slice(s, what, &next, &over, NULL) == 0;
    if (alive)
        store_reopen_end(s, 1, what, look, &found, NULL);
    store_close(s);
    struck = faults.struck;
    faults.deadly = false;
    faults.left = 0;
    s = open_insisting(dir);
    found = (struct opening){0};
    MUST(store_restore(s, look, &found, e));
    if (!found.reopening && counted(s) != (found.loaded ? left_by(what) : BATCHES))
        fail_msg("call %ld: %d records are left, and nobody goes on", n, counted(s));
    reopen_all(s, what);
    store_close(s);
    assert_reopened(dir, what);
    remove_tree(dir);
    free(dir);
    return struck;
}

static void sweep_reopening(bool (*one)(struct job *job, enum reopen what, long n))
{
    static const enum reopen whats[] = {REOPEN_MISSING, REOPEN_CHANGED, REOPEN_ALL};
    struct job *job = seeds_job("a", TASKS);

    for (size_t i = 0; i < sizeof whats / sizeof *whats; i++) {
        long n = 1;

        while (one(job, whats[i], n))
            n++;
        assert_true(n > 10);
    }
    job_free(job);
}

static void opening_a_job_again_survives_any_call_that_fails(void **state)
{
    (void)state;
    sweep_reopening(one_failure_of_reopening);
}

static void a_process_killed_at_any_call_of_opening_a_job_goes_on_with_it(void **state)
{
    (void)state;
    sweep_reopening(one_death_of_reopening);
}

static void sweep(int code)
{
    struct job *job = seeds_job("a", TASKS);
    long n = 1;

    while (one_failure(job, n, code))
        n++;
    assert_true(n > 60); /* there were calls enough to mean something */
    job_free(job);
}

static void any_call_that_fails_loses_and_repeats_nothing(void **state)
{
    (void)state;
    sweep(SQLITE_IOERR_WRITE);
}

static void a_disk_full_at_any_write_loses_and_repeats_nothing(void **state)
{
    (void)state;
    sweep(SQLITE_FULL);
}

/*
 * The process is killed at the n-th call. What it had committed is there, once; the batch that it
 * was at is there as a whole or not at all; the next process goes on from there. false: there is no
 * n-th call.
 */
static bool one_death(struct job *job, long n)
{
    char *dir = temporary_folder();
    struct store *s = NULL;
    int told = 0, there;

    faults.left = n;
    faults.calls = 0;
    faults.struck = false;
    faults.deadly = true;
    faults.code = SQLITE_IOERR_WRITE;
    if (store_open(dir, &s, NULL) == 0)
        while (told < BATCHES && commit_batch(s, job, told, NULL) == 0)
            told++;
    store_close(s);
    faults.deadly = false;
    faults.left = 0;
    s = open_insisting(dir);
    there = counted(s);
    if (there < told || there > told + 1)
        fail_msg("call %ld: %d batches were told, %d are there", n, told, there);
    for (int batch = there; batch < BATCHES; batch++)
        MUST(commit_batch(s, job, batch, e));
    assert_int_equal(counted(s), BATCHES);
    store_close(s);
    remove_tree(dir);
    free(dir);
    return faults.struck;
}

static void a_process_killed_at_any_call_loses_nothing_that_it_told(void **state)
{
    struct job *job = seeds_job("a", TASKS);
    long n = 1;

    (void)state;
    while (one_death(job, n))
        n++;
    assert_true(n > 60);
    job_free(job);
}

struct found {
    int jobs;
    uint64_t done, records;
};

static int restored(void *user, struct restored *r, struct err *e)
{
    struct found *f = user;

    (void)e;
    f->jobs++;
    f->done += r->done;
    return 0;
}

static int restart(const char *dir, struct found *ret_found, struct err *e)
{
    struct store *s = NULL;
    int n = 0, rc;

    *ret_found = (struct found){0};
    TRY(store_open(dir, &s, e));
    TRY(store_restore(s, restored, ret_found, e));
    TRY(store_records(s, 1, 0, count_one, &n, e));
    ret_found->records = (uint64_t)n;
out:
    store_close(s);
    return rc;
}

/* A start that cannot read says so; it never goes on with less than there is. */
static void a_start_whose_nth_call_fails_says_so_or_finds_everything(void **state)
{
    struct job *job = seeds_job("a", TASKS);
    char *dir = temporary_folder();
    struct store *s = open_insisting(dir);
    struct found found;
    int refused = 0;

    (void)state;
    for (int batch = 0; batch < BATCHES; batch++)
        MUST(commit_batch(s, job, batch, e));
    store_close(s);
    faults.struck = true;
    for (long n = 1; faults.struck; n++) {
        int rc;

        faults.left = n;
        faults.struck = false;
        rc = restart(dir, &found, NULL);
        faults.left = 0;
        refused += rc != 0;
        if (rc == 0 && (found.jobs != 1 || found.done != BATCHES || found.records != BATCHES))
            fail_msg("call %ld: %d jobs, %d done, %d records", n, found.jobs, (int)found.done,
                     (int)found.records);
    }
    assert_true(refused > 10);
    MUST(restart(dir, &found, e)); /* and no start broke anything */
    assert_int_equal(found.records, BATCHES);
    remove_tree(dir);
    free(dir);
    job_free(job);
}

static void each_commit_is_synced_before_it_is_told(void **state)
{
    struct job *job = seeds_job("a", TASKS);
    char *dir = temporary_folder();
    struct store *s = open_insisting(dir);

    (void)state;
    for (int batch = 0; batch < BATCHES; batch++) {
        faults.syncs = 0;
        MUST(commit_batch(s, job, batch, e));
        assert_true(faults.syncs > 0);
    }
    store_close(s);
    remove_tree(dir);
    free(dir);
    job_free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_call_that_fails_loses_and_repeats_nothing),
        cmocka_unit_test(a_process_killed_at_any_call_loses_nothing_that_it_told),
        cmocka_unit_test(a_start_whose_nth_call_fails_says_so_or_finds_everything),
        cmocka_unit_test(each_commit_is_synced_before_it_is_told),
        cmocka_unit_test(opening_a_job_again_survives_any_call_that_fails),
        cmocka_unit_test(a_process_killed_at_any_call_of_opening_a_job_goes_on_with_it),
        cmocka_unit_test(a_disk_full_at_any_write_loses_and_repeats_nothing),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
