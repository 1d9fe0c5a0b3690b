/* Jobs read back from the store: store.h. */
#include "coordinator/store_inner.h"
#include "proto/msg_table.h"

static void restored_done(struct restored *r)
{
    for (size_t i = 0; i < r->n_failures; i++) {
        free(r->failures[i].code);
        free(r->failures[i].text);
    }
    free(r->failures);
    free(r->attempts);
    bits_done(&r->settled);
    job_free(r->job);
}

#define FAILURES_READ "10000" /* of a job, that its status is made from at a start */

/* The first failures of each text, which status shows. SQLite would look for them among all
 * records; beside MIN() it takes other columns from the row of the least. */
static int take_failures(struct store *s, struct restored *r, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc = 0;

    r->failures = calloc(COORD_FAILURES_SHOWN, sizeof *r->failures);
    if (!r->failures)
        return err_set(e, ERR_OOM, "no memory for failures");
    TRY(sql_prepare(
        s->db, &s->statements,
        "SELECT MIN(task_index), attempt, code, text, COUNT(*) FROM (SELECT task_index, "
        "attempt, code, text FROM records INDEXED BY records_failed WHERE job = ? AND "
        "failed = 1 ORDER BY task_index LIMIT " FAILURES_READ ") "
        "GROUP BY code, text ORDER BY 1 LIMIT ?",
        &q, e));
    sql_bind_int(&q, (int64_t)r->number);
    sql_bind_int(&q, COORD_FAILURES_SHOWN);
    for (;;) {
        struct failure_note *note = &r->failures[r->n_failures];

        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        note->index = (uint64_t)sql_get_int(&q, 0);
        note->attempts = (uint32_t)sql_get_int(&q, 1);
        note->code = strdup(sql_get_text(&q, 2));
        note->text = strdup(sql_get_text(&q, 3));
        note->tasks = (uint64_t)sql_get_int(&q, 4);
        r->n_failures++;
        if (!note->code || !note->text)
            TRY(err_set(e, ERR_OOM, "no memory for a failure"));
    }
out:
    sql_reset(&q);
    return rc;
}

/* Every record is of a task that the job has. */
static int check_records(struct store *s, const struct restored *r, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT task_index FROM records WHERE job = ? ORDER BY task_index DESC LIMIT 1",
                    &q, e));
    sql_bind_int(&q, (int64_t)r->number);
    TRY(sql_step(&q, &row, e));
    if (row && ((uint64_t)sql_get_int(&q, 0) >= job_span(r->job) ||
                r->done + r->failed > job_count(r->job)))
        TRY(err_set(e, ERR_INPUT,
                    "job %.12s: the store has a record of task %lld, which the job does not have",
                    r->hash, (long long)sql_get_int(&q, 0)));
out:
    sql_reset(&q);
    return rc;
}

/* A worker may still hold such an attempt, its acknowledgement lost with the last coordinator. */
static int take_failed(struct store *s, uint64_t job, struct restored_attempt *a, struct err *e)
{
    struct sql q = {0};
    bool row = true;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT attempt FROM history WHERE job = ? AND task_index = ? AND "
                    "code <> 'worker_lost' ORDER BY attempt DESC LIMIT ?",
                    &q, e));
    sql_bind_int(&q, (int64_t)job);
    sql_bind_int(&q, (int64_t)a->index);
    sql_bind_int(&q, COORD_REFUSED_MAX);
    for (;;) {
        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        a->failed[a->n_failed++] = (uint32_t)sql_get_int(&q, 0);
    }
out:
    sql_reset(&q);
    return rc;
}

