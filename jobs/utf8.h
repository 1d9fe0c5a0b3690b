/* UTF-8 one character at a time, and the letter case that file systems ignore. No locale. */
#ifndef JOBS_UTF8_H
#define JOBS_UTF8_H

#include "proto/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The character at the start of text (size > 0): its code point and length in bytes, 1..4. Returns
 * 0 for bytes that are not UTF-8 (overlong forms, surrogates and cut sequences included).
 */
size_t utf8_next(const char *text, size_t size, uint32_t *ret_code);

void utf8_put(struct buf *b, uint32_t code);

/* True for NUL-terminated UTF-8. */
bool utf8_valid(const char *text);

/* The largest size <= max_size at which text can be cut without splitting a character. */
size_t utf8_cut(const char *text, size_t size, size_t max_size);

/* Bytes of white space, as Python's str.strip() sees it, at the start of text; and the bytes that
 * are left of it without the white space at its end. */
size_t utf8_blank(const char *text, size_t size);
size_t utf8_without_blank_end(const char *text, size_t size);

/*
 * The lower-case form of a letter with two cases, in Latin, Greek, Cyrillic and Armenian; any other
 * code point unchanged. Serves to see which file names a case-insensitive file system takes for
 * one.
 */
uint32_t utf8_fold(uint32_t code);

#endif
