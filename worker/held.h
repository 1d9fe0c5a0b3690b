/*
 * What a session holds: leases from their arrival until nobody needs them any more, each with what
 * became of it. A list and questions about it; it sends nothing and decides nothing. The session's
 * inside (session_inner.h): one thread.
 */
#ifndef WORKER_HELD_H
#define WORKER_HELD_H

#include "worker/kind.h"
#include "worker/session.h"

enum held_state {
    HELD_WAITING,  /* to be rendered */
    HELD_RUNNING,  /* START was given, its report is due */
    HELD_DROPPED,  /* running, but nobody wants it any more */
    HELD_RENDERED, /* picture waits for its ack */
    HELD_HELPED,   /* done for another member of its gang; waits for its ack */
    HELD_FAILED,   /* error waits for its ack */
};

/* One lease, from its arrival until it is acknowledged, revoked or refused. */
struct held {
    struct attempt_ref ref;
    enum held_state state;
    char *task;       /* owned */
    struct kind kind; /* of its task */
    struct session_gang gang;
    char *meeting;              /* owned, NULL alone; gang.meeting is it */
    struct picture picture;     /* HELD_RENDERED */
    struct err error;           /* HELD_FAILED */
    int64_t sent_ms;            /* when its result last left */
    struct lease_asset *assets; /* [n_assets]; owned with their strings */
    size_t n_assets;
    bool keep;        /* another task starts from its picture */
    bool gathering;   /* they are not here yet */
    bool offered;     /* on this connection */
    bool spilled;     /* the picture's bytes are on disk */
    bool unspillable; /* the disk refused them */
    size_t png_size;  /* of a spilled one */
};

/* Zeroed memory is empty. */
struct held_list {
    struct held **items; /* [n], in order of arrival; owned */
    size_t n, room;
    uint64_t kept_bytes, spilled_bytes; /* of pictures, in memory and on disk */
};

void held_list_done(struct held_list *l);

/* Takes h over, on success only. ERR_OOM. */
int held_add(struct held_list *l, struct held *h, struct err *e);
/* Frees h, which is one of the list's, and no longer counts its picture. */
void held_remove(struct held_list *l, struct held *h);
/* One that is in no list. */
void held_free(struct held *h);

/* NULL: it is not held. */
struct held *held_find(const struct held_list *l, const struct attempt_ref *ref);
/* The first of what runs, wanted or not; NULL: nothing runs. */
struct held *held_running(const struct held_list *l);

/* Whether its outcome is known and waits for its ack. */
bool held_settled(const struct held *h);
/* How many are settled, or are not. */
size_t held_count(const struct held_list *l, bool want_settled);
/* Whether anybody waits for something of what runs. */
bool held_wanted(const struct held_list *l);
/* Whether results that may still be rendered find a place. */
bool held_has_room(const struct held_list *l);

#endif
