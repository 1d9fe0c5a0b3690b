#include "coordinator/lost.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void lost_add(struct lost *l, uint32_t attempt, uint64_t worker)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->worker[i] == worker)
            return;
    if (l->n == POLICY_LOSSES_MAX)
        return;
    l->attempt[l->n] = attempt;
    l->worker[l->n++] = worker;
}

void lost_forgive(struct lost *l, uint32_t attempt)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->attempt[i] != attempt)
            continue;
        l->n--;
        l->attempt[i] = l->attempt[l->n];
        l->worker[i] = l->worker[l->n];
        return;
    }
}

void lost_text(const struct lost *l, char ret_text[LOST_TEXT_MAX])
{
    size_t at = 0;

    ret_text[0] = '\0';
    for (uint32_t i = 0; i < l->n; i++)
        at += (size_t)snprintf(ret_text + at, LOST_TEXT_MAX - at, "%s%" PRIu32 ":%" PRIu64,
                               i > 0 ? " " : "", l->attempt[i], l->worker[i]);
}

struct lost lost_parse(const char *text, uint32_t n)
{
    struct lost l = {.n = n < POLICY_LOSSES_MAX ? n : POLICY_LOSSES_MAX - 1};
    char *end = (char *)text;

    for (uint32_t i = 0; i < l.n && *end; i++) {
        l.attempt[i] = (uint32_t)strtoul(end, &end, 10);
        if (*end++ != ':')
            return (struct lost){.n = l.n};
        l.worker[i] = strtoull(end, &end, 10);
        if (*end == ' ')
            end++;
    }
    return l;
}
