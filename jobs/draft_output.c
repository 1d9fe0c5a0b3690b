#include "jobs/draft.h"

#include "jobs/suggest.h"

#include <string.h>
#include <strings.h>

#define NAMES_MAX 128 /* names that suggestions look through */

/* --- path --- */

static size_t path_names(const struct draft *dr, const char **ret_names)
{
    size_t n = 0;

    ret_names[n++] = "index";
    ret_names[n++] = "job";
    for (int p = 0; p < PARAM_COUNT; p++)
        ret_names[n++] = param_name((enum param)p);
    for (size_t a = 0; a < dr->n_axes; a++)
        for (size_t c = 0; c < dr->axes[a].n_columns && n < NAMES_MAX; c++)
            ret_names[n++] = dr->axes[a].columns[c].name;
    return n;
}

/* {name} or {name:format}: the name must be known; job_load checks the rest. */
static int check_field(struct draft *dr, const char *start, size_t size, struct place at,
                       struct err *e)
{
    const char *names[NAMES_MAX];
    const char *colon = memchr(start, ':', size);
    char *name = pool_text(&dr->pool, start, colon ? (size_t)(colon - start) : size);
    struct buf hint = {0};
    size_t axis, column;

    if (!name)
        return err_set(e, ERR_OOM, "out of memory");
    if (strcmp(name, "index") == 0 || strcmp(name, "job") == 0 || param_from_name(name) >= 0 ||
        draft_find(dr, name, &axis, &column) || draft_lacks_columns(dr))
        return 0;
    suggest_text(name, names, path_names(dr, names), &hint);
    diagnose(dr->d, at, "output.path: '{%s}' is neither index, job, an axis nor a parameter%s",
             name, buf_text(&hint));
    buf_done(&hint);
    return 0;
}

static int check_fields(struct draft *dr, const struct node *path, struct err *e)
{
    int rc = 0;

    for (const char *p = path->text; rc == 0 && (p = strchr(p, '{'));) {
        size_t size = strcspn(p + 1, "{}");
        struct place at = node_place(path, (size_t)(p - path->text));

        if (p[1] == '{') {
            p += 2;
            continue;
        }
        if (p[1 + size] != '}') {
            diagnose(dr->d, at, "output.path: '{' is never closed; a plain '{' is written '{{'");
            return 0;
        }
        rc = check_field(dr, p + 1, size, at, e);
        p += size + 2;
    }
    return rc;
}

static void check_parts(struct draft *dr, const struct node *path)
{
    const char *p = path->text;
    size_t length = strlen(p);

    if (*p == '/')
        diagnose(dr->d, path->at,
                 "output.path starts in the output folder: leave the first '/' out");
    for (; *p; p += *p == '/') {
        size_t n = strcspn(p, "/");

        if ((n == 2 && memcmp(p, "..", 2) == 0) || (n == 1 && *p == '.'))
            diagnose(dr->d, node_place(path, (size_t)(p - path->text)),
                     "output.path cannot leave the output folder: '%.*s' is not allowed", (int)n,
                     p);
        p += n;
    }
    if (length < 5 || strcasecmp(path->text + length - 4, ".png") != 0)
        diagnose(dr->d, path->at, "output.path must end in '.png'");
}

/* Numbers of one width sort by name as they count. */
static int default_path(struct draft *dr, struct err *e)
{
    struct buf path = {0};
    int digits = 1;

    for (uint64_t last = dr->span ? dr->span - 1 : 0; last >= 10; last /= 10)
        digits++;
    buf_printf(&path, "{job}/{index:0%d}.png", digits < 4 ? 4 : digits);
    dr->path = path.failed ? NULL : pool_text(&dr->pool, path.data, path.size);
    buf_done(&path);
    return dr->path ? 0 : err_set(e, ERR_OOM, "out of memory");
}

static int read_path(struct draft *dr, const struct node *output, struct err *e)
{
    struct node *path = output ? node_get(output, "path") : NULL;

    if (!path)
        return default_path(dr, e);
    if (path->type != NODE_SCALAR || !*path->text) {
        diagnose(dr->d, path->at, "'path' is text such as \"{job}/{index:06}.png\"");
        return 0;
    }
    dr->path = path->text;
    dr->path_node = path;
    check_parts(dr, path);
    return check_fields(dr, path, e);
}

/* --- sheet --- */

