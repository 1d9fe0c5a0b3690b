#include "engine/ops/arena.h"

#include <stdint.h>
#include <stdlib.h>

#define ALIGNMENT 64u

void arena_plan(struct arena *a)
{
    *a = (struct arena){.capacity = SIZE_MAX};
}

int arena_init(struct arena *a, size_t capacity, struct err *e)
{
    size_t size = capacity ? capacity : ALIGNMENT;

    *a = (struct arena){0};
    if (size > SIZE_MAX - ALIGNMENT)
        return err_set(e, ERR_OOM, "scratch memory of %zu bytes is not available", capacity);
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    a->base = aligned_alloc(ALIGNMENT, size);
    if (!a->base)
        return err_set(e, ERR_OOM, "scratch memory of %zu bytes is not available", capacity);
    a->capacity = size;
    return 0;
}

void arena_over(struct arena *a, void *memory, size_t capacity)
{
    *a = (struct arena){.base = memory, .capacity = capacity};
}

void arena_done(struct arena *a)
{
    free(a->base);
    *a = (struct arena){0};
}

void *arena_bytes(struct arena *a, size_t n_bytes)
{
    size_t size, at = a->used;

    if (n_bytes > SIZE_MAX - ALIGNMENT) {
        a->failed = true;
        return NULL;
    }
    size = (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size > a->capacity - a->used) {
        a->failed = true;
        return NULL;
    }
    a->used += size;
    if (a->used > a->peak)
        a->peak = a->used;
    /* While planning, addresses only tell blocks apart; NULL stays free for "did not fit". */
    return a->base ? a->base + at : (void *)(uintptr_t)(ALIGNMENT + at);
}

float *arena_floats(struct arena *a, size_t n)
{
    if (n > SIZE_MAX / sizeof(float)) {
        a->failed = true;
        return NULL;
    }
    return arena_bytes(a, n * sizeof(float));
}

size_t arena_mark(const struct arena *a)
{
    return a->used;
}

void arena_release(struct arena *a, size_t mark)
{
    a->used = mark;
}

int arena_check(const struct arena *a, struct err *e)
{
    if (a->failed)
        return err_set(e, ERR_INTERNAL,
                       "scratch memory: a request did not fit the %zu bytes planned", a->capacity);
    return 0;
}
