/*
 * Textual inversion (Gal et al. 2022, arXiv:2208.01618): vectors in place of a name's token
 * embeddings. Names are found in a text's tokens as AUTOMATIC1111's stable-diffusion-webui finds
 * them (modules/textual_inversion): an embedding is called like its file, and wherever the tokens
 * of that name stand, the longest name wins. Capitals make no difference, since tokens have none.
 *
 * Files: NAME.safetensors with one tensor [vectors, width] or [width] (of any name: "emb_params",
 * "<token>"), or for SDXL `clip_l` and `clip_g`, one for each text encoder. A name that only a
 * pickle (.pt, .bin) has is known too, and refused when a prompt uses it.
 *
 * Belongs to one thread at a time.
 *
 *     TRY(embeddings_new(folders, &db, e));
 *     TRY(embeddings_refresh(db, tokenizers, e));          // before each render
 *     found = embeddings_find(db, 0, ids, n, &length);
 *     embeddings_free(db);
 */
#ifndef ENGINE_TEXT_EMBEDDING_H
#define ENGINE_TEXT_EMBEDDING_H

#include "engine/tokenizer/tokenizer.h"

#include <stdbool.h>

struct embeddings;

struct embedding {
    char *name; /* file name without its ending; owned */
    char *path; /* owned */
    bool pickle;
};

/* folders: ends with NULL, NULL: none; borrowed until embeddings_free. Nothing is read yet. */
int embeddings_new(const char *const *folders, struct embeddings **ret_db, struct err *e);
void embeddings_free(struct embeddings *db);

/*
 * Lists the folders that changed since they were listed (by time stamp; a folder that does not
 * exist is empty) and takes all names' tokens by both tokenizers ([2]; the second may be NULL),
 * which must be the same at every call. In doubt the first folder wins, and within a folder the
 * first name. ERR_IO: a folder cannot be read.
 */
int embeddings_refresh(struct embeddings *db, const struct tokenizer *const tokenizers[2],
                       struct err *e);

/*
 * The embedding whose name stands at the beginning of ids[n], by the tokens of tokenizer `which`;
 * NULL: none. ret_length: tokens of the name. Borrowed until the next refresh.
 */
const struct embedding *embeddings_find(const struct embeddings *db, int which, const int32_t *ids,
                                        size_t n, size_t *ret_length);

/* The vectors of one file. */
struct embedding_vectors {
    int n;            /* vectors */
    float *values[2]; /* for each text encoder [n, width]; owned; the second NULL if there is one */
};

/*
 * widths: of the text encoders, the second 0 if there is one. ERR_INPUT, naming the file: a pickle,
 * another number of tensors than one or the two of SDXL, another width than the encoder's, no
 * vectors or more than max_vectors, numbers that are not finite.
 */
int embedding_read(const struct embedding *m, const int widths[2], int max_vectors,
                   struct embedding_vectors *ret_v, struct err *e);
void embedding_vectors_done(struct embedding_vectors *v);

#endif
