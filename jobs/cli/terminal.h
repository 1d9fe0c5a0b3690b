/*
 * What an output stream can show: a live line, colours, block characters, how many columns.
 *
 * Colours only on a terminal that is not "dumb", and never when NO_COLOR is set (no-color.org).
 *
 *     struct terminal t = terminal_of(stderr);
 *     fprintf(t.file, "%serror:%s ...", style(&t, STYLE_RED), style(&t, STYLE_OFF));
 */
#ifndef JOBS_CLI_TERMINAL_H
#define JOBS_CLI_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

enum style { STYLE_OFF, STYLE_BOLD, STYLE_DIM, STYLE_RED, STYLE_GREEN, STYLE_YELLOW, STYLE_CYAN };

struct terminal {
    FILE *file;   /* borrowed */
    bool live;    /* a terminal that can redraw its last line */
    bool colour;  /* escape sequences for colours are welcome */
    bool unicode; /* block characters are welcome: the locale does not name another charset */
};

/* Asks the stream and the environment once. file: borrowed. */
struct terminal terminal_of(FILE *file);

/* Columns right now (the user may resize), 80 when unknown. */
int terminal_columns(const struct terminal *t);

/* The escape sequence, or "" where colours are unwelcome. Static. */
const char *style(const struct terminal *t, enum style s);

/* Columns that UTF-8 text takes, one for each code point: enough for names, digits and blocks. */
int text_columns(const char *text);

#endif
