/*
 * SQLite with the project's errors: statements prepared once, values bound in order. Only the store
 * and files.c include this.
 *
 *     TRY(sql_prepare(db, &cache, "DELETE FROM t WHERE a = ?", &q, e));
 *     sql_bind_int(&q, 7);
 *     TRY(sql_finish(&q, e));
 */
#ifndef COORDINATOR_SQL_H
#define COORDINATOR_SQL_H

#include "proto/err.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQL_CACHE_MAX 64 /* statements of the program, each known by its text */

/* Statements by the address of their (static) text. Zeroed memory is empty. */
struct sql_cache {
    const char *texts[SQL_CACHE_MAX];
    sqlite3_stmt *statements[SQL_CACHE_MAX];
    size_t n;
};
void sql_cache_done(struct sql_cache *cache);

struct sql {
    sqlite3 *db;
    sqlite3_stmt *statement;
    int bound; /* values so far */
    int rc;    /* first SQLite error of a bind */
};

/* text: a string literal. The statement is the cache's: finish or reset it after use. */
int sql_prepare(sqlite3 *db, struct sql_cache *cache, const char *text, struct sql *ret_q,
                struct err *e);
void sql_bind_int(struct sql *q, int64_t value);
void sql_bind_null(struct sql *q);
void sql_bind_real(struct sql *q, double value);
void sql_bind_text(struct sql *q, const char *text);              /* borrowed until reset */
void sql_bind_blob(struct sql *q, const void *data, size_t size); /* borrowed until reset */

/* ret_row: false at the end. */
int sql_step(struct sql *q, bool *ret_row, struct err *e);
/* Runs a statement without rows and resets it. */
int sql_finish(struct sql *q, struct err *e);
void sql_reset(struct sql *q);

int64_t sql_get_int(const struct sql *q, int column);
double sql_get_real(const struct sql *q, int column);
const char *sql_get_text(const struct sql *q, int column); /* borrowed until the next step */
const void *sql_get_blob(const struct sql *q, int column);
size_t sql_get_size(const struct sql *q, int column);

/* Several statements without values. */
int sql_run(sqlite3 *db, const char *text, struct err *e);
int sql_int(sqlite3 *db, const char *text, int64_t *ret_value, struct err *e);

/* The last error: ERR_IO for a full disk and other refusals of the system, ERR_OOM, else
 * ERR_INTERNAL. */
int sql_err(sqlite3 *db, struct err *e);

#endif
