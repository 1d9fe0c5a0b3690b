/* What the session asks for is done: messages leave, files are gathered, renders start and end. */
#ifndef WORKER_ACTIONS_H
#define WORKER_ACTIONS_H

#include "worker/worker.h"

/* All that the last event led to. Call after each event of the session. */
int actions_perform(struct worker *w, struct err *e);

/* A message that is none of the session's, such as a want. Failures are logged. */
void actions_send(struct worker *w, const struct msg *m);

/* A new place for the next gang that this worker leads; without one it leads none. e: not NULL. */
int actions_offer_meeting(struct worker *w, struct err *e);

/* A lease's files, until it is over. Takes given over; false: the lease is over already. */
bool actions_keep_files(struct worker *w, const struct attempt_ref *ref, struct given *given);
/* Those of all leases, at the end. */
void actions_drop_files(struct worker *w);

#endif
