/* What jobs/param.c knows of each parameter. Internal to jobs/param*.c. */
#ifndef JOBS_PARAM_INFO_H
#define JOBS_PARAM_INFO_H

#include "jobs/param.h"

#include <stddef.h>

/* What a parameter is. Numbers: from min to max, and 0 beside them if `or_zero`. */
struct param_info {
    const char *name;
    enum param_kind kind;
    size_t offset;          /* of its field in struct task */
    const char *preset;     /* where a manifest gives none; NULL: must be given */
    bool optional;          /* left out at its preset */
    enum term_kind terms;   /* PARAM_KIND_TERM */
    int64_t min, max, unit; /* numbers; unit of whole ones */
    bool or_zero;
};

/* Static. */
const struct param_info *param_info(enum param p);

/* The field of a task as a number, whatever its width. */
int64_t param_whole(const struct param_info *info, const void *field);
int param_term(const void *field);

#endif
