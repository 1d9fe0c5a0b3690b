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
#define SESSION_RESULTS_MAX  16    /* results unacknowledged in memory; no credits beyond */
#define SESSION_SPILLED_MAX  800   /* results unacknowledged on disk; no credits beyond */
#define SESSION_OFFERS_MAX   16    /* results on their way at a time */
#define SESSION_LEAVE_MS     10000 /* for what is still held to be acknowledged, when leaving */
#define SESSION_GREETING_MS  5000  /* a hello without answer is said again, on a new connection */
#define SESSION_RESEND_MS    30000 /* a result without acknowledgement, what is held */
#define SESSION_HEARTBEAT_MS 2000  /* until welcome says otherwise */
#define SESSION_SILENCE_MS   10000

/* Strings are borrowed for the session's life. */
struct session_options {
    const char *name, *device, *device_class;
    const char *host;                         /* NULL: takes part in no gangs */
    const char *gang_address;                 /* for members on other hosts; NULL: none */
    uint64_t memory_bytes;                    /* budget for one render, 0: no limit */
    const struct hello_precision *precisions; /* that are rendered; none: all */
    size_t n_precisions;
    uint32_t threads;
    uint32_t capacity;     /* leases wanted at a time: some run, the others wait; 1.. */
    uint32_t batch;        /* leases rendered together, at most; 0 or 1: one by one */
    uint64_t batch_pixels; /* of all pictures of a batch of several, at most; 0: no limit */
    uint64_t keep_bytes;   /* results in memory before they are spilled; 0: 256 MiB */
    uint64_t spill_bytes;  /* results on disk, in all; 0: none is spilled */
};

struct session;

/* Says nothing before the first tick. ret_session: session_free(). ERR_OOM. */
int session_new(const struct session_options *o, struct session **ret_session, struct err *e);
void session_free(struct session *s);

/* A part in a gang, as a lease has it. */
struct session_gang {
    uint32_t guidance, tensor, rank; /* guidance 0: alone */
    const char *meeting;             /* of rank 0 */
};

enum session_what {
    SESSION_SEND,      /* msg; with `spilled` its png of png_size bytes is on disk, as ref */
    SESSION_SPILL,     /* write msg.result.png to disk as ref, then session_spilled() */
    SESSION_UNSPILL,   /* remove it from there */
    SESSION_KEEP,      /* the picture msg.result.png of that sha256 is a file of the next lease */
    SESSION_RECONNECT, /* drop the connection with all that waits in it, open a new one; why */
    SESSION_GATHER,    /* find or fetch the assets of ref, a lease that waits; task */
    SESSION_START,     /* render tasks, the first for ref; only while nothing runs */
    SESSION_CANCEL,    /* end the running render soon; its reports are still due */
    SESSION_END        /* leave the loop; why.code is 0 after session_stop */
};

struct session_action {
    enum session_what what;
    struct msg msg;
    struct attempt_ref ref;
    const struct lease_asset *assets; /* of SESSION_GATHER; borrowed as task is */
    size_t n_assets;
    const char *task;         /* canonical JSON as it came, not yet checked */
    const char *const *tasks; /* of SESSION_START: [n_tasks], task and those of its batch */
    const struct attempt_ref *const *refs; /* of the tasks */
    size_t n_tasks;
    struct session_gang gang;
    bool spilled;
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

/*
 * What SESSION_GATHER comes to: a lease is started once its files are gathered. Of leases that are
 * gone meanwhile nothing happens.
 */
int session_gathered(struct session *s, const struct attempt_ref *ref, int64_t now_ms,
                     struct err *e);
int session_ungathered(struct session *s, const struct attempt_ref *ref, const struct err *why,
                       int64_t now_ms, struct err *e);
/* Bytes of its files that are here, and in all. */
int session_fetching(struct session *s, const struct attempt_ref *ref, uint64_t fetched,
                     uint64_t total, struct err *e);

/* Whether the lease is still to be rendered, or is. */
bool session_needs_files(const struct session *s, const struct attempt_ref *ref);

/* Of what runs, all of it: after step `step` of `steps`; 0: the model is ready. */
int session_progress(struct session *s, uint32_t step, uint32_t steps, int64_t now_ms,
                     struct err *e);

/* The running render was a gang's, and another member has the picture. */
int session_helped(struct session *s, int64_t now_ms, struct err *e);

/* Where a gang led by this worker would meet, from the next `ready` on; "": nowhere. No event.
 * Copied; at most MSG_NAME_MAX bytes. */
void session_meeting(struct session *s, const char *meeting);

/* What the cache of files did since the start, said with the next `ready`. No event. */
struct cache_counts;
void session_cache(struct session *s, const struct cache_counts *counts);

/*
 * The end of one of the renders that run: of a batch they are told in the order of its tasks. Takes
 * ownership of p's contents, also on failure.
 */
int session_finished(struct session *s, struct picture *p, int64_t now_ms, struct err *e);
int session_failed(struct session *s, const struct err *why, int64_t now_ms, struct err *e);

/*
 * What a SESSION_SPILL came to. No event: call it while that action is carried out. on_disk false:
 * the result stays in memory.
 */
void session_spilled(struct session *s, const struct attempt_ref *ref, bool on_disk);

/* A spilled result cannot be read any more: the attempt becomes a failure. An event. */
int session_spill_lost(struct session *s, const struct attempt_ref *ref, const struct err *why,
                       int64_t now_ms, struct err *e);

/*
 * To leave in good order: takes no more leases, hands back those that wait, and the running one too
 * unless `finish`; says bye and ends once everything is acknowledged, or SESSION_LEAVE_MS later.
 */
int session_leave(struct session *s, bool finish, int64_t now_ms, struct err *e);

/* Asked to leave at once: says bye, cancels the running render, ends. */
int session_stop(struct session *s, struct err *e);

/* How long until session_tick has something to do. */
int session_wait_ms(const struct session *s, int64_t now_ms);

/* For logs and tests. */
bool session_is_open(const struct session *s);
size_t session_held(const struct session *s);

#endif
