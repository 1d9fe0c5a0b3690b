#include "coordinator/store.h"

#include "coordinator/schema.h"
#include "coordinator/state_dir.h"
#include "coordinator/store_inner.h"

#define MEASURED_ID    0x6c6d656d /* application_id of a state without pictures */
#define COMMIT_BUSY_MS 1000       /* a reader of another process may hold the file for a moment */

/* The bits of settled tasks, for states from before they were kept. */
static int rebuild_all(struct store *s, struct err *e)
{
    int64_t last;
    int rc;

    TRY(sql_int(s->db, "SELECT COALESCE(MAX(number), 0) FROM jobs", &last, e));
    for (int64_t job = 1; job <= last; job++)
        TRY(settled_rebuild(s, (uint64_t)job, e));
out:
    return rc;
}

static int migrate(struct store *s, struct err *e)
{
    sqlite3 *db = s->db;
    int64_t version, foreign;
    char line[64];
    int rc;

    TRY(sql_int(db, "PRAGMA user_version", &version, e));
    if (version > schema_version)
        return err_set(e, ERR_CONFLICT,
                       "the state was written by a newer version of this program (schema %lld, "
                       "this one knows %d)",
                       (long long)version, schema_version);
    TRY(sql_int(db, "SELECT count(*) FROM sqlite_master", &foreign, e));
    if (version < 0 || (version == 0 && foreign > 0))
        return err_set(e, ERR_CONFLICT, "it is another program's database: move it away");
    for (int64_t i = version; i < schema_version; i++) {
        TRY(sql_run(db, "BEGIN IMMEDIATE", e));
        TRY(sql_run(db, schema_migrations[i], e));
        if (strstr(schema_migrations[i], "CREATE TABLE settled "))
            TRY(rebuild_all(s, e));
        snprintf(line, sizeof line, "PRAGMA user_version = %lld", (long long)i + 1);
        TRY(sql_run(db, line, e));
        TRY(sql_run(db, "COMMIT", e));
    }
out:
    return rc;
}

