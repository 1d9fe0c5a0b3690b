/*
 * Carries an outbox out in the one order that loses nothing: files (synced), rows (committed), then
 * index lines and messages. What an effect finds goes back to the reactor within the same batch.
 *
 * What leaves the process goes through the four callbacks, so that tests run whole batches without
 * a socket. One thread.
 *
 *     TRY(reactor_on(b.coord, &event, now, &b.outbox, e));
 *     rc = batch_run(&b, now, e);          // 1: the store refuses for now
 *     while (rc == 1) rc = batch_finish(&b, e);
 */
#ifndef COORDINATOR_BATCH_H
#define COORDINATOR_BATCH_H

#include "coordinator/backlog.h"
#include "coordinator/output.h"
#include "coordinator/reactor.h"
#include "coordinator/store.h"

#define BATCH_ROUNDS_MAX 64 /* of scheduling; each may find pictures that need no lease */

struct batch {
    struct coord *coord; /* borrowed, as the next three */
    struct store *store;
    struct output *output;
    void *user; /* of the callbacks */
    /* 0, or ERR_MISSING or ERR_TIMEOUT when the peer does not take it: it then counts as gone. */
    int (*send)(void *user, const struct peer *peer, const struct buf *frame, struct err *e);
    void (*log)(void *user, enum log_level level, const char *event, const char *text);
    /* Draws the sheet of a job, later; the answer is an EVENT_DRAWN. */
    int (*draw)(void *user, uint64_t job, struct err *e);
    /* For files of tasks; may be NULL if the coordinator's limits say that there are none. The
     * answers are EVENT_ASSETs, and frames that go to the peer without a commit. */
    int (*asset)(void *user, enum asset_role role, const char *name, struct err *e);
    int (*chunk)(void *user, const struct peer *peer, const struct msg_want *want, struct err *e);
    /* Told of each durable record, for monitoring; may be NULL. */
    void (*recorded)(void *user, const struct record *record);
    struct outbox outbox;
    struct backlog backlog; /* of requests that are answered from the disk */
    int64_t commit_ms;      /* the last batch's commit took; -1: it had none */
    size_t n_effects;       /* outbox items before this one are carried out */
    struct peer *gone;      /* peers that could not be reached; owned */
    size_t n_gone, gone_room;
    struct reopening *reopenings; /* reopening.h; owned list. While there is one the next batch
                                     comes at once */
    int64_t reopening_wait_ms;    /* not before; the disk refused */
    bool reopened;                /* a slice was done in this batch: one is enough */
    int64_t now_ms;               /* of the last batch */
    bool went_on;                 /* with what a coordinator before this one left */
    uint64_t *torn;               /* jobs whose index.jsonl must be made anew; owned */
    size_t n_torn;
};

/* From the events that filled the outbox to the last message. 1: see batch_finish. */
int batch_run(struct batch *b, int64_t now_ms, struct err *e);

/*
 * Commits and sends. 1: the disk refuses the commit, e says why; nothing is lost, nothing was sent,
 * call again later and run nothing else meanwhile.
 */
int batch_finish(struct batch *b, struct err *e);

/* Whether it has nothing to go on with before the next event. */
bool batch_waits(const struct batch *b);

/* Events about peers that could not be reached, into the (empty) outbox of the next batch. */
int batch_gone(struct batch *b, int64_t now_ms, struct err *e);

void batch_done(struct batch *b);

#endif
