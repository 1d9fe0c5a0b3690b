#include "coordinator/blocks.h"

#include <stdlib.h>
#include <string.h>

static void block_remove(struct blocks *b, size_t at)
{
    free(b->at[at].model);
    memmove(b->at + at, b->at + at + 1, (b->n - at - 1) * sizeof *b->at);
    b->n--;
}

bool block_is_full(const struct block *block)
{
    return block->n >= POLICY_BLOCK_MAX;
}

/* A place for a new pair: of those that block nothing the oldest goes first. */
static void make_room(struct blocks *b)
{
    size_t at = 0;

    if (b->n < BLOCKS_MAX)
        return;
    for (size_t i = 0; i < b->n; i++) {
        if (block_is_full(&b->at[i]))
            continue;
        at = i;
        break;
    }
    block_remove(b, at);
}

int block_note(struct blocks *b, const char *model, uint64_t model_key, int code, uint64_t pixels,
               uint64_t task, struct err *e)
{
    struct block *block = NULL;

    for (size_t i = 0; i < b->n; i++)
        if (b->at[i].model_key == model_key && b->at[i].code == code)
            block = &b->at[i];
    if (!block) {
        char *name = strdup(model);

        if (!name)
            return err_set(e, ERR_OOM, "no memory for a worker's failures");
        make_room(b);
        block = &b->at[b->n++];
        *block =
            (struct block){.model_key = model_key, .model = name, .code = code, .pixels = pixels};
    }
    for (uint32_t i = 0; i < block->n; i++)
        if (block->tasks[i] == task)
            return 0;
    if (pixels < block->pixels)
        block->pixels = pixels;
    if (!block_is_full(block))
        block->tasks[block->n++] = task;
    return 0;
}

void block_lift(struct blocks *b, uint64_t model_key, uint64_t pixels)
{
    for (size_t i = b->n; i-- > 0;)
        if (b->at[i].model_key == model_key && b->at[i].pixels <= pixels)
            block_remove(b, i);
}

bool block_holds(const struct blocks *b, uint64_t model_key, uint64_t pixels)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->at[i].model_key == model_key && block_is_full(&b->at[i]) &&
            pixels >= b->at[i].pixels)
            return true;
    return false;
}

void blocks_done(struct blocks *b)
{
    while (b->n)
        block_remove(b, b->n - 1);
}
