/*
 * Values that are fine each by itself and cannot meet in one task: a mask without a picture, a
 * sampler with a scheduler it has no time steps for, a picture that grows too large. One table in
 * clash.c is asked for single tasks and for whole jobs.
 *
 * Messages begin with the name of the parameter they are about.
 */
#ifndef JOBS_CLASH_H
#define JOBS_CLASH_H

#include "jobs/axis.h"
#include "jobs/exclude.h"

/* ERR_INPUT says what contradicts what. Every field by itself is within its bounds. */
int clash_check_task(const struct task *t, struct err *e);

/*
 * No task of a job has such a pair, whatever its exclude rules leave. Exact, and without a look at
 * each task: positions of an axis that are alike count once. `fixed` holds what no column sets.
 * ERR_INPUT with an exclude rule that would mend it, or if the axes have so many values that this
 * cannot be decided in reasonable time (millions of combinations of the parameters in question).
 * chained: there are tasks with and without a picture to start from, whatever init_image says.
 */
int clash_check_job(const struct axes *axes, const struct task *fixed,
                    const struct exclude *exclude, bool chained, struct err *e);

#endif
