/*
 * Which task a worker is given. Part of the reactor; called by the scheduler and by those who must
 * know whether another worker could do a task.
 *
 * Tasks that came back go first. Then jobs have their turns (turns.h); within a job, what is ready
 * on the worker goes first (queue.h). A task that needs a gang (gangs.h) which cannot be formed now
 * is passed over, or the worker waits for it.
 */
#ifndef COORDINATOR_PICK_H
#define COORDINATOR_PICK_H

#include "coordinator/reactor.h"

/* A connected worker that takes leases. */
bool worker_takes_leases(const struct worker *w);

/* A worker that takes leases, and whose precisions, class and memory suit the task. */
bool pick_could_have(const struct task_entry *t, const struct worker *w);

/* Whether a connected worker other than `session` could take the task and has not failed it. */
bool pick_elsewhere(const struct coord *c, const struct task_entry *t, uint64_t session);

/* The task for a worker that has a credit, counted as its job's turn; NULL: none now. ret_waits:
 * nothing, since a gang waits for the worker. */
int pick_task(struct coord *c, struct worker *w, int64_t now_ms, struct task_entry **ret_task,
              bool *ret_waits, struct err *e);

#endif
