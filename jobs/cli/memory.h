/*
 * What a job's tasks would take of a worker's memory: a worker of this machine is asked
 * (`litho-worker --plan`), for the distinct models and sizes of the job, the largest first.
 *
 *     TRY(memory_ask(job, models, &memory, e));
 *     for (i = 0; i < memory.n; i++) ... memory.items[i].total
 *     memory_done(&memory);
 */
#ifndef JOBS_CLI_MEMORY_H
#define JOBS_CLI_MEMORY_H

#include "jobs/job.h"

#include <stdbool.h>

#define MEMORY_MODELS_MAX 16
#define MEMORY_SIZES_MAX  4 /* of one model, the largest */

/* One model at one size. */
struct memory_item {
    char *model;                     /* owned */
    int64_t width, height;           /* pixels of the finished picture */
    uint64_t weights, render, total; /* bytes at the peak; 0 with an error */
    char *error;                     /* why it cannot be told; NULL: it is; owned */
    bool unusable;                   /* the error: a file is broken, or of no use to the task */
};

struct memory {
    struct memory_item *items; /* [n], by model, what takes most first; owned */
    size_t n;
    size_t n_left; /* models and sizes that were not asked for */
};

/*
 * models: the library's only directory, or NULL for the default ones. Models that are missing there
 * are not asked for. ERR_MISSING: no litho-worker beside our own program; ERR_TIMEOUT: it took
 * longer than two minutes.
 */
int memory_ask(const struct job *job, const char *models, struct memory *ret_memory, struct err *e);
void memory_done(struct memory *memory);

#endif
