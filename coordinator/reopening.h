/*
 * Jobs that are opened again, a slice at a time between batches, so that a job of millions of
 * pictures holds nobody up: their records are looked at and taken back, index.jsonl is made anew if
 * lines are gone, then the reactor is told (EVENT_RESTORED). One job after the other, in the order
 * in which they were asked for. The inside of batch.h; one thread.
 *
 * A process that dies between slices leaves a job that is over, with fewer records and the row's
 * mark that it is being opened; the next one begins again with what is left.
 */
#ifndef COORDINATOR_REOPENING_H
#define COORDINATOR_REOPENING_H

#include "coordinator/batch.h"

#define REOPENING_SLICE_MS 20   /* of one slice, about */
#define REOPENING_PAUSE_MS 1000 /* until a disk that refused is asked again */

/* One more job. For one that is in the list REOPEN_ALL takes the place of anything else. */
int reopening_add(struct batch *b, uint64_t job, enum reopen what, struct err *e);

/* The next slice of the first job, one in a batch. Does nothing while rows of the job wait for
 * their commit. */
int reopening_step(struct batch *b, int64_t now_ms, struct err *e);

/* Those that a coordinator before this one left: once, after the store's jobs were put back. */
int reopening_go_on(struct batch *b, struct err *e);

void reopenings_free(struct reopening *r);

#endif
