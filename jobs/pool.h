/*
 * Memory that lives as long as one reading of a manifest: many small blocks, freed together.
 * Not thread-safe. Zeroed memory is a valid empty pool.
 *
 *     struct pool pool = {0};
 *     if (!(name = pool_text(&pool, start, size)))
 *         return err_set(e, ERR_OOM, "out of memory");
 *     pool_done(&pool);
 */
#ifndef JOBS_POOL_H
#define JOBS_POOL_H

#include <stddef.h>

struct pool_block;

struct pool {
    struct pool_block *blocks; /* latest first; owned */
};

/* Zeroed bytes, aligned for any type; NULL when out of memory. Valid until pool_done. */
void *pool_alloc(struct pool *pool, size_t size_bytes);

/* A NUL-terminated copy of `size_bytes` bytes of text. */
char *pool_text(struct pool *pool, const char *text, size_t size_bytes);

/*
 * An array of n elements of `size_bytes` with room for at least one more: the same array, or a
 * larger copy. Capacities are powers of two, so callers keep none. NULL when out of memory.
 */
void *pool_grow(struct pool *pool, void *array, size_t n, size_t size_bytes);

void pool_done(struct pool *pool);

#endif
