/* `loras` and `embeddings`, names of prompts bound to files; and LoRAs that prompts call by path.
 */
#include "jobs/draft.h"

#include "jobs/asset.h"
#include "jobs/names.h"

#include <string.h>
#include <sys/stat.h>

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "out of memory");
}

/* --- the two mappings --- */

/* The file as a bundle has it; NULL after a mistake. */
static const char *plain_file(struct draft *dr, enum names_kind kind, const struct node *value)
{
    const char *file = value->text;
    struct stat st;
    struct err e;

    if (asset_hash_of(file))
        return file;
    if (*file && strncmp(file, "sha256:", 7) != 0)
        file = draft_absolute(dr, draft_base(dr, value->at), file);
    if (!file)
        return "";
    if (names_check_file(kind, file, &e) != 0) {
        diagnose(dr->d, value->at, "%s", e.text);
        return NULL;
    }
    if (stat(file, &st) != 0 || !S_ISREG(st.st_mode))
        diagnose_warning(dr->d, value->at, "no file '%s' on this machine", file);
    return file;
}

static int read_name(struct draft *dr, enum names_kind kind, const struct node *key,
                     const struct node *value, struct err *e)
{
    const char *file;
    struct err cause;

    if (names_check_name(kind, key->text, &cause) != 0) {
        diagnose(dr->d, key->at, "%s", cause.text);
        return 0;
    }
    if (value->type != NODE_SCALAR || !*value->text) {
        diagnose(dr->d, value->at, "'%s' is the path of a .safetensors file, or its sha256:...",
                 key->text);
        return 0;
    }
    file = plain_file(dr, kind, value);
    if (!file)
        return 0;
    return *file && json_object_set_new(dr->names[kind], key->text, json_string(file)) == 0
               ? 0
               : no_memory(e);
}

int draft_names(struct draft *dr, struct err *e)
{
    int rc = 0;

    for (int kind = 0; kind < 2; kind++) {
        const struct node *map = node_get(dr->root, names_key((enum names_kind)kind));

        dr->names[kind] = json_object();
        if (!dr->names[kind])
            return no_memory(e);
        if (map && map->type != NODE_MAP && (map->type != NODE_SCALAR || *map->text))
            diagnose(dr->d, map->at, "'%s' maps names to files: {ink: styles/ink.safetensors}",
                     names_key((enum names_kind)kind));
        for (size_t i = 0; map && map->type == NODE_MAP && i < map->n; i++)
            TRY(read_name(dr, (enum names_kind)kind, map->items[2 * i], map->items[2 * i + 1], e));
    }
out:
    return rc;
}

/* --- paths in prompts --- */

/* Moves *at to the name of the next <lora:NAME...>; its size, 0: there is none. */
static size_t next_lora(const char **at)
{
    for (const char *p = *at; (p = strchr(p, '<')); p++)
        if (strncmp(p, "<lora:", 6) == 0 || strncmp(p, "<lyco:", 6) == 0) {
            size_t size = strcspn(p + 6, ":>");

            *at = p + 6;
            if (size > 0)
                return size;
        }
    return 0;
}

static bool is_relative(const char *name, size_t size)
{
    return memchr(name, '/', size) && *name != '/' && strncmp(name, "${", 2) != 0;
}

static int put_absolute(struct draft *dr, const char *base, const char *name, size_t size,
                        struct buf *ret_text, struct err *e)
{
    const char *path = pool_text(&dr->pool, name, size);

    path = path ? draft_absolute(dr, base, path) : NULL;
    if (!path)
        return no_memory(e);
    buf_puts(ret_text, path);
    return 0;
}

/* A text whose relative paths of LoRAs start at base, with absolute ones: a new reference. */
static int absolute_text(struct draft *dr, const char *base, const char *text, json_t **ret_value,
                         struct err *e)
{
    const char *from = text, *at = text;
    struct buf whole = {0};
    size_t size;
    int rc = 0;

