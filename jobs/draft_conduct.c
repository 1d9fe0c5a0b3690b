/* `priority`, `first`, `max_failed` and `deadline`: how the job wants to be treated. */
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
    return 0;
}
