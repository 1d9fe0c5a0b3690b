/*
 * What CLIP's tokenizer needs of Unicode: classes of characters, and its clean-up of text. Behind
 * it: utf8proc (Unicode 15). Stateless: any thread.
 */
#ifndef ENGINE_UNICODE_H
#define ENGINE_UNICODE_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum unicode_class {
    UNICODE_OTHER,  /* punctuation, symbols, marks, controls, unassigned */
    UNICODE_SPACE,  /* the property White_Space */
    UNICODE_LETTER, /* the categories L* */
    UNICODE_NUMBER, /* the categories N* */
};

/* The code point at text, and in ret_size its bytes; -1 where it is no UTF-8. size > 0. */
int32_t unicode_next(const char *text, size_t size, size_t *ret_size);

/* Of a code point; UNICODE_OTHER for what is none. */
enum unicode_class unicode_class(int32_t code);

/*
 * NFC, then each run of white space to one blank, then lower case, letter by letter without regard
 * to its neighbours: what transformers' CLIPTokenizer does. Appends to ret_text. ERR_INPUT if the
 * text is no UTF-8.
 */
int unicode_clean(const char *text, size_t size, struct buf *ret_text, struct err *e);

#endif
