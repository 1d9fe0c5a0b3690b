#include "engine/weights/config.h"

#include <stdarg.h>

int config_init(struct config *c, const char *path, const json_t *root, const char *class_name,
                struct err *e)
{
    const char *given;
    int rc = 0;

    *c = (struct config){.path = path, .root = root, .known = json_object()};
    if (c->known == NULL)
        TRY(err_set(e, ERR_OOM, "'%s': no memory", path));
    c->reader = (struct json_reader){.where = path, .e = e};
    if (!json_is_object(root))
        TRY(err_set(e, ERR_INPUT, "%s: is not a JSON object", path));
    given = config_string(c, "_class_name", class_name);
    TRY(c->reader.rc);
    if (class_name != NULL && strcmp(given, class_name) != 0)
        TRY(config_refuse(c, "_class_name", "this engine reads %s", class_name));
out:
    if (rc != 0)
        config_done(c);
    return rc;
}

void config_done(struct config *c)
{
    json_decref(c->known);
    *c = (struct config){0};
}

static json_t *member(struct config *c, const char *key)
{
    json_object_set_new(c->known, key, json_true());
    return json_object_get(c->root, key);
}

/* null, false and lists of nothing else say that a feature is not used. */
static bool is_off(const json_t *value)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(value))
        return json_is_null(value) || json_is_false(value);
    json_array_foreach(value, i,
                       item) if (!json_is_null(item) && !json_is_false(item)) return false;
    return true;
}

static bool is_listed(const char *const *list, const char *key)
{
    for (; *list != NULL; list++)
        if (strcmp(*list, key) == 0)
            return true;
    return false;
}

int config_finish(struct config *c, const char *const *harmless)
{
    static const char *const always[] = {"_class_name", "_diffusers_version", "_name_or_path",
                                         NULL};
    const char *key;
    json_t *value;

    if (c->reader.rc != 0)
        return c->reader.rc;
    json_object_foreach((json_t *)c->root, key, value)
    {
        if (json_object_get(c->known, key) != NULL || is_off(value) || is_listed(harmless, key) ||
            is_listed(always, key))
            continue;
        return config_refuse(c, key, "this engine does not know that key");
    }
    return 0;
}

int config_int(struct config *c, const char *key, int min, int max, int otherwise)
{
    member(c, key);
    return (int)json_get_int_or(&c->reader, c->root, key, min, max, otherwise);
}

double config_real(struct config *c, const char *key, double otherwise)
{
    member(c, key);
    return json_get_real_or(&c->reader, c->root, key, otherwise);
}

bool config_bool(struct config *c, const char *key, bool otherwise)
{
    member(c, key);
    return json_get_bool_or(&c->reader, c->root, key, otherwise);
}

const char *config_string(struct config *c, const char *key, const char *otherwise)
{
    member(c, key);
    return json_get_string_or(&c->reader, c->root, key, otherwise);
}

static int bounded(struct config *c, const char *key, const json_t *value, int min, int max)
{
    if (json_is_integer(value) && json_integer_value(value) >= min &&
        json_integer_value(value) <= max)
        return (int)json_integer_value(value);
    config_refuse(c, key, "each number must be a whole one of %d..%d", min, max);
    return min;
}

int config_list(struct config *c, const char *key, int min, int max,
                int ret_values[CONFIG_LEVELS_MAX])
{
    const json_t *list = member(c, key);
    size_t n = json_array_size(list);

    if (n < 1 || n > CONFIG_LEVELS_MAX) {
        config_refuse(c, key, "a list of 1..%d numbers is needed", CONFIG_LEVELS_MAX);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        ret_values[i] = bounded(c, key, json_array_get(list, i), min, max);
    return (int)n;
}

void config_per_level(struct config *c, const char *key, int min, int max, int otherwise,
                      int levels, int ret_values[CONFIG_LEVELS_MAX])
{
    const json_t *value = member(c, key);
    int n = levels;

    for (int i = 0; i < levels; i++)
        ret_values[i] = min; /* callers may divide before they look at the failure */

    if (json_is_array(value))
        n = config_list(c, key, min, max, ret_values);
    else
        for (int i = 0; i < levels; i++)
            ret_values[i] =
                value == NULL || json_is_null(value) ? otherwise : bounded(c, key, value, min, max);
    if (n != levels)
        config_refuse(c, key, "block_out_channels has %d levels", levels);
}

const char *config_list_string(struct config *c, const char *key, int n, int i)
{
    const json_t *list = member(c, key);

    if (json_array_size(list) != (size_t)n) {
        config_refuse(c, key, "a list of %d names is needed, one per level", n);
        return NULL;
    }
    if (!json_is_string(json_array_get(list, (size_t)i))) {
        config_refuse(c, key, "a list of names is needed");
        return NULL;
    }
    return json_string_value(json_array_get(list, (size_t)i));
}

enum activation config_activation(struct config *c, const char *key, const char *otherwise)
{
    const char *name = config_string(c, key, otherwise);

    if (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0)
        return ACT_SILU;
    if (strcmp(name, "gelu") == 0)
        return ACT_GELU;
    if (strcmp(name, "quick_gelu") == 0)
        return ACT_QUICK_GELU;
    config_refuse(c, key, "this engine implements silu, swish, gelu and quick_gelu");
    return ACT_NONE;
}

void config_only_string(struct config *c, const char *key, const char *value)
{
    if (strcmp(config_string(c, key, value), value) != 0)
        config_refuse(c, key, "this engine implements '%s'", value);
}

void config_only_number(struct config *c, const char *key, double value)
{
    double given = config_real(c, key, value);

    if (given < value || given > value)
        config_refuse(c, key, "this engine implements %g", value);
}

int config_refuse(struct config *c, const char *key, const char *format, ...)
{
    const json_t *value = json_object_get(c->root, key);
    char *text = NULL, reason[256];
    va_list args;

    if (c->reader.rc != 0)
        return c->reader.rc;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (value != NULL)
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    c->reader.rc = err_set(c->reader.e, ERR_INPUT, "%s: '%s' is %.200s: %s", c->path, key,
                           text != NULL ? text : "missing", reason);
    free(text);
    return c->reader.rc;
}
