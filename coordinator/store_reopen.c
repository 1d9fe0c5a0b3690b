/* Records that are taken back from a job, a slice at a time: store.h. */
#include "coordinator/store_inner.h"

#define LOOKS_BETWEEN 16 /* records between two questions for the time */

static const char *const names[] = {[REOPEN_MISSING] = "missing",
                                    [REOPEN_CHANGED] = "missing",
                                    [REOPEN_FAILED] = "failed",
                                    [REOPEN_ALL] = "all"};

bool store_reopen_named(const char *name, enum reopen *ret_what)
{
    static const enum reopen kinds[] = {REOPEN_MISSING, REOPEN_FAILED, REOPEN_ALL};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(names[kinds[i]], name) != 0)
            continue;
        *ret_what = kinds[i];
        return true;
    }
    return false;
}

/* Within the transaction that takes the first records back, and those after it. */
static int mark(struct store *s, uint64_t job, enum reopen what, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "UPDATE jobs SET reopen = ?, force = force OR ? WHERE number = ?", &q, e));
    sql_bind_text(&q, names[what]);
    sql_bind_int(&q, what == REOPEN_ALL);
    sql_bind_int(&q, (int64_t)job);
    TRY(sql_finish(&q, e));
out:
    return rc;
}

struct slice {
    const struct store_slice *o;
    struct due {
        uint64_t index;
        bool failed;
    } due[STORE_SLICE_ROWS];
    size_t n, looked;
    uint64_t next; /* the first index that was not looked at */
    bool over;
};

static int look_at(void *user, const struct record *record, struct err *e)
{
    struct slice *l = user;
    const struct store_slice *o = l->o;
    (void)e;

    if (l->looked == STORE_SLICE_ROWS ||
        (l->looked > 0 && l->looked % LOOKS_BETWEEN == 0 && o->enough(o->user))) {
        l->over = false;
        return 1;
    }
    l->looked++;
    l->next = record->index + 1;
    if (record->failed || o->again(o->user, record))
        l->due[l->n++] = (struct due){record->index, record->failed};
    return 0;
}

/* All of a kind: no file is looked at. */
static int list(struct store *s, uint64_t job, bool failed_only, struct slice *l, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    failed_only ? "SELECT task_index, failed FROM records "
                                  "INDEXED BY records_failed WHERE job = ? AND "
                                  "failed = 1 ORDER BY task_index LIMIT ?"
                                : "SELECT task_index, failed FROM records WHERE job = ? "
                                  "ORDER BY task_index LIMIT ?",
                    &q, e));
    sql_bind_int(&q, (int64_t)job);
    sql_bind_int(&q, STORE_SLICE_ROWS);
    for (;;) {
        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        l->due[l->n++] = (struct due){(uint64_t)sql_get_int(&q, 0), sql_get_int(&q, 1) != 0};
    }
    l->over = l->n < STORE_SLICE_ROWS;
out:
    sql_reset(&q);
    return rc;
}

static int take_back(struct store *s, const struct slice *l, struct err *e)
{
    uint64_t job = l->o->job;
    struct sql q;
    int rc;

    TRY(store_begin(s, e));
    TRY(mark(s, job, l->o->what, e));
    for (size_t i = 0; i < l->n; i++) {
        TRY(sql_prepare(s->db, &s->statements,
                        "DELETE FROM records WHERE job = ? AND task_index = ?", &q, e));
        sql_bind_int(&q, (int64_t)job);
        sql_bind_int(&q, (int64_t)l->due[i].index);
        TRY(sql_finish(&q, e));
        TRY(settled_unnote(s, job, l->due[i].index, l->due[i].failed, e));
    }
    TRY(store_unmark(s, job, e)); /* lines of records that are gone */
    TRY(store_commit(s, e));
out:
    if (rc != 0)
        store_rollback(s);
    return rc;
}

int store_reopen_slice(struct store *s, const struct store_slice *o, uint64_t *next,
                       size_t *ret_taken, bool *ret_over, struct err *e)
{
    struct slice l = {.o = o, .next = *next, .over = true};
    int rc;

    if (o->what == REOPEN_ALL || o->what == REOPEN_FAILED)
        TRY(list(s, o->job, o->what == REOPEN_FAILED, &l, e));
    else if ((rc = store_records(s, o->job, *next, look_at, &l, e)) < 0)
        goto out;
    rc = l.n > 0 ? take_back(s, &l, e) : 0;
    if (rc != 0)
        goto out;
    *next = l.next;
    *ret_taken = l.n;
    *ret_over = l.over;
out:
    return rc;
}

int store_reopen_end(struct store *s, uint64_t job, enum reopen what,
                     int (*f)(void *user, struct restored *r, struct err *e), void *user,
                     struct err *e)
{
    struct sql q;
    int rc;

    TRY(store_begin(s, e));
    TRY(sql_prepare(s->db, &s->statements,
                    "UPDATE jobs SET reopen = '', force = force OR ?, state = CASE WHEN (SELECT "
                    "COALESCE(SUM(done), 0) "
                    "FROM settled WHERE job = number) < tasks THEN 'running' ELSE state END "
                    "WHERE number = ?",
                    &q, e));
    sql_bind_int(&q, what == REOPEN_ALL);
    sql_bind_int(&q, (int64_t)job);
    TRY(sql_finish(&q, e));
    TRY(store_commit(s, e));
    return store_load(s, job, f, user, e);
out:
    store_rollback(s);
    return rc;
}
