#include "jobs/diagnostic.h"

#include "proto/plain.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 2000 /* bytes of one message; longer ones are cut */

void place_text(struct place at, struct buf *ret_text)
{
    buf_puts(ret_text, at.file);
    if (at.line > 0)
        buf_printf(ret_text, ":%d:%d", at.line, at.column);
}

/* Takes `text` over, unless the list cannot grow. */
static void append(struct diagnostics *d, struct place at, bool warning, char *text)
{
    struct diagnostic *items = realloc(d->items, (d->n + 1) * sizeof *items);
    char *file = items ? strdup(at.file) : NULL;

    if (items)
        d->items = items;
    if (!file || !text) {
        free(file);
        free(text);
        return;
    }
    items[d->n++] = (struct diagnostic){
        .text = text, .file = file, .line = at.line, .column = at.column, .warning = warning};
}

/* Control characters of a hostile file must not reach a terminal. */
static void put_printable(struct buf *b, const char *text)
{
    for (size_t i = 0; text[i] && i < TEXT_MAX; i++) {
        size_t control = plain_control(text + i);

        if (text[i] == '\n')
            buf_puts(b, "\\n");
        else if (control == 0)
            buf_putc(b, text[i]);
        else
            for (size_t k = 0; k < control; k++)
                buf_printf(b, "\\x%02x", (unsigned char)text[i + k]);
        i += control > 1 ? control - 1 : 0;
    }
}

static void add(struct diagnostics *d, struct place at, bool warning, const char *format,
                va_list ap)
{
    struct buf text = {0};
    char *message = NULL;

    if (!warning)
        d->n_errors++;
    if (d->n > MANIFEST_MISTAKES_MAX)
        return;
    place_text(at, &text);
    buf_puts(&text, warning ? ": warning: " : ": ");
    if (d->n == MANIFEST_MISTAKES_MAX) {
        buf_puts(&text, "more mistakes follow; these are the first");
    } else if (vasprintf(&message, format, ap) >= 0) {
        put_printable(&text, message);
        free(message);
    }
    append(d, at, warning, buf_detach(&text));
}

void diagnose(struct diagnostics *d, struct place at, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    add(d, at, false, format, ap);
    va_end(ap);
}

void diagnose_warning(struct diagnostics *d, struct place at, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    add(d, at, true, format, ap);
    va_end(ap);
}

static bool before(const struct diagnostic *a, const struct diagnostic *b, const char *first_file)
{
    bool a_first = strcmp(a->file, first_file) == 0, b_first = strcmp(b->file, first_file) == 0;
    int files = strcmp(a->file, b->file);

    if (a_first != b_first)
        return a_first;
    if (files != 0)
        return files < 0;
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

void diagnostics_sort(struct diagnostics *d, const char *first_file)
{
    size_t kept = 0;

    for (size_t i = 1; i < d->n; i++) {
        struct diagnostic item = d->items[i];
        size_t k = i;

        for (; k > 0 && before(&item, &d->items[k - 1], first_file); k--)
            d->items[k] = d->items[k - 1];
        d->items[k] = item;
    }
    for (size_t i = 0; i < d->n; i++) {
        if (kept && strcmp(d->items[i].text, d->items[kept - 1].text) == 0) {
            d->n_errors -= !d->items[i].warning;
            free(d->items[i].text);
            free(d->items[i].file);
        } else {
            d->items[kept++] = d->items[i];
        }
    }
    d->n = kept;
}

void diagnostics_done(struct diagnostics *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->items[i].text);
        free(d->items[i].file);
    }
    free(d->items);
    *d = (struct diagnostics){0};
}
