/* How far index.jsonl of a job is: store.h. */
#include "coordinator/store_inner.h"

#define TASK_BYTES 8

static void task_put(unsigned char *p, uint64_t task)
{
    for (int i = 0; i < TASK_BYTES; i++)
        p[i] = (unsigned char)(task >> 8 * i);
}

static uint64_t task_get(const unsigned char *p)
{
    uint64_t task = 0;

    for (int i = 0; i < TASK_BYTES; i++)
        task |= (uint64_t)p[i] << 8 * i;
    return task;
}

int store_mark(struct store *s, uint64_t job, uint64_t bytes, const uint64_t *tasks, size_t n,
               struct err *e)
{
    unsigned char *blob = malloc(n ? n * TASK_BYTES : 1);
    struct sql q;
    int rc = 0;

    if (!blob)
        return err_set(e, ERR_OOM, "no memory for a list of tasks");
    for (size_t i = 0; i < n; i++)
        task_put(blob + i * TASK_BYTES, tasks[i]);
    TRY(sql_prepare(s->db, &s->statements,
                    "INSERT OR REPLACE INTO index_marks (job, bytes, tasks) VALUES (?, ?, ?)", &q,
                    e));
    sql_bind_int(&q, (int64_t)job);
    sql_bind_int(&q, (int64_t)bytes);
    sql_bind_blob(&q, blob, n * TASK_BYTES);
    TRY(sql_finish(&q, e));
out:
    free(blob);
    return rc;
}

int store_unmark(struct store *s, uint64_t job, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements, "DELETE FROM index_marks WHERE job = ?", &q, e));
    sql_bind_int(&q, (int64_t)job);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

int store_marked(struct store *s, uint64_t job, uint64_t *ret_bytes, uint64_t **ret_tasks,
                 size_t *ret_n, struct err *e)
{
    struct sql q = {0};
    uint64_t *tasks;
    size_t n;
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements, "SELECT bytes, tasks FROM index_marks WHERE job = ?", &q,
                    e));
    sql_bind_int(&q, (int64_t)job);
    TRY(sql_step(&q, &row, e));
    if (!row)
        TRY(err_set(e, ERR_MISSING, "no mark of job %llu", (unsigned long long)job));
    n = sql_get_size(&q, 1) / TASK_BYTES;
    tasks = calloc(n ? n : 1, sizeof *tasks);
    if (!tasks)
        TRY(err_set(e, ERR_OOM, "no memory for a list of tasks"));
    for (size_t i = 0; i < n; i++)
        tasks[i] = task_get((const unsigned char *)sql_get_blob(&q, 1) + i * TASK_BYTES);
    *ret_bytes = (uint64_t)sql_get_int(&q, 0);
    *ret_tasks = tasks;
    *ret_n = n;
out:
    sql_reset(&q);
    return rc;
}
