#include "jobs/yaml_hint.h"

#include <stdbool.h>
#include <string.h>

struct line {
    const char *start, *end;
};

static struct line line_of(const char *text, size_t size, size_t number)
{
    const char *end = text + size, *next;

    for (; number > 0 && (next = memchr(text, '\n', (size_t)(end - text))); number--)
        text = next + 1;
    next = memchr(text, '\n', (size_t)(end - text));
    return (struct line){text, next ? next : end};
}

/* A colon with a space behind it, as a key has; outside of quotes. NULL: none. */
static const char *find_colon(const char *p, const char *end)
{
    char quote = 0;

    for (; p < end; p++) {
        if (quote ? *p == quote : *p == '"' || *p == '\'')
            quote = quote ? 0 : *p;
        else if (!quote && *p == ':' && (p + 1 == end || p[1] == ' '))
            return p;
    }
    return NULL;
}

static const char *skip_spaces(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || (*p == '-' && p + 1 < end && p[1] == ' ')))
        p++;
    return p;
}

static bool has_comment_in_list(const char *p, const char *end)
{
    for (; p + 1 < end; p++)
        if (strchr("[{, ", *p) && p[1] == '#')
            return true;
    return false;
}

const char *yaml_hint(const char *text, size_t size, size_t line, size_t column)
{
    struct line l = line_of(text, size, line > 0 && column == 0 ? line - 1 : line);
    const char *p = skip_spaces(l.start, l.end), *colon;

    if (p < l.end && !strchr("[{", *p) && (colon = find_colon(p, l.end))) {
        if (column > 0 && (size_t)(colon - l.start) == column)
            return "; is the line indented as those around it are?";
        p = skip_spaces(colon + 1, l.end);
    }
    if (p == l.end)
        return "";
    switch (*p) {
    case '[':
    case '{':
        if (has_comment_in_list(p, l.end))
            return "; '#' begins a comment: text that begins with it needs quotes around it";
        return "; if this is text and no list or mapping, put quotes around it";
    case '%':
        return "; text that begins with '%' needs quotes around it";
    case '@':
        return "; text that begins with '@' needs quotes around it";
    case '`':
        return "; text that begins with '`' needs quotes around it";
    case '\'':
        return "; inside single quotes a quote is written twice";
    case '"':
        return "; inside double quotes a quote is written \\\"";
    default:
        break;
    }
    if (find_colon(p, l.end))
        return "; text with ': ' in it needs quotes around it";
    return "";
}
