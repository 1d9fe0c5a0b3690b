/*
 * The `litho` chunk of a picture: what it was made from. A file from anywhere, hostile until
 * checked.
 *
 *     TRY(provenance_read(png, size, "image.png", &p, e));
 *     p.task ...
 *     provenance_differences(&p, &again, &lines);
 *     provenance_done(&p);
 */
#ifndef JOBS_CLI_PROVENANCE_H
#define JOBS_CLI_PROVENANCE_H

#include "jobs/task.h"

struct provenance {
    struct task task; /* as it was asked for, but in the precision that it was computed in */
    json_t *record;   /* the chunk, checked; owned */
};

/* ERR_MISSING if the picture carries no record, ERR_INPUT if it is not one of ours. */
int provenance_read(const void *png, size_t size, const char *where, struct provenance *ret_p,
                    struct err *e);

/*
 * What differs between the record of a picture and that of its replay, one line each: model files
 * and others (init image, mask), engine version, precision, device class. Nothing if all is equal.
 */
void provenance_differences(const struct provenance *was, const struct provenance *is,
                            struct buf *ret_lines);

/*
 * The bundle of a job (jobs/SPEC.md, "The bundle") that is this task alone, as its index 0. Text
 * that the prompt language would read as a variable is escaped. Appends.
 */
int provenance_bundle(const struct task *t, struct buf *ret_bundle, struct err *e);

void provenance_done(struct provenance *p);

#endif
