#include "jobs/conduct.h"

#include <errno.h>
#include <math.h>
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
    static const char *const keys[] = {"priority", "first", "max_failed", "deadline_seconds"};
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

int conduct_read(const json_t *value, struct conduct *ret_conduct, struct err *e)
{
    struct conduct c = {.priority = CONDUCT_PRIORITY_DEFAULT};
    const json_t *failed = json_object_get(value, "max_failed");
    int rc = 0;

    if (value) {
        TRY(check_keys(value, e));
        TRY(read_whole(value, "priority", 1, CONDUCT_PRIORITY_MAX, &c.priority, e));
        TRY(read_whole(value, "first", 0, CONDUCT_FIRST_MAX, &c.first, e));
        TRY(read_whole(value, "deadline_seconds", 1, CONDUCT_DEADLINE_MAX_S, &c.deadline_s, e));
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
