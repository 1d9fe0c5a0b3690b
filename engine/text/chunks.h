/*
 * A text as chunks of tokens that a text encoder can take: each has begin, 75 tokens and end. As
 * AUTOMATIC1111's stable-diffusion-webui 1.10 makes them (modules/sd_hijack_clip.py, with "comma
 * padding backtrack" at 20): any number of chunks; a chunk that overflows is broken behind a comma
 * within its last 20 tokens; BREAK ends a chunk; an embedding is never torn; every token has its
 * word's weight, begin, end and padding have 1. A text of at most 75 tokens without brackets is
 * diffusers' one row of 77.
 *
 * One difference: where a chunk is broken behind a comma, embeddings that move to the next chunk
 * take their vectors with them (there the vectors stay behind and a "!" moves).
 *
 *     TRY(chunker_init(&k, tokenizer, db, 0, &uses, e));
 *     TRY(chunks_make(&k, &attention, max_chunks, &c, e));
 *     ... c.ids + i * c.length, c.weights + i * c.length, for i below c.n
 *     chunks_done(&c);
 */
#ifndef ENGINE_TEXT_CHUNKS_H
#define ENGINE_TEXT_CHUNKS_H

#include "engine/prompt/weighted.h"
#include "engine/text/embedding.h"

/* Embeddings that texts were found to use, in order of first use. */
struct embedding_uses {
    struct embedding_use {
        char *name, *path; /* owned */
        struct embedding_vectors vectors;
    } * items; /* [n], owned */
    size_t n;
    int widths[2];   /* of the text encoders; the second 0: there is one */
    int max_vectors; /* of one embedding */
};
void embedding_uses_done(struct embedding_uses *u);

struct chunker {
    const struct tokenizer *tokenizer; /* all borrowed */
    const struct embeddings *db;       /* NULL: no embeddings */
    struct embedding_uses *uses;       /* grows; shared by all texts of a render */
    int which;                         /* 0, 1: of the two tokenizers, for db */
    int length;                        /* tokens of a chunk, with begin and end */
    int32_t comma;
};
int chunker_init(struct chunker *ret_k, const struct tokenizer *t, const struct embeddings *db,
                 int which, struct embedding_uses *uses, struct err *e);

/* An embedding's vectors, which take the places of tokens at, at + 1, ... of a chunk. */
struct chunk_fix {
    size_t chunk;
    int at;
    size_t use; /* index into uses->items */
};

struct chunks {
    int length;
    size_t n;
    int32_t *ids;   /* [n, length], owned; 0 where a vector stands */
    float *weights; /* [n, length], owned */
    struct chunk_fix *fixes;
    size_t n_fixes;
    size_t tokens; /* of the text, with what padding BREAK and commas made, as the web UI counts */
};

/*
 * At least one chunk. ERR_INPUT: more than max_chunks of them, a text that is no UTF-8, an
 * embedding that does not fit the model (embedding_read).
 */
int chunks_make(const struct chunker *k, const struct weighted *a, size_t max_chunks,
                struct chunks *ret_c, struct err *e);

/* Appends empty chunks until there are n. */
int chunks_extend(const struct chunker *k, struct chunks *c, size_t n, struct err *e);
void chunks_done(struct chunks *c);

#endif
