/*
 * Whose turn it is: the job that the next lease belongs to. Part of the reactor; called by pick.h.
 *
 * A job whose preview (`first`) is not out goes first; else the most urgent: its priority, and one
 * more for every TURNS_AGE_MS without a lease; else the one whose deadline is in danger, the
 * earliest first; else the one whose model and size the worker has ready; else the one that had the
 * fewest leases; else the oldest.
 *
 * The bound on starvation: of jobs of one priority that have tasks for the workers at hand, none is
 * ever more than TURNS_SLACK + 1 leases ahead of another, so that a waiting one sees twice that of
 * each at most. And no job gets a lease before another of a priority lower by d that has waited
 * (d + 1) * TURNS_AGE_MS longer. Previews, and tasks that came back, are outside of both.
 */
#ifndef COORDINATOR_TURNS_H
#define COORDINATOR_TURNS_H

#include "coordinator/reactor.h"

#define TURNS_AGE_MS 10000
#define TURNS_SLACK  16

/* It runs, and is neither paused nor told to wait. */
bool job_takes_leases(const struct job_entry *j, int64_t now_ms);

/* The job whose turn it is, of those numbered differently from `tried`; NULL: none. */
int turns_next(const struct coord *c, const struct worker *w, int64_t now_ms, const uint64_t *tried,
               size_t n_tried, struct job_entry **ret_job, struct err *e);

#endif
