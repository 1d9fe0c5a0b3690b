#include "engine/prompt/text.h"

#include "engine/prompt/unicode.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int prompt_fault_set(struct prompt_fault *f, int code, size_t at, const char *format, ...)
{
    va_list args;

    if (f == NULL)
        return code;
    f->code = code;
    f->at = (uint32_t)at;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    return code;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

int prompt_column(const char *prompt, size_t at)
{
    int column = 1;

    for (size_t i = 0; i < at && prompt[i] != '\0'; i++)
        column += !is_continuation(prompt[i]);
    return column;
}

/* Room for size bytes, the NUL and their origins. */
static int reserve(struct prompt_text *t, size_t size, struct prompt_fault *f)
{
    size_t capacity = t->capacity ? t->capacity : 64;
    uint32_t *origin;
    char *text;

    if (size < t->capacity)
        return 0;
    while (capacity <= size)
        capacity *= 2;
    text = realloc(t->text, capacity);
    if (text == NULL)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for a text of %zu bytes", size);
    t->text = text;
    origin = realloc(t->origin, capacity * sizeof *origin);
    if (origin == NULL)
        return prompt_fault_set(f, ERR_OOM, 0, "no memory for a text of %zu bytes", size);
    t->origin = origin;
    t->capacity = capacity;
    return 0;
}

int prompt_text_init(struct prompt_text *ret_t, const char *prompt, struct prompt_fault *f)
{
    struct prompt_text t = {0};
    size_t size = strnlen(prompt, PROMPT_SIZE_MAX + 1), step = 0;
    int rc;

    if (size > PROMPT_SIZE_MAX)
        return prompt_fault_set(f, ERR_INPUT, PROMPT_SIZE_MAX, "the text is longer than %d bytes",
                                PROMPT_SIZE_MAX);
    for (size_t i = 0; i < size; i += step)
        if (unicode_next(prompt + i, size - i, &step) < 0)
            return prompt_fault_set(f, ERR_INPUT, i, "this is no UTF-8");
    rc = reserve(&t, size, f);
    if (rc != 0) {
        prompt_text_done(&t);
        return rc;
    }
    memcpy(t.text, prompt, size + 1);
    for (size_t i = 0; i <= size; i++)
        t.origin[i] = (uint32_t)i;
    t.size = size;
    *ret_t = t;
    return 0;
}

void prompt_text_done(struct prompt_text *t)
{
    free(t->text);
    free(t->origin);
    *t = (struct prompt_text){0};
}

int prompt_text_append(struct prompt_text *t, const struct prompt_text *from, size_t begin,
                       size_t end, struct prompt_fault *f)
{
    size_t n = end - begin;
    int rc = reserve(t, t->size + n, f);

    if (rc != 0)
        return rc;
    if (n > 0)
        memcpy(t->text + t->size, from->text + begin, n);
    if (from->size > 0)
        memcpy(t->origin + t->size, from->origin + begin, (n + 1) * sizeof *t->origin);
    else
        t->origin[t->size] = 0;
    t->size += n;
    t->text[t->size] = '\0';
    return 0;
}

size_t prompt_text_origin(const struct prompt_text *t, size_t i)
{
    return t->origin != NULL ? t->origin[i] : 0;
}

/* The code point that ends before byte i of text[begin..], -1 at its beginning. */
static int32_t code_before(const char *text, size_t begin, size_t i, size_t *ret_at)
{
    size_t at = i, step;

    if (i == begin)
        return -1;
    do
        at--;
    while (at > begin && is_continuation(text[at]));
    *ret_at = at;
    return unicode_next(text + at, i - at, &step);
}

size_t prompt_skip_blank(const char *text, size_t begin, size_t end)
{
    size_t step = 0;

    while (begin < end && unicode_is_blank(unicode_next(text + begin, end - begin, &step)))
        begin += step;
    return begin;
}

size_t prompt_trim_blank(const char *text, size_t begin, size_t end)
{
    size_t at = end;

    while (end > begin && unicode_is_blank(code_before(text, begin, end, &at)))
        end = at;
    return end;
}

bool prompt_word_boundary(const char *text, size_t begin, size_t end, size_t i)
{
    size_t at, step;
    int32_t before = code_before(text, begin, i, &at);
    int32_t after = i < end ? unicode_next(text + i, end - i, &step) : -1;

    return unicode_is_word(before) != unicode_is_word(after);
}

/* Digits of any script from *at on, as ASCII. */
static bool digits(const char *text, size_t size, size_t *at, struct buf *b)
{
    size_t step = 0, n = b->size;

    while (*at < size) {
        int digit = unicode_digit(unicode_next(text + *at, size - *at, &step));

        if (digit < 0)
            break;
        buf_putc(b, (char)('0' + digit));
        *at += step;
    }
    return b->size > n;
}

static bool any_of(const char *text, size_t size, size_t *at, const char *chars, struct buf *b)
{
    if (*at >= size || strchr(chars, text[*at]) == NULL)
        return false;
    buf_putc(b, text[(*at)++]);
    return true;
}

bool prompt_number(const char *text, size_t size, double *ret_x)
{
    size_t at = prompt_skip_blank(text, 0, size), end = prompt_trim_blank(text, at, size);
    struct buf b = {0};
    bool whole, ok;

    any_of(text, end, &at, "+-", &b);
    whole = digits(text, end, &at, &b);
    ok = whole;
    if (any_of(text, end, &at, ".", &b))
        ok = digits(text, end, &at, &b) || whole;
    if (ok && any_of(text, end, &at, "eE", &b)) {
        any_of(text, end, &at, "+-", &b);
        ok = digits(text, end, &at, &b);
    }
    ok = ok && at == end && !b.failed;
    if (ok)
        *ret_x = strtod(buf_text(&b), NULL);
    buf_done(&b);
    return ok;
}
