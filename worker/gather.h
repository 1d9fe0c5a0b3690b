/*
 * Orders on their way: each is located as far as what is here goes, and the first that lacks a file
 * has it fetched, one file at a time. The stock's inside: its thread only (stock.h says what the
 * events mean). It waits for disks, and for nothing else.
 *
 *     TRY(gather_new(&o, &g, e));
 *     gather_add(g, order);
 *     gather_advance(g, now_ms);   // after each of the others, and from time to time
 */
#ifndef WORKER_GATHER_H
#define WORKER_GATHER_H

#include "worker/order.h"

struct gather;
struct stock_event;

struct gather_options {
    struct hash_memo *hashes; /* borrowed */
    struct cache *cache;      /* borrowed */
    struct view *view;        /* borrowed */
    uint32_t part_bytes;      /* of a want; 0: MSG_CHUNK_MAX */
    /* Called with each event, which is the callee's: given with it. */
    void (*happened)(void *user, const struct stock_event *event);
    void *user;
};

/* ret_gather: gather_free(). ERR_OOM. */
int gather_new(const struct gather_options *o, struct gather **ret_gather, struct err *e);
/* Its orders with it. */
void gather_free(struct gather *g);

/* Takes it over; it ends in STOCK_READY or STOCK_FAILED. */
void gather_add(struct gather *g, struct order *o);

/* The lease is over: what it holds in the cache may go. Legal for unknown ones. */
void gather_release(struct gather *g, const struct attempt_ref *ref);

/* A whole file goes to the cache, without an order that waits for it; nothing happens if there is
 * no room, or another one is on its way. */
void gather_keep(struct gather *g, const struct msg_chunk *file);

/* A part of a file came. Copied. */
void gather_chunk(struct gather *g, const struct msg_chunk *chunk);
/* The coordinator cannot send this file. */
void gather_gone(struct gather *g, const char *sha256, const struct err *why);
/* A new session: what is unanswered is wanted again. */
void gather_again(struct gather *g);

/* All orders as far as they go. */
void gather_advance(struct gather *g, int64_t now_ms);

/* Whether gather_advance is to be called though nothing happens. */
bool gather_waits(const struct gather *g);

#endif
