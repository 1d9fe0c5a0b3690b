/*
 * CLIP's byte-pair tokenizer (openai/CLIP simple_tokenizer, as transformers' CLIPTokenizer runs
 * it): clean-up, lower-casing, CLIP's word pattern, byte alphabet, merges with "</w>".
 *
 * Reads a tokenizer folder: vocab.json and merges.txt, tokenizer_config.json and
 * special_tokens_map.json for the special tokens and the length. Read-only after open: any thread.
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* folder: tokenizer/. vocab.json may be missing: the vocabulary then follows from the merges
 * (CLIP's order). */
int tokenizer_open(const char *folder, struct tokenizer **ret_t, struct err *e);
void tokenizer_free(struct tokenizer *t);

int tokenizer_max_length(const struct tokenizer *t); /* 77 */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
int32_t tokenizer_pad(const struct tokenizer *t);
int32_t tokenizer_vocab_size(const struct tokenizer *t);

/* Ids of the text alone, without specials, not cut. text: valid UTF-8. ret_ids: caller frees. */
int tokenizer_encode(const struct tokenizer *t, const char *text, int32_t **ret_ids, size_t *ret_n,
                     struct err *e);

/*
 * bos, ids, eos, then pad up to max_length; text past max_length - 2 ids is cut off. ret_ids:
 * [max_length], caller's storage. ret_cut (may be NULL): how many ids were cut off.
 */
int tokenizer_encode_padded(const struct tokenizer *t, const char *text, int32_t *ret_ids,
                            size_t *ret_cut, struct err *e);

#endif
