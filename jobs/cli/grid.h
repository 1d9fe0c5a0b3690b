/*
 * Rows of text under headings, columns as wide as their widest cell.
 *
 *     grid_init(&t, 2, (const char *const[]){"NAME", "IMAGES"}, (const bool[]){false, true});
 *     grid_row(&t, (const char *const[]){"stickers", "24"});
 *     grid_print(&t, &terminal);
 *     grid_done(&t);
 */
#ifndef JOBS_CLI_GRID_H
#define JOBS_CLI_GRID_H

#include "jobs/cli/terminal.h"
#include "proto/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define GRID_COLUMNS_MAX 10

struct grid {
    size_t n_columns;             /* 1..GRID_COLUMNS_MAX */
    bool right[GRID_COLUMNS_MAX]; /* numbers stand at the right of their column */
    int width[GRID_COLUMNS_MAX];  /* terminal columns */
    struct buf cells;             /* NUL-ended cells, row by row, headings first */
    size_t n_rows;                /* headings included */
};

/* At most GRID_COLUMNS_MAX columns; right: [n_columns], the numbers. Copies. grid_done() at the
 * end. */
void grid_init(struct grid *t, size_t n_columns, const char *const *headings, const bool *right);

/* Control characters become '?': cells may come over the wire. NULL is an empty cell. */
void grid_row(struct grid *t, const char *const *cells);

/* Appends the lines; headings in bold where colours are welcome. */
void grid_text(const struct grid *t, const struct terminal *terminal, struct buf *ret_text);
void grid_print(const struct grid *t, const struct terminal *terminal);

void grid_done(struct grid *t);

#endif
