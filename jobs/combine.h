/*
 * The `combine` expression: how the axes make the tasks.
 *
 *     product = factor { "*" factor }         "(thing, colour) * seed"
 *     factor  = name | "(" product { "," product } ")"
 *
 * The first factor is outermost. A list in parentheses is a zip: its axes advance together. Pure,
 * but for memory from the pool.
 */
#ifndef JOBS_COMBINE_H
#define JOBS_COMBINE_H

#include "jobs/job.h"
#include "jobs/yaml.h"

/* One factor of the product: an axis, or several that advance together. */
struct zip {
    int axes[JOB_AXES_MAX]; /* numbers of axes */
    size_t n;
};

struct combine {
    struct zip factors[JOB_AXES_MAX];
    size_t n;
};

/*
 * Reads the scalar `text`; names are those of n_names <= JOB_AXES_MAX axes. Every axis must occur
 * exactly once, and holds none of *(),. Mistakes go to d; returns true if there are none.
 */
bool combine_parse(const struct node *text, const char *const *names, size_t n_names,
                   struct diagnostics *d, struct combine *ret_combine);

/* Without an expression: the product of all axes in order. */
void combine_default(size_t n_names, struct combine *ret_combine);

#endif
