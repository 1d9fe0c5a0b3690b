/*
 * Which models a worker is blocked for: it failed several tasks of one (model, class) in a row. A
 * blocked worker gets tasks of that model only when every other one is blocked too, so that no job
 * hangs. A picture of the model lifts the block, and so does a new process.
 *
 *     TRY(block_note(&w->blocks, "sdxl", key, ERR_OUTPUT, 0, task, e));
 *     if (block_holds(&w->blocks, key, pixels)) ...
 */
#ifndef COORDINATOR_BLOCKS_H
#define COORDINATOR_BLOCKS_H

#include "coordinator/policy.h"
#include "proto/err.h"

#include <stddef.h>

#define BLOCKS_MAX 16 /* (model, class) pairs a worker is remembered for; the oldest makes room */

struct block {
    uint64_t model_key;
    char *model;                      /* name; owned */
    int code;                         /* ERR_* */
    uint64_t pixels;                  /* oom: only pictures of so many and more; else 0 */
    uint64_t tasks[POLICY_BLOCK_MAX]; /* distinct ones that failed */
    uint32_t n;
};

struct blocks {
    struct block at[BLOCKS_MAX];
    size_t n;
};

/* task: any number that names it. ERR_OOM. */
int block_note(struct blocks *b, const char *model, uint64_t model_key, int code, uint64_t pixels,
               uint64_t task, struct err *e);

/* A picture of that model came from the worker. */
void block_lift(struct blocks *b, uint64_t model_key, uint64_t pixels);

/* Whether it is blocked for pictures of that model and size. */
bool block_holds(const struct blocks *b, uint64_t model_key, uint64_t pixels);

/* Whether so many distinct tasks failed that the worker is blocked for its model. */
bool block_is_full(const struct block *block);

void blocks_done(struct blocks *b);

#endif
