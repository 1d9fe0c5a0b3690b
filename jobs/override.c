#include "jobs/override.h"

#include <string.h>

static int no_memory(struct err *e)
{
    return err_set(e, ERR_OOM, "out of memory");
}

static struct node *new_scalar(struct draft *dr, const char *text, size_t size, struct place at)
{
    struct node *node = pool_alloc(&dr->pool, sizeof *node);

    if (!node)
        return NULL;
    *node = (struct node){.type = NODE_SCALAR, .at = at, .plain = true};
    node->text = pool_text(&dr->pool, text, size);
    return node->text ? node : NULL;
}

/* The mapping under a key, made if there is none; NULL with a mistake told if it is something
 * else. */
static int reach(struct draft *dr, struct node *map, const struct node *key, struct node **ret_map,
                 struct err *e)
{
    struct node *inner = node_get(map, key->text);
    int rc = 0;

    *ret_map = NULL;
    if (!inner || (inner->type == NODE_SCALAR && inner->plain && !*inner->text)) {
        inner = pool_alloc(&dr->pool, sizeof *inner);
        if (!inner)
            return no_memory(e);
        *inner = (struct node){.type = NODE_MAP, .at = key->at};
        rc = node_set(&dr->pool, map, key, inner, e);
    }
    if (inner->type == NODE_MAP)
        *ret_map = inner;
    else
        diagnose(dr->d, key->at, "'%s' is not a mapping, so nothing can be set inside", key->text);
    return rc;
}

/* A parameter is set where it is: an axis of its own, the top level, or `defaults`. */
static struct node *home_of(struct draft *dr, const char *name)
{
    static const char *const places[] = {"axes", NULL, "defaults"};

    for (size_t i = 0; i < 3 && param_from_name(name) >= 0; i++) {
        struct node *map = places[i] ? node_get(dr->root, places[i]) : dr->root;

        if (map && map->type == NODE_MAP && node_get(map, name))
            return map;
    }
    return dr->root;
}

static int assign(struct draft *dr, const char *path, size_t size, struct node *value,
                  struct place at, struct err *e)
{
    struct node *map = dr->root, *key;
    const char *end = path + size, *dot;
    int rc;

    while ((dot = memchr(path, '.', (size_t)(end - path)))) {
        key = new_scalar(dr, path, (size_t)(dot - path), at);
        if (!key)
            TRY(no_memory(e));
        TRY(reach(dr, map, key, &map, e));
        if (!map)
            goto out;
        path = dot + 1;
        if (strcmp(key->text, "output") != 0)
            break; /* names of axes may hold dots */
    }
    key = new_scalar(dr, path, (size_t)(end - path), at);
    if (!key)
        TRY(no_memory(e));
    if (map == dr->root)
        map = home_of(dr, key->text);
    TRY(node_set(&dr->pool, map, key, value, e));
out:
    return rc;
}

int override_set(struct draft *dr, const char *set, struct err *e)
{
    const char *equals = strchr(set, '=');
    size_t errors = dr->d->n_errors;
    struct buf name = {0};
    struct place at = {.column = 1};
    struct node *value;
    int rc;

    buf_printf(&name, "--set %s", set);
    at.file = name.failed ? NULL : pool_text(&dr->pool, name.data, name.size);
    if (!at.file)
        TRY(no_memory(e));
    if (!equals || equals == set) {
        diagnose(dr->d, at, "write key=value, such as steps=5 or output.path=x/{index}.png");
        rc = 0;
        goto out;
    }
    TRY(yaml_load(&dr->pool, at.file, false, equals + 1, strlen(equals + 1), dr->d, &value, e));
    if (!value && dr->d->n_errors == errors)
        diagnose(dr->d, at, "'%.*s' gets no value", (int)(equals - set), set);
    if (value)
        TRY(assign(dr, set, (size_t)(equals - set), value, at, e));
out:
    buf_done(&name);
    return rc;
}

int override_model(struct draft *dr, const char *model, struct err *e)
{
    struct place at = {"--model", 0, 1};
    struct node *value = new_scalar(dr, model, strlen(model), at);

    return value ? assign(dr, "model", 5, value, at, e) : no_memory(e);
}
