#include "jobs/cli/progress.h"

#include "jobs/cli/amounts.h"

#include <string.h>

#define BAR_MIN 8  /* columns; below that there is no bar */
#define BAR_MAX 40 /* longer bars say no more */

/* Eighths of a column, from the left. */
static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};

static double fraction(const struct progress *p)
{
    double part;

    if (p->tasks == 0)
        return 1;
    part = ((double)p->done + (double)p->failed + p->partial) / (double)p->tasks;
    return part < 0 ? 0 : part > 1 ? 1 : part;
}

static void bar_unicode(double part, int columns, struct buf *out)
{
    int filled = (int)(part * columns * 8);
    int column = 0;

    buf_puts(out, "▕");
    for (; column < filled / 8; column++)
        buf_puts(out, "█");
    if (filled % 8 != 0 && column < columns) {
        buf_puts(out, eighths[filled % 8]);
        column++;
    }
    for (; column < columns; column++)
        buf_putc(out, ' ');
    buf_puts(out, "▏");
}

static void bar_ascii(double part, int columns, struct buf *out)
{
    buf_putc(out, '[');
    for (int column = 0; column < columns; column++)
        buf_putc(out, column < (int)(part * columns) ? '#' : ' ');
    buf_putc(out, ']');
}

/* The facts after the bar, most important first, each with its separator before it. */
static void facts(const struct progress *p, const char *separator, struct buf *out)
{
    if (p->phase != NULL)
        buf_printf(out, "%s%s", separator, p->phase);
    if (p->rate > 0) {
        buf_puts(out, separator);
        amount_rate(p->rate, out);
    }
    if (p->eta_seconds >= 0 && p->done + p->failed < p->tasks) {
        buf_puts(out, separator);
        amount_duration(p->eta_seconds, out);
        buf_puts(out, " left");
    }
    if (p->failed > 0) {
        buf_puts(out, separator);
        amount_count(p->failed, out);
        buf_puts(out, " failed");
    }
}

/* Cuts at a character's start, so that the line never wraps: a wrapped line cannot be redrawn. */
static void append_columns(struct buf *out, const char *text, int columns)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (((unsigned char)*p & 0xC0) != 0x80 && columns-- == 0)
            return;
        buf_putc(out, *p);
    }
}

void progress_live(const struct progress *p, bool unicode, int columns, struct buf *ret_line)
{
    struct buf text = {0};
    int bar;

    amount_count(p->done, &text);
    buf_putc(&text, '/');
    amount_images(p->tasks, &text);
    facts(p, unicode ? " · " : ", ", &text);
    bar = columns - text_columns(buf_text(&text)) - 4; /* two edges, a space, the last column */
    if (bar > BAR_MAX)
        bar = BAR_MAX;
    if (bar >= BAR_MIN) {
        (unicode ? bar_unicode : bar_ascii)(fraction(p), bar, ret_line);
        buf_putc(ret_line, ' ');
    }
    append_columns(ret_line, buf_text(&text), columns - 1);
    buf_done(&text);
}

void progress_plain(const struct progress *p, struct buf *ret_line)
{
    amount_count(p->done, ret_line);
    buf_puts(ret_line, " of ");
    amount_images(p->tasks, ret_line);
    facts(p, ", ", ret_line);
}

static void show_live(struct progress_view *v, struct buf *line)
{
    if (strcmp(buf_text(line), buf_text(&v->last)) == 0)
        return;
    fprintf(v->terminal->file, "\r%s%s%s\033[K", style(v->terminal, STYLE_CYAN), buf_text(line),
            style(v->terminal, STYLE_OFF));
    fflush(v->terminal->file);
    buf_done(&v->last);
    v->last = *line;
    *line = (struct buf){0};
}

static void show_plain(struct progress_view *v, struct buf *line, bool last, int64_t now_ms)
{
    bool due = v->shown_ms == 0 || now_ms - v->shown_ms >= PROGRESS_PLAIN_MS;

    if (!(due || last) || strcmp(buf_text(line), buf_text(&v->last)) == 0)
        return;
    fprintf(v->terminal->file, "%s\n", buf_text(line));
    fflush(v->terminal->file);
    v->shown_ms = now_ms;
    buf_done(&v->last);
    v->last = *line;
    *line = (struct buf){0};
}

void progress_show(struct progress_view *v, const struct progress *p, int64_t now_ms)
{
    struct buf line = {0};

    if (v->terminal->live) {
        progress_live(p, v->terminal->unicode, terminal_columns(v->terminal), &line);
        show_live(v, &line);
    } else {
        progress_plain(p, &line);
        show_plain(v, &line, p->done + p->failed == p->tasks, now_ms);
    }
    buf_done(&line);
}

void progress_end(struct progress_view *v)
{
    if (v->terminal->live && v->last.size > 0) {
        fputs("\r\033[K", v->terminal->file);
        fflush(v->terminal->file);
    }
    buf_done(&v->last);
    *v = (struct progress_view){.terminal = v->terminal};
}
