/*
 * One file on its way from the coordinator: which parts to want, and when again; what of the chunks
 * that come is taken, and in which order it is written. Pure: no disk, socket or clock, so that
 * tests lose, repeat and reorder as they like. What is promised is proto/PROTOCOL.md's, "Assets".
 *
 *     fetch_begin(&f, sha256, have, total, total_max, MSG_CHUNK_MAX);
 *     while (fetch_want(&f, now_ms, &want)) ...           // to be sent
 *     TRY(fetch_chunk(&f, &chunk, e));                    // one came
 *     while (fetch_take(&f, &data, &size)) ...            // to be appended; free(data)
 *     if (fetch_over(&f)) ...
 */
#ifndef WORKER_FETCH_H
#define WORKER_FETCH_H

#include "proto/msg.h"

#define FETCH_WINDOW    4    /* wants unanswered at a time */
#define FETCH_REPEAT_MS 5000 /* a want without an answer is sent again */

/* Zeroed memory is idle. */
struct fetch {
    char sha256[HASH_HEX_SIZE]; /* "": idle */
    uint64_t total;             /* bytes of the file; 0: the first chunk tells */
    uint64_t total_max;         /* which may be so many */
    uint64_t next;              /* the first byte that was not taken */
    uint64_t asked;             /* the first byte that was not wanted */
    uint32_t part;              /* bytes of a want */
    struct fetch_slot {
        bool used;
        uint64_t offset;
        uint32_t bytes;
        bool sent;
        int64_t sent_ms;
        void *data; /* it came; owned */
        size_t size;
    } slots[FETCH_WINDOW];
};

/*
 * From byte `have` on. total: bytes of the whole, 0: at most total_max. part: bytes of a want,
 * 1..MSG_CHUNK_MAX.
 */
void fetch_begin(struct fetch *f, const char *sha256, uint64_t have, uint64_t total,
                 uint64_t total_max, uint32_t part);

/* A want that is due; false: none now. */
bool fetch_want(struct fetch *f, int64_t now_ms, struct msg_want *ret_want);

/* The connection is new: what is unanswered is due again. */
void fetch_again(struct fetch *f);

/*
 * Takes a copy of what was wanted; what was not (another file, a repeated or late chunk) is passed
 * over. ERR_INPUT: it answers a want with other bytes than those wanted, or another total. ERR_OOM.
 */
int fetch_chunk(struct fetch *f, const struct msg_chunk *chunk, struct err *e);

/* The next bytes of the file; caller frees. false: they are not here yet. */
bool fetch_take(struct fetch *f, void **ret_data, size_t *ret_size);

/* Everything was taken. */
bool fetch_over(const struct fetch *f);

/* Idle again. */
void fetch_end(struct fetch *f);

#endif
