#include "jobs/conduct.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int conduct_failures_parse(const char *text, struct conduct *ret_conduct, struct err *e)
{
    char *rest;
    double value = strtod(text, &rest);
    bool share, none = rest == text;

    rest += strspn(rest, " ");
    share = *rest == '%';
    rest += share;
    if (none || *rest || !isfinite(value) || value < 0 || value > (share ? 100 : 9e15) ||
        (!share && value != floor(value)))
        return err_set(e, ERR_INPUT,
                       "max_failed: '%.80s' is neither a number of tasks nor a share such as 1%%",
                       text);
    ret_conduct->stops = true;
    ret_conduct->max_tasks = share ? UINT64_MAX : (uint64_t)value;
    ret_conduct->max_share = share ? value / 100 : 0;
    return 0;
}

int conduct_duration_parse(const char *text, uint32_t *ret_seconds, struct err *e)
{
    static const struct {
        char letter;
        double seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    double value, unit = 1;
    char *rest;

    errno = 0;
    value = strtod(text, &rest);
    for (size_t i = 0; i < sizeof units / sizeof *units && *rest; i++) {
        if (*rest != units[i].letter)
            continue;
        unit = units[i].seconds;
        rest++;
        break;
    }
    value = round(value * unit);
    if (errno || rest == text || *rest || !(value >= 1 && value <= CONDUCT_DEADLINE_MAX_S))
        return err_set(e, ERR_INPUT, "'%.80s' is not a duration such as 90s, 30m, 2h or 1d", text);
    *ret_seconds = (uint32_t)value;
    return 0;
}

static int read_whole(const json_t *object, const char *key, uint32_t min, uint32_t max,
                      uint32_t *ret_value, struct err *e)
{
    const json_t *value = json_object_get(object, key);

    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return err_set(e, ERR_INPUT, "conduct: %s must be a whole number from %u to %u", key, min,
                       max);
    *ret_value = (uint32_t)json_integer_value(value);
    return 0;
}

static int check_keys(const json_t *object, struct err *e)
{
    static const char *const keys[] = {"priority", "first", "max_failed", "deadline_seconds",
                                       "gang"};
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return err_set(e, ERR_INPUT, "conduct must be an object");
    json_object_foreach((json_t *)object, key, value)
    {
        bool known = false;

        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            known = known || strcmp(keys[i], key) == 0;
        if (!known)
            return err_set(e, ERR_INPUT, "conduct: unknown key '%.80s'", key);
    }
    return 0;
}

int gang_shape_check(const struct gang_shape *shape, struct err *e)
{
    uint32_t t = shape->tensor;

    if (shape->guidance < 1 || shape->guidance > 2)
        return err_set(e, ERR_INPUT, "gang: guidance has 1 or 2 parts, not %u", shape->guidance);
    if (t != 1 && t != 2 && t != 4 && t != CONDUCT_TENSOR_MAX)
        return err_set(e, ERR_INPUT, "gang: tensor has 1, 2, 4 or %d parts, not %u",
                       CONDUCT_TENSOR_MAX, t);
    if (shape->guidance * t == 1)
        return err_set(e, ERR_INPUT, "gang: one member is none; write 'none'");
    return 0;
}

int conduct_gang_parse(const char *text, struct conduct *ret_conduct, struct err *e)
{
    static const struct {
        const char *text;
        enum gang_wish wish;
        struct gang_shape shape;
    } wishes[] = {{"none", GANG_NONE, {1, 1}}, {"auto", GANG_AUTO, {1, 1}},
                  {"2", GANG_SHAPE, {2, 1}},   {"4", GANG_SHAPE, {2, 2}},
                  {"8", GANG_SHAPE, {2, 4}},   {"16", GANG_SHAPE, {2, 8}}};

    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) {
        if (strcmp(wishes[i].text, text) != 0)
            continue;
        ret_conduct->gang = wishes[i].wish;
        ret_conduct->shape = wishes[i].shape;
        return 0;
    }
    return err_set(e, ERR_INPUT, "gang: '%.80s' is not none, auto, 2, 4, 8 or 16", text);
}

void conduct_gang_text(const struct conduct *c, char ret_text[CONDUCT_GANG_TEXT])
{
    if (c->gang == GANG_SHAPE)
        snprintf(ret_text, CONDUCT_GANG_TEXT, "guidance %u, tensor %u", c->shape.guidance,
                 c->shape.tensor);
    else
        snprintf(ret_text, CONDUCT_GANG_TEXT, "%s", c->gang == GANG_AUTO ? "auto" : "none");
}

/* "auto", or {"guidance": 1 or 2, "tensor": 1, 2, 4 or 8}. */
static int read_gang(const json_t *value, struct conduct *c, struct err *e)
{
    const json_t *guidance = json_object_get(value, "guidance"),
                 *tensor = json_object_get(value, "tensor");

    if (value == NULL)
        return 0;
    if (json_is_string(value) && strcmp(json_string_value(value), "auto") == 0) {
        c->gang = GANG_AUTO;
        return 0;
    }
    if (!json_is_integer(guidance) || !json_is_integer(tensor) || json_object_size(value) != 2)
        return err_set(e, ERR_INPUT, "conduct: gang is \"auto\" or has guidance and tensor");
    if (json_integer_value(guidance) > 2 || json_integer_value(tensor) > CONDUCT_TENSOR_MAX ||
        json_integer_value(guidance) < 1 || json_integer_value(tensor) < 1)
        return err_set(e, ERR_INPUT, "conduct: gang has parts that cannot be");
    c->gang = GANG_SHAPE;
    c->shape.guidance = (uint32_t)json_integer_value(guidance);
    c->shape.tensor = (uint32_t)json_integer_value(tensor);
    return gang_shape_check(&c->shape, e);
}

int conduct_read(const json_t *value, struct conduct *ret_conduct, struct err *e)
{
    struct conduct c = {.priority = CONDUCT_PRIORITY_DEFAULT, .shape = {1, 1}};
    const json_t *failed = json_object_get(value, "max_failed");
    int rc = 0;

    if (value) {
        TRY(check_keys(value, e));
        TRY(read_whole(value, "priority", 1, CONDUCT_PRIORITY_MAX, &c.priority, e));
        TRY(read_whole(value, "first", 0, CONDUCT_FIRST_MAX, &c.first, e));
        TRY(read_whole(value, "deadline_seconds", 1, CONDUCT_DEADLINE_MAX_S, &c.deadline_s, e));
        TRY(read_gang(json_object_get(value, "gang"), &c, e));
    }
    if (failed && !json_is_string(failed))
        TRY(err_set(e, ERR_INPUT, "conduct: max_failed must be text"));
    if (failed)
        TRY(conduct_failures_parse(json_string_value(failed), &c, e));
    *ret_conduct = c;
out:
    return rc;
}

uint64_t conduct_failures(const struct conduct *c, uint64_t count)
{
    if (!c->stops)
        return UINT64_MAX;
    return c->max_tasks != UINT64_MAX ? c->max_tasks
                                      : (uint64_t)floor(c->max_share * (double)count + 1e-9);
}
