/*
 * Changes to a manifest from the command line, "key=value", made on its tree before it is read.
 * Part of jobs/manifest.c; see jobs/SPEC.md, "Overrides".
 */
#ifndef JOBS_OVERRIDE_H
#define JOBS_OVERRIDE_H

#include "jobs/draft.h"

/*
 * steps=5 sets a parameter wherever it is (an axis, the top level, `defaults`); dots reach inside:
 * axes.seed=1-4. Mistakes go to the draft's list, named "--set steps=5". 0, or ERR_OOM.
 */
int override_set(struct draft *dr, const char *set, struct err *e);

/* model, from an option of that name: not YAML, taken as it is. */
int override_model(struct draft *dr, const char *model, struct err *e);

#endif
