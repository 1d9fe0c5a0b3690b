#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool reserve(struct buf *b, size_t extra)
{
    size_t need, capacity;
    char *data;

    if (b->failed || extra > SIZE_MAX / 2 - b->size - 1) {
        b->failed = true;
        return false;
    }
    need = b->size + extra + 1;
    if (need <= b->capacity)
        return true;
    capacity = b->capacity ? b->capacity : 64;
    while (capacity < need)
        capacity *= 2;
    data = realloc(b->data, capacity);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void buf_append(struct buf *b, const void *data, size_t size_bytes)
{
    if (!reserve(b, size_bytes))
        return;
    if (size_bytes)
        memcpy(b->data + b->size, data, size_bytes);
    b->size += size_bytes;
    b->data[b->size] = 0;
}

void buf_puts(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_putc(struct buf *b, char c)
{
    buf_append(b, &c, 1);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0 || !reserve(b, (size_t)n)) {
        b->failed = true;
        return;
    }
    va_start(ap, format);
    vsnprintf(b->data + b->size, (size_t)n + 1, format, ap);
    va_end(ap);
    b->size += (size_t)n;
}

void buf_whole(struct buf *b, int64_t n)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;

    do
        text[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        text[--at] = '-';
    buf_append(b, text + at, sizeof text - at);
}

/* Digits and decimal exponent of the shortest form: x = 0.d1d2d3... * 10^point. */
static int shortest_digits(double x, char digits[32], int *ret_point)
{
    char text[40];
    int n = 0;

    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, x);
        if (strtod(text, NULL) == x)
            break;
    }
    for (const char *p = text; *p && *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    *ret_point = (int)strtol(strchr(text, 'e') + 1, NULL, 10) + 1;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return n;
}

void buf_number(struct buf *b, double x)
{
    char digits[32];
    int n, point;

    if (x == 0) {
        buf_putc(b, '0'); /* RFC 8785: minus zero too */
        return;
    }
    if (fabs(x) < 1e15 && x == floor(x)) {
        buf_whole(b, (int64_t)x);
        return;
    }
    if (x < 0)
        buf_putc(b, '-');
    n = shortest_digits(fabs(x), digits, &point);
    if (point > 21 || point < -5) {
        buf_putc(b, digits[0]);
        if (n > 1)
            buf_putc(b, '.');
        buf_append(b, digits + 1, (size_t)n - 1);
        buf_printf(b, "e%+d", point - 1);
    } else if (point <= 0) {
        buf_printf(b, "0.%.*s", -point, "00000");
        buf_append(b, digits, (size_t)n);
    } else if (n <= point) {
        buf_append(b, digits, (size_t)n);
        for (int i = n; i < point; i++)
            buf_putc(b, '0');
    } else {
        buf_append(b, digits, (size_t)point);
        buf_putc(b, '.');
        buf_append(b, digits + point, (size_t)(n - point));
    }
}

const char *buf_text(const struct buf *b)
{
    return b->data ? b->data : "";
}

int buf_check(const struct buf *b, struct err *e)
{
    return b->failed ? err_set(e, ERR_OOM, "out of memory at %zu bytes of text", b->size) : 0;
}

char *buf_detach(struct buf *b)
{
    char *data;

    if (!reserve(b, 0)) {
        buf_done(b);
        return NULL;
    }
    data = b->data;
    data[b->size] = 0;
    *b = (struct buf){0};
    return data;
}

static int read_all(struct buf *b, int fd, const char *path, size_t limit_bytes, struct err *e)
{
    size_t start = b->size;
    ssize_t n;

    for (;;) {
        if (!reserve(b, 65536))
            return buf_check(b, e);
        n = read(fd, b->data + b->size, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, path);
        if (n == 0)
            break;
        b->size += (size_t)n;
        if (b->size - start > limit_bytes)
            return err_set(e, ERR_INPUT, "%s: larger than the limit of %zu bytes", path,
                           limit_bytes);
    }
    b->data[b->size] = 0;
    return 0;
}

int buf_read_file(struct buf *b, const char *path, size_t limit_bytes, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = 0;

    if (fd < 0)
        return err_errno(e, path);
    if (fstat(fd, &st) != 0)
        TRY(err_errno(e, path));
    if (!S_ISREG(st.st_mode))
        TRY(err_set(e, ERR_INPUT, "%s: not a regular file", path));
    TRY(read_all(b, fd, path, limit_bytes, e));
out:
    close(fd);
    return rc;
}

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
