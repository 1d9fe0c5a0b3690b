/*
 * Bytes that die together: taken one after the other from large blocks, let go of all at once. What
 * was taken stays where it is until then.
 *
 * Zeroed memory is an empty pool. One thread at a time.
 *
 *     char *copy = pool_text(&p, text, strlen(text));
 *     ...
 *     pool_clear(&p, 1 << 20);
 *     pool_done(&p);
 */
#ifndef PROTO_POOL_H
#define PROTO_POOL_H

#include <stddef.h>

struct pool_block;

struct pool {
    struct pool_block *used; /* the one that is being filled first */
    struct pool_block *idle; /* all of the usual size */
    size_t block_bytes;      /* of a usual block; 0: POOL_BLOCK_BYTES */
};

#define POOL_BLOCK_BYTES 65536

/* Aligned for anything, not zeroed. NULL: no memory. */
void *pool_take(struct pool *p, size_t size_bytes);

/* The same, zeroed. */
void *pool_alloc(struct pool *p, size_t size_bytes);

/* A copy, with a NUL behind it. NULL: no memory. */
char *pool_text(struct pool *p, const char *text, size_t size_bytes);

/*
 * An array of n elements of `size_bytes` with room for at least one more: the same array, or a
 * larger copy. Capacities are powers of two, so callers keep none. NULL: no memory.
 */
void *pool_grow(struct pool *p, void *array, size_t n, size_t size_bytes);

/* All that was taken is gone. Blocks of up to keep_bytes stay for what comes next. */
void pool_clear(struct pool *p, size_t keep_bytes);
void pool_done(struct pool *p);

#endif
