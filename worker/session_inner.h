/*
 * What session.c (the conversation), leases.c and results.c share; nobody else includes it. The
 * functions of session.h stand where their noun is.
 */
#ifndef WORKER_SESSION_INNER_H
#define WORKER_SESSION_INNER_H

#include "worker/cache.h"
#include "worker/held.h"

enum session_state {
    STATE_NEW,      /* before the first tick */
    STATE_GREETING, /* hello is out */
    STATE_OPEN,     /* welcome came */
    STATE_OVER
};

struct session {
    struct session_options options;
    enum session_state state;
    int64_t hello_ms, heard_ms, pinged_ms; /* when hello left, a frame came, a ping left */
    int64_t ready_ms;                      /* when what is held was last stated */
    int64_t heartbeat_ms, silence_ms;
    struct held_list held;
    bool owes_ready;
    bool leaving, finishing; /* asked to leave; with what runs */
    int64_t leave_ms;        /* since when nothing runs, or it was asked to stop */

    char meeting[MSG_NAME_MAX + 1]; /* said in ready */
    struct cache_counts cache;      /* the same */
    struct session_action *actions; /* owned */
    size_t n_actions, taken, actions_max;
    struct attempt_ref *refs; /* of the ready in actions; owned */
    size_t share;             /* how many of the last lease's kind are rendered together */
    const char *starting[SESSION_LEASES_MAX]; /* of the start in actions */
    const struct attempt_ref *starting_refs[SESSION_LEASES_MAX];
};

/* Every event starts so: the actions of the one before are taken. */
void session_begin(struct session *s);

/* What every event may lead to: offers, the next render, and one ready that states the outcome. */
int session_settle(struct session *s, int64_t now_ms, struct err *e);

/* An empty action at the end of the list. ERR_OOM. */
int session_action_add(struct session *s, enum session_what what, struct session_action **ret_a,
                       struct err *e);

/* The action that sends m, which borrows what it points to until it is taken. ERR_OOM. */
int session_send(struct session *s, const struct msg *m, struct err *e);

#endif
