/* What the store is asked for: records, attempts that gave no picture, files, bundles. */
#include "coordinator/record.h"
#include "coordinator/sql.h"
#include "coordinator/store_inner.h"

#include <string.h>

int store_assets(struct store *s, uint64_t job,
                 int (*f)(void *user, const char *role, const char *name, const char *sha256,
                          struct err *e),
                 void *user, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT role, name, sha256 FROM job_assets WHERE job = ?", &q, e));
    sql_bind_int(&q, (int64_t)job);
    for (;;) {
        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        TRY(f(user, sql_get_text(&q, 0), sql_get_text(&q, 1), sql_get_text(&q, 2), e));
    }
out:
    sql_reset(&q);
    return rc;
}

int store_history(struct store *s, uint64_t job, uint64_t index,
                  int (*f)(void *user, const struct history_row *row, struct err *e), void *user,
                  struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT attempt, worker, code, text, started_ms, ended_ms FROM history "
                    "WHERE job = ? AND task_index = ? ORDER BY attempt",
                    &q, e));
    sql_bind_int(&q, (int64_t)job);
    sql_bind_int(&q, (int64_t)index);
    for (;;) {
        struct history_row h;

        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        h = (struct history_row){.attempt = (uint32_t)sql_get_int(&q, 0),
                                 .worker = sql_get_text(&q, 1),
                                 .code = sql_get_text(&q, 2),
                                 .text = sql_get_text(&q, 3),
                                 .started_ms = sql_get_int(&q, 4),
                                 .ended_ms = sql_get_int(&q, 5)};
        TRY(f(user, &h, e));
    }
out:
    sql_reset(&q);
    return rc;
}

/* Columns of a record, in this order. Strings are SQLite's until the next step. */
#define RECORD_COLUMNS                                                                             \
    "task_index, failed, attempt, path, sha256, bytes, worker, device_class, precision, "          \
    "load_seconds, render_seconds, finished_ms, code, text, lower(hex(task_hash)), "               \
    "lower(hex(frame_before))"

static void record_read(struct sql *q, struct record *r)
{
    *r = (struct record){
        .index = (uint64_t)sql_get_int(q, 0),
        .failed = sql_get_int(q, 1) != 0,
        .attempt = (uint32_t)sql_get_int(q, 2),
        .path = (char *)sql_get_text(q, 3),
        .bytes = (uint64_t)sql_get_int(q, 5),
        .worker = (char *)sql_get_text(q, 6),
        .device_class = (char *)sql_get_text(q, 7),
        .precision = (char *)sql_get_text(q, 8),
        .load_seconds = sql_get_real(q, 9),
        .render_seconds = sql_get_real(q, 10),
        .finished_ms = sql_get_int(q, 11),
        .code = (char *)sql_get_text(q, 12),
        .text = (char *)sql_get_text(q, 13),
    };
    snprintf(r->sha256, sizeof r->sha256, "%s", sql_get_text(q, 4));
    snprintf(r->task_hash, sizeof r->task_hash, "%s", sql_get_text(q, 14));
    snprintf(r->before, sizeof r->before, "%s", sql_get_text(q, 15));
}

int store_records(struct store *s, uint64_t job, uint64_t from,
                  int (*f)(void *user, const struct record *r, struct err *e), void *user,
                  struct err *e)
{
    struct record r;
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT " RECORD_COLUMNS " FROM records WHERE job = ? AND task_index >= ? "
                    "ORDER BY task_index",
                    &q, e));
    sql_bind_int(&q, (int64_t)job);
    sql_bind_int(&q, (int64_t)from);
    for (;;) {
        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        record_read(&q, &r);
        TRY(f(user, &r, e));
    }
out:
    sql_reset(&q);
    return rc;
}

struct one_record {
    uint64_t index;
    struct record *ret;
};

/* Stops at the first row, found or not. */
static int one_record_take(void *user, const struct record *r, struct err *e)
{
    struct one_record *one = user;
    int rc;

    if (r->index != one->index)
        return 1;
    *one->ret = *r;
    one->ret->path = one->ret->worker = one->ret->device_class = NULL;
    one->ret->precision = one->ret->code = one->ret->text = NULL;
    rc = r->failed ? record_failure(one->ret, r->worker, r->code, r->text, e)
                   : record_picture(one->ret, r->path, r->worker, r->device_class, r->precision, e);
    if (rc != 0)
        record_done(one->ret);
    return rc ? rc : 2;
}

int store_record(struct store *s, uint64_t job, uint64_t index, struct record *ret_record,
                 struct err *e)
{
    struct one_record one = {.index = index, .ret = ret_record};
    int rc = store_records(s, job, index, one_record_take, &one, e);

    if (rc == 2)
        return 0;
    if (rc < 0)
        return rc;
    return err_set(e, ERR_MISSING, "task %llu is not done yet", (unsigned long long)index);
}

int store_count_done(struct store *s, uint64_t job, uint64_t *ret_n, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT COALESCE(SUM(done), 0) FROM settled WHERE job = ?", &q, e));
    sql_bind_int(&q, (int64_t)job);
    TRY(sql_step(&q, &row, e));
    *ret_n = row ? (uint64_t)sql_get_int(&q, 0) : 0;
out:
    sql_reset(&q);
    return rc;
}

int store_job(struct store *s, uint64_t job, struct job **ret_job, struct err *e)
{
    struct job *loaded = NULL;
    struct sql q = {0};
    struct err why;
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements, "SELECT bundle, folder FROM jobs WHERE number = ?", &q,
                    e));
    sql_bind_int(&q, (int64_t)job);
    TRY(sql_step(&q, &row, e));
    if (!row) {
        rc = err_set(e, ERR_MISSING, "no job %llu in the store", (unsigned long long)job);
        goto out;
    }
    if ((rc = job_load(sql_get_blob(&q, 0), sql_get_size(&q, 0), &loaded, &why)) != 0)
        TRY(err_set(e, rc, "job %llu: the store's bundle is damaged: %s", (unsigned long long)job,
                    why.text));
    TRY(job_set_folder(loaded, sql_get_text(&q, 1), e));
    *ret_job = loaded;
    loaded = NULL;
out:
    job_free(loaded);
    sql_reset(&q);
    return rc;
}
