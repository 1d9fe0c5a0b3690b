/*
 * Which tasks may be rendered as one batch (engine.h: render_batches), told from their text alone:
 * equal but for what is each picture's own - prompts beside their LoRAs, guidance, seeds, pictures
 * to start from. Pure.
 */
#ifndef WORKER_KIND_H
#define WORKER_KIND_H

#include <stdbool.h>
#include <stdint.h>

struct kind {
    uint64_t key;    /* equal ones go together; 0: goes alone */
    uint64_t pixels; /* of the picture */
};

/* task: JSON as a lease has it; one that cannot be read goes alone, to fail alone. */
struct kind kind_of(const char *task);

/* Whether the task binds names of its own to files, which are looked for before it starts. */
bool kind_binds(const char *task);

#endif
