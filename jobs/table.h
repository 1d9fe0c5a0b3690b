/*
 * The list and CSV files that a manifest names, as cells with places. A list file is one value a
 * line; a CSV file (RFC 4180) starts with a row of column names. If no comma separates those but a
 * semicolon or a tab does, as where the comma is the decimal point, that separates all values.
 * Both: UTF-8 with or without a byte order mark, lines end in LF or CRLF, blank lines are skipped,
 * white space around a value that is not quoted is not part of it.
 *
 *     TRY(table_read_csv(&pool, "products.csv", text, size, d, &table, e));
 *     for (row = 0; table && row < table->n_rows; row++) table_cell(table, row, 0)->text
 */
#ifndef JOBS_TABLE_H
#define JOBS_TABLE_H

#include "jobs/diagnostic.h"
#include "proto/pool.h"

#define TABLE_CELLS_MAX 2000000

struct cell {
    const char *text;
    int line, column; /* from 1 */
};

struct table {
    const char *file;
    struct cell *names; /* [n_columns]; NULL for a list file */
    size_t n_columns;
    struct cell *cells; /* [n_rows * n_columns] */
    size_t n_rows;
};

/*
 * What is wrong goes to d, and *ret_table is then NULL. Returns 0, or ERR_OOM. The table lives in
 * the pool; `file` must live as long.
 */
int table_read_list(struct pool *pool, const char *file, const char *text, size_t size,
                    struct diagnostics *d, struct table **ret_table, struct err *e);
int table_read_csv(struct pool *pool, const char *file, const char *text, size_t size,
                   struct diagnostics *d, struct table **ret_table, struct err *e);

/* table_read_csv, as Python's csv module reads: what is missing at the end of a row is empty, what
 * is too much is left out, quotes inside a value are part of it. */
int table_read_loose_csv(struct pool *pool, const char *file, const char *text, size_t size,
                         struct diagnostics *d, struct table **ret_table, struct err *e);

const struct cell *table_cell(const struct table *table, size_t row, size_t column);
struct place table_place(const struct table *table, const struct cell *cell);

#endif
