/*
 * The tables of a tokenizer, as read from its folder. Inside tokenizer.h's room: tokenizer.c
 * encodes with them, callers outside use tokenizer.h.
 */
#ifndef ENGINE_TOKENIZER_TOKENIZER_VOCAB_H
#define ENGINE_TOKENIZER_TOKENIZER_VOCAB_H

#include "engine/tokenizer/tokenizer.h"

#include <stdbool.h>

struct merge {
    int32_t left, right; /* ids; left is -1 in an empty slot */
    int32_t rank, id;    /* lower ranks first; id of the pair as one token */
};

/* A token that is found in the text as it stands, before words are split. */
struct special {
    char *text; /* owned; cleaned if normalized */
    size_t size;
    int32_t id;
    bool normalized; /* looked for in the cleaned text, else in the raw one */
};

struct tokenizer {
    int32_t letter[256];       /* ids of a byte within a word */
    int32_t final_letter[256]; /* and at its end */
    struct merge *merges;      /* hash table of mask + 1 slots, linear probing */
    uint32_t mask;
    struct special *specials; /* owned */
    size_t n_specials;
    int32_t bos, eos, pad;
    int32_t vocab_size; /* highest id + 1 */
    int max_length;     /* tokens */
};

/* The merge of two tokens, or NULL. */
const struct merge *tokenizer_merge(const struct tokenizer *t, int32_t left, int32_t right);

#endif
