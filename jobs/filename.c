#include "jobs/filename.h"

#include "jobs/utf8.h"
#include "proto/hash.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define HASH_DIGITS 8

bool filename_forbidden(uint32_t code)
{
    if (code < 32 || (code >= 0x7f && code < 0xa0))
        return true;
    if (code == 0x2028 || code == 0x2029 || (code >= 0x202a && code <= 0x202e) ||
        (code >= 0x2066 && code <= 0x2069))
        return true; /* line ends, and marks that make names read backwards */
    return code < 128 && strchr("/\\:*?\"<>|", (int)code);
}

bool filename_reserved(const char *text, size_t size)
{
    static const char *const names[] = {"con", "prn", "aux", "nul"};
    const char *dot = memchr(text, '.', size);
    size_t n = dot ? (size_t)(dot - text) : size;

    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (n == 4 && isdigit((unsigned char)text[3]) && text[3] != '0')
        return strncasecmp(text, "com", 3) == 0 || strncasecmp(text, "lpt", 3) == 0;
    for (size_t i = 0; n == 3 && i < sizeof names / sizeof *names; i++)
        if (strncasecmp(text, names[i], 3) == 0)
            return true;
    return false;
}

/* Dots and spaces at the ends become _, in place. */
static void guard_ends(char *text, size_t size)
{
    size_t i;

    for (i = 0; i < size && (text[i] == '.' || text[i] == ' '); i++)
        text[i] = '_';
    for (i = size; i > 0 && (text[i - 1] == '.' || text[i - 1] == ' '); i--)
        text[i - 1] = '_';
}

int filename_part(const char *text, size_t size, struct buf *ret_part, struct err *e)
{
    char hex[HASH_HEX_SIZE];
    struct buf part = {0};
    uint32_t code;
    size_t n, stem;
    int rc = 0;

    for (size_t i = 0; i < size; i += n) {
        n = utf8_next(text + i, size - i, &code);
        if (n == 0)
            TRY(err_set(e, ERR_INPUT, "a value in a file name is not UTF-8"));
        if (filename_forbidden(code))
            buf_putc(&part, '_');
        else
            buf_append(&part, text + i, n);
    }
    if (part.size == 0)
        buf_putc(&part, '_');
    TRY(buf_check(&part, e));
    guard_ends(part.data, part.size);
    if (part.size > FILENAME_PART_MAX) {
        TRY(hash_bytes(text, size, hex, e));
        part.size = utf8_cut(part.data, part.size, FILENAME_PART_MAX - HASH_DIGITS - 1);
        buf_printf(&part, "~%.*s", HASH_DIGITS, hex);
        TRY(buf_check(&part, e));
    }
    stem = filename_reserved(part.data, part.size) ? strcspn(part.data, ".") : part.size;
    buf_append(ret_part, part.data, stem);
    if (filename_reserved(part.data, part.size))
        buf_putc(ret_part, '_');
    buf_append(ret_part, part.data + stem, part.size - stem);
    TRY(buf_check(ret_part, e));
out:
    buf_done(&part);
    return rc;
}

void filename_fold(const char *text, size_t size, struct buf *ret_text)
{
    uint32_t code;
    size_t n;

    for (size_t i = 0; i < size; i += n) {
        n = utf8_next(text + i, size - i, &code);
        if (n == 0)
            return;
        utf8_put(ret_text, utf8_fold(code));
    }
}
