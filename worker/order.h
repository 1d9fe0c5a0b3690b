/*
 * One lease's files: where each of them is, as far as that is known. The stock's inside; one
 * thread. What is held in the cache is released with the order.
 */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#include "jobs/asset.h"
#include "jobs/library.h"
#include "jobs/listing.h"
#include "proto/msg.h"
#include "worker/cache.h"
#include "worker/given.h"
#include "worker/known.h"
#include "worker/view.h"

struct order_file {
    char sha256[HASH_HEX_SIZE];
    uint64_t bytes;
    char *path; /* where it is; NULL: not known yet; owned */
    bool held;  /* in the cache */
};

struct order_asset {
    enum asset_role role;
    char *label, *own; /* the name in the lease; the path that this machine has under the task's
                          name for it, NULL: none; both owned */
    bool bound;        /* that name is the task's own, not the library's */
    char sha256[HASH_HEX_SIZE];
    bool folder;
    uint64_t bytes;
    bool listed;            /* files is filled */
    struct listing listing; /* of a folder */
    struct order_file *files;
    size_t n_files;
};

struct order {
    struct order *next;
    struct given_name *bound; /* [n_bound], names that the task binds to files which the lease does
                                 not list as assets; owned */
    size_t n_bound;
    struct attempt_ref ref;
    struct order_asset *assets; /* owned */
    size_t n;
    bool ready;      /* its files were given out */
    int64_t told_ms; /* when it last told how far it is */
};

/*
 * library: NULL: none of this machine's own files are used. ERR_INPUT: an asset that PROTOCOL.md
 * does not allow. ERR_MISSING: a file of the task's own names is neither an asset nor here.
 * ret_order: order_free().
 */
int order_new(const struct attempt_ref *ref, const char *task, const struct lease_asset *assets,
              size_t n, const struct library *library, struct order **ret_order, struct err *e);
void order_free(struct order *o, struct cache *c);

/* Lets go of what it holds, to be located again. */
void order_unlocate(struct order *o, struct cache *c);

/* What is missing first: a listing (total 0) or a file. */
struct missing {
    char sha256[HASH_HEX_SIZE];
    uint64_t total; /* bytes; 0 with listing */
    bool listing;
    const char *label; /* borrowed from the order */
};

/* Looks for all that is not located. ret_missing->sha256 "": nothing is. */
int order_locate(struct order *o, struct known *known, struct cache *c, struct missing *ret_missing,
                 struct err *e);

/* Whether the order waits for this hash. */
bool order_waits_for(const struct order *o, const char *sha256);

/* What people call that file; "a file" if it is none of the order's. Borrowed. */
const char *order_label(const struct order *o, const char *sha256);

/* Bytes located; ret_total: of all assets. */
uint64_t order_fetched(const struct order *o, uint64_t *ret_total);

/* Everything is located: paths for the runner, through links where files lie elsewhere than in a
 * folder of their own. ret_given: given_free(). */
int order_give(const struct order *o, struct view *v, struct given **ret_given, struct err *e);

#endif
