/*
 * What this process knows by hash: its own files (read once, again when their stamp changes) and
 * the listings that came. One thread.
 */
#ifndef WORKER_KNOWN_H
#define WORKER_KNOWN_H

#include "proto/buf.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Zeroed memory is empty. */
struct known {
    struct known_file {
        struct known_file *next;
        char *path; /* owned */
        struct stat st;
        char sha256[HASH_HEX_SIZE];
    } * files;
    struct known_listing {
        struct known_listing *next;
        char sha256[HASH_HEX_SIZE];
        struct buf text;
    } * listings;
    uint64_t hashed_bytes;
};

void known_done(struct known *k);

/* A regular file of that size and hash. Read if its size fits and its hash is not known. */
bool known_is(struct known *k, const char *path, const char *sha256, uint64_t bytes);

/* The text of a listing, NULL: not here. Borrowed. */
const struct buf *known_listing(const struct known *k, const char *sha256);
/* Takes the text over. ERR_OUTPUT: it has another hash, with both. */
int known_add_listing(struct known *k, const char *sha256, struct buf *text, struct err *e);

#endif
