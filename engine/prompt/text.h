/*
 * Text of a prompt at some stage of reading, which knows where in the user's prompt each byte comes
 * from, and faults that say so. Inside and outside the room: whatever is wrong in a prompt is told
 * with its column.
 *
 *     TRY(prompt_text_init(&t, "a (red:1.3) apple", &f));
 *     ... f.at is a byte of that string; prompt_column(string, f.at) its column
 *     prompt_text_done(&t);
 */
#ifndef ENGINE_PROMPT_TEXT_H
#define ENGINE_PROMPT_TEXT_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROMPT_SIZE_MAX 65536 /* bytes */

/* What is wrong and where. Written only on failure. */
struct prompt_fault {
    int code;       /* ERR_INPUT; ERR_OOM */
    uint32_t at;    /* byte of the user's prompt */
    char text[200]; /* UTF-8, one sentence without the place */
};

/* Writes all and returns code. f may be NULL. */
int prompt_fault_set(struct prompt_fault *f, int code, size_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The column of a byte: characters before it and one. */
int prompt_column(const char *prompt, size_t at);

/* Zeroed memory is an empty text. */
struct prompt_text {
    char *text;       /* [size] bytes of UTF-8 and NUL; owned; NULL while nothing was appended */
    uint32_t *origin; /* [size + 1]: where each byte, and what comes after the last, stood */
    size_t size, capacity;
};

/* The whole prompt. ERR_INPUT: no UTF-8, or longer than PROMPT_SIZE_MAX. */
int prompt_text_init(struct prompt_text *ret_t, const char *prompt, struct prompt_fault *f);
void prompt_text_done(struct prompt_text *t);

/* Appends bytes begin..end-1 of from. */
int prompt_text_append(struct prompt_text *t, const struct prompt_text *from, size_t begin,
                       size_t end, struct prompt_fault *f);

/* Where byte i of t stood in the user's prompt; i <= size. */
size_t prompt_text_origin(const struct prompt_text *t, size_t i);

/* Python's \s* forward from begin and backward from end: the byte where it stops. */
size_t prompt_skip_blank(const char *text, size_t begin, size_t end);
size_t prompt_trim_blank(const char *text, size_t begin, size_t end);

/* Python's \b at byte i of text[begin..end): a word character on one side alone. */
bool prompt_word_boundary(const char *text, size_t begin, size_t end, size_t i);

/*
 * Python's float() of text without its names, signs and underlines inside: white space around, a
 * sign, digits of any script with a dot, an exponent. False if the text is no such number; infinite
 * if it is too large.
 */
bool prompt_number(const char *text, size_t size, double *ret_x);

#endif
