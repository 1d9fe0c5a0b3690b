#include "jobs/draft.h"

#include "jobs/suggest.h"

#include <string.h>

#define CHOICE_SHOWN 40                               /* bytes */
#define NAMES_MAX    (JOB_AXES_MAX * 8 + PARAM_COUNT) /* names that suggestions look through */

/* Which axes something of the manifest mentions. */
struct uses {
    bool axes[JOB_AXES_MAX];
};

/* Every name that ${} may hold: columns, and parameters but for the prompts. */
static size_t known_names(const struct draft *dr, const char **ret_names)
{
    size_t n = 0;

    for (size_t a = 0; a < dr->n_axes; a++)
        for (size_t c = 0; c < dr->axes[a].n_columns && n < NAMES_MAX - PARAM_COUNT; c++)
            ret_names[n++] = dr->axes[a].columns[c].name;
    for (int p = 0; p < PARAM_COUNT; p++)
        if (p != PARAM_PROMPT && p != PARAM_NEGATIVE_PROMPT)
            ret_names[n++] = param_name((enum param)p);
    return n;
}

static void check_known(struct draft *dr, const char *name, struct place at, struct uses *uses)
{
    const char *names[NAMES_MAX];
    struct buf hint = {0};
    size_t axis, column;
    int param = param_from_name(name);

    if (draft_find(dr, name, &axis, &column))
        uses->axes[axis] = true;
    else if (param == PARAM_PROMPT || param == PARAM_NEGATIVE_PROMPT)
        diagnose(dr->d, at, "a prompt cannot stand inside a prompt");
    else if (param < 0 && !draft_lacks_columns(dr)) {
        suggest_text(name, names, known_names(dr, names), &hint);
        diagnose(dr->d, at, "no axis gives '${%s}' a value%s%s", name, buf_text(&hint),
                 hint.size ? "" : "; a plain '${' is written '$${'");
    }
    buf_done(&hint);
}

/* {a|b} is a choice by chance elsewhere; here it is drawn as it stands. */
static void warn_of_choices(struct draft *dr, const char *text, struct place at)
{
    for (const char *p = text; (p = strchr(p, '{')) != NULL; p++) {
        size_t n = strcspn(p, "}");

        if ((p > text && p[-1] == '$') || !p[n] || !memchr(p, '|', n))
            continue;
        diagnose_warning(dr->d, at,
                         "'%.*s' is no choice here but plain text: several values are an axis, and "
                         "[a|b] changes with each step",
                         (int)(n < CHOICE_SHOWN ? n + 1 : CHOICE_SHOWN), p);
        return;
    }
}

/* node NULL: the text is one of an axis' values, and `at` the axis. */
static int check_prompt(struct draft *dr, const char *text, const struct node *node,
                        struct place at, struct uses *uses, struct err *e)
{
    const char *p = text;

    if (node)
        warn_of_choices(dr, text, at);
    while ((p = strchr(p, '$'))) {
        const char *end;
        char *name;

        if (strncmp(p, "$${", 3) == 0) {
            p += 3;
            continue;
        }
        if (p[1] != '{') {
            p++;
            continue;
        }
        if (node)
            at = node_place(node, (size_t)(p - text));
        end = strchr(p, '}');
        if (!end) {
            diagnose(dr->d, at, "'${' is never closed; a plain '${' is written '$${'");
            return 0;
        }
        name = pool_text(&dr->pool, p + 2, (size_t)(end - p - 2));
        if (!name)
            return err_set(e, ERR_OOM, "out of memory");
        check_known(dr, name, at, uses);
        p = end + 1;
    }
    return 0;
}

/* Prompts that are values of an axis; the first mistake of each stands for all. */
static int check_column(struct draft *dr, size_t axis, size_t column, struct uses *uses,
                        struct err *e)
{
    const json_t *rows = dr->axes[axis].rows;
    size_t errors = dr->d->n_errors;
    int rc = 0;

    for (size_t i = 0; i < json_array_size(rows) && rc == 0 && dr->d->n_errors == errors; i++) {
        const json_t *cell = json_array_get(json_array_get(rows, i), column);

        rc = check_prompt(dr, json_string_value(cell), NULL, dr->axes[axis].columns[column].at,
                          uses, e);
    }
    return rc;
}

static void use_path(struct draft *dr, struct uses *uses)
{
    for (size_t a = 0; a < dr->n_axes; a++)
        for (size_t c = 0; c < dr->axes[a].n_columns; c++) {
            struct buf open = {0};

            buf_printf(&open, "{%s}", dr->axes[a].columns[c].name);
            if (dr->path && strstr(dr->path, buf_text(&open)))
                uses->axes[a] = true;
            buf_done(&open);
        }
}

/* An axis of several values that change nothing is more likely a mistake than a wish. */
static void warn_unused(struct draft *dr, const struct uses *uses)
{
    for (size_t a = 0; a < dr->n_axes; a++) {
        bool used = uses->axes[a] || dr->axes[a].length < 2 || a + 1 == dr->frames;

        for (size_t c = 0; c < dr->axes[a].n_columns; c++)
            used = used || dr->axes[a].columns[c].param >= 0;
        if (!used)
            diagnose_warning(dr->d, dr->axes[a].at,
                             "no prompt holds ${%s}: each picture will be made %s",
                             dr->axes[a].columns[0].name, "once for every value of this axis");
    }
}

int draft_prompts(struct draft *dr, struct err *e)
{
    static const enum param prompts[] = {PARAM_PROMPT, PARAM_NEGATIVE_PROMPT};
    struct uses uses = {{false}};
    size_t errors = dr->d->n_errors, axis, column;
    int rc = 0;

    for (size_t i = 0; i < 2 && rc == 0; i++) {
        const struct node *given = dr->given[prompts[i]];

        if (draft_find(dr, param_name(prompts[i]), &axis, &column))
            rc = check_column(dr, axis, column, &uses, e);
        else if (given)
            rc = check_prompt(dr, given->text, given, given->at, &uses, e);
    }
    use_path(dr, &uses);
    if (dr->d->n_errors == errors) /* a misspelt name is told already */
        warn_unused(dr, &uses);
    return rc;
}