    while ((size = next_lora(&at)) > 0) {
        if (!is_relative(at, size))
            continue;
        buf_append(&whole, from, (size_t)(at - from));
        TRY(put_absolute(dr, base, at, size, &whole, e));
        from = at + size;
    }
    buf_puts(&whole, from);
    TRY(buf_check(&whole, e));
    *ret_value = json_string(buf_text(&whole));
    if (!*ret_value)
        TRY(no_memory(e));
out:
    buf_done(&whole);
    return rc;
}

/* Item i of a list of texts. */
static int absolute_item(struct draft *dr, const char *base, json_t *list, size_t i, struct err *e)
{
    const char *text = json_string_value(json_array_get(list, i));
    json_t *value = NULL;
    int rc = 0;

    if (!text || !strchr(text, '<') || !strchr(text, '/'))
        return 0;
    TRY(absolute_text(dr, base, text, &value, e));
    rc = json_array_set_new(list, i, value) == 0 ? 0 : no_memory(e);
out:
    return rc;
}

/* A whole value that a variable puts where a LoRA's name begins. */
static int absolute_name(struct draft *dr, const char *base, json_t *list, size_t i, struct err *e)
{
    const char *text = json_string_value(json_array_get(list, i));

    if (!text || !is_relative(text, strlen(text)))
        return 0;
    text = draft_absolute(dr, base, text);
    return text && json_array_set_new(list, i, json_string(text)) == 0 ? 0 : no_memory(e);
}

/* Whether a prompt has <lora:${name}. */
static bool begins_lora(const char *prompt, const char *name)
{
    size_t size = strlen(name);
    const char *at = prompt;

    while (prompt && next_lora(&at) > 0)
        if (strncmp(at, "${", 2) == 0 && strncmp(at + 2, name, size) == 0 && at[2 + size] == '}')
            return true;
    return false;
}

static bool names_loras(const struct draft *dr, const char *name)
{
    size_t axis, column, i;
    json_t *row;

    if (!draft_find(dr, "prompt", &axis, &column))
        return begins_lora(json_string_value(json_object_get(dr->fixed, "prompt")), name);
    json_array_foreach(dr->axes[axis].rows, i, row)
    {
        if (begins_lora(json_string_value(json_array_get(row, column)), name))
            return true;
    }
    return false;
}

static int absolute_column(struct draft *dr, const struct draft_axis *axis, size_t column,
                           struct err *e)
{
    const struct draft_column *c = &axis->columns[column];
    const char *base = draft_base(dr, axis->at);
    bool prompt = c->param == PARAM_PROMPT;
    json_t *row;
    size_t i;
    int rc = 0;

    if (!prompt && (c->param >= 0 || !names_loras(dr, c->name)))
        return 0;
    json_array_foreach(axis->rows, i, row)
    {
        TRY(prompt ? absolute_item(dr, base, row, column, e)
                   : absolute_name(dr, base, row, column, e));
    }
out:
    return rc;
}

static int absolute_styles(struct draft *dr, struct err *e)
{
    const char *selection;
    json_t *styles, *style;
    size_t i;
    int rc = 0;

    json_object_foreach(dr->styles, selection, styles)
    {
        json_array_foreach(styles, i, style)
        {
            TRY(absolute_item(dr, dr->folder, style, 0, e));
        }
    }
out:
    return rc;
}

int draft_lora_paths(struct draft *dr, struct err *e)
{
    const struct node *given = dr->given[PARAM_PROMPT];
    const char *prompt = json_string_value(json_object_get(dr->fixed, "prompt"));
    json_t *value = NULL;
    int rc = 0;

    for (size_t a = 0; a < dr->n_axes; a++)
        for (size_t c = 0; c < dr->axes[a].n_columns; c++)
            TRY(absolute_column(dr, &dr->axes[a], c, e));
    TRY(absolute_styles(dr, e));
    if (!prompt || !given)
        goto out;
    TRY(absolute_text(dr, draft_base(dr, given->at), prompt, &value, e));
    if (json_object_set_new(dr->fixed, "prompt", value) != 0)
        TRY(no_memory(e));
out:
    return rc;
}
