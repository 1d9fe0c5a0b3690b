/* A compiled job as its own three files see it: job_load.c makes it, job.c and job_axes.c answer.
 */
#ifndef JOBS_JOB_INNER_H
#define JOBS_JOB_INNER_H

#include "jobs/axis.h"
#include "jobs/bind.h"
#include "jobs/chain.h"
#include "jobs/exclude.h"
#include "jobs/job.h"
#include "jobs/path.h"
#include "jobs/style.h"

struct job {
    char *bundle; /* owned, NUL-terminated */
    size_t bundle_size;
    char hash[HASH_HEX_SIZE];
    char *name;        /* owned */
    struct task fixed; /* parameters that no column sets; prompts with their variables */
    struct styles styles;
    struct names loras, embeddings;       /* of all tasks, those that they use and others */
    const struct style_set *fixed_styles; /* of every task, unless a column selects them; or NULL */
    struct axes axes;
    struct exclude exclude;
    struct chain chain;
    struct conduct conduct;
    char *path_template; /* owned, like folder */
    struct path path;    /* with folder for {job} */
    char *folder;        /* NULL: name */
    uint64_t count;
    bool has_sheet;
    struct job_sheet sheet;
    const char **models; /* [n_models], distinct, borrowed from axes or fixed */
    size_t n_models;
};

#endif
