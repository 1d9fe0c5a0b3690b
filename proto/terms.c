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
static const struct term emphases[] = {EMPHASIS_TABLE(X)};
static const struct term rngs[] = {RNG_TABLE(X)};
static const struct term resizes[] = {RESIZE_TABLE(X)};
static const struct term fills[] = {FILL_TABLE(X)};
static const struct term upscalers[] = {UPSCALER_TABLE(X)};
#undef X

static const struct {
    const struct term *terms;
    int n;
} tables[TERM_KIND_COUNT] = {
    [TERM_SAMPLER] = {samplers, SAMPLER_COUNT},
    [TERM_SCHEDULER] = {schedulers, SCHEDULER_COUNT},
    [TERM_PRECISION] = {precisions, PRECISION_COUNT},
    [TERM_EMPHASIS] = {emphases, EMPHASIS_COUNT},
    [TERM_RNG] = {rngs, RNG_COUNT},
    [TERM_RESIZE] = {resizes, RESIZE_COUNT},
    [TERM_FILL] = {fills, FILL_COUNT},
    [TERM_UPSCALER] = {upscalers, UPSCALER_COUNT},
};

static const struct term *find_id(enum term_kind kind, int id)
{
    static const struct term unknown = {"?", "?"};

    return id >= 0 && id < tables[kind].n ? &tables[kind].terms[id] : &unknown;
}

const char *term_name(enum term_kind kind, int id)
{
    return find_id(kind, id)->name;
}

const char *term_label(enum term_kind kind, int id)
{
    return find_id(kind, id)->label;
}

int term_from_name(enum term_kind kind, const char *name)
{
    for (int i = 0; i < tables[kind].n; i++)
        if (strcmp(tables[kind].terms[i].name, name) == 0)
            return i;
    return -1;
}

int term_count(enum term_kind kind)
{
    return tables[kind].n;
}

const char *sampler_name(enum sampler_id id)
{
    return term_name(TERM_SAMPLER, (int)id);
}

const char *sampler_label(enum sampler_id id)
{
    return term_label(TERM_SAMPLER, (int)id);
}

const char *scheduler_name(enum scheduler_id id)
{
    return term_name(TERM_SCHEDULER, (int)id);
}

const char *scheduler_label(enum scheduler_id id)
{
    return term_label(TERM_SCHEDULER, (int)id);
}

const char *precision_name(enum precision id)
{
    return term_name(TERM_PRECISION, (int)id);
}

int sampler_from_name(const char *name)
{
    return term_from_name(TERM_SAMPLER, name);
}

int scheduler_from_name(const char *name)
{
    return term_from_name(TERM_SCHEDULER, name);
}

int precision_from_name(const char *name)
{
    return term_from_name(TERM_PRECISION, name);
}

enum scheduler_id scheduler_resolve(enum sampler_id sampler, enum scheduler_id scheduler)
{
    if (scheduler != SCHEDULER_AUTOMATIC)
        return scheduler;
    return sampler == SAMPLER_DPMPP_2M ? SCHEDULER_KARRAS : SCHEDULER_UNIFORM;
}
