/*
 * Chains: frames that start from the picture of the one before them (jobs/SPEC.md, "Chains"). Part
 * of the reactor; called by it alone.
 *
 * A later frame enters the coordinator's memory when the frame before it is settled, or when the
 * queue's cursor finds it to be the next of a chain that an earlier life of the job left; then the
 * store is asked what it starts from (OUT_BEFORE). Until that is known it is nobody's. So the
 * memory follows the chains that were begun, and waiting frames go before new chains.
 *
 * All frames are rendered by workers of the first one's device class. A frame that fails takes the
 * later ones of its chain with it, each with a failure that names it.
 */
#ifndef COORDINATOR_CHAINS_H
#define COORDINATOR_CHAINS_H

#include "coordinator/reactor.h"

#define CHAINS_BROKEN  "the chain broke at frame "
#define CHAINS_AT_ONCE 256 /* frames that fail with an earlier one in one call, at most */

/* A task was settled: the frame after it has what it starts from, or has nothing. session: the
 * worker's that has the picture; 0: unknown. */
int chain_follow(struct coord *c, struct job_entry *j, const struct record *record,
                 uint64_t session, struct err *e);

/* It may be leased as far as its chain goes: it starts from nothing, or from what is there. */
bool chain_is_open(const struct task_entry *t);

/* The worker is of the class that rendered the frame before. True while that is not known. */
bool chain_suits(const struct task_entry *t, const struct worker *w);

/* Another frame starts from its picture. */
bool chain_goes_on(const struct task_entry *t);

/* It has not been leased yet: its job's turn counts, as with untouched tasks. */
bool chain_takes_turns(const struct task_entry *t);

/* The frame before, where the coordinator has it: `t`, which sched_describe() gave, is named so. */
int chain_start_here(const struct task_entry *entry, struct task *t, struct err *e);

/* ... and as the wire, records and hashes name it. */
int chain_start_named(const struct task_entry *entry, struct task *t, struct err *e);

/* The file of the frame before is not what was recorded; e says so. False where files are not
 * looked for, or it is right. */
bool chain_is_torn(const struct coord *c, const struct task_entry *t, struct err *e);

/* Asks the store for what is not known, and lets frames fail whose chain is broken. */
int chains_step(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e);

/* The store's answer. */
int on_before(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e);

/* Frames that are to fail with an earlier one are forgotten: that one is tried again. */
void chains_forget_broken(struct coord *c, const struct job_entry *j);

#endif
