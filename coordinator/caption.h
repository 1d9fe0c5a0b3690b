/* The words of a contact sheet: what its pictures have in common, and its labels. */
#ifndef COORDINATOR_CAPTION_H
#define COORDINATOR_CAPTION_H

#include "jobs/job.h"

struct caption {
    struct buf title;    /* the job's name */
    struct buf settings; /* model and parameters that are the same in every task */
    struct buf prompt;   /* with its variables, if it is the same in every task */
    struct buf rest;     /* axes that are not on the sheet, and what is cut */
};

/* sheet: as job_sheet() gave it. ret_caption: caption_done(). ERR_OOM. */
int caption_read(const struct job *job, const struct job_sheet *sheet, struct caption *ret_caption,
                 struct err *e);
void caption_done(struct caption *c);

/* Appends a value of an axis as a label: on one line, not long, a path by its last part. */
void caption_label(const struct job *job, size_t axis, uint64_t at, struct buf *ret_text);

#endif
