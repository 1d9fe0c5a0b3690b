/*
 * Encoded chunks of text: a model's text encoders, emphasis, and a cache of what they gave, so that
 * a batch of pictures with the same prompt encodes it once. What is kept equals what would be
 * computed again, byte for byte. One thread at a time.
 *
 *     struct prompts p = {.budget_bytes = 32 << 20};
 *     TRY(prompts_encode(&p, m, &text, states, NULL, e));
 *     prompts_done(&p);
 */
#ifndef ENGINE_TEXT_PROMPTS_H
#define ENGINE_TEXT_PROMPTS_H

#include "engine/checkpoint/model.h"
#include "proto/hash.h"
#include "proto/terms.h"

#define PROMPTS_BUDGET_BYTES (32u << 20) /* of a zeroed cache; SDXL's chunks take 0.6 MiB each */

struct prompts {
    uint64_t budget_bytes; /* of states kept; 0: PROMPTS_BUDGET_BYTES */
    uint64_t bytes;        /* kept now */
    uint64_t calls;
    struct prompt_states {
        char key[HASH_HEX_SIZE]; /* of all that decides the numbers */
        float *values;           /* [size], owned: states, then the pooled state if asked for */
        size_t size;
        uint64_t used; /* when last asked for, in calls */
    } * kept;          /* [n], owned; the one unused for longest leaves first */
    size_t n, capacity;
};
void prompts_done(struct prompts *p);

/* One chunk of text and all that decides its states, but for the model. Borrowed for the call. */
struct chunk_text {
    struct clip_text texts[2]; /* for each text encoder of the model */
    const float *weights[2];   /* [tokens] of each: emphasis */
    enum emphasis emphasis;    /* ORIGINAL and NO_NORM weigh the states, the others do not */
    int clip_skip;             /* 1.. */
    const char *adapters; /* what is added to the text encoders now, as a text; NULL: nothing */
};

/* Numbers of one token's states, and of the pooled state (0: the U-Net wants none). */
int64_t prompts_width(const struct model *m);
int64_t prompts_pooled_width(const struct model *m);

/*
 * ret_states [tokens, prompts_width], ret_pooled [prompts_pooled_width] or NULL.
 *
 * SD: the state after leaving out the clip_skip - 1 last layers, through the final norm. SDXL: both
 * encoders' states side by side, of the layer before the last (clip_skip 1 and 2) or clip_skip - 2
 * before it, without norm; the pooled state is the second encoder's. As diffusers has them.
 *
 * Emphasis (modules/sd_emphasis.py of AUTOMATIC1111's stable-diffusion-webui 1.10), for each
 * encoder: each token's states times its weight; ORIGINAL then scales the chunk so that the mean of
 * its states is as before. A chunk with no weight but 1 is untouched. The pooled state is not
 * weighed.
 *
 * Of a model that a gang's members hold in parts nothing is kept: all of them must compute the same
 * texts, and what each has kept may differ.
 *
 * Works in the backend's arena; nothing is taken there for what is kept. While the backend plans,
 * reserves what computing takes; p may be NULL then. ERR_INPUT as clip_encode().
 */
int prompts_encode(struct prompts *p, const struct model *m, const struct chunk_text *t,
                   float *ret_states, float *ret_pooled, struct err *e);

#endif
