#include "proto/terms.h"

#include <string.h>

struct term {
    const char *name;
    const char *label;
};

#define X(id, name, label) {name, label},
static const struct term samplers[] = {SAMPLER_TABLE(X)};
static const struct term schedulers[] = {SCHEDULER_TABLE(X)};
static const struct term precisions[] = {PRECISION_TABLE(X)};
#undef X

static int find(const struct term *terms, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(terms[i].name, name) == 0)
            return i;
    return -1;
}

const char *sampler_name(enum sampler_id id)
{
    return (unsigned)id < SAMPLER_COUNT ? samplers[id].name : "?";
}

const char *sampler_label(enum sampler_id id)
{
    return (unsigned)id < SAMPLER_COUNT ? samplers[id].label : "?";
}

const char *scheduler_name(enum scheduler_id id)
{
    return (unsigned)id < SCHEDULER_COUNT ? schedulers[id].name : "?";
}

const char *scheduler_label(enum scheduler_id id)
{
    return (unsigned)id < SCHEDULER_COUNT ? schedulers[id].label : "?";
}

const char *precision_name(enum precision id)
{
    return (unsigned)id < PRECISION_COUNT ? precisions[id].name : "?";
}

int sampler_from_name(const char *name)
{
    return find(samplers, SAMPLER_COUNT, name);
}

int scheduler_from_name(const char *name)
{
    return find(schedulers, SCHEDULER_COUNT, name);
}

int precision_from_name(const char *name)
{
    return find(precisions, PRECISION_COUNT, name);
}

enum scheduler_id scheduler_resolve(enum sampler_id sampler, enum scheduler_id scheduler)
{
    if (scheduler != SCHEDULER_AUTOMATIC)
        return scheduler;
    return sampler == SAMPLER_DPMPP_2M ? SCHEDULER_KARRAS : SCHEDULER_UNIFORM;
}
