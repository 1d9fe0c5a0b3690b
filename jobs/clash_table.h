/* The table of clashes. Internal to jobs/clash*.c. */
#ifndef JOBS_CLASH_TABLE_H
#define JOBS_CLASH_TABLE_H

#include "jobs/clash.h"

#include <stdbool.h>

#define CLASH_PARAMS_MAX 6

struct clash {
    bool (*refused)(const struct task *t); /* reads these parameters alone: */
    enum param params[CLASH_PARAMS_MAX];
    size_t n;
    const char *why; /* each %s: the sampler, then the scheduler */
    const char *cure;
};

/* NULL after the last. */
const struct clash *clash_at(size_t i);

/* ERR_INPUT with its sentence for a task; rule: an exclude rule that would mend it, or "". */
int clash_refuse(const struct clash *c, const struct task *t, const char *rule, struct err *e);

#endif
