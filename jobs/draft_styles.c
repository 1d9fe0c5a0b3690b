/* `styles_file`, and what names of styles stand for. */
#include "jobs/draft.h"

#include "jobs/suggest.h"

#include <string.h>

#define SUGGEST_MAX 1000

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "out of memory");
}

/* --- the file --- */

static int find_column(const struct table *table, const char *name)
{
    for (size_t c = 0; c < table->n_columns; c++)
        if (strcmp(table->names[c].text, name) == 0)
            return (int)c;
    return -1;
}

static const char *cell(const struct table *table, size_t row, int column)
{
    return column < 0 ? "" : table_cell(table, row, (size_t)column)->text;
}

/* Rows become styles by name; the last of a name wins, as in AUTOMATIC1111. */
static int keep_styles(struct draft *dr, const struct table *table, struct place at, struct err *e)
{
    int name = find_column(table, "name"), prompt = find_column(table, "prompt");
    int negative = find_column(table, "negative_prompt");

    if (prompt < 0)
        prompt = find_column(table, "text"); /* of old files */
    if (name < 0 || prompt < 0) {
        diagnose(dr->d, at,
                 "'%s' is no file of styles: its first row must be "
                 "name,prompt,negative_prompt",
                 table->file);
        dr->styles_broken = true;
        return 0;
    }
    for (size_t i = 0; i < table->n_rows; i++) {
        const char *key = cell(table, i, name);
        json_t *style;

        if (*key == '#' || !*key)
            continue;
        style = json_pack("[s, s]", cell(table, i, prompt), cell(table, i, negative));
        if (!style || json_object_set_new(dr->known_styles, key, style) != 0)
            return no_memory(e);
    }
    return 0;
}

int draft_styles_file(struct draft *dr, struct err *e)
{
    const struct node *path = node_get(dr->root, "styles_file");
    struct table *table;
    int rc;

    dr->styles = json_object();
    dr->known_styles = json_object();
    if (!dr->styles || !dr->known_styles)
        return no_memory(e);
    if (!path)
        return 0;
    dr->has_styles_file = true;
    TRY(draft_read_table(dr, path, DRAFT_STYLES, &table, e));
    if (table)
        TRY(keep_styles(dr, table, path->at, e));
    else
        dr->styles_broken = true;
out:
    return rc;
}

/* --- names --- */

static bool is_none(const char *name)
{
    return !*name || strcmp(name, "None") == 0;
}

static void tell_unknown(struct draft *dr, const char *name, struct place at)
{
    const char *names[SUGGEST_MAX], *key;
    struct buf hint = {0};
    json_t *style;
    size_t n = 0;

    json_object_foreach(dr->known_styles, key, style) if (n < SUGGEST_MAX) names[n++] = key;
    suggest_text(name, names, n, &hint);
    if (!dr->has_styles_file)
        diagnose(dr->d, at, "style '%s': give styles_file, the path of a styles.csv", name);
    else if (!dr->styles_broken)
        diagnose(dr->d, at, "no style '%s' in styles_file%s", name, buf_text(&hint));
    buf_done(&hint);
}

/* One name: its texts, appended to the set; its name, to the selection. */
static int add_name(struct draft *dr, const char *name, struct place at, json_t *set,
                    struct buf *selection, bool *good, struct err *e)
{
    json_t *style = json_object_get(dr->known_styles, name);

    if (!style && is_none(name))
        return 0;
    if (!style) {
        tell_unknown(dr, name, at);
        *good = false;
        return 0;
    }
    buf_printf(selection, "%s%s", selection->size ? ", " : "", name);
    return json_array_append(set, style) == 0 ? 0 : no_memory(e);
}

/* A name, or several with commas between. */
static int add_text(struct draft *dr, const char *text, struct place at, json_t *set,
                    struct buf *selection, bool *good, struct err *e)
{
    int rc = 0;

    if (json_object_get(dr->known_styles, text))
        return add_name(dr, text, at, set, selection, good, e);
    for (const char *p = text; rc == 0; p++) {
        const char *end = p + strcspn(p, ","), *next = end;
        char *name;

        while (*p == ' ')
            p++;
        while (end > p && end[-1] == ' ')
            end--;
        name = pool_text(&dr->pool, p, (size_t)(end > p ? end - p : 0));
        rc = name ? add_name(dr, name, at, set, selection, good, e) : no_memory(e);
        p = next;
        if (!*p)
            break;
    }
    return rc;
}

/* Keeps what a selection stands for. *ret_value NULL after a mistake. Takes `set` over. */
static int keep_set(struct draft *dr, json_t *set, struct buf *selection, bool good,
                    json_t **ret_value, struct err *e)
{
    int rc = 0;

    if (!selection->size)
        buf_puts(selection, "None");
    TRY(buf_check(selection, e));
    if (!good)
        goto out;
    if (json_object_set(dr->styles, buf_text(selection), set) != 0 ||
        !(*ret_value = json_string(buf_text(selection))))
        TRY(no_memory(e));
out:
    json_decref(set);
    buf_done(selection);
    return rc;
}

int draft_select_styles(struct draft *dr, const char *text, struct place at, json_t **ret_value,
                        struct err *e)
{
    struct buf selection = {0};
    json_t *set = json_array();
    bool good = true;
    int rc = set ? add_text(dr, text, at, set, &selection, &good, e) : no_memory(e);

    if (rc == 0)
        return keep_set(dr, set, &selection, good, ret_value, e);
    json_decref(set);
    buf_done(&selection);
    return rc;
}

/* styles: [photo, dark], each a name as it is, or one text. */
static int select_given(struct draft *dr, const struct node *given, json_t **ret_value,
                        struct err *e)
{
    struct buf selection = {0};
    json_t *set;
    bool good = true;
    int rc = 0;

    if (given->type == NODE_SCALAR)
        return draft_select_styles(dr, given->text, given->at, ret_value, e);
    set = json_array();
    if (!set)
        return no_memory(e);
    for (size_t i = 0; i < given->n && rc == 0; i++)
        if (given->items[i]->type == NODE_SCALAR)
            rc =
                add_name(dr, given->items[i]->text, given->items[i]->at, set, &selection, &good, e);
        else
            diagnose(dr->d, given->items[i]->at, "'styles' is a list of names");
    if (rc == 0)
        return keep_set(dr, set, &selection, good, ret_value, e);
    json_decref(set);
    buf_done(&selection);
    return rc;
}

int draft_styles(struct draft *dr, struct err *e)
{
    const struct node *defaults = node_get(dr->root, "defaults");
    const struct node *given = node_get(dr->root, "styles");
    size_t axis, column;
    json_t *value = NULL;
    int rc = 0;

    if (!given && defaults && defaults->type == NODE_MAP)
        given = node_get(defaults, "styles");
    if (!given || draft_find(dr, "styles", &axis, &column))
        return 0;
    if (given->type == NODE_MAP) {
        diagnose(dr->d, given->at,
                 "'styles' is a list of names; the file they are in is "
                 "styles_file");
        return 0;
    }
    TRY(select_given(dr, given, &value, e));
    if (value && strcmp(json_string_value(value), "None") == 0)
        TRY(json_object_del(dr->styles, "None"));
    else if (value && json_object_set(dr->fixed, "styles", value) != 0)
        TRY(no_memory(e));
out:
    json_decref(value);
    return rc;
}
