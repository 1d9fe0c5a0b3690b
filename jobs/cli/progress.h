/*
 * How far a job is: one live line with a bar on a terminal, a plain line every few seconds
 * elsewhere.
 *
 *     struct progress_view view = {.terminal = &c->err};
 *     progress_show(&view, &progress, now_ms);   // as often as you like
 *     progress_end(&view);                       // the line is gone, other text may follow
 */
#ifndef JOBS_CLI_PROGRESS_H
#define JOBS_CLI_PROGRESS_H

#include "jobs/cli/terminal.h"
#include "proto/buf.h"

#include <stdint.h>

#define PROGRESS_PLAIN_MS 5000 /* between plain lines */

struct progress {
    uint64_t tasks, done, failed; /* done + failed <= tasks */
    double partial;               /* images' worth of steps done in running tasks, 0 or more */
    double rate;                  /* images per second, 0: unknown */
    double eta_seconds;           /* negative: unknown */
    const char *phase; /* what happens while there is nothing to count, or NULL: "loading ..." */
};

/* Appends the live line, at most `columns` wide, no line end. */
void progress_live(const struct progress *p, bool unicode, int columns, struct buf *ret_line);

/* Appends the plain line: "12 of 24 images, 2.6 images/s, 4.6 s left, 1 failed". */
void progress_plain(const struct progress *p, struct buf *ret_line);

struct progress_view {
    const struct terminal *terminal; /* borrowed */
    int64_t shown_ms;                /* when the last plain line was written */
    struct buf last;                 /* what stands there */
};

/* Redraws the live line if it changed, or writes a plain line when one is due. */
void progress_show(struct progress_view *v, const struct progress *p, int64_t now_ms);

/* Removes the live line; releases memory. */
void progress_end(struct progress_view *v);

#endif
