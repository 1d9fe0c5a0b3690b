/*
 * Which folder below the output folder is a job's own: NAME, or NAME-2, NAME-3, ... where jobs of
 * that name were there before. A folder belongs to the job whose bundle is in its job.json, so an
 * edited manifest gets the next number, and the same manifest finds its folder again. What the two
 * have in common is not rendered again: job_folder_take. Coordinator's thread, but for
 * job_folder_peek.
 */
#ifndef COORDINATOR_JOB_FOLDER_H
#define COORDINATOR_JOB_FOLDER_H

#include "coordinator/coord.h"
#include "coordinator/output.h"

#define JOB_FOLDERS_MAX  10000 /* of one name */
#define JOB_FOLDERS_BACK 16    /* how many earlier ones are looked through for a picture */

/*
 * Claims a folder for the job: the first that has its bundle, or is free and no other job's of c.
 * ret_folder: relative, caller frees. ERR_CONFLICT: all are taken; ERR_IO.
 */
int job_folder_claim(const struct coord *c, const struct job_entry *j, struct output *o,
                     char **ret_folder, struct err *e);

/*
 * A picture of the task in an earlier folder of the job's name, latest first, gets `path`, which
 * was free, as a second name: see output_take. ERR_MISSING: there is none.
 */
int job_folder_take(struct output *o, const struct job *job, uint64_t index, const char *path,
                    const char *task, const struct listing *files, struct record *ret_found,
                    struct err *e);

/*
 * The folder that the job has, or would be given, below out_dir: a look, nothing is made. Appends.
 * Any thread.
 */
int job_folder_peek(const char *out_dir, const struct job *job, struct buf *ret_folder,
                    struct err *e);

#endif
