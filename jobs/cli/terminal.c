#include "jobs/cli/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* An unset or plain "C" locale is common in containers whose terminal reads UTF-8 all the same. */
static bool locale_is_unicode(void)
{
    const char *names[] = {getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG")};

    for (size_t i = 0; i < 3; i++) {
        if (names[i] == NULL || names[i][0] == '\0')
            continue;
        if (strcmp(names[i], "C") == 0 || strcmp(names[i], "POSIX") == 0)
            return true;
        return strcasestr(names[i], "utf-8") != NULL || strcasestr(names[i], "utf8") != NULL;
    }
    return true;
}

struct terminal terminal_of(FILE *file)
{
    const char *kind = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");
    struct terminal t = {.file = file};

    t.live = isatty(fileno(file)) && (kind == NULL || strcmp(kind, "dumb") != 0);
    t.colour = t.live && (no_color == NULL || no_color[0] == '\0');
    t.unicode = locale_is_unicode();
    return t;
}

int terminal_columns(const struct terminal *t)
{
    struct winsize size = {0};

    if (ioctl(fileno(t->file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

const char *style(const struct terminal *t, enum style s)
{
    static const char *const codes[] = {
        [STYLE_OFF] = "\033[0m",   [STYLE_BOLD] = "\033[1m",   [STYLE_DIM] = "\033[2m",
        [STYLE_RED] = "\033[31m",  [STYLE_GREEN] = "\033[32m", [STYLE_YELLOW] = "\033[33m",
        [STYLE_CYAN] = "\033[36m",
    };

    return t->colour ? codes[s] : "";
}

int text_columns(const char *text)
{
    int n = 0;

    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++)
        n += (*p & 0xC0) != 0x80;
    return n;
}
