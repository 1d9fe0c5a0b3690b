/*
 * The part of a session that takes leases: how many it wants, what is gathered for them, which are
 * rendered together and when. The session's inside (session_inner.h).
 *
 * All add actions to the session and fail with ERR_OOM alone.
 */
#ifndef WORKER_LEASES_H
#define WORKER_LEASES_H

#include "worker/held.h"

/* A `ready`: all that is held, and credits for more. */
int leases_state(struct session *s, int64_t now_ms, struct err *e);

/* One arrived. It is held, or the next ready says that it is not. */
int leases_take(struct session *s, const struct msg_lease *m, struct err *e);

/* The next render, if nothing runs and something may: a lease with those that go with it. */
int leases_start(struct session *s, struct err *e);

/* Nobody waits for this attempt any more: of an ack, its result is safe; of a revoke, not wanted.
 */
int leases_drop(struct session *s, const struct attempt_ref *ref, struct err *e);

/* Those that wait become failures of a worker that leaves: others render them. */
void leases_hand_back(struct session *s);

#endif
