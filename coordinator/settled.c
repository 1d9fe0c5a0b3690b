#include "coordinator/settled.h"

#include "coordinator/store_inner.h"

static struct settled_page *find(struct settled *t, uint64_t job, uint64_t number)
{
    struct settled_page *hot = &t->pages[t->hot];

    if (t->n && hot->job == job && hot->number == number)
        return hot;
    for (size_t i = 0; i < t->n; i++) {
        if (t->pages[i].job != job || t->pages[i].number != number)
            continue;
        t->hot = i;
        return &t->pages[i];
    }
    return NULL;
}

static int page_write(struct store *s, struct settled_page *p, struct err *e)
{
    struct sql q;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "INSERT OR REPLACE INTO settled (job, page, done, failed, bits) "
                    "VALUES (?, ?, ?, ?, ?)",
                    &q, e));
    sql_bind_int(&q, (int64_t)p->job);
    sql_bind_int(&q, (int64_t)p->number);
    sql_bind_int(&q, (int64_t)p->done);
    sql_bind_int(&q, (int64_t)p->failed);
    sql_bind_blob(&q, p->bits, sizeof p->bits);
    TRY(sql_finish(&q, e));
    p->dirty = false;
out:
    return rc;
}

/* One row, its bits as they stand there. */
static int row_bits(const struct sql *q, int column, unsigned char *ret_bits, struct err *e)
{
    if (sql_get_size(q, column) != SETTLED_BYTES)
        return err_set(e, ERR_INPUT, "the store's bits of settled tasks are damaged");
    memcpy(ret_bits, sql_get_blob(q, column), SETTLED_BYTES);
    return 0;
}

static int page_read(struct store *s, struct settled_page *p, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT done, failed, bits FROM settled WHERE job = ? AND page = ?", &q, e));
    sql_bind_int(&q, (int64_t)p->job);
    sql_bind_int(&q, (int64_t)p->number);
    TRY(sql_step(&q, &row, e));
    if (!row)
        goto out;
    p->done = (uint64_t)sql_get_int(&q, 0);
    p->failed = (uint64_t)sql_get_int(&q, 1);
    TRY(row_bits(&q, 2, p->bits, e));
out:
    sql_reset(&q);
    return rc;
}

/* A place for another page: a new one, or that of the longest unused. */
static int place(struct store *s, struct settled_page **ret_page, struct err *e)
{
    struct settled *t = &s->settled;
    struct settled_page *oldest = &t->pages[0];
    int rc = 0;

    if (t->n < SETTLED_PAGES) {
        *ret_page = &t->pages[t->n++];
        return 0;
    }
    for (size_t i = 1; i < t->n; i++)
        if (t->pages[i].used < oldest->used)
            oldest = &t->pages[i];
    if (oldest->dirty)
        TRY(page_write(s, oldest, e));
    *ret_page = oldest;
out:
    return rc;
}

static int page_of(struct store *s, uint64_t job, uint64_t number, struct settled_page **ret_page,
                   struct err *e)
{
    struct settled *t = &s->settled;
    struct settled_page *p = find(t, job, number);
    int rc = 0;

    if (!p) {
        TRY(place(s, &p, e));
        *p = (struct settled_page){.job = job, .number = number};
        t->hot = (size_t)(p - t->pages);
        TRY(page_read(s, p, e));
    }
    p->used = ++t->uses;
    *ret_page = p;
out:
    return rc;
}

int settled_note(struct store *s, uint64_t job, uint64_t index, bool failed, struct err *e)
{
    uint64_t bit = index % BITS_PAGE;
    struct settled_page *p;
    int rc;

    TRY(page_of(s, job, index / BITS_PAGE, &p, e));
    p->bits[bit / 8] |= (unsigned char)(1 << bit % 8);
    if (failed)
        p->failed++;
    else
        p->done++;
    p->dirty = true;
out:
    return rc;
}

int settled_unnote(struct store *s, uint64_t job, uint64_t index, bool failed, struct err *e)
{
    uint64_t bit = index % BITS_PAGE;
    struct settled_page *p;
    int rc;

    TRY(page_of(s, job, index / BITS_PAGE, &p, e));
    p->bits[bit / 8] &= (unsigned char)~(1 << bit % 8);
    if (failed)
        p->failed--;
    else
        p->done--;
    p->dirty = true;
out:
    return rc;
}

int settled_flush(struct store *s, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < s->settled.n; i++)
        if (s->settled.pages[i].dirty)
            TRY(page_write(s, &s->settled.pages[i], e));
out:
    return rc;
}

void settled_forget(struct store *s)
{
    s->settled.n = s->settled.hot = 0;
}

int settled_rebuild(struct store *s, uint64_t job, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    TRY(settled_flush(s, e));
    settled_forget(s);
    TRY(sql_prepare(s->db, &s->statements, "DELETE FROM settled WHERE job = ?", &q, e));
    sql_bind_int(&q, (int64_t)job);
    TRY(sql_finish(&q, e));
    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT task_index, failed FROM records WHERE job = ? ORDER BY task_index", &q,
                    e));
    sql_bind_int(&q, (int64_t)job);
    for (;;) {
        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        TRY(settled_note(s, job, (uint64_t)sql_get_int(&q, 0), sql_get_int(&q, 1) != 0, e));
    }
    TRY(settled_flush(s, e));
out:
    sql_reset(&q);
    return rc;
}

static int page_take(const struct sql *q, struct bits *bits, struct err *e)
{
    unsigned char bytes[SETTLED_BYTES];
    uint64_t words[BITS_PAGE / 64] = {0};
    int rc;

    TRY(row_bits(q, 3, bytes, e));
    for (size_t i = 0; i < sizeof bytes; i++)
        words[i / 8] |= (uint64_t)bytes[i] << i % 8 * 8;
    TRY(bits_put_page(bits, (uint64_t)sql_get_int(q, 0), words, e));
out:
    return rc;
}

int settled_load(struct store *s, uint64_t job, struct bits *ret_bits, uint64_t *ret_done,
                 uint64_t *ret_failed, struct err *e)
{
    struct sql q = {0};
    bool row;
    int rc;

    *ret_done = *ret_failed = 0;
    TRY(sql_prepare(s->db, &s->statements,
                    "SELECT page, done, failed, bits FROM settled WHERE job = ? ORDER BY page", &q,
                    e));
    sql_bind_int(&q, (int64_t)job);
    for (;;) {
        TRY(sql_step(&q, &row, e));
        if (!row)
            break;
        *ret_done += (uint64_t)sql_get_int(&q, 1);
        *ret_failed += (uint64_t)sql_get_int(&q, 2);
        TRY(page_take(&q, ret_bits, e));
    }
out:
    sql_reset(&q);
    return rc;
}
