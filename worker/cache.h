/*
 * Files on this machine's disk by their SHA-256, within a budget. Several workers may share a
 * folder.
 *
 *     DIR/files/SHA256     whole files, verified before they got this name
 *     DIR/parts/SHA256     files on their way, written from the front; a fetch goes on there
 *     DIR/views/           where a worker makes folders look as models do (view.h)
 *
 * A file is verified again when this process first uses it, and when its stamp changed since: a
 * torn or altered one is removed and counts as missing. Files in use hold a lock, which no other
 * worker and no crash can take or keep; the longest unused of the others make room. One thread.
 * What was verified is noted in this process' memo of hashes, and never read from there.
 *
 *     TRY(cache_open(dir, budget_bytes, hashes, &c, e));
 *     TRY(cache_hold(c, sha256, &here, e));
 *     if (!here) {
 *         TRY(cache_begin(c, sha256, total, &have, e));
 *         TRY(cache_append(c, data, size, e)); ...
 *         TRY(cache_commit(c, e));
 *     }
 *     cache_release(c, sha256);
 */
#ifndef WORKER_CACHE_H
#define WORKER_CACHE_H

#include "proto/buf.h"
#include "proto/hash_memo.h"

#include <stdbool.h>
#include <stdint.h>

struct cache;

/*
 * Nothing is made on disk before the first cache_begin. dir: copied; hashes: borrowed, NULL:
 * nothing is noted. ret_cache: cache_close(). ERR_OOM.
 */
int cache_open(const char *dir, uint64_t budget_bytes, struct hash_memo *hashes,
               struct cache **ret_cache, struct err *e);

/* Whether the folder is there, or can be made, and be written to: ERR_IO if not, with its name.
 * Makes nothing. */
int cache_check(const struct cache *c, struct err *e);
void cache_close(struct cache *c);

/* Is it here, whole? Then it stays until it is released as often as it was held. */
int cache_hold(struct cache *c, const char *sha256, bool *ret_here, struct err *e);
void cache_release(struct cache *c, const char *sha256);

/* Where it is while it is held. */
int cache_path(const struct cache *c, const char *sha256, struct buf *ret_path, struct err *e);

/*
 * Makes room and opens the part; ret_have: bytes of it that are there already. One file at a time.
 * ERR_MISSING: it does not fit the budget beside what is in use, with the numbers. ERR_CONFLICT:
 * another worker fetches it into this folder. ERR_IO.
 */
int cache_begin(struct cache *c, const char *sha256, uint64_t total, uint64_t *ret_have,
                struct err *e);
int cache_append(struct cache *c, const void *data, size_t size, struct err *e);

/* Verifies, syncs, gives it its name. ERR_OUTPUT: other bytes, with both hashes; the part is gone.
 */
int cache_commit(struct cache *c, struct err *e);

/* All of that at once, of bytes that are at hand; legal for a file that is here. It counts as no
 * miss. Not between a cache_begin and its end. Errors as theirs. */
int cache_put(struct cache *c, const char *sha256, const void *data, size_t size, struct err *e);

/* The part stays as it is. */
void cache_suspend(struct cache *c);

struct cache_counts {
    uint64_t hits, misses, evictions, damaged, fetched_bytes;
};
struct cache_counts cache_counts(const struct cache *c);

#endif
