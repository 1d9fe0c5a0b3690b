#include "proto/log.h"

#include "proto/plain.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static enum log_level lowest = LOG_INFO;

void log_set_level(enum log_level level)
{
    lowest = level;
}

static size_t escape(char *out, size_t room, const char *text)
{
    size_t n = 0;

    while (*text && n + 13 < room) {
        size_t control = plain_control(text);

        if (control == 0)
            out[n++] = *text++;
        for (; control > 0; control--)
            n += (size_t)snprintf(out + n, room - n, "\\x%02x", (unsigned char)*text++);
    }
    return n;
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char text[2048], line[4096];
    struct tm tm;
    time_t now = time(NULL);
    va_list ap;
    size_t n;

    if (level < lowest)
        return;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    gmtime_r(&now, &tm);
    n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%SZ ", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, "%s %s ", names[level], event);
    n += escape(line + n, sizeof line - n - 1, text);
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nowhere left to say so */
}
