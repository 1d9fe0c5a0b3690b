#include "jobs/variables.h"

#include <string.h>

enum token_kind { TOKEN_END, TOKEN_TEXT, TOKEN_NAME, TOKEN_OPEN };

struct token {
    enum token_kind kind;
    const char *text; /* of TOKEN_TEXT; the name of TOKEN_NAME */
    size_t size;
};

/* The next piece of a prompt; moves *text past it. */
static struct token next_token(const char **text)
{
    const char *s = *text, *end;
    struct token t = {TOKEN_END, s, 0};

    if (!*s)
        return t;
    if (strncmp(s, "$${", 3) == 0) {
        t = (struct token){TOKEN_TEXT, s + 1, 2};
        *text = s + 3;
    } else if (strncmp(s, "${", 2) == 0) {
        end = strchr(s, '}');
        if (!end)
            return (struct token){TOKEN_OPEN, s, strlen(s)};
        t = (struct token){TOKEN_NAME, s + 2, (size_t)(end - s - 2)};
        *text = end + 1;
    } else {
        end = strchr(s + 1, '$');
        t = (struct token){TOKEN_TEXT, s, end ? (size_t)(end - s) : strlen(s)};
        *text = s + t.size;
    }
    return t;
}

/* Bytes of the longest text that a variable can stand for. */
static int name_size(const char *where, const struct token *t, const struct axes *axes,
                     const struct task *fixed, size_t *ret_size, struct err *e)
{
    struct buf text = {0};
    size_t axis, column;
    enum param p;
    int rc;

    if (axes_find(axes, t->text, t->size, &axis, &column)) {
        p = (enum param)axes->items[axis].columns[column].param;
        *ret_size = axes->items[axis].columns[column].max_size;
    } else if (axes_fixed(axes, t->text, t->size, &p)) {
        param_text(fixed, p, &text);
        *ret_size = text.size;
    } else {
        TRY(err_set(e, ERR_INPUT,
                    "%s: '${%.*s}' is neither a variable of an axis nor a parameter; a plain '${' "
                    "is written '$${'",
                    where, t->size < 80 ? (int)t->size : 80, t->text));
    }
    rc = buf_check(&text, e);
    if (rc == 0 && (p == PARAM_PROMPT || p == PARAM_NEGATIVE_PROMPT))
        rc = err_set(e, ERR_INPUT, "%s: a prompt cannot stand inside a prompt", where);
out:
    buf_done(&text);
    return rc;
}

int variables_check(const char *where, const char *text, const struct axes *axes,
                    const struct task *fixed, size_t *ret_size, struct err *e)
{
    const char *rest = text;
    size_t total = 0, size;
    struct token t;
    int rc;

    while ((t = next_token(&rest)).kind != TOKEN_END) {
        size = t.size;
        if (t.kind == TOKEN_OPEN)
            return err_set(e, ERR_INPUT,
                           "%s: '%.20s' has no closing '}'; a plain '${' is written '$${'", where,
                           t.text);
        if (t.kind == TOKEN_NAME && (rc = name_size(where, &t, axes, fixed, &size, e)) != 0)
            return rc;
        total += size;
        if (total > TASK_PROMPT_MAX)
            return err_set(e, ERR_INPUT,
                           "%s: could become more than %d bytes long with its variables", where,
                           TASK_PROMPT_MAX);
    }
    *ret_size = total;
    return 0;
}

void variables_expand(const char *text, const struct axes *axes, const struct task *fixed,
                      uint64_t index, struct buf *ret_text)
{
    size_t axis, column;
    enum param p;
    struct token t;

    while ((t = next_token(&text)).kind != TOKEN_END) {
        if (t.kind != TOKEN_NAME)
            buf_append(ret_text, t.text, t.size);
        else if (axes_find(axes, t.text, t.size, &axis, &column))
            axis_text(&axes->items[axis], column, axes_at(axes, axis, index), ret_text);
        else if (axes_fixed(axes, t.text, t.size, &p))
            param_text(fixed, p, ret_text);
        if (t.kind == TOKEN_OPEN)
            return;
    }
}
