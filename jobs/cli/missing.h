/*
 * Files that a job's tasks name and that this machine does not have: LoRAs, embeddings, VAEs,
 * configurations and pictures, told before anything is rendered. Models are told apart
 * (job_models).
 *
 *     TRY(missing_look(job, models, &missing, e));
 *     for (i = 0; i < missing.n; i++) ... missing.texts[i]
 *     missing_done(&missing);
 */
#ifndef JOBS_CLI_MISSING_H
#define JOBS_CLI_MISSING_H

#include "jobs/job.h"

#define MISSING_VALUES_MAX 1000 /* of an axis that are looked at, the other axes as in task one */
#define MISSING_FILES_MAX  1000 /* distinct ones that are looked for */

struct missing {
    char **texts; /* [n], a sentence each: which file, and where it is not; owned */
    size_t n;
};

/* models: the library's only directory, or NULL for the default ones. Files named by their SHA-256
 * are not looked for. ERR_OOM. ret_missing: missing_done(). */
int missing_look(const struct job *job, const char *models, struct missing *ret_missing,
                 struct err *e);
void missing_done(struct missing *missing);

#endif
