/*
 * Text of others, made fit for a terminal or a line of a log: nothing in it moves the cursor, sets
 * a title, turns letters around or begins a line of its own.
 */
#ifndef PROTO_PLAIN_H
#define PROTO_PLAIN_H

#include <stddef.h>

/*
 * Bytes of the control character at the start of text, 0 for another one: C0, DEL, C1 (U+0080 to
 * U+009F, which some terminals obey), and the marks that turn the direction of what follows (U+202A
 * to U+202E, U+2066 to U+2069).
 */
size_t plain_control(const char *text);

/* In place: line feeds and tabs become blanks, other control characters a question mark. */
void plain_text(char *text);

#endif
