#include "jobs/cli/grid.h"

#include <assert.h>
#include <string.h>

static void cell_add(struct grid *t, size_t column, const char *text)
{
    int columns = 0;

    for (const char *p = text == NULL ? "" : text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        buf_putc(&t->cells, c < 0x20 || c == 0x7F ? '?' : *p);
        columns += (c & 0xC0) != 0x80;
    }
    buf_putc(&t->cells, '\0');
    if (columns > t->width[column])
        t->width[column] = columns;
}

void grid_init(struct grid *t, size_t n_columns, const char *const *headings, const bool *right)
{
    assert(n_columns >= 1 && n_columns <= GRID_COLUMNS_MAX);
    *t = (struct grid){.n_columns = n_columns};
    memcpy(t->right, right, n_columns * sizeof(*right));
    grid_row(t, headings);
}

void grid_row(struct grid *t, const char *const *cells)
{
    for (size_t i = 0; i < t->n_columns; i++)
        cell_add(t, i, cells[i]);
    t->n_rows++;
}

static void pad(struct buf *out, int columns)
{
    for (int i = 0; i < columns; i++)
        buf_putc(out, ' ');
}

static const char *row_text(const struct grid *t, const char *cell, struct buf *out)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        int space = t->width[i] - text_columns(cell);
        bool last = i + 1 == t->n_columns;
        if (t->right[i])
            pad(out, space);
        buf_puts(out, cell);
        if (!t->right[i] && !last)
            pad(out, space);
        if (!last)
            buf_puts(out, "  ");
        cell += strlen(cell) + 1;
    }
    return cell;
}

void grid_text(const struct grid *t, const struct terminal *terminal, struct buf *ret_text)
{
    const char *cell = buf_text(&t->cells);

    if (t->cells.failed)
        return;
    for (size_t row = 0; row < t->n_rows; row++) {
        if (row == 0)
            buf_puts(ret_text, style(terminal, STYLE_BOLD));
        cell = row_text(t, cell, ret_text);
        if (row == 0)
            buf_puts(ret_text, style(terminal, STYLE_OFF));
        buf_putc(ret_text, '\n');
    }
}

void grid_print(const struct grid *t, const struct terminal *terminal)
{
    struct buf text = {0};

    grid_text(t, terminal, &text);
    fputs(buf_text(&text), terminal->file);
    buf_done(&text);
}

void grid_done(struct grid *t)
{
    buf_done(&t->cells);
    *t = (struct grid){0};
}
