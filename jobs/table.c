#include "jobs/table.h"

#include "jobs/yaml.h"

#include <string.h>

struct reader {
    struct pool *pool;
    struct table *table;
    struct diagnostics *d;
    const char *p, *end;
    const char *line_start;
    int line;
    struct cell *row; /* of the row being read */
    size_t n_row;
    size_t n_cells;
    bool full;
    bool loose;     /* table_read_loose_csv */
    char separator; /* of a CSV file's values */
};

const struct cell *table_cell(const struct table *table, size_t row, size_t column)
{
    return &table->cells[row * table->n_columns + column];
}

struct place table_place(const struct table *table, const struct cell *cell)
{
    return (struct place){table->file, cell->line, cell->column};
}

static int column_of(const struct reader *r, const char *p)
{
    int n = 1;

    for (const char *c = r->line_start; c < p; c++)
        n += ((unsigned char)*c & 0xc0) != 0x80;
    return n;
}

static bool is_blank(const struct reader *r, char c)
{
    return c == ' ' || c == '\r' || (c == '\t' && r->separator != '\t');
}

/* Past LF, CR LF, or nothing at the end. */
static void next_line(struct reader *r)
{
    while (r->p < r->end && *r->p != '\n')
        r->p++;
    if (r->p < r->end)
        r->p++;
    r->line_start = r->p;
    r->line++;
}

static int add_cell(struct reader *r, const char *text, struct place at, struct err *e)
{
    struct cell *row = pool_grow(r->pool, r->row, r->n_row, sizeof *row);

    if (!row || !text)
        return err_set(e, ERR_OOM, "out of memory");
    row[r->n_row++] = (struct cell){text, at.line, at.column};
    r->row = row;
    return 0;
}

/* The row read becomes the table's last, unless it has another number of cells. */
static int end_row(struct reader *r, struct err *e)
{
    struct table *t = r->table;
    struct place at = {t->file, r->row[0].line, 1};
    int rc;

    while (r->loose && r->n_row < t->n_columns)
        if ((rc = add_cell(r, "", at, e)) != 0)
            return rc;
    if (r->loose)
        r->n_row = t->n_columns;
    if (r->n_row != t->n_columns) {
        diagnose(r->d, at, "this row has %zu value%s, but the first row names %zu column%s",
                 r->n_row, r->n_row == 1 ? "" : "s", t->n_columns, t->n_columns == 1 ? "" : "s");
        return 0;
    }
    if (r->n_cells + r->n_row > TABLE_CELLS_MAX) {
        diagnose(r->d, at, "more than %d values in one file", TABLE_CELLS_MAX);
        r->full = true;
        return 0;
    }
    for (size_t i = 0; i < r->n_row; i++) {
        struct cell *cells = pool_grow(r->pool, t->cells, r->n_cells, sizeof *cells);

        if (!cells)
            return err_set(e, ERR_OOM, "out of memory");
        t->cells = cells;
        cells[r->n_cells++] = r->row[i];
    }
    t->n_rows++;
    return 0;
}

/* A value without quotes, to the separator or the end of the line; trimmed. */
static int take_bare(struct reader *r, struct err *e)
{
    const char *start = r->p, *stop;
    struct place at = {r->table->file, r->line, column_of(r, start)};

    while (r->p < r->end && *r->p != '\n' && (!r->separator || *r->p != r->separator))
        r->p++;
    for (stop = r->p; stop > start && is_blank(r, stop[-1]);)
        stop--;
    if (r->separator && !r->loose && memchr(start, '"', (size_t)(stop - start)))
        diagnose(r->d, at,
                 "a quote inside a value that is not quoted: write \"...\", quotes twice");
    return add_cell(r, pool_text(r->pool, start, (size_t)(stop - start)), at, e);
}

/* "...", where two quotes stand for one and line ends are part of the value. */
static int take_quoted(struct reader *r, struct err *e)
{
    struct place at = {r->table->file, r->line, column_of(r, r->p)};
    struct buf text = {0};
    int rc;

    for (r->p++; r->p < r->end; r->p++) {
        if (*r->p == '"' && (r->p + 1 == r->end || r->p[1] != '"'))
            break;
        r->p += *r->p == '"';
        buf_putc(&text, *r->p);
        if (*r->p == '\n') {
            r->line++;
            r->line_start = r->p + 1;
        }
    }
    if (r->p == r->end)
        diagnose(r->d, at, "the quote that starts here is never closed");
    else
        r->p++;
    while (r->loose && r->p < r->end && *r->p != r->separator && *r->p != '\n' && *r->p != '\r')
        buf_putc(&text, *r->p++);
    TRY(buf_check(&text, e));
    TRY(add_cell(r, pool_text(r->pool, buf_text(&text), text.size), at, e));
    while (r->p < r->end && is_blank(r, *r->p))
        r->p++;
    if (r->p < r->end && *r->p != r->separator && *r->p != '\n') {
        at = (struct place){r->table->file, r->line, column_of(r, r->p)};
        diagnose(r->d, at, "text after a closing quote; inside quotes write a quote twice");
        while (r->p < r->end && *r->p != r->separator && *r->p != '\n')
            r->p++;
    }
out:
    buf_done(&text);
    return rc;
}

