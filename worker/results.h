/*
 * The part of a session that keeps outcomes until they are acknowledged: offers them on each
 * connection anew, a few at a time, and has pictures written to disk beyond the memory for them.
 * The session's inside (session_inner.h).
 *
 * Both add actions to the session and fail with ERR_OOM alone.
 */
#ifndef WORKER_RESULTS_H
#define WORKER_RESULTS_H

#include "worker/held.h"

/* Those that did not leave on this connection, or long ago, in their order. */
int results_offer(struct session *s, int64_t now_ms, struct err *e);

/* Beyond the memory the latest go to disk: the oldest are the next to be acknowledged. */
int results_spill(struct session *s, struct err *e);

#endif
