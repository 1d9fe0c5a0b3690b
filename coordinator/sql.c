#include "coordinator/sql.h"

#include <string.h>

void sql_cache_done(struct sql_cache *cache)
{
    for (size_t i = 0; i < cache->n; i++)
        sqlite3_finalize(cache->statements[i]);
    *cache = (struct sql_cache){0};
}

int sql_err(sqlite3 *db, struct err *e)
{
    int code = ERR_INTERNAL;

    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        code = ERR_IO;
        break;
    case SQLITE_NOMEM:
        code = ERR_OOM;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* rows that do not fit each other */
        return err_set(e, ERR_INPUT,
                       "database: %s: move it away, and the next start takes over the pictures "
                       "that are in the output folder",
                       sqlite3_errmsg(db));
    default:
        break;
    }
    if (code == ERR_IO && sqlite3_system_errno(db) != 0)
        return err_set(e, code, "database: %s (%s)", sqlite3_errmsg(db),
                       strerror(sqlite3_system_errno(db)));
    return err_set(e, code, "database: %s", sqlite3_errmsg(db));
}

int sql_prepare(sqlite3 *db, struct sql_cache *cache, const char *text, struct sql *ret_q,
                struct err *e)
{
    *ret_q = (struct sql){.db = db, .rc = SQLITE_OK};
    for (size_t i = 0; i < cache->n; i++) {
        if (cache->texts[i] == text) {
            ret_q->statement = cache->statements[i];
            return 0;
        }
    }
    if (cache->n == SQL_CACHE_MAX)
        return err_set(e, ERR_INTERNAL, "more than %d statements", SQL_CACHE_MAX);
    if (sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &ret_q->statement, NULL) !=
        SQLITE_OK)
        return sql_err(db, e);
    cache->texts[cache->n] = text;
    cache->statements[cache->n++] = ret_q->statement;
    return 0;
}

static void bound(struct sql *q, int rc)
{
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void sql_bind_int(struct sql *q, int64_t value)
{
    bound(q, sqlite3_bind_int64(q->statement, ++q->bound, value));
}

void sql_bind_null(struct sql *q)
{
    bound(q, sqlite3_bind_null(q->statement, ++q->bound));
}

void sql_bind_real(struct sql *q, double value)
{
    bound(q, sqlite3_bind_double(q->statement, ++q->bound, value));
}

void sql_bind_text(struct sql *q, const char *text)
{
    bound(q, sqlite3_bind_text(q->statement, ++q->bound, text, -1, SQLITE_STATIC));
}

void sql_bind_blob(struct sql *q, const void *data, size_t size)
{
    bound(q, sqlite3_bind_blob64(q->statement, ++q->bound, data, size, SQLITE_STATIC));
}

int sql_step(struct sql *q, bool *ret_row, struct err *e)
{
    int rc;

    if (q->rc != SQLITE_OK)
        return sql_err(q->db, e);
    rc = sqlite3_step(q->statement);
    *ret_row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sql_err(q->db, e);
}

int sql_finish(struct sql *q, struct err *e)
{
    bool row;
    int rc = sql_step(q, &row, e);

    sql_reset(q);
    return rc;
}

void sql_reset(struct sql *q)
{
    if (!q->statement)
        return;
    sqlite3_reset(q->statement);
    sqlite3_clear_bindings(q->statement);
}

int64_t sql_get_int(const struct sql *q, int column)
{
    return sqlite3_column_int64(q->statement, column);
}

double sql_get_real(const struct sql *q, int column)
{
    return sqlite3_column_double(q->statement, column);
}

const char *sql_get_text(const struct sql *q, int column)
{
    const unsigned char *text = sqlite3_column_text(q->statement, column);

    return text ? (const char *)text : "";
}

const void *sql_get_blob(const struct sql *q, int column)
{
    const void *data = sqlite3_column_blob(q->statement, column);

    return data ? data : "";
}

size_t sql_get_size(const struct sql *q, int column)
{
    return (size_t)sqlite3_column_bytes(q->statement, column);
}

int sql_run(sqlite3 *db, const char *text, struct err *e)
{
    return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_err(db, e);
}

int sql_int(sqlite3 *db, const char *text, int64_t *ret_value, struct err *e)
{
    sqlite3_stmt *statement = NULL;
    int rc = 0;

    if (sqlite3_prepare_v2(db, text, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        rc = sql_err(db, e);
    else
        *ret_value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return rc;
}
