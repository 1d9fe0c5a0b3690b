/*
 * The contact sheet of a job: its pictures in a grid, one axis across and one down, with labels in
 * any script. Cells come from job_sheet (jobs/job.h); a sheet of one axis is wrapped. Behind it:
 * cairo and pango. Reads picture files and nothing else; one picture is decoded at a time.
 * May run in any thread; the job is only read. The look may change between versions and fonts: a
 * sheet's bytes are not promised.
 *
 *     rc = sheet_draw(job, out_dir, state_of, store, &png, e);
 */
#ifndef COORDINATOR_SHEET_H
#define COORDINATOR_SHEET_H

#include "jobs/job.h"

#define SHEET_THUMB_MAX 256  /* pixels of a picture's longer side */
#define SHEET_SIDE_MAX  8192 /* pixels of the sheet's longer side */

enum sheet_state { SHEET_DONE, SHEET_FAILED, SHEET_MISSING };

/* What became of an index that is not excluded. */
typedef enum sheet_state sheet_state_of(void *user, uint64_t index);

/*
 * Draws job's sheet and appends it to ret_png.
 *
 *   out_dir   the output folder, to which job_path is relative
 *   state_of  NULL: every task is done. The picture of a done task that cannot be read is drawn
 *             as missing
 *   ret_png   buf_done()
 *
 * Errors: ERR_ARG if the job has no sheet, ERR_OOM, ERR_INTERNAL if cairo fails.
 */
int sheet_draw(const struct job *job, const char *out_dir, sheet_state_of *state_of, void *user,
               struct buf *ret_png, struct err *e);

#endif
