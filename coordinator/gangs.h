/*
 * Gangs: workers that render one task together. Part of the reactor; called by it alone.
 *
 * A gang is a set of attempts of one task, a worker's each, that stand and fall together. Their
 * numbers follow each other; the lowest is the leader's (rank 0), who delivers the picture and
 * whose meeting place the others are told. A member that is lost, stalls or fails ends the others'
 * attempts at once. One that fails with worker_lost only says that another one went away: that one
 * is waited for, so that it is blamed as any lost worker is.
 *
 * A gang is formed of workers of one device class that have nothing else to do: on one host, or if
 * there are not enough of them, on several, where all state an address for others. Where a
 * job asks for gangs (`gang: 2`), workers whose turn comes to it wait for the others, as many as
 * are needed and no more; where it leaves that to us (`gang: auto`), two that have nothing else to
 * do, at the end of the work or where fewer chains are open than workers are there, share a task if
 * that is known to pay, or to learn whether it does; and
 * a task that is too large for every worker goes to several, each of which holds a part of the
 * U-Net.
 */
#ifndef COORDINATOR_GANGS_H
#define COORDINATOR_GANGS_H

#include "coordinator/reactor.h"

#define GANGS_GAIN 1.2 /* what two workers must be faster than one by, for `auto` */

/* Members of the gangs that the job asks for; 1: it asks for none. */
size_t gang_size(const struct job_entry *j);

/* Those for this task, whose needs are known: without guidance that is not split. */
size_t gang_size_of(const struct task_entry *t);

/* What a gang is sought for. */
struct gang_need {
    size_t n;                      /* members */
    const struct task_entry *task; /* NULL: any of those that are to come */
    unsigned precisions; /* of these, as bits: members are alike at each; 0: not known, at all */
};

/* For one task. */
struct gang_need gang_need_of(const struct task_entry *t, size_t n);

/*
 * The members of a gang led by w, in order of rank; false: not enough are free. Workers blocked for
 * the task take part only where the others are too few. ret_members: [MSG_GANG_MAX].
 */
bool gang_find(const struct coord *c, struct worker *w, const struct gang_need *g,
               struct worker **ret_members);

/* No such gang can be formed now: whether w is to wait for one and take nothing else. */
bool gang_waits(const struct coord *c, const struct worker *w, const struct gang_need *g);

/* n connected workers could be a gang for tasks of these precisions, if they were free. 0: of any.
 */
bool gang_possible(const struct coord *c, size_t n, unsigned precisions);

/* The same of workers other than `session` that could take t and have not failed it. */
bool gang_elsewhere(const struct coord *c, const struct task_entry *t, size_t n, uint64_t session);

/*
 * Plans t, which goes to w, for a gang: members are reserved, t->gang says them. Nothing happens if
 * it is to be rendered alone. free_tasks: that could be begun now and no worker has, t among them.
 */
void gang_plan(struct coord *c, struct worker *w, struct task_entry *t, uint64_t free_tasks);

/* The plan is carried out or given up: members are no longer reserved. */
void gang_release(struct coord *c, struct task_entry *t, bool give_back);

/* All members are there: their leases leave. False in ret_gave: one is gone. */
int gang_lease(struct coord *c, struct task_entry *t, const char *task, int64_t now_ms,
               struct outbox *o, bool *ret_gave, struct err *e);

/* w leads a gang that meets there: a `ready` that says so crossed that gang's lease. */
bool gang_meets_at(const struct worker *w, const char *meeting);

/* An attempt that ended early: if it is a gang's, attempt_note_over(). */
void gang_note_over(struct task_entry *t, const struct run *r);

/* Ends the other attempts of a gang; 0: of none. */
int gang_dissolve(struct coord *c, struct task_entry *t, uint32_t gang, struct outbox *o,
                  struct err *e);

/*
 * No worker has the memory for the task: with `auto` it is tried by more workers, each of which
 * holds a part. False: that is not wanted, or there are not that many.
 */
bool gang_grow(const struct coord *c, struct task_entry *t);

/* A step of the task, of no other task beside it, took the worker so long without a gang. */
void gang_learn_alone(const struct task_entry *t, struct worker *w, double ms);

/* A step of a gang's leader took so long. */
void gang_learn(struct task_entry *t, const struct run *r, struct worker *w, double ms);

/* A member has done its part; its attempt ends without a picture. */
int on_helped(struct coord *c, struct worker *w, const struct msg_helped *m, int64_t now_ms,
              struct outbox *o, struct err *e);

#endif
