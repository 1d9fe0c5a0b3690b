/*
 * The end of the work: an idle worker may try a task that another one is at, if by what was learned
 * of both it would be done much sooner. The first picture wins; the other attempt is revoked. Part
 * of the reactor; called by the scheduler alone.
 */
#ifndef COORDINATOR_TAIL_H
#define COORDINATOR_TAIL_H

#include "coordinator/reactor.h"

#define TAIL_GAIN     1.5  /* a second attempt must be so many times sooner */
#define TAIL_LEAST_MS 1000 /* and sooner by this much */

/* ret_gave is set to true if the worker got a lease. */
int tail_speculate(struct coord *c, struct worker *w, int64_t now_ms, struct outbox *o,
                   bool *ret_gave, struct err *e);

#endif