static int database_open(const char *state_dir, sqlite3 **ret_db, struct err *e)
{
    struct buf path = {0};
    int rc;

    buf_printf(&path, "%s/litho.db", state_dir);
    TRY(buf_check(&path, e));
    /* One thread: no lock at each of the twenty calls for a row. */
    if (sqlite3_open_v2(buf_text(&path), ret_db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        rc = sql_err(*ret_db, e);
        goto out;
    }
    sqlite3_extended_result_codes(*ret_db, 1);
    sqlite3_busy_timeout(*ret_db, COMMIT_BUSY_MS);
    TRY(sql_run(*ret_db, "PRAGMA journal_mode = WAL", e));
    TRY(sql_run(*ret_db, "PRAGMA synchronous = FULL", e));
    TRY(sql_run(*ret_db, "PRAGMA foreign_keys = ON", e));
out:
    buf_done(&path);
    return rc;
}

static int refused(const char *state_dir, int rc, struct err *e)
{
    return e ? err_set(e, rc, "%s/litho.db: %s", state_dir, e->text) : rc;
}

int store_open(const char *state_dir, struct store **ret_store, struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return err_set(e, ERR_OOM, "no memory for the store");
    s->lock = -1;
    s->purge = true;
    TRY(state_lock(state_dir, &s->lock, e));
    rc = database_open(state_dir, &s->db, e);
    if (rc == 0)
        rc = migrate(s, e);
    TRY(rc ? refused(state_dir, rc, e) : 0);
    *ret_store = s;
    s = NULL;
out:
    store_close(s);
    return rc;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    sql_cache_done(&s->statements);
    sqlite3_close(s->db);
    state_unlock(s->lock);
    free(s);
}

int store_claim(struct store *s, bool measured, struct err *e)
{
    int64_t id, jobs;
    char line[64];
    int rc;

    TRY(sql_int(s->db, "PRAGMA application_id", &id, e));
    TRY(sql_int(s->db, "SELECT COUNT(*) FROM jobs", &jobs, e));
    if (measured == (id == MEASURED_ID))
        return 0;
    if (id == MEASURED_ID)
        return err_set(e, ERR_CONFLICT,
                       "the state folder belongs to a measurement: its records have no pictures");
    if (jobs > 0)
        return err_set(
            e, ERR_CONFLICT,
            "results without pictures need a state folder of their own, and this one has "
            "jobs");
    snprintf(line, sizeof line, "PRAGMA application_id = %d", MEASURED_ID);
    TRY(sql_run(s->db, line, e));
out:
    return rc;
}

int store_begin(struct store *s, struct err *e)
{
    return sql_run(s->db, "BEGIN IMMEDIATE", e);
}

int store_commit(struct store *s, struct err *e)
{
    int rc;

    TRY(settled_flush(s, e));
    TRY(sql_run(s->db, "COMMIT", e));
out:
    return rc;
}

void store_rollback(struct store *s)
{
    /* Fails only when SQLite has rolled back by itself, as it does on a full disk. */
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    settled_forget(s);
}

static int apply_job(struct store *s, const struct store_row *row, struct err *e)
{
    size_t size;
    const char *bundle = job_bundle(row->bundle, &size);
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "INSERT INTO jobs (number, hash, name, folder, state, tasks, submitted_ms, "
                    "bundle, token, priority, paused, force) "
                    "VALUES (?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?)",
                    &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    sql_bind_text(&q, job_hash(row->bundle));
    sql_bind_text(&q, job_name(row->bundle));
    sql_bind_text(&q, row->folder);
    sql_bind_int(&q, (int64_t)job_count(row->bundle));
    sql_bind_int(&q, row->submitted_ms);
    sql_bind_blob(&q, bundle, size);
    sql_bind_text(&q, row->token ? row->token : "");
    sql_bind_int(&q, row->priority);
    sql_bind_int(&q, row->paused);
    sql_bind_int(&q, row->force);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

static int apply_state(struct store *s, const struct store_row *row, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "UPDATE jobs SET state = ?, done = ?, failed = ?, finished_ms = ?, sheet = ?, "
                    "reason = ?, paused = ?, force = ?, priority = ?, "
                    "reopen = CASE WHEN ? THEN reopen ELSE '' END "
                    "WHERE number = ?",
                    &q, e));
    sql_bind_text(&q, row->state);
    sql_bind_int(&q, (int64_t)row->done);
    sql_bind_int(&q, (int64_t)row->failed);
    sql_bind_int(&q, row->finished_ms);
    sql_bind_text(&q, row->sheet ? row->sheet : "");
    sql_bind_text(&q, row->reason ? row->reason : "");
    sql_bind_int(&q, row->paused);
    sql_bind_int(&q, row->force);
    sql_bind_int(&q, row->priority);
    sql_bind_int(&q, row->reopening);
    sql_bind_int(&q, (int64_t)row->job);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

static int apply_attempt(struct store *s, const struct store_row *row, struct err *e)
{
    char lost[LOST_TEXT_MAX];
    struct sql q;
    int rc;

    lost_text(&row->lost, lost);
    TRY(sql_prepare(s->db, &s->statements,
                    "INSERT OR REPLACE INTO attempts (job, task_index, attempts, tries, losses, "
                    "worker, task_hash, lost) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    sql_bind_int(&q, (int64_t)row->index);
    sql_bind_int(&q, row->attempts);
    sql_bind_int(&q, row->tries);
    sql_bind_int(&q, row->lost.n);
    sql_bind_text(&q, row->worker);
    sql_bind_text(&q, row->task_hash);
    sql_bind_text(&q, lost);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

/* 64 hex digits as 32 bytes. */
static void hex_to_bytes(const char *hex, unsigned char ret_bytes[32])
{
    for (int i = 0; i < 32; i++) {
        unsigned value = 0;

        for (int k = 0; k < 2; k++)
            value = value * 16 + (unsigned)(hex[2 * i + k] <= '9' ? hex[2 * i + k] - '0'
                                                                  : hex[2 * i + k] - 'a' + 10);
        ret_bytes[i] = (unsigned char)value;
    }
}

/* 32 bytes, which stay until the statement is done; NULL for "". */
static void bind_hash(struct sql *q, const char *hex, unsigned char bytes[32])
{
    if (!hex[0]) {
        sql_bind_null(q);
        return;
    }
    hex_to_bytes(hex, bytes);
    sql_bind_blob(q, bytes, 32);
}

static int apply_record(struct store *s, const struct store_row *row, struct err *e)
{
    const struct record *r = &row->record;
    unsigned char task_hash[32], before[32];
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "INSERT INTO records (job, task_index, failed, attempt, path, sha256, bytes, "
                    "worker, device_class, precision, load_seconds, render_seconds, finished_ms, "
                    "code, text, task_hash, frame_before) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    sql_bind_int(&q, (int64_t)r->index);
    sql_bind_int(&q, r->failed);
    sql_bind_int(&q, r->attempt);
    sql_bind_text(&q, r->path);
    sql_bind_text(&q, r->sha256);
    sql_bind_int(&q, (int64_t)r->bytes);
    sql_bind_text(&q, r->worker);
    sql_bind_text(&q, r->device_class);
    sql_bind_text(&q, r->precision);
    sql_bind_real(&q, r->load_seconds);
    sql_bind_real(&q, r->render_seconds);
    sql_bind_int(&q, r->finished_ms);
    sql_bind_text(&q, r->code);
    sql_bind_text(&q, r->text);
    bind_hash(&q, r->task_hash, task_hash);
    bind_hash(&q, r->before, before);
    TRY(sql_finish(&q, e));
    TRY(sql_prepare(s->db, &s->statements, "DELETE FROM attempts WHERE job = ? AND task_index = ?",
                    &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    sql_bind_int(&q, (int64_t)r->index);
    TRY(sql_finish(&q, e));
    TRY(settled_note(s, row->job, r->index, r->failed, e));
out:
    return rc;
}

static int apply_asset(struct store *s, const struct store_row *row, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(
        s->db, &s->statements,
        "INSERT OR IGNORE INTO job_assets (job, role, name, sha256) VALUES (?, ?, ?, ?)", &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    sql_bind_text(&q, row->code);
    sql_bind_text(&q, row->text);
    sql_bind_text(&q, row->task_hash);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

static int apply_history(struct store *s, const struct store_row *row, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "INSERT OR REPLACE INTO history (job, task_index, attempt, worker, code, text, "
                    "started_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    sql_bind_int(&q, (int64_t)row->index);
    sql_bind_int(&q, row->attempts);
    sql_bind_text(&q, row->worker);
    sql_bind_text(&q, row->code);
    sql_bind_text(&q, row->text);
    sql_bind_int(&q, row->started_ms);
    sql_bind_int(&q, row->finished_ms);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

static int apply_forget(struct store *s, const struct store_row *row, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements, "DELETE FROM records WHERE job = ? AND task_index = ?",
                    &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    sql_bind_int(&q, (int64_t)row->index);
    TRY(sql_finish(&q, e));
    if (sqlite3_changes(s->db) > 0)
        TRY(settled_unnote(s, row->job, row->index, false, e));
out:
    return rc;
}

/* The row stays without a name until store_purge has taken what belongs to it. */
static int apply_remove(struct store *s, const struct store_row *row, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "UPDATE jobs SET state = 'removed', hash = number || ':', "
                    "folder = number || ':', token = '' WHERE number = ?",
                    &q, e));
    sql_bind_int(&q, (int64_t)row->job);
    TRY(sql_finish(&q, e));
    s->purge = true;
out:
    return rc;
}

static int purge_from(struct store *s, const char *text, int64_t job, uint32_t limit, int *ret_n,
                      struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements, text, &q, e));
    sql_bind_int(&q, job);
    sql_bind_int(&q, job);
    sql_bind_int(&q, limit);
    TRY(sql_finish(&q, e));
    *ret_n = sqlite3_changes(s->db);
out:
    return rc;
}

#define PURGE(table)                                                                               \
    "DELETE FROM " table " WHERE job = ? AND task_index IN (SELECT task_index FROM " table         \
    " WHERE job = ? LIMIT ?)"

static int purge_some(struct store *s, int64_t job, uint32_t limit, struct err *e)
{
    static const char *const texts[] = {PURGE("records"), PURGE("attempts"), PURGE("history")};
    struct sql q;
    int rc, n;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        TRY(purge_from(s, texts[i], job, limit, &n, e));
        if (n > 0)
            return 0;
    }
    TRY(sql_prepare(s->db, &s->statements, "DELETE FROM settled WHERE job = ?", &q, e));
    sql_bind_int(&q, job);
    TRY(sql_finish(&q, e));
    TRY(sql_prepare(s->db, &s->statements, "DELETE FROM jobs WHERE number = ?", &q, e));
    sql_bind_int(&q, job);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

int store_purge(struct store *s, uint32_t limit, bool *ret_more, struct err *e)
{
    int64_t job = 0;
    int rc = 0;

    *ret_more = s->purge;
    if (!s->purge)
        return 0;
    TRY(sql_int(s->db, "SELECT COALESCE(MIN(number), 0) FROM jobs WHERE state = 'removed'", &job,
                e));
    s->purge = *ret_more = job != 0;
    if (!job)
        return 0;
    TRY(store_begin(s, e));
    TRY(purge_some(s, job, limit, e));
    TRY(store_commit(s, e));
out:
    if (rc != 0)
        store_rollback(s);
    return rc;
}

int store_apply(struct store *s, const struct store_row *row, struct err *e)
{
    switch (row->op) {
    case STORE_JOB:
        return apply_job(s, row, e);
    case STORE_STATE:
        return apply_state(s, row, e);
    case STORE_ATTEMPT:
        return apply_attempt(s, row, e);
    case STORE_RECORD:
        return apply_record(s, row, e);
    case STORE_ASSET:
        return apply_asset(s, row, e);
    case STORE_HISTORY:
        return apply_history(s, row, e);
    case STORE_FORGET:
        return apply_forget(s, row, e);
    case STORE_REMOVE:
        return apply_remove(s, row, e);
    }
    return err_set(e, ERR_INTERNAL, "row of kind %d", (int)row->op);
}
