/*
 * Growing byte buffer, always NUL-terminated, so that it serves as a string too.
 *
 * Zeroed memory is a valid empty buffer. A failed allocation makes the buffer `failed`: later
 * appends do nothing, and buf_check() reports it once at the end, so that building text needs no
 * test per line.
 *
 *     struct buf b = {0};
 *     buf_printf(&b, "%s: %d", name, value);
 *     TRY(buf_check(&b, e));
 *     text = buf_detach(&b);            // caller frees with free(3)
 */
#ifndef PROTO_BUF_H
#define PROTO_BUF_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;      /* owned; NULL while nothing was appended */
    size_t size;     /* bytes in use, without the final NUL */
    size_t capacity; /* bytes allocated */
    bool failed;     /* an allocation failed; content is then incomplete */
};

/* Appending. An allocation that fails marks the buffer; buf_check() says so once, at the end. */
void buf_append(struct buf *b, const void *data, size_t size_bytes);
void buf_puts(struct buf *b, const char *text);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Decimal. */
void buf_whole(struct buf *b, int64_t n);

/*
 * Shortest decimal text that reads back as exactly x, as ECMAScript's Number::toString prints it
 * (RFC 8785, section 3.2.2.3): 5, 0.1, 1e+21, 1e-7. x must be finite.
 */
void buf_number(struct buf *b, double x);

/* The text so far, "" when empty. Borrowed until the next change. */
const char *buf_text(const struct buf *b);

/* 0, or ERR_OOM if an append failed. */
int buf_check(const struct buf *b, struct err *e);

/* Hands the bytes over (caller frees with free(3)) and leaves b empty. NULL if failed or out of
 * memory. */
char *buf_detach(struct buf *b);

/*
 * Appends a whole regular file. ERR_MISSING; ERR_INPUT: no regular file, or more than limit_bytes;
 * ERR_IO, ERR_OOM. All name the file.
 */
int buf_read_file(struct buf *b, const char *path, size_t limit_bytes, struct err *e);

void buf_done(struct buf *b);

#endif
