/*
 * The files of leases: found among this machine's own by size and hash, in the cache, or fetched
 * from the coordinator. A thread of its own does what waits for disks; the functions are for the
 * thread that has the connection, and never wait.
 *
 *     TRY(stock_open(&o, &s, e));
 *     TRY(stock_gather(s, &ref, task, assets, n, e));
 *     // stock_fd(s) becomes readable
 *     while (stock_next(s, &event)) ...
 *     stock_release(s, &ref);
 */
#ifndef WORKER_STOCK_H
#define WORKER_STOCK_H

#include "jobs/library.h"
#include "proto/msg.h"
#include "worker/cache.h"
#include "worker/given.h"
#include "worker/view.h"

struct stock;

struct stock_options {
    const struct library *library; /* borrowed */
    struct hash_memo *hashes;      /* of files that were read; borrowed */
    const char *dir;               /* of the cache */
    bool dir_chosen;               /* the user named it: an error if it cannot be written */
    uint64_t budget_bytes;         /* of the cache */
    bool own_files;                /* the library's files serve if size and hash are equal */
    uint32_t part_bytes;           /* of a want; 0: MSG_CHUNK_MAX */
};

/* Starts the thread. ret_stock: stock_close(). ERR_IO: a dir_chosen of no use. ERR_OOM. */
int stock_open(const struct stock_options *o, struct stock **ret_stock, struct err *e);
/* Waits for what the thread is at, a slice of a file at most. NULL is legal. */
void stock_close(struct stock *s);

/* For the runner; borrowed. */
struct view *stock_view(struct stock *s);

/* A lease's assets. Everything is copied. Ends in STOCK_READY or STOCK_FAILED. */
int stock_gather(struct stock *s, const struct attempt_ref *ref, const char *task,
                 const struct lease_asset *assets, size_t n, struct err *e);

/* The lease is over: its files may be removed from now on. Legal for unknown ones. */
void stock_release(struct stock *s, const struct attempt_ref *ref);

/* A picture that a coming lease will name by its hash: it need not be fetched. Copied; it is let go
 * where the cache has no room, or is busy with another file. */
int stock_keep(struct stock *s, const struct msg_result *picture, struct err *e);

/* What came from the coordinator. Copied. */
int stock_chunk(struct stock *s, const struct msg_chunk *chunk, struct err *e);
int stock_gone(struct stock *s, const struct msg_gone *gone, struct err *e);
/* A new session: what is unanswered is wanted again. */
void stock_connected(struct stock *s);

enum stock_what { STOCK_WANT, STOCK_READY, STOCK_FAILED, STOCK_FETCHING };

struct stock_event {
    enum stock_what what;
    struct msg_want want;    /* to be sent */
    struct attempt_ref ref;  /* of the other three */
    struct given *given;     /* STOCK_READY: given_free() */
    struct err why;          /* STOCK_FAILED */
    uint64_t fetched, total; /* STOCK_FETCHING: bytes */
};

/* Readable while there is something to take. */
int stock_fd(const struct stock *s);
bool stock_next(struct stock *s, struct stock_event *ret_event);

struct cache_counts stock_counts(struct stock *s);

#endif