static int take_attempts(struct store *s, struct restored *r, struct err *e)
{
    struct sql q = {0};
    size_t room = 0;
    bool row;
    int rc;

    TRY(sql_prepare(
        s->db, &s->statements,
        "SELECT task_index, attempts, tries, losses, worker <> '', task_hash, lost FROM attempts "
        "WHERE job = ? ORDER BY task_index",
        &q, e));
    sql_bind_int(&q, (int64_t)r->number);
    for (;;) {
        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        if (r->n_attempts == room) {
            struct restored_attempt *more;

            room = room ? room * 2 : 64;
            more = realloc(r->attempts, room * sizeof *more);
            if (!more)
                TRY(err_set(e, ERR_OOM, "no memory for attempts"));
            r->attempts = more;
        }
        r->attempts[r->n_attempts++] = (struct restored_attempt){
            .index = (uint64_t)sql_get_int(&q, 0),
            .attempts = (uint32_t)sql_get_int(&q, 1),
            .tries = (uint32_t)sql_get_int(&q, 2),
            .lost = lost_parse(sql_get_text(&q, 6), (uint32_t)sql_get_int(&q, 3)),
            .given = sql_get_int(&q, 4) != 0,
        };
        snprintf(r->attempts[r->n_attempts - 1].task_hash, HASH_HEX_SIZE, "%s",
                 sql_get_text(&q, 5));
    }
    sql_reset(&q);
    for (size_t i = 0; i < r->n_attempts; i++)
        TRY(take_failed(s, r->number, &r->attempts[i], e));
out:
    sql_reset(&q);
    return rc;
}

/* Everything of a job that is not over. */
static int load_whole(struct store *s, struct restored *r, struct err *e)
{
    int rc;

    r->done = r->failed = 0;
    TRY(store_job(s, r->number, &r->job, e));
    if (strcmp(job_hash(r->job), r->hash) != 0)
        TRY(err_set(e, ERR_INPUT, "job %.12s: the store's bundle is damaged", r->hash));
    if (job_count(r->job) != r->tasks)
        TRY(err_set(e, ERR_INPUT,
                    "job %.12s: the store's row is damaged: it has %llu tasks, not %llu", r->hash,
                    (unsigned long long)job_count(r->job), (unsigned long long)r->tasks));
    TRY(settled_load(s, r->number, &r->settled, &r->done, &r->failed, e));
    settled_raise(r->job, &r->settled);
    TRY(check_records(s, r, e));
    TRY(take_failures(s, r, e));
    TRY(take_attempts(s, r, e));
out:
    return rc;
}

/* A job's row; the strings are copied into text. */
struct job_row {
    struct restored r;
    char *name, *folder, *sheet, *state, *token, *reason;
};

static void job_row_done(struct job_row *row)
{
    free(row->name);
    free(row->folder);
    free(row->sheet);
    free(row->state);
    free(row->token);
    free(row->reason);
    restored_done(&row->r);
    *row = (struct job_row){0};
}

/* The first job whose number is at least `from`; ret_found false at the end. */
static int job_row_read(struct store *s, uint64_t from, struct job_row *row, bool *ret_found,
                        struct err *e)
{
    struct sql q = {0};
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT number, hash, name, folder, state, tasks, done, failed, submitted_ms, "
                    "finished_ms, sheet, token, reason, priority, paused, force, "
                    "reopen FROM jobs "
                    "WHERE number >= ? AND state <> 'removed' ORDER BY number LIMIT 1",
                    &q, e));
    sql_bind_int(&q, (int64_t)from);
    TRY(sql_step(&q, ret_found, e));
    if (!*ret_found)
        goto out;
    row->name = strdup(sql_get_text(&q, 2));
    row->folder = strdup(sql_get_text(&q, 3));
    row->state = strdup(sql_get_text(&q, 4));
    row->sheet = strdup(sql_get_text(&q, 10));
    row->token = strdup(sql_get_text(&q, 11));
    row->reason = strdup(sql_get_text(&q, 12));
    if (!row->name || !row->folder || !row->state || !row->sheet || !row->token || !row->reason)
        TRY(err_set(e, ERR_OOM, "no memory for a job's row"));
    row->r = (struct restored){
        .number = (uint64_t)sql_get_int(&q, 0),
        .name = row->name,
        .folder = row->folder,
        .state = row->state,
        .sheet = row->sheet,
        .token = row->token,
        .reason = row->reason,
        .priority = (uint32_t)sql_get_int(&q, 13),
        .paused = sql_get_int(&q, 14) != 0,
        .force = sql_get_int(&q, 15) != 0,
        .tasks = (uint64_t)sql_get_int(&q, 5),
        .done = (uint64_t)sql_get_int(&q, 6),
        .failed = (uint64_t)sql_get_int(&q, 7),
        .submitted_ms = sql_get_int(&q, 8),
        .finished_ms = sql_get_int(&q, 9),
    };
    snprintf(row->r.hash, sizeof row->r.hash, "%s", sql_get_text(&q, 1));
    if (!msg_is_hash(row->r.hash, strlen(row->r.hash)) || row->r.number > INT64_MAX)
        TRY(err_set(e, ERR_INPUT, "job %lld: the store's row is damaged", (long long)from));
    row->r.reopening = store_reopen_named(sql_get_text(&q, 16), &row->r.reopen);
