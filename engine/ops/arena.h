/*
 * Scratch memory of one render, planned before step 1: a stack of blocks, 64-byte aligned. Nothing
 * in the step loop calls malloc.
 *
 * Planning: an arena without memory hands out addresses that must not be touched and notes the
 * peak. Networks run once over it with a planning backend (ops.h), then arena_init() takes the
 * peak.
 *
 *     size_t mark = arena_mark(a);
 *     float *t = arena_floats(a, n);
 *     ...
 *     arena_release(a, mark);
 */
#ifndef ENGINE_OPS_ARENA_H
#define ENGINE_OPS_ARENA_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

struct arena {
    char *base;        /* owned; NULL while planning */
    size_t capacity;   /* bytes; SIZE_MAX while planning */
    size_t used, peak; /* bytes */
    bool failed;       /* a request did not fit; see arena_check */
};

/* An arena that only measures. */
void arena_plan(struct arena *a);

/* Real memory. ERR_OOM with the size if the system has none. */
int arena_init(struct arena *a, size_t capacity, struct err *e);
void arena_done(struct arena *a);

/* Over memory that stays its owner's, 64-byte aligned. Not for arena_done(). */
void arena_over(struct arena *a, void *memory, size_t capacity);

/* 64-byte aligned. NULL when it does not fit (a bug of the plan): arena_check then says so. */
void *arena_bytes(struct arena *a, size_t n_bytes);
float *arena_floats(struct arena *a, size_t n);

/* A place to go back to: what was taken after it is free again. Marks nest. */
size_t arena_mark(const struct arena *a);
void arena_release(struct arena *a, size_t mark);

/* ERR_INTERNAL if a request ever failed. */
int arena_check(const struct arena *a, struct err *e);

#endif
