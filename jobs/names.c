#include "jobs/names.h"

#include "jobs/asset.h"
#include "jobs/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ENDING ".safetensors"

const char *names_key(enum names_kind kind)
{
    return kind == NAMES_LORAS ? "loras" : "embeddings";
}

const char *names_noun(enum names_kind kind)
{
    return kind == NAMES_LORAS ? "LoRA" : "embedding";
}

/* --- what may stand there --- */

int names_check_name(enum names_kind kind, const char *name, struct err *e)
{
    size_t size = strlen(name);

    if (size > NAME_SIZE_MAX || !asset_name_is_safe(name, size))
        return err_set(
            e, ERR_INPUT,
            "%s '%.100s' must be named by 1 to %d bytes without '/' and '\\', and no dot "
            "in front",
            names_noun(kind), name, NAME_SIZE_MAX);
    if (kind == NAMES_LORAS && strpbrk(name, ":<>="))
        return err_set(e, ERR_INPUT,
                       "LoRA '%.100s' must be named without : < > and =, which <lora:NAME:1> "
                       "cannot hold",
                       name);
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), n = strlen(end);

    return size > n && strcasecmp(text + size - n, end) == 0;
}

static bool is_pickle(const char *file)
{
    return ends_with(file, ".pt") || ends_with(file, ".pth") || ends_with(file, ".bin") ||
           ends_with(file, ".ckpt");
}

/* UTF-8 of a path's length, without control characters. */
static bool is_plain(const char *text)
{
    if (strlen(text) > TASK_MODEL_MAX || !utf8_valid(text))
        return false;
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

int names_check_file(enum names_kind kind, const char *file, struct err *e)
{
    if (asset_hash_of(file))
        return 0;
    if (is_pickle(file))
        return err_set(e, ERR_INPUT,
                       "%s '%.200s' is a pickle, a file that runs code when it is read: convert it "
                       "to " ENDING,
                       names_noun(kind), file);
    if (*file == '/' && !ends_with(file, ENDING))
        return err_set(e, ERR_INPUT,
                       "%s '%.200s' must be the path of a " ENDING " file; one in a subfolder of "
                       "the model library is called by its bare name, '%.100s'",
                       names_noun(kind), file, strrchr(file, '/') + 1);
    if (*file != '/' || !ends_with(file, ENDING) || !is_plain(file))
        return err_set(e, ERR_INPUT,
                       "%s '%.200s' must be the path of a " ENDING " file, or sha256: and 64 hex "
                       "digits",
                       names_noun(kind), file);
    return 0;
}

/* --- names --- */

/* Where the name is, or belongs. */
static size_t place_of(const struct names *names, const char *name)
{
    size_t low = 0, high = names->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (strcmp(names->at[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const char *names_find(const struct names *names, const char *name)
{
    size_t i = place_of(names, name);

    return i < names->n && strcmp(names->at[i].name, name) == 0 ? names->at[i].file : NULL;
}

int names_put(struct names *names, const char *name, const char *file, struct err *e)
{
    size_t i = place_of(names, name);
    bool there = names_find(names, name) != NULL;
    struct name *grown = names->at, bound = {strdup(name), strdup(file)};

    if (!there)
        grown = realloc(names->at, (names->n + 1) * sizeof *grown);
    if (grown)
        names->at = grown;
    if (!grown || !bound.name || !bound.file) {
        free(bound.name);
        free(bound.file);
        return err_set(e, ERR_OOM, "no memory for the files of prompts' names");
    }
    if (there) {
        free(grown[i].name);
        free(grown[i].file);
    } else {
        memmove(grown + i + 1, grown + i, (names->n - i) * sizeof *grown);
        names->n++;
    }
    grown[i] = bound;
    return 0;
}

int names_copy(const struct names *names, struct names *ret_names, struct err *e)
{
    struct names copy = {0};
    int rc = 0;

    for (size_t i = 0; i < names->n; i++)
        TRY(names_put(&copy, names->at[i].name, names->at[i].file, e));
    *ret_names = copy;
    copy = (struct names){0};
out:
    names_done(&copy);
    return rc;
}

void names_done(struct names *names)
{
    for (size_t i = 0; i < names->n; i++) {
        free(names->at[i].name);
        free(names->at[i].file);
    }
    free(names->at);
    *names = (struct names){0};
}

/* --- JSON --- */

int names_read(const json_t *value, enum names_kind kind, const char *where,
               struct names *ret_names, struct err *e)
{
    struct names names = {0};
    const char *name;
    struct err cause;
    json_t *file;
    int rc = 0;

    if (!value) {
        *ret_names = names;
        return 0;
    }
    if (!json_is_object(value) || json_object_size(value) < 1 ||
        json_object_size(value) > NAMES_BOUND_MAX)
        return err_set(e, ERR_INPUT, "%s: '%s' must map 1 to %d names to files", where,
                       names_key(kind), NAMES_BOUND_MAX);
    json_object_foreach((json_t *)(uintptr_t)value, name, file)
    {
        const char *text = json_string_value(file);

        rc = names_check_name(kind, name, &cause);
        if (rc == 0)
            rc = names_check_file(kind, text ? text : "", &cause);
        if (rc != 0)
            TRY(err_set(e, rc, "%s: %s", where, cause.text));
        TRY(names_put(&names, name, text, e));
    }
    *ret_names = names;
    names = (struct names){0};
out:
    names_done(&names);
    return rc;
}

json_t *names_json(const struct names *names)
{
    json_t *map = json_object();

    for (size_t i = 0; map && i < names->n; i++)
        if (json_object_set_new(map, names->at[i].name, json_string(names->at[i].file)) != 0) {
            json_decref(map);
            map = NULL;
        }
    return map;
}
