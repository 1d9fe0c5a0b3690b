/*
 * Which task goes to which worker: tasks that came back first, then untouched ones in index order,
 * jobs in order of submission. Part of the reactor; called by it alone.
 *
 * Giving a task out takes two steps: its output path is probed (OUT_PROBE), then, if the path is
 * free, the lease leaves. A picture found there is recorded instead, another file fails the task.
 */
#ifndef COORDINATOR_SCHED_H
#define COORDINATOR_SCHED_H

#include "coordinator/reactor.h"

/* Whether a connected worker other than `session` has not failed the task. */
bool sched_elsewhere(const struct coord *c, const struct task_entry *t, uint64_t session);

/* The output path of a task about to be leased was looked at: its lease, adoption or failure. */
int on_probed(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e);

#endif
