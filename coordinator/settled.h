/*
 * Which tasks of a job have a record, kept in the store as pages of bits beside the records, in the
 * same transaction. So a start reads pages, never rows. Part of the store: its files call it,
 * nobody else.
 *
 * Pages that change are held in a small cache and written before the commit.
 */
#ifndef COORDINATOR_SETTLED_H
#define COORDINATOR_SETTLED_H

#include "coordinator/bits.h"
#include "coordinator/store.h"

#define SETTLED_PAGES 64 /* held at a time */
#define SETTLED_BYTES (BITS_PAGE / 8)

struct settled_page {
    uint64_t job, number;
    uint64_t done, failed;
    uint64_t used; /* grows: the smallest is the longest unused */
    bool dirty;
    unsigned char bits[SETTLED_BYTES];
};

/* Zeroed memory is empty. */
struct settled {
    struct settled_page pages[SETTLED_PAGES];
    size_t n, hot; /* hot: the last one used */
    uint64_t uses;
};

/* A record was inserted, within the transaction. */
int settled_note(struct store *s, uint64_t job, uint64_t index, bool failed, struct err *e);

/* A record was deleted, within the transaction. */
int settled_unnote(struct store *s, uint64_t job, uint64_t index, bool failed, struct err *e);

/* Writes what changed; the transaction goes on. */
int settled_flush(struct store *s, struct err *e);

/* After a rollback: what is held may not be what the database has. */
void settled_forget(struct store *s);

/* Made anew from a job's records, within a transaction. */
int settled_rebuild(struct store *s, uint64_t job, struct err *e);

/* All of a job; the counts are of its records. */
int settled_load(struct store *s, uint64_t job, struct bits *ret_bits, uint64_t *ret_done,
                 uint64_t *ret_failed, struct err *e);

#endif
