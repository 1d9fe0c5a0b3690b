/*
 * The listing of a folder: which files it has, by SHA-256, as text whose own SHA-256 stands for the
 * folder (proto/PROTOCOL.md, "Assets"). One folder, one text. Pure; any thread.
 *
 *     TRY(listing_add(&l, "unet/config.json", hex, bytes, e));
 *     TRY(listing_text(&l, &text, e));              // sorts
 *     TRY(listing_parse(text.data, text.size, &back, e));
 *     listing_done(&l);
 */
#ifndef JOBS_LISTING_H
#define JOBS_LISTING_H

#include "proto/buf.h"
#include "proto/hash.h"

#include <stdint.h>

#define LISTING_FILES_MAX 1000
#define LISTING_TEXT_MAX  (1u << 20) /* bytes */
#define LISTING_PATH_MAX  1024       /* bytes of a path in it */
#define LISTING_BYTES_MAX (UINT64_C(1) << 53)

struct listing {
    struct listing_file {
        char *path; /* relative, "unet/config.json"; owned */
        char sha256[HASH_HEX_SIZE];
        uint64_t bytes;
    } * files; /* owned */
    size_t n;
};

/* ERR_INPUT: the path could lead out of the folder or is too long, or there are too many files. */
int listing_add(struct listing *l, const char *path, const char *sha256, uint64_t bytes,
                struct err *e);

/* Sorts the files and appends the text. ERR_INPUT: a path twice, or the text is too long. */
int listing_text(struct listing *l, struct buf *ret_text, struct err *e);

/* Any bytes. ERR_INPUT says which line is no line of a listing. ret_l: listing_done(). */
int listing_parse(const void *text, size_t size, struct listing *ret_l, struct err *e);

/* Of all files. */
uint64_t listing_bytes(const struct listing *l);

void listing_done(struct listing *l);

#endif
