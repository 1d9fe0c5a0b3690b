/*
 * The coordinator's decisions: an event and the time go in, state changes and an outbox come out.
 * No socket, SQL, file or clock inside, so that tests drive it with events.
 *
 * One batch is: events, then reactor_schedule(), then the outbox's effects, whose results are
 * events again, until no effect is left; then one commit; then the messages. So nothing that
 * depends on a row leaves before the row is durable. Use from one thread.
 *
 *     struct event event = {.type = EVENT_MESSAGE, .peer = p, .msg = &m};
 *
 *     TRY(reactor_on(&c, &event, now, &o, e));
 *     TRY(reactor_schedule(&c, now, &o, e));
 *
 * Errors are of our own making only (ERR_OOM, ERR_INTERNAL) and end the program; the store still
 * holds everything. What peers do wrong is answered and logged, never an error here.
 */
#ifndef COORDINATOR_REACTOR_H
#define COORDINATOR_REACTOR_H

#include "coordinator/coord.h"
#include "coordinator/outbox.h"

enum event_type {
    EVENT_MESSAGE,     /* peer, msg */
    EVENT_GARBAGE,     /* peer, failure: a frame that is no message */
    EVENT_UNREACHABLE, /* peer: the router cannot deliver to it */
    EVENT_TICK,        /* at least once a second */
    EVENT_OPENED,      /* job, text (folder) or failure */
    EVENT_PROBED,      /* job, index, probe or failure */
    EVENT_WRITTEN,     /* delivery, failure */
    EVENT_BEFORE,      /* job, index, found: the record of the frame before; NULL: there is none */
    EVENT_RESTORED,    /* job, restored or failure */
    EVENT_ASSET,       /* asset */
    EVENT_ASSETS,      /* job, assets: the store's; taken over */
    EVENT_DRAWN,       /* job, text (path of the sheet, "" if there is none) or failure */
};

enum probe_answer {
    PROBE_FREE,
    PROBE_OURS,    /* a picture of an equal task is there already: `found` */
    PROBE_STALE,   /* one of an equal task, made from other files: it is rendered again */
    PROBE_FOREIGN, /* another file is there: failure.text */
    PROBE_BLOCKED, /* the output folder cannot be used now: failure */
};

/* A job read back from the store. */
struct restored {
    uint64_t number;
    char hash[HASH_HEX_SIZE];
    const char *name, *folder, *sheet, *state; /* borrowed during the event */
    const char *token, *reason;                /* the same; NULL or "": none */
    uint32_t priority;                         /* 0: what the bundle says */
    bool paused, force;
    bool reopening; /* a coordinator before this one began to take records back, of `reopen` */
    enum reopen reopen;
    struct job *job;     /* taken over by the reactor; NULL: over */
    struct bits settled; /* taken over */
    uint64_t tasks, done, failed;
    int64_t submitted_ms, finished_ms;
    struct failure_note *failures; /* borrowed, ascending */
    size_t n_failures;
    struct restored_attempt {
        uint64_t index;
        uint32_t attempts, tries;
        struct lost lost;
        uint32_t failed[COORD_REFUSED_MAX]; /* attempts whose failure was counted, the latest */
        uint32_t n_failed;
        bool given;                    /* a worker held it when the row was written */
        char task_hash[HASH_HEX_SIZE]; /* of that lease; "": unknown */
    } * attempts;                      /* borrowed */
    size_t n_attempts;
};

struct event {
    enum event_type type;
    struct peer peer;
    const struct msg *msg; /* borrowed during the call */
    struct err failure;    /* code 0: the effect succeeded */
    uint64_t job, index;
    const char *text;          /* borrowed */
    struct delivery *delivery; /* ownership passes to the reactor */
    enum probe_answer probe;
    struct record *found;      /* taken over (its strings), for PROBE_OURS; else borrowed */
    struct restored *restored; /* its job and bits are taken over */
    struct job_asset *assets;
    size_t n_assets;
    struct asset_answer *asset; /* contents are taken over */
};

int reactor_on(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
               struct err *e);

/* Gives free workers tasks. */
int reactor_schedule(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e);

/* Whether a delivery's picture is still to be written: not if its job was cancelled or given up. */
bool reactor_wants(const struct coord *c, const struct delivery *d);

/* Puts a job of the store back, at start. Unclaimed attempts wait until now_ms + grace_ms. */
int reactor_restore(struct coord *c, struct restored *r, int64_t now_ms, struct err *e);

/* Tasks in flight as the store knows them: a given one may still be claimed by its worker. */
int reactor_restore_attempts(struct coord *c, struct job_entry *j, const struct restored *r,
                             int64_t now_ms, struct err *e);

#endif
