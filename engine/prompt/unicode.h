/*
 * What prompts and CLIP's tokenizer need of Unicode: classes of characters as Python's regular
 * expressions and CLIP's word pattern have them, and the tokenizer's clean-up of text. Behind it:
 * utf8proc (Unicode 15). Stateless: any thread.
 */
#ifndef ENGINE_PROMPT_UNICODE_H
#define ENGINE_PROMPT_UNICODE_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stdbool.h>
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

/* Of a code point, Python's \w: a letter, a number or '_'; and its \s: White_Space or 1C..1F hex.
 */
bool unicode_is_word(int32_t code);
bool unicode_is_blank(int32_t code);

/* What a decimal digit of any script stands for, 0..9; -1 for any other code point. */
int unicode_digit(int32_t code);

/*
 * NFC, then each run of white space to one blank, then lower case, letter by letter without regard
 * to its neighbours: what transformers' CLIPTokenizer does. Appends to ret_text. ERR_INPUT if the
 * text is no UTF-8.
 */
int unicode_clean(const char *text, size_t size, struct buf *ret_text, struct err *e);

#endif
