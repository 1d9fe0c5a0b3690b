#include "proto/plain.h"

size_t plain_control(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    if ((p[0] > 0 && p[0] < 0x20) || p[0] == 0x7f)
        return 1;
    if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
        return 2;
    if (p[0] == 0xe2 && ((p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) ||
                         (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9)))
        return 3;
    return 0;
}

void plain_text(char *text)
{
    const char *from = text;
    char *to = text;

    while (*from) {
        size_t n = plain_control(from);

        *to = n == 0 ? *from : *from == '\n' || *from == '\t' ? ' ' : '?';
        to++;
        from += n ? n : 1;
    }
    *to = 0;
}
