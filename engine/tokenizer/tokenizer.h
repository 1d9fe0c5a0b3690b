/*
 * CLIP's byte-pair tokenizer (openai/CLIP simple_tokenizer, as transformers' CLIPTokenizer runs
 * it): clean-up, lower-casing, CLIP's word pattern, byte alphabet, merges with "</w>".
 *
 * Reads a tokenizer folder: merges.txt and vocab.json, or tokenizer.json; tokenizer_config.json,
 * special_tokens_map.json and added_tokens.json for the special tokens and the length. Read-only
 * after open: any thread.
 *
 *     TRY(tokenizer_open("model/tokenizer", &t, e));
 *     TRY(tokenizer_encode(t, "a red fox", 9, &ids, &n, e));
 *     free(ids);
 *     tokenizer_free(t);
 */
#ifndef ENGINE_TOKENIZER_TOKENIZER_H
#define ENGINE_TOKENIZER_TOKENIZER_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_TEXT_MAX 65536 /* bytes of one text */

struct tokenizer;

/*
 * folder: tokenizer/. vocab.json may be missing: the vocabulary then follows from the merges
 * (CLIP's order). ERR_MISSING: neither merges.txt nor tokenizer.json. ERR_INPUT names the file and
 * what is wrong in it: a merge or a special token outside the vocabulary, a missing letter.
 */
int tokenizer_open(const char *folder, struct tokenizer **ret_t, struct err *e);

/*
 * CLIP's own tables and length of 77, for checkpoints that carry no tokenizer. pad: what fills a
 * chunk: "<|endoftext|>", or "!" (id 0) as OpenCLIP's text encoders have it. ERR_INPUT: pad is no
 * token.
 */
int tokenizer_open_published(const char *pad, struct tokenizer **ret_t, struct err *e);
void tokenizer_free(struct tokenizer *t);

int tokenizer_max_length(const struct tokenizer *t); /* 77 */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
int32_t tokenizer_pad(const struct tokenizer *t);
int32_t tokenizer_vocab_size(const struct tokenizer *t); /* highest id + 1 */

/*
 * Ids of the text alone, without bos and eos, not cut; a special token written out in the text
 * becomes its id. text: [size] bytes of UTF-8, NUL among them if you like. ret_ids: caller frees
 * with free(3); never NULL. ERR_INPUT: no UTF-8, or longer than TOKENIZER_TEXT_MAX.
 */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t size, int32_t **ret_ids,
                     size_t *ret_n, struct err *e);

#endif