static size_t factor_of(const struct draft *dr, int axis)
{
    for (size_t f = 0; f < dr->combine.n; f++)
        for (size_t i = 0; i < dr->combine.factors[f].n; i++)
            if (dr->combine.factors[f].axes[i] == axis)
                return f;
    return 0;
}

/* x or y of the sheet: the name of an axis. Returns its number, -1 without one. */
static int sheet_axis(struct draft *dr, const struct node *sheet, const char *key)
{
    const struct node *value = node_get(sheet, key);
    const char *names[JOB_AXES_MAX];
    struct buf hint = {0};

    if (!value)
        return -1;
    for (size_t a = 0; a < dr->n_axes; a++) {
        names[a] = dr->axes[a].name;
        if (value->type == NODE_SCALAR && strcmp(names[a], value->text) == 0)
            return (int)a;
    }
    if (value->type == NODE_SCALAR)
        suggest_text(value->text, names, dr->n_axes, &hint);
    diagnose(dr->d, value->at, "output.sheet: no axis '%s'%s",
             value->type == NODE_SCALAR ? value->text : "", buf_text(&hint));
    buf_done(&hint);
    return -1;
}

/* The first two axes with several values that move independently; rows are the outer one. */
static void default_axes(const struct draft *dr, int *ret_x, int *ret_y)
{
    int found[2] = {-1, -1}, n = 0;

    for (int a = 0; a < (int)dr->n_axes && n < 2; a++)
        if (dr->axes[a].length > 1 && (n == 0 || factor_of(dr, found[0]) != factor_of(dr, a)))
            found[n++] = a;
    for (int i = 0; i < n; i++) /* its number says more than what changes with it */
        if (dr->frames && factor_of(dr, found[i]) == factor_of(dr, (int)dr->frames - 1))
            found[i] = (int)dr->frames - 1;
    *ret_x = n == 2 ? found[1] : found[0];
    *ret_y = n == 2 ? found[0] : -1;
}

static json_t *axis_or_null(const struct draft *dr, int axis)
{
    return axis < 0 ? json_null() : json_string(dr->axes[axis].name);
}

static int set_sheet(struct draft *dr, int x, int y, struct err *e)
{
    dr->sheet = json_pack("{s:o, s:o}", "x", axis_or_null(dr, x), "y", axis_or_null(dr, y));
    return dr->sheet ? 0 : err_set(e, ERR_OOM, "out of memory");
}

static bool is_word(const struct node *node, const char *const *words)
{
    for (; *words; words++)
        if (node->type == NODE_SCALAR && node->plain && strcasecmp(node->text, *words) == 0)
            return true;
    return false;
}

static int read_sheet(struct draft *dr, const struct node *output, struct err *e)
{
    static const char *const off[] = {"false", "no", "off", NULL};
    static const char *const on[] = {"true", "yes", "on", NULL};
    static const char *const keys[] = {"x", "y"};
    const struct node *sheet = output ? node_get(output, "sheet") : NULL;
    int x, y;

    default_axes(dr, &x, &y);
    if (sheet && is_word(sheet, off)) {
        dr->sheet = json_null();
        return 0;
    }
    if (sheet && sheet->type == NODE_MAP) {
        draft_check_keys(dr, sheet, " in 'output.sheet'", keys, 2);
        x = sheet_axis(dr, sheet, "x");
        y = sheet_axis(dr, sheet, "y");
        if (x >= 0 && y >= 0 && factor_of(dr, x) == factor_of(dr, y))
            diagnose(dr->d, sheet->at,
                     "output.sheet: x and y must be axes that move independently");
    } else if (sheet && !is_word(sheet, on)) {
        diagnose(dr->d, sheet->at, "'sheet' is {x: axis, y: axis}, or false for none");
    }
    return set_sheet(dr, x, y, e);
}

int draft_output(struct draft *dr, struct err *e)
{
    static const char *const keys[] = {"path", "sheet"};
    const struct node *output = node_get(dr->root, "output");
    int rc;

    if (output && output->type != NODE_MAP) {
        diagnose(dr->d, output->at, "'output' is a mapping: {path: ..., sheet: ...}");
        output = NULL;
    }
    if (output)
        draft_check_keys(dr, output, " in 'output'", keys, 2);
    TRY(read_path(dr, output, e));
    TRY(read_sheet(dr, output, e));
out:
    return rc;
}
