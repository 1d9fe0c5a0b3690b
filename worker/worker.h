/*
 * The parts of litho-worker and what its loop remembers between events. For main.c (opening, the
 * loop, the end), actions.c (what the session asks for) and events.c (what it is told); all on the
 * program's first thread.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "jobs/library.h"
#include "proto/link.h"
#include "worker/options.h"
#include "worker/probe.h"
#include "worker/runner.h"
#include "worker/session.h"
#include "worker/spill.h"
#include "worker/stock.h"

/* A lease that lists files. */
struct gathered {
    struct gathered *next;
    struct attempt_ref ref;
    struct given *given; /* owned; NULL: not all are here */
};

struct worker {
    struct options options;
    struct probe probe;
    struct hello_precision precisions[PRECISION_COUNT]; /* as hello has them; of probe */
    char identity[256];
    char host[PROBE_HOST_SIZE];
    struct gang_offer *offer; /* for the next gang that this worker leads; owned, NULL: none */
    struct library *library;
    struct hash_memo *hashes;
    struct runner *runner;
    struct stock *stock;
    struct gathered *gathered; /* of leases; owned list */
    struct session *session;
    struct link *link;
    int signals; /* signalfd */
    struct buf out, in, spilled;
    struct spill spill;
    int64_t started_ms;
    bool leaving;   /* a signal or the time limit asked for it */
    bool signalled; /* the next signal ends it at once */
    bool lost;      /* a spilled result cannot be read */
    struct attempt_ref lost_ref;
    struct err lost_why;
    bool device_lost;    /* to this process: it leaves, to start again */
    bool finished;       /* a picture at least */
    bool rendering;      /* the runner's outcome is due */
    bool was_open;       /* as last logged */
    uint32_t reconnects; /* since it was open */
    bool unsent;         /* a message did not fit the connection's queue */
    bool over;
    struct err why; /* it is over; code 0: on request */
};

#endif
