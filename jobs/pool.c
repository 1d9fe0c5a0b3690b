#include "jobs/pool.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 65536
#define GROW_FIRST  8 /* elements of a new array */

struct pool_block {
    struct pool_block *next;
    size_t used, capacity; /* bytes of data */
    alignas(max_align_t) unsigned char data[];
};

void *pool_alloc(struct pool *pool, size_t size_bytes)
{
    const size_t align = alignof(max_align_t);
    struct pool_block *block = pool->blocks;
    void *memory;

    if (size_bytes > SIZE_MAX / 2)
        return NULL;
    size_bytes = (size_bytes + align - 1) / align * align;
    if (!block || block->capacity - block->used < size_bytes) {
        size_t capacity = size_bytes > BLOCK_BYTES ? size_bytes : BLOCK_BYTES;

        block = calloc(1, sizeof *block + capacity);
        if (!block)
            return NULL;
        block->capacity = capacity;
        block->next = pool->blocks;
        pool->blocks = block;
    }
    memory = block->data + block->used;
    block->used += size_bytes;
    return memory;
}

char *pool_text(struct pool *pool, const char *text, size_t size_bytes)
{
    char *copy = pool_alloc(pool, size_bytes + 1);

    if (copy && size_bytes)
        memcpy(copy, text, size_bytes);
    return copy;
}

void *pool_grow(struct pool *pool, void *array, size_t n, size_t size_bytes)
{
    void *larger;

    if (array && (n < GROW_FIRST || (n & (n - 1)) != 0))
        return array;
    if (n > SIZE_MAX / 4 / size_bytes)
        return NULL;
    larger = pool_alloc(pool, (n ? 2 * n : GROW_FIRST) * size_bytes);
    if (larger && n)
        memcpy(larger, array, n * size_bytes);
    return larger;
}

void pool_done(struct pool *pool)
{
    while (pool->blocks) {
        struct pool_block *next = pool->blocks->next;

        free(pool->blocks);
        pool->blocks = next;
    }
}
