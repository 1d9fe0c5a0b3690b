#include "proto/pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GROW_FIRST 8 /* elements of a new array */

struct pool_block {
    struct pool_block *next;
    size_t used, size; /* bytes of data */
    _Alignas(max_align_t) char data[];
};

static struct pool_block *block_new(struct pool *p, size_t size)
{
    size_t usual = p->block_bytes ? p->block_bytes : POOL_BLOCK_BYTES;
    struct pool_block *b = size <= usual ? p->idle : NULL;

    if (b) {
        p->idle = b->next;
    } else {
        b = malloc(sizeof *b + (size > usual ? size : usual));
        if (!b)
            return NULL;
        b->size = size > usual ? size : usual;
    }
    b->used = 0;
    b->next = p->used;
    p->used = b;
    return b;
}

void *pool_take(struct pool *p, size_t size_bytes)
{
    const size_t align = _Alignof(max_align_t);
    struct pool_block *b = p->used;
    size_t size = (size_bytes + align - 1) / align * align;
    void *taken;

    if (size_bytes > SIZE_MAX / 2)
        return NULL;
    if ((!b || b->size - b->used < size) && !(b = block_new(p, size)))
        return NULL;
    taken = b->data + b->used;
    b->used += size;
    return taken;
}

void *pool_alloc(struct pool *p, size_t size_bytes)
{
    void *taken = pool_take(p, size_bytes);

    return taken ? memset(taken, 0, size_bytes) : NULL;
}

char *pool_text(struct pool *p, const char *text, size_t size_bytes)
{
    char *copy = pool_take(p, size_bytes + 1);

    if (!copy)
        return NULL;
    if (size_bytes)
        memcpy(copy, text, size_bytes);
    copy[size_bytes] = 0;
    return copy;
}

void *pool_grow(struct pool *p, void *array, size_t n, size_t size_bytes)
{
    void *larger;

    if (array && (n < GROW_FIRST || (n & (n - 1)) != 0))
        return array;
    if (n > SIZE_MAX / 4 / size_bytes)
        return NULL;
    larger = pool_alloc(p, (n ? 2 * n : GROW_FIRST) * size_bytes);
    if (larger && n)
        memcpy(larger, array, n * size_bytes);
    return larger;
}

static void blocks_free(struct pool_block *b)
{
    struct pool_block *next;

    for (; b; b = next) {
        next = b->next;
        free(b);
    }
}

void pool_clear(struct pool *p, size_t keep_bytes)
{
    size_t usual = p->block_bytes ? p->block_bytes : POOL_BLOCK_BYTES, kept = 0;
    struct pool_block *all[] = {p->idle, p->used}, *next;

    p->idle = p->used = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (struct pool_block *b = all[i]; b; b = next) {
            next = b->next;
            if (b->size != usual || kept + b->size > keep_bytes) {
                free(b);
                continue;
            }
            b->next = p->idle;
            p->idle = b;
            kept += b->size;
        }
    }
}

void pool_done(struct pool *p)
{
    blocks_free(p->used);
    blocks_free(p->idle);
    *p = (struct pool){.block_bytes = p->block_bytes};
}
