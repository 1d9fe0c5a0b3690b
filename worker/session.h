/*
 * A worker's side of the conversation with its coordinator, as a pure state machine: events and the
 * time go in, messages and commands come out. No socket, clock, thread or engine inside, so that
 * tests drive it with events. What the messages promise is proto/PROTOCOL.md's.
 *
 * It keeps every lease until its end and every result until the coordinator acknowledged it, over
 * lost connections and restarts of the coordinator, and offers them again.
 *
 * After each event, take all actions before the next event: they borrow from the session.
 *
 *     TRY(session_tick(s, now_ms, e));
 *     while ((a = session_next(s)))
 *         switch (a->what) { case SESSION_SEND: ... }
 */
#ifndef WORKER_SESSION_H
#define WORKER_SESSION_H

#include "proto/err.h"
#include "proto/msg.h"
#include "worker/picture.h"

#include <stdbool.h>
#include <stdint.h>

#define SESSION_LEASES_MAX   64    /* leases held; more are not taken */
#define SESSION_RESULTS_MAX  16    /* results unacknowledged; no credits beyond */
#define SESSION_GREETING_MS  5000  /* a hello without answer is said again, on a new connection */
#define SESSION_RESEND_MS    30000 /* a result without acknowledgement, room without a lease */
#define SESSION_HEARTBEAT_MS 2000  /* until welcome says otherwise */
#define SESSION_SILENCE_MS   10000

/* Strings are borrowed for the session's life. */
struct session_options {
    const char *name, *device, *device_class;
    uint64_t memory_bytes; /* budget for one render, 0: no limit */
    uint32_t threads;
    uint32_t capacity; /* leases wanted at a time: one runs, the others wait; 1.. */
};

struct session;

/* Says nothing before the first tick. ret_session: session_free(). ERR_OOM. */
int session_new(const struct session_options *o, struct session **ret_session, struct err *e);
void session_free(struct session *s);

enum session_what {
    SESSION_SEND,      /* msg */
    SESSION_RECONNECT, /* drop the connection with all that waits in it, open a new one; why */
    SESSION_START,     /* render task for ref; only while nothing runs */
    SESSION_CANCEL,    /* end the running render soon; its report is still due */
    SESSION_END        /* leave the loop; why.code is 0 after session_stop */
};

struct session_action {
    enum session_what what;
    struct msg msg;
    struct attempt_ref ref;
    const char *task; /* canonical JSON as it came, not yet checked */
    struct err why;
};

/* The next action, NULL when there are no more. Borrowed until the next call on s. */
const struct session_action *session_next(struct session *s);

/*
 * Events. Errors are ERR_OOM alone; what the coordinator does wrong is answered or ignored.
 */

/* Time passed. Call at the start, and at least every session_wait_ms(). */
int session_tick(struct session *s, int64_t now_ms, struct err *e);

/* A frame came. m: borrowed during the call. */
int session_message(struct session *s, const struct msg *m, int64_t now_ms, struct err *e);

/* A message could not be handed to the connection. */
int session_unsent(struct session *s, int64_t now_ms, struct err *e);

/* Of the running render: after step `step` of `steps`; 0: the model is ready. */
int session_progress(struct session *s, uint32_t step, uint32_t steps, int64_t now_ms,
                     struct err *e);

/* The running render's end. Takes ownership of p's contents, also on failure. */
int session_finished(struct session *s, struct picture *p, int64_t now_ms, struct err *e);
int session_failed(struct session *s, const struct err *why, int64_t now_ms, struct err *e);

/* Asked to leave: says bye, cancels the running render, ends. */
int session_stop(struct session *s, struct err *e);

/* How long until session_tick has something to do. */
int session_wait_ms(const struct session *s, int64_t now_ms);

/* For logs and tests. */
bool session_is_open(const struct session *s);
size_t session_held(const struct session *s);

#endif
