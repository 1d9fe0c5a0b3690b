/*
 * Which task goes to which worker. Part of the reactor; called by it alone.
 *
 * Tasks that came back go first. Then a job is chosen: one whose preview (`first`) is not out;
 * else the most urgent: its priority, and one more for every SCHED_AGE_MS without a lease; else the
 * one whose deadline is in danger, the earliest first; else the one whose model and size the worker
 * has ready; else the one that had the fewest leases; else the oldest. Within the job, what is
 * ready on the worker goes first (queue.h). At the end of all work the fastest idle workers choose
 * first (tail.h).
 *
 * The bound on starvation: of jobs of one priority that have tasks for the workers at hand, none is
 * ever more than SCHED_SLACK + 1 leases ahead of another, so that a waiting one sees twice that of
 * each at most. And no job gets a lease before another of a priority lower by d that has waited
 * (d + 1) * SCHED_AGE_MS longer. Previews, and tasks that came back, are outside of both.
 *
 * Giving a task out takes two steps: its output path is probed (OUT_PROBE), then, if the path is
 * free, the lease leaves. A picture found there is recorded instead, another file fails the task.
 */
#ifndef COORDINATOR_SCHED_H
#define COORDINATOR_SCHED_H

#include "coordinator/assets.h"
#include "coordinator/reactor.h"

#define SCHED_AGE_MS     10000
#define SCHED_SLACK      16
#define SCHED_JOBS_TRIED 16 /* jobs that one worker is offered tasks of, at a time */

/* A worker that takes leases, and whose precisions, class and memory suit the task. */
bool sched_could_have(const struct task_entry *t, const struct worker *w);

/* Whether a connected worker other than `session` could take the task and has not failed it. */
bool sched_elsewhere(const struct coord *c, const struct task_entry *t, uint64_t session);

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