out:
    sql_reset(&q);
    return rc;
}

static bool is_over(const char *state)
{
    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

int store_restore(struct store *s, int (*f)(void *user, struct restored *r, struct err *e),
                  void *user, struct err *e)
{
    struct job_row row = {0};
    uint64_t from = 0;
    bool found, more = true;
    int rc;

    while (more) /* so that the numbers of removed jobs may be given again */
        TRY(store_purge(s, 100000, &more, e));
    for (;;) {
        TRY(job_row_read(s, from, &row, &found, e));
        if (!found)
            break;
        from = row.r.number + 1;
        if (!is_over(row.state))
            TRY(load_whole(s, &row.r, e));
        else if (row.r.failed > 0)
            TRY(take_failures(s, &row.r, e)); /* found by an index of failures alone */
        TRY(f(user, &row.r, e));
        job_row_done(&row);
    }
out:
    job_row_done(&row);
    return rc;
}

int store_load(struct store *s, uint64_t job,
               int (*f)(void *user, struct restored *r, struct err *e), void *user, struct err *e)
{
    struct job_row row = {0};
    bool found;
    int rc;

    TRY(job_row_read(s, job, &row, &found, e));
    if (!found || row.r.number != job)
        TRY(err_set(e, ERR_MISSING, "no job %llu in the store", (unsigned long long)job));
    TRY(load_whole(s, &row.r, e));
    TRY(f(user, &row.r, e));
out:
    job_row_done(&row);
    return rc;
}

static int peek(sqlite3 *db, const char *hash, uint64_t *ret_done, uint64_t *ret_failed,
                struct err *e)
{
    struct sql_cache cache = {0};
    struct sql q;
    int64_t has_bits;
    bool row;
    int rc;

    TRY(sql_int(db, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'settled'", &has_bits, e));
    TRY(sql_prepare(db, &cache,
                    has_bits ? "SELECT (SELECT SUM(done) FROM settled WHERE job = number), "
                               "(SELECT SUM(failed) FROM settled WHERE job = number) "
                               "FROM jobs WHERE hash = ?"
                             : /* a state that no newer coordinator has opened yet */
                        "SELECT (SELECT COUNT(*) FROM records WHERE job = number AND failed = 0), "
                        "(SELECT COUNT(*) FROM records WHERE job = number AND failed = 1) "
                        "FROM jobs WHERE hash = ?",
                    &q, e));
    sql_bind_text(&q, hash);
    TRY(sql_step(&q, &row, e));
    if (!row)
        TRY(err_set(e, ERR_MISSING, "job %.12s is not in the state", hash));
    *ret_done = (uint64_t)sql_get_int(&q, 0);
    *ret_failed = (uint64_t)sql_get_int(&q, 1);
out:
    sql_cache_done(&cache);
    return rc;
}

int store_peek(const char *state_dir, const char *job_hash, uint64_t *ret_done,
               uint64_t *ret_failed, struct err *e)
{
    struct buf path = {0};
    sqlite3 *db = NULL;
    int rc;

    buf_printf(&path, "%s/litho.db", state_dir);
    TRY(buf_check(&path, e));
    if (sqlite3_open_v2(buf_text(&path), &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        bool missing = (sqlite3_errcode(db) & 0xff) == SQLITE_CANTOPEN;

        rc = sql_err(db, e);
        if (missing)
            rc = err_set(e, ERR_MISSING, "no state in %s", state_dir);
        goto out;
    }
    sqlite3_busy_timeout(db, 2000);
    TRY(peek(db, job_hash, ret_done, ret_failed, e));
out:
    sqlite3_close(db);
    buf_done(&path);
    return rc;
}
