/*
 * The life of a task that was given out: progress, results, failures, lost workers, and what each
 * class of failure means. Part of the reactor (reactor.h has the rules); called by it alone.
 */
#ifndef COORDINATOR_ATTEMPTS_H
#define COORDINATOR_ATTEMPTS_H

#include "coordinator/reactor.h"

/* The worker's whole view: what it holds is adopted or dismissed, what it lacks is free again. */
int on_ready(struct coord *c, struct worker *w, const struct msg_ready *m, int64_t now_ms,
             struct outbox *o, struct err *e);
int on_progress(struct coord *c, struct worker *w, const struct msg_progress *m, int64_t now_ms,
                struct outbox *o, struct err *e);
int on_fetching(struct coord *c, struct worker *w, const struct msg_fetching *m, int64_t now_ms,
                struct outbox *o, struct err *e);
int on_result(struct coord *c, struct worker *w, const struct msg_result *m, int64_t now_ms,
              struct outbox *o, struct err *e);
int on_failed(struct coord *c, struct worker *w, const struct msg_failed *m, int64_t now_ms,
              struct outbox *o, struct err *e);
/* A delivery's write ended: a record, a refusal, or a wait. */
int on_written(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
               struct err *e);

/* The worker is gone. blame: it did not say good-bye, so the task it worked on may be the cause. */
int worker_lose(struct coord *c, struct worker *w, bool blame, const char *why, int64_t now_ms,
                struct outbox *o, struct err *e);

/* The task that a worker works on: one that has started, else the oldest it holds; of a batch the
 * first. NULL: none. */
struct task_entry *task_at_work(const struct worker *w);

/* Attempts without progress, and unclaimed ones after a restart. */
int attempts_tick(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e);

/* One attempt ended without a picture, by policy.h; its run, leased at since_ms (0: unknown), is
 * removed already. w: who had it. */
int attempt_failed(struct coord *c, struct task_entry *t, struct worker *w,
                   const struct msg_failed *m, int64_t since_ms, int64_t now_ms, struct outbox *o,
                   struct err *e);

/*
 * The attempt was revoked, or its gang ended early. A worker that comes to hold it all the same,
 * its lease or the revocation having been late or lost, would work on it in vain, or wait for
 * members that never come: it is told again.
 */
void attempt_note_over(struct task_entry *t, uint32_t attempt);
bool attempt_is_over(const struct task_entry *t, uint32_t attempt);

/* Whether that attempt's failure was counted; of the last COORD_REFUSED_MAX. */
bool attempt_has_failed(const struct task_entry *t, uint32_t attempt);

/* Back to the ready list if nobody works on it and nothing of it is being written. */
void task_free_if_idle(struct coord *c, struct task_entry *t);

/* Whether a worker of another name has the attempt, and is well. One that connects anew keeps its
 * name. r may be NULL. */
bool run_is_anothers(const struct coord *c, const struct run *r, const struct worker *w);

/*
 * The task in flight that a worker's message is about. NULL and a verdict: it is not wanted.
 * Attempts that were never given out are unknown, whoever claims them.
 */
struct task_entry *task_named(struct coord *c, const struct attempt_ref *ref,
                              const char **ret_verdict);

/* Tells the worker to forget it, and counts. */
int attempt_dismiss(struct coord *c, const struct worker *w, const struct attempt_ref *ref,
                    const char *verdict, struct outbox *o, struct err *e);

/* hash: [HASH_HEX_SIZE], of the job. verdict: accepted, duplicate or unknown; static. */
int send_ack(struct outbox *o, const struct peer *peer, const char *hash, uint64_t index,
             uint32_t attempt, const char *verdict, struct err *e);

/* Settles a task with a record (taken over) and looks whether its job is over. */
int task_settle(struct coord *c, struct job_entry *j, struct record *record, int64_t now_ms,
                struct outbox *o, struct err *e);

/* The row that keeps attempt numbers growing over restarts. worker: NULL when none holds it. */
int task_persist(struct outbox *o, const struct task_entry *t, const struct worker *w,
                 struct err *e);

/* What the task fails with if no other attempt can be made. */
int task_note_failure(struct task_entry *t, const char *code, const char *text, struct err *e);

/* Ends a task without a picture. w may be NULL. */
int task_fail(struct coord *c, struct task_entry *t, const struct worker *w, const char *code,
              const char *text, int64_t now_ms, struct outbox *o, struct err *e);

/* All tasks are settled and the sheet, if any, is drawn; the caller persists it. */
int job_end(const struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
            struct err *e);
/* Ends a running job, or has its sheet drawn first, if nothing of it is left to do. */
int job_finish_if_over(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                       struct err *e);
int job_persist(struct outbox *o, const struct job_entry *j, struct err *e);

/* Ends a job before its tasks: what is done stays, the rest is given up. reason: may be NULL. */
int job_give_up(struct coord *c, struct job_entry *j, enum job_phase phase, const char *reason,
                int64_t now_ms, struct outbox *o, struct err *e);
/* Gives a running job up that is past its deadline, or had more failures than it bears. */
int job_stop_if_due(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                    struct err *e);

/* Tells w to drop the attempt, and counts it. The run stays: the caller removes it. */
int send_revoke(struct coord *c, struct outbox *o, const struct worker *w,
                const struct task_entry *t, uint32_t attempt, struct err *e);

#endif
