#include "jobs/utf8.h"

#include <string.h>

size_t utf8_next(const char *text, size_t size, uint32_t *ret_code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    uint32_t code = s[0];
    size_t n = code < 0x80 ? 1 : code < 0xc2 ? 0 : code < 0xe0 ? 2 : code < 0xf0 ? 3 : 4;

    if (n == 0 || n > size || code > 0xf4)
        return 0;
    if (n > 1)
        code &= 0xffu >> (n + 1);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    *ret_code = code;
    return n;
}

void utf8_put(struct buf *b, uint32_t code)
{
    if (code < 0x80) {
        buf_putc(b, (char)code);
    } else if (code < 0x800) {
        buf_putc(b, (char)(0xc0 | code >> 6));
        buf_putc(b, (char)(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        buf_putc(b, (char)(0xe0 | code >> 12));
        buf_putc(b, (char)(0x80 | (code >> 6 & 0x3f)));
        buf_putc(b, (char)(0x80 | (code & 0x3f)));
    } else {
        buf_putc(b, (char)(0xf0 | code >> 18));
        buf_putc(b, (char)(0x80 | (code >> 12 & 0x3f)));
        buf_putc(b, (char)(0x80 | (code >> 6 & 0x3f)));
        buf_putc(b, (char)(0x80 | (code & 0x3f)));
    }
}

bool utf8_valid(const char *text)
{
    size_t size = strlen(text), n;
    uint32_t code;

    for (size_t i = 0; i < size; i += n)
        if ((n = utf8_next(text + i, size - i, &code)) == 0)
            return false;
    return true;
}

size_t utf8_cut(const char *text, size_t size, size_t max_size)
{
    if (size <= max_size)
        return size;
    while (max_size > 0 && ((unsigned char)text[max_size] & 0xc0) == 0x80)
        max_size--;
    return max_size;
}

static bool is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 ||
           code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

size_t utf8_blank(const char *text, size_t size)
{
    size_t start = 0, n;
    uint32_t code;

    while (start < size && (n = utf8_next(text + start, size - start, &code)) > 0 && is_space(code))
        start += n;
    return start;
}

size_t utf8_without_blank_end(const char *text, size_t size)
{
    size_t at = 0, end = 0, n;
    uint32_t code;

    while (at < size && (n = utf8_next(text + at, size - at, &code)) > 0) {
        at += n;
        if (!is_space(code))
            end = at;
    }
    return end;
}

/* Latin Extended-A: capitals and small letters in turn, with shifts of parity between. */
static uint32_t fold_latin_a(uint32_t code)
{
    if (code == 0x130 || code == 0x131 || code == 0x138 || code == 0x149 || code == 0x17f)
        return code;
    if (code == 0x178)
        return 0xff;
    if ((code >= 0x139 && code <= 0x148) || code >= 0x179)
        return code % 2 ? code + 1 : code;
    return code % 2 ? code : code + 1;
}

uint32_t utf8_fold(uint32_t code)
{
    if (code >= 'A' && code <= 'Z')
        return code + 32;
    if (code < 0xc0)
        return code;
    if (code <= 0xde)
        return code == 0xd7 ? code : code + 32;
    if (code >= 0x100 && code <= 0x17f)
        return fold_latin_a(code);
    if (code >= 0x391 && code <= 0x3ab && code != 0x3a2)
        return code + 32;
    if (code == 0x3c2)
        return 0x3c3; /* final sigma */
    if (code >= 0x400 && code <= 0x40f)
        return code + 80;
    if (code >= 0x410 && code <= 0x42f)
        return code + 32;
    if ((code >= 0x460 && code <= 0x481) || (code >= 0x48a && code <= 0x4bf) ||
        (code >= 0x4d0 && code <= 0x52f))
        return code % 2 ? code : code + 1;
    if (code >= 0x531 && code <= 0x556)
        return code + 48;
    if (code >= 0x1e00 && code <= 0x1eff && !(code >= 0x1e96 && code <= 0x1e9f))
        return code % 2 ? code : code + 1;
    return code;
}
