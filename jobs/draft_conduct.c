/* `priority`, `first`, `max_failed`, `deadline` and `gang`: how the job wants to be treated. */
#include "jobs/conduct.h"
#include "jobs/draft.h"

#include <errno.h>
#include <stdlib.h>

/* The text of a scalar key, NULL if it is missing or its mistake was told. */
static const struct node *scalar(struct draft *dr, const char *key)
{
    const struct node *node = node_get(dr->root, key);

    if (node && node->type != NODE_SCALAR) {
        diagnose(dr->d, node->at, "'%s' is one value", key);
        return NULL;
    }
    return node;
}

static void read_whole(struct draft *dr, const char *key, long min, long max)
{
    const struct node *node = scalar(dr, key);
    char *rest;
    long value;

    if (!node)
        return;
    errno = 0;
    value = strtol(node->text, &rest, 10);
    if (errno || rest == node->text || *rest || value < min || value > max)
        diagnose(dr->d, node->at, "'%s' must be a whole number from %ld to %ld, not '%s'", key, min,
                 max, node->text);
    else
        json_object_set_new(dr->conduct, key, json_integer(value));
}

/* A part of a gang's shape: a whole number. */
static bool read_part(struct draft *dr, const struct node *map, const char *key, uint32_t *ret_n)
{
    const struct node *node = node_get(map, key);
    char *rest;
    long n;

    *ret_n = 1;
    if (!node)
        return true;
    n = node->type == NODE_SCALAR ? strtol(node->text, &rest, 10) : 0;
    if (node->type != NODE_SCALAR || rest == node->text || *rest || n < 1 ||
        n > CONDUCT_TENSOR_MAX) {
        diagnose(dr->d, node->at, "gang: %s is a whole number from 1 to %d", key,
                 CONDUCT_TENSOR_MAX);
        return false;
    }
    *ret_n = (uint32_t)n;
    return true;
}

/* `gang`: none, auto, a number of members, or the parts of each kind. */
static void read_gang(struct draft *dr)
{
    static const char *const keys[] = {"guidance", "tensor"};
    const struct node *node = node_get(dr->root, "gang");
    struct conduct c = {.gang = GANG_SHAPE};
    struct err why;

    if (!node)
        return;
    if (node->type == NODE_LIST) {
        diagnose(dr->d, node->at, "gang: a list is no shape");
        return;
    }
    if (node->type == NODE_MAP) {
        draft_check_keys(dr, node, " in gang", keys, 2);
        if (!read_part(dr, node, "guidance", &c.shape.guidance) ||
            !read_part(dr, node, "tensor", &c.shape.tensor))
            return;
    }
    if (node->type == NODE_SCALAR ? conduct_gang_parse(node->text, &c, &why) != 0
                                  : gang_shape_check(&c.shape, &why) != 0) {
        diagnose(dr->d, node->at, "%s", why.text);
        return;
    }
    if (c.gang == GANG_AUTO)
        json_object_set_new(dr->conduct, "gang", json_string("auto"));
    else if (c.gang == GANG_SHAPE)
        json_object_set_new(dr->conduct, "gang",
                            json_pack("{s:i,s:i}", "guidance", (int)c.shape.guidance, "tensor",
                                      (int)c.shape.tensor));
}

int draft_conduct(struct draft *dr, struct err *e)
{
    const struct node *failed = scalar(dr, "max_failed"), *deadline = scalar(dr, "deadline");
    struct conduct c;
    uint32_t seconds;
    struct err why;

    dr->conduct = json_object();
    if (!dr->conduct)
        return err_set(e, ERR_OOM, "out of memory");
    read_whole(dr, "priority", 1, CONDUCT_PRIORITY_MAX);
    read_whole(dr, "first", 0, CONDUCT_FIRST_MAX);
    if (failed && conduct_failures_parse(failed->text, &c, &why) != 0)
        diagnose(dr->d, failed->at, "%s", why.text);
    else if (failed)
        json_object_set_new(dr->conduct, "max_failed", json_string(failed->text));
    if (deadline && conduct_duration_parse(deadline->text, &seconds, &why) != 0)
        diagnose(dr->d, deadline->at, "deadline: %s", why.text);
    else if (deadline)
        json_object_set_new(dr->conduct, "deadline_seconds", json_integer(seconds));
    read_gang(dr);
    return 0;
}
