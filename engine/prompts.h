/*
 * The text encoder's states of the last few prompts, so that a batch of pictures with the same
 * prompt or negative prompt encodes it once. What is kept equals what would be computed again, byte
 * for byte. One thread at a time.
 */
#ifndef ENGINE_PROMPTS_H
#define ENGINE_PROMPTS_H

#include "engine/model.h"

#define PROMPTS_MAX 16 /* about 0.3 MiB each for SD 1.5 */

struct prompts {
    struct prompt_states {
        char *text;    /* owned; NULL: a free place */
        float *states; /* [tokens, width], owned */
        uint64_t used; /* when last asked for, in calls */
    } kept[PROMPTS_MAX];
    uint64_t calls;
};

/*
 * ret_states: [tokenizer_max_length, clip width], of the text cut as diffusers cuts it. Computed in
 * the backend's arena if it is not kept. text: valid UTF-8.
 */
int prompts_get(struct prompts *p, const struct model *m, const char *text, float *ret_states,
                struct err *e);

/* Reserves in a planning arena what prompts_get will take. */
int prompts_plan(const struct model *m, float *states, struct err *e);

void prompts_done(struct prompts *p);

#endif
