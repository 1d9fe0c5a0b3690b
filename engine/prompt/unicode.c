#include "engine/prompt/unicode.h"

#include <utf8proc.h>

#define DOTTED_CAPITAL_I 0x130 /* the one letter whose lower case is two code points */

int32_t unicode_next(const char *text, size_t size, size_t *ret_size)
{
    utf8proc_int32_t code;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &code);

    if (n <= 0)
        return -1;
    *ret_size = (size_t)n;
    return code;
}

static bool is_space(int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

enum unicode_class unicode_class(int32_t code)
{
    if (is_space(code))
        return UNICODE_SPACE;
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return UNICODE_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return UNICODE_NUMBER;
    default:
        return UNICODE_OTHER;
    }
}

bool unicode_is_word(int32_t code)
{
    enum unicode_class class = unicode_class(code);

    return code == '_' || class == UNICODE_LETTER || class == UNICODE_NUMBER;
}

bool unicode_is_blank(int32_t code)
{
    return is_space(code) || (code >= 0x1c && code <= 0x1f);
}

/* Digits stand in rows of ten from their zero on, wherever a script has them. */
int unicode_digit(int32_t code)
{
    int before = 0;

    if (utf8proc_category(code) != UTF8PROC_CATEGORY_ND)
        return -1;
    while (utf8proc_category(code - before - 1) == UTF8PROC_CATEGORY_ND)
        before++;
    return before % 10;
}

static void append_code(struct buf *b, int32_t code)
{
    utf8proc_uint8_t bytes[4];

    buf_append(b, bytes, (size_t)utf8proc_encode_char(code, bytes));
}

int unicode_clean(const char *text, size_t size, struct buf *ret_text, struct err *e)
{
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &composed,
                     (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    bool in_space = false;

    if (n < 0)
        return err_set(e, n == UTF8PROC_ERROR_NOMEM ? ERR_OOM : ERR_INPUT, "text: %s",
                       utf8proc_errmsg(n));
    for (size_t at = 0, step = 0; at < (size_t)n; at += step) {
        int32_t code = unicode_next((const char *)composed + at, (size_t)n - at, &step);
        bool space = is_space(code);

        if (space && !in_space)
            buf_putc(ret_text, ' ');
        else if (code == DOTTED_CAPITAL_I)
            buf_puts(ret_text, "i\u0307");
        else if (!space)
            append_code(ret_text, utf8proc_tolower(code));
        in_space = space;
    }
    free(composed);
    return buf_check(ret_text, e);
}
