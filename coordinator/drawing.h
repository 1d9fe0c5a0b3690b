/*
 * Contact sheets are drawn beside the loop, one at a time, in a thread with its own copy of the
 * job. All functions are for the loop's thread.
 *
 *     TRY(drawing_start(d, job, out_dir, failed, n_failed, e));
 *     // drawing_fd(d) becomes readable
 *     while (drawing_next(d, &result)) ...
 */
#ifndef COORDINATOR_DRAWING_H
#define COORDINATOR_DRAWING_H

#include "coordinator/coord.h"

struct drawing;

struct drawn {
    uint64_t job;       /* number */
    struct err failure; /* code 0: path holds */
    char path[4096];    /* absolute */
};

int drawing_open(struct drawing **ret_drawing, struct err *e);
/* Waits for a sheet that is being drawn. NULL is legal. */
void drawing_close(struct drawing *d);

/*
 * Copies what it needs of the job. out_dir is absolute; failed: the tasks without a picture, as far
 * as they are on the sheet, ascending. The sheet goes to FOLDER/sheet.png; a picture of a task that
 * has this name stays, and there is no sheet.
 */
int drawing_start(struct drawing *d, const struct job_entry *j, const char *out_dir,
                  const uint64_t *failed, size_t n_failed, struct err *e);

/* Readable when a result waits. */
int drawing_fd(const struct drawing *d);
bool drawing_next(struct drawing *d, struct drawn *ret_drawn);

#endif
