/*
 * Gangs: several processes, one device each, that render one picture together. A gang is a set of
 * members numbered by rank, and the collective operations between them, as one table per backend:
 *
 *   host   CPU workers: sockets between all pairs, Unix ones on one machine, else TCP on loopback
 *   nccl   GPUs: NVIDIA's NCCL, built where the toolkit is
 *
 * All members call the same operations in the same order, as in MPI. An operation returns when this
 * member's part is done; one on a device's memory when it is queued in the device's stream, behind
 * what was queued before. Sums are taken in rank order (nccl: in NCCL's), so bytes depend on the
 * gang's shape and on nothing else. Nobody waits for ever: an operation, or the wait for what was
 * queued, ends with an error as soon as a member that it needs is gone, the abort descriptor is
 * readable, or (host) nothing has moved for the patience given.
 * After any error the gang is of no use but to be freed, which the others notice at once.
 *
 * Meeting: the member of rank 0 makes an offer, whose text the others get by other means (the
 * coordinator carries it); all then join.
 *
 *     TRY(gang_offer_new(GANG_UNIX, NULL, &offer, e));       // rank 0
 *     ... gang_offer_text(offer) to the others ...
 *     TRY(gang_join(&(struct gang_place){.rank = 0, .size = 2, .offer = offer, ...}, &g, e));
 *     TRY(g->all_reduce(g, x, n, GANG_F32, e));
 *     g->free(g);
 *     gang_offer_free(offer);
 *
 * One thread per gang; only the abort descriptor may be written by another.
 */
#ifndef ENGINE_GANG_GANG_H
#define ENGINE_GANG_GANG_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GANG_SIZE_MAX    16
#define GANG_TEXT_MAX    512    /* bytes of an offer's text */
#define GANG_PATIENCE_MS 600000 /* the coordinator's patience with a model that loads */

enum gang_kind {
    GANG_UNIX, /* host backend, all members on this machine */
    GANG_TCP,  /* host backend over TCP, also between machines; loopback addresses only, since the
                  sockets have no keys: from machine to machine by tunnels */
    GANG_NCCL
};

/* How numbers are stored; sums are float32 whatever they are. The host backend has no f16. */
enum gang_number { GANG_F32, GANG_BF16, GANG_F16 };

/* One member's side of an exchange with one peer; a size of 0: nothing that way. */
struct gang_transfer {
    int peer; /* rank, not one's own; each peer once in an exchange */
    const void *send;
    size_t send_bytes;
    void *receive;
    size_t receive_bytes;
};

/*
 * all_reduce and exchange work on plain memory, or if `device` is set on the device's (nccl).
 * all_gather and broadcast work on plain memory always.
 */
struct gang {
    const char *name; /* "host", "nccl" */
    int rank, size;
    bool device;

    /* x[n] becomes the sum over all members, taken in rank order in float32 and rounded once. */
    int (*all_reduce)(struct gang *g, void *x, int64_t n, enum gang_number number, struct err *e);

    /*
     * all: the members' parts one after the other in rank order, counts[size] floats each (0 is
     * legal); one's own part is in its place at the start, the others' at the end.
     */
    int (*all_gather)(struct gang *g, float *all, const int64_t counts[], struct err *e);

    /* bytes[size] of the root become everybody's. */
    int (*broadcast)(struct gang *g, void *bytes, size_t size, int root, struct err *e);

    /* Sends to and receives from several peers at once; sizes are what the peers expect. */
    int (*exchange)(struct gang *g, const struct gang_transfer *transfers, int n, struct err *e);

    /*
     * The members that call with the same colour as a gang of their own, in rank order. Collective
     * over g. Freed before g; an error of either is one of both.
     */
    int (*split)(struct gang *g, int colour, struct gang **ret_part, struct err *e);

    /* Without waiting: ERR_LOST if a member is gone, ERR_CANCELLED if told to stop, else 0. */
    int (*check)(struct gang *g, struct err *e);

    void (*free)(struct gang *g);
};

/* Where a gang can meet; rank 0 keeps it until the gang is joined. */
struct gang_offer;

/*
 * address: of GANG_TCP, where the others reach this member; NULL: 127.0.0.1. ERR_IO, also where all
 * of its ports are in use; ERR_ARG for a backend that this build does not have, or an address as
 * gang_address_check() says. Caller frees.
 */
int gang_offer_new(enum gang_kind kind, const char *address, struct gang_offer **ret_offer,
                   struct err *e);
void gang_offer_free(struct gang_offer *offer);

/*
 * "ADDRESS" or "ADDRESS:FIRST-LAST": where a member listens, at any free port or at the first free
 * one of a range. ERR_ARG for what is no IPv4 address of the loopback network, 127.0.0.0/8, and for
 * a range that is not within 1 to 65535 or has one port only: a member has two doors at times, that
 * of its gang and that of the next one it leads.
 */
int gang_address_check(const char *address, struct err *e);

/* "unix:..." and the like, shorter than GANG_TEXT_MAX, good for one gang. Borrowed. */
const char *gang_offer_text(const struct gang_offer *offer);

struct gang_place {
    int rank, size;                 /* 0..size - 1, 2..GANG_SIZE_MAX */
    const struct gang_offer *offer; /* rank 0's own; others: NULL */
    const char *meeting;            /* others: the text of rank 0's offer */
    const char *address;            /* others: as gang_offer_new() has it, where rank 0's is TCP */
    int abort_fd;                   /* readable: give up; -1: none. Borrowed for the gang's life */
    int patience_ms;                /* 0: GANG_PATIENCE_MS */
    int device;                     /* nccl: the GPU's number */
};

/*
 * Returns when all members are there. ERR_ARG: a meeting text or place that cannot be; ERR_LOST: a
 * member did not come or left; ERR_CANCELLED; ERR_IO.
 */
int gang_join(const struct gang_place *place, struct gang **ret_gang, struct err *e);

#endif
