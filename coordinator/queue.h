/*
 * The untouched tasks of one job, in lots that share what is costly to change on a worker
 * (jobs/groups.h). A lot is a cursor: nothing is listed. Part of the coordinator's state; the
 * scheduler asks it.
 *
 *     TRY(queue_open(&j->queue, j->job, e));
 *     TRY(queue_lot(j, w, false, &lot, e));
 *     TRY(queue_take(c, j, w, lot, &task, e));      // task NULL: none now
 */
#ifndef COORDINATOR_QUEUE_H
#define COORDINATOR_QUEUE_H

#include "jobs/groups.h"

struct coord;
struct job_entry;
struct task_entry;
struct worker;

#define QUEUE_LOOKS_MAX 4096 /* indices looked at in one call: more is for the next one */
#define QUEUE_AHEAD_MAX 32   /* of a lot's next indices, those whose texts are looked at */

/* What a worker has to have ready for a task, as numbers that compare. */
struct needs {
    uint64_t model_key; /* model, configuration, VAE, precision. 0: not known yet */
    uint64_t files_key; /* these without the precision */
    enum precision precision;
    uint64_t shape_key; /* LoRA set and size */
    uint64_t pixels;    /* of the picture */
};

struct lot {
    uint64_t k; /* members before it are touched or settled */
    uint32_t in_flight;
    bool over; /* no member is untouched */
    struct needs needs;
};

struct queue {
    struct groups groups;
    struct lot *lots; /* [groups.n]; owned; NULL: not opened */
    uint64_t left;    /* lots that are not over */
    uint64_t ahead;   /* with chains: members that no cursor has passed, whatever became of them */
    uint64_t described;             /* lots whose needs are known */
    uint64_t open[PRECISION_COUNT]; /* of these, by precision, those that are not over */
    uint64_t previewed, preview_at; /* tasks given out for `first`, and the next index */
};

/* One lot for each of the job's groups. queue_done(). ERR_OOM. */
int queue_open(struct queue *q, const struct job *job, struct err *e);
void queue_done(struct queue *q);

/* Starts over, for a job of which settled tasks are untouched again. Tasks in flight stay. */
void queue_rewind(struct queue *q);

struct needs needs_of(const struct task *task);

/* The lot's needs, from its first task. */
int queue_needs(struct job_entry *j, uint64_t lot, struct needs *ret_needs, struct err *e);

/* The needs of all lots, from then on. O(lots) the first time. */
int queue_describe(struct job_entry *j, struct err *e);
/* Whether some lot may have a task for the worker, as far as lots are described. */
bool queue_may_suit(const struct queue *q, const struct worker *w);

/* Of the lots that are described and not over, as bits. */
unsigned queue_precisions(const struct queue *q);

/*
 * The lot that suits the worker best, of those that it renders: what is resident, then the same
 * model, then the one that the fewest are at. Lots that the worker is barred from only where
 * `barred` says so. queue.groups.n: none.
 */
int queue_lot(struct job_entry *j, const struct worker *w, bool barred, uint64_t *ret_lot,
              struct err *e);

/* What the task's texts are known by; never 0. */
uint64_t queue_text(const struct job_entry *j, uint64_t index);

/*
 * The next untouched task of a lot as an entry; NULL: none was found in QUEUE_LOOKS_MAX looks. Of
 * the next QUEUE_AHEAD_MAX indices one goes first whose texts the worker has encoded, else one
 * whose texts no other worker is at; so no task is passed over by more than that. With chains
 * (jobs/job.h) only first frames are given out so; of a chain that was begun in an earlier life of
 * the job the next frame becomes an entry that is not open yet (chains.h), and *ret_task NULL.
 */
int queue_take(struct coord *c, struct job_entry *j, const struct worker *w, uint64_t lot,
               struct task_entry **ret_task, struct err *e);

/* Of the first tasks in index order (of chains: of their first frames), as many as the job's
 * `first` says; NULL: none is left, or the next one is not for this worker. */
int queue_take_first(struct coord *c, struct job_entry *j, const struct worker *w,
                     struct task_entry **ret_task, struct err *e);
bool queue_has_first(const struct job_entry *j);

#endif
