#include "proto/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LONG_TEXT 16384 /* of which the beginning and the end are kept */
#define GAP       " ... "

/* The first byte of the character that byte `at` belongs to. */
static size_t character_at(const char *text, size_t at)
{
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

/* Long paths stand in front of the reason, and both are wanted: the middle goes. */
static void shorten(char *text)
{
    size_t size = strlen(text), head, tail;

    if (size < ERR_TEXT_MAX)
        return;
    head = character_at(text, ERR_TEXT_MAX / 2);
    tail = size - (ERR_TEXT_MAX - 1 - head - strlen(GAP));
    while (((unsigned char)text[tail] & 0xc0) == 0x80)
        tail++;
    memcpy(text + head, GAP, strlen(GAP));
    memmove(text + head + strlen(GAP), text + tail, size - tail + 1);
}

int err_set(struct err *e, int code, const char *format, ...)
{
    char text[LONG_TEXT]; /* formatted apart: an argument may be e->text */
    va_list ap;

    if (!e)
        return code;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    shorten(text);
    e->code = code;
    memcpy(e->text, text, strlen(text) + 1);
    return code;
}

int err_errno(struct err *e, const char *path)
{
    int number = errno;
    int code = number == ENOMEM ? ERR_OOM : number == ENOENT ? ERR_MISSING : ERR_IO;

    return err_set(e, code, "%s: %s", path, strerror(number));
}

static const struct {
    int code;
    const char *name;
    int retry;
} table[] = {
#define X(code, value, name, retry) {code, name, retry},
    ERR_TABLE(X)
#undef X
};

const char *err_name(int code)
{
    if (code == 0)
        return "ok";
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].code == code)
            return table[i].name;
    return "internal";
}

int err_from_name(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].code;
    return ERR_INTERNAL;
}

int err_retryable(int code)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].code == code)
            return table[i].retry;
    return 0;
}
