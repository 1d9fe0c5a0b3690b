#include "jobs/cli/options.h"

#include "jobs/suggest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *placeholder, *help;
} table[OPTION_COUNT] = {
#define X(id, name, value, help) [id] = {name, value, help},
    OPTION_TABLE(X)
#undef X
};

const char *option_name(enum option_id id)
{
    return table[id].name;
}

const char *option_placeholder(enum option_id id)
{
    return table[id].placeholder;
}

const char *option_help(enum option_id id)
{
    return table[id].help;
}

static int find(unsigned allowed, const char *name, size_t size)
{
    for (int id = 0; id < OPTION_COUNT; id++)
        if ((allowed & OPTION_BIT(id)) && strlen(table[id].name) == size &&
            memcmp(table[id].name, name, size) == 0)
            return id;
    return -1;
}

static int unknown(unsigned allowed, const char *argument, size_t size, struct err *e)
{
    const char *names[OPTION_COUNT];
    char typed[SUGGEST_WORD_MAX + 1];
    const char *nearest;
    size_t n = 0;

    for (int id = 0; id < OPTION_COUNT; id++)
        if (allowed & OPTION_BIT(id))
            names[n++] = table[id].name;
    snprintf(typed, sizeof(typed), "%.*s", (int)(size < sizeof(typed) ? size : 0), argument + 2);
    nearest = suggest_nearest(typed, names, n);
    if (nearest != NULL)
        return err_set(e, ERR_ARG, "unknown option '%s', did you mean '--%s'?", argument, nearest);
    return err_set(e, ERR_ARG, "unknown option '%s'", argument);
}

static int keep(struct options *o, int id, const char *value, struct err *e)
{
    if (id != OPTION_SET) {
        if (o->value[id] != NULL && table[id].placeholder != NULL)
            return err_set(e, ERR_ARG, "--%s is given twice", table[id].name);
        o->value[id] = value;
        return 0;
    }
    if (o->n_sets == OPTIONS_SETS_MAX)
        return err_set(e, ERR_ARG, "more than %d --set", OPTIONS_SETS_MAX);
    if (strchr(value, '=') == NULL)
        return err_set(e, ERR_ARG, "--set '%s' must be KEY=VALUE", value);
    o->sets[o->n_sets++] = value;
    return 0;
}

/* Reads the option at argv[*i]; moves *i over a value that is an argument of its own. */
static int option_read(unsigned allowed, int argc, char *const *argv, int *i, struct options *o,
                       struct err *e)
{
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals ? (size_t)(equals - name) : strlen(name);
    int id = find(allowed, name, size);

    if (id < 0)
        return unknown(allowed, argv[*i], size, e);
    if (table[id].placeholder == NULL) {
        if (equals)
            return err_set(e, ERR_ARG, "--%s takes no value", table[id].name);
        return keep(o, id, "", e);
    }
    if (equals)
        return keep(o, id, equals + 1, e);
    if (*i + 1 == argc)
        return err_set(e, ERR_ARG, "--%s needs a value: --%s %s", table[id].name, table[id].name,
                       table[id].placeholder);
    return keep(o, id, argv[++*i], e);
}

int options_read(unsigned allowed, int argc, char *const *argv, struct options *ret_o,
                 struct err *e)
{
    struct options o = {0};
    bool ended = false;
    int rc = 0;

    for (int i = 0; i < argc && rc == 0; i++) {
        const char *a = argv[i];
        if (!ended && strcmp(a, "--") == 0)
            ended = true;
        else if (!ended && strcmp(a, "-h") == 0)
            o.value[OPTION_HELP] = "";
        else if (!ended && a[0] == '-' && a[1] == '-')
            rc = option_read(allowed, argc, argv, &i, &o, e);
        else if (!ended && a[0] == '-' && a[1] != '\0')
            rc = err_set(e, ERR_ARG, "unknown option '%s': options have two dashes", a);
        else if (o.n_arguments == OPTIONS_ARGUMENTS_MAX)
            rc = err_set(e, ERR_ARG, "too many arguments at '%s'", a);
        else
            o.arguments[o.n_arguments++] = a;
    }
    if (rc == 0)
        *ret_o = o;
    return rc;
}

int options_number(const struct options *o, enum option_id id, int64_t min, int64_t max,
                   int64_t otherwise, int64_t *ret_number, struct err *e)
{
    const char *text = o->value[id];
    char *end;
    long long number;

    if (text == NULL) {
        *ret_number = otherwise;
        return 0;
    }
    errno = 0;
    number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < min || number > max)
        return err_set(e, ERR_ARG, "--%s must be a number from %lld to %lld, not '%s'",
                       table[id].name, (long long)min, (long long)max, text);
    *ret_number = number;
    return 0;
}
