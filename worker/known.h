/*
 * What this worker knows by hash: its own files (proto/hash_memo.h) and the listings that came. One
 * thread.
 */
#ifndef WORKER_KNOWN_H
#define WORKER_KNOWN_H

#include "proto/buf.h"
#include "proto/hash_memo.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed memory but for `hashes` is empty. */
struct known {
    struct hash_memo *hashes; /* borrowed; NULL: files are read each time */
    struct known_listing {
        struct known_listing *next;
        char sha256[HASH_HEX_SIZE];
        struct buf text;
    } * listings;
};

void known_done(struct known *k);

/* A regular file of that size and hash. Read if its size fits and its hash is not known. */
bool known_is(struct known *k, const char *path, const char *sha256, uint64_t bytes);

/* The text of a listing, NULL: not here. Borrowed. */
const struct buf *known_listing(const struct known *k, const char *sha256);
/* Takes the text over. ERR_OUTPUT: it has another hash, with both. */
int known_add_listing(struct known *k, const char *sha256, struct buf *text, struct err *e);

#endif
