/*
 * Attempts that end without a picture, so that the coordinator itself can be measured
 * (tests/bench/bench_cluster). Only with `litho-coordinator --empty-results`, whose state folder no
 * other coordinator opens again. Part of the reactor (reactor.h has the rules).
 */
#ifndef COORDINATOR_EMPTIES_H
#define COORDINATOR_EMPTIES_H

#include "coordinator/reactor.h"

/* The task is done: a record with path "", acknowledged once it is durable as any other. */
int on_empty(struct coord *c, struct worker *w, const struct msg_empty *m, int64_t now_ms,
             struct outbox *o, struct err *e);

#endif
