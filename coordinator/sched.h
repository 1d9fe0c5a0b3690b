/*
 * Tasks are given out, one lease of each worker per round: to whom which one is pick.h's, which of
 * the jobs has its turn is turns.h's. At the end of all work the fastest idle workers choose first
 * (tail.h). Part of the reactor; called by it alone.
 *
 * Giving a task out takes two steps: its output path is probed (OUT_PROBE), then, if the path is
 * free, the lease leaves. A picture found there is recorded instead, another file fails the task.
 */
#ifndef COORDINATOR_SCHED_H
#define COORDINATOR_SCHED_H

#include "coordinator/assets.h"
#include "coordinator/reactor.h"

/* The task itself, a later frame's with the file that it starts from, and what the entry keeps of
 * it. ret_task: task_done(). */
int sched_describe(struct task_entry *t, struct task *ret_task, struct err *e);

/* The files of a lease, as they are known now. ret_set: asset_set_done(). */
int sched_assets(const struct coord *c, struct task_entry *t, const char *text,
                 struct asset_set *ret_set, struct err *e);

/* A new attempt for the worker. task: canonical JSON. */
int sched_lease(struct coord *c, struct worker *w, struct task_entry *t, const char *task,
                int64_t now_ms, struct outbox *o, struct err *e);

/* The depot answered: tasks that waited for their files go on. */
int sched_awaited(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e);

/* The output path of a task about to be leased was looked at: its lease, adoption or failure. */
int on_probed(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e);

#endif