/* One record of a CSV file; *ret_blank if the line holds nothing. */
static int take_record(struct reader *r, bool *ret_blank, struct err *e)
{
    int rc = 0;

    r->n_row = 0;
    for (;;) {
        while (r->p < r->end && is_blank(r, *r->p))
            r->p++;
        TRY(r->p < r->end && *r->p == '"' ? take_quoted(r, e) : take_bare(r, e));
        if (r->p == r->end || *r->p != r->separator)
            break;
        r->p++;
    }
    *ret_blank = r->n_row == 1 && !*r->row[0].text && (r->p == r->line_start || r->p[-1] != '"');
    next_line(r);
out:
    return rc;
}

/* Files that people take for text: what programs for tables write unless told otherwise. */
static const char *not_text(const char *text, size_t size)
{
    if (size >= 4 && memcmp(text, "PK\3\4", 4) == 0)
        return "a workbook, not text; export it as CSV in UTF-8";
    if (size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return "text in UTF-16; save the file as UTF-8";
    return NULL;
}

/* What is between the names of the first row: a comma, else a semicolon or a tab if it has one. */
static char separator_of(const char *text, const char *end)
{
    bool quoted = false, semicolon = false, tab = false;

    for (const char *p = text; p < end && (quoted || *p != '\n'); p++) {
        quoted ^= *p == '"';
        if (quoted)
            continue;
        if (*p == ',')
            return ',';
        semicolon |= *p == ';';
        tab |= *p == '\t';
    }
    return semicolon ? ';' : tab ? '\t' : ',';
}

static int start(struct reader *r, struct pool *pool, const char *file, const char *text,
                 size_t size, struct diagnostics *d, struct err *e)
{
    int line, column;

    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    *r = (struct reader){.pool = pool, .d = d, .p = text, .end = text + size, .line_start = text};
    r->line = 1;
    r->table = pool_alloc(pool, sizeof *r->table);
    if (!r->table)
        return err_set(e, ERR_OOM, "out of memory");
    r->table->file = file;
    if (not_text(text, size)) {
        diagnose(d, (struct place){file, 1, 1}, "%s", not_text(text, size));
        r->p = r->end;
    } else if (!text_check(text, size, &line, &column)) {
        diagnose(d, (struct place){file, line, column}, "not UTF-8 text; save the file as UTF-8");
        r->p = r->end;
    }
    return 0;
}

int table_read_list(struct pool *pool, const char *file, const char *text, size_t size,
                    struct diagnostics *d, struct table **ret_table, struct err *e)
{
    size_t errors = d->n_errors;
    struct reader r;
    int rc;

    *ret_table = NULL;
    TRY(start(&r, pool, file, text, size, d, e));
    r.table->n_columns = 1;
    while (r.p < r.end && !r.full) {
        while (r.p < r.end && is_blank(&r, *r.p))
            r.p++;
        r.n_row = 0;
        TRY(take_bare(&r, e));
        if (*r.row[0].text)
            TRY(end_row(&r, e));
        next_line(&r);
    }
    if (d->n_errors == errors)
        *ret_table = r.table;
out:
    return rc;
}

static int read_csv(struct pool *pool, const char *file, const char *text, size_t size, bool loose,
                    struct diagnostics *d, struct table **ret_table, struct err *e)
{
    size_t errors = d->n_errors;
    struct reader r;
    bool blank = true;
    int rc;

    *ret_table = NULL;
    TRY(start(&r, pool, file, text, size, d, e));
    r.loose = loose;
    while (r.p < r.end && blank) {
        r.separator = loose ? ',' : separator_of(r.p, r.end);
        TRY(take_record(&r, &blank, e));
    }
    if (blank && d->n_errors == errors)
        diagnose(d, (struct place){file, 1, 1},
                 "the file is empty; its first row names the columns");
    r.table->names = r.row;
    r.table->n_columns = blank ? 0 : r.n_row;
    r.row = NULL;
    while (r.p < r.end && !r.full) {
        TRY(take_record(&r, &blank, e));
        if (!blank)
            TRY(end_row(&r, e));
    }
    if (d->n_errors == errors)
        *ret_table = r.table;
out:
    return rc;
}

int table_read_csv(struct pool *pool, const char *file, const char *text, size_t size,
                   struct diagnostics *d, struct table **ret_table, struct err *e)
{
    return read_csv(pool, file, text, size, false, d, ret_table, e);
}

int table_read_loose_csv(struct pool *pool, const char *file, const char *text, size_t size,
                         struct diagnostics *d, struct table **ret_table, struct err *e)
{
    return read_csv(pool, file, text, size, true, d, ret_table, e);
}
