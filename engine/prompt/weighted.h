/*
 * Emphasis: a text's words with their weights, as AUTOMATIC1111's stable-diffusion-webui 1.10 reads
 * them (modules/prompt_parser.py, parse_prompt_attention): (word) 1.1, (word:1.3), [word] 1 / 1.1,
 * nesting multiplies, a backslash takes a bracket's meaning away, brackets left open reach to the
 * end, BREAK stands alone. Its oddities are kept: BREAK inside brackets is a word.
 *
 *     TRY(weighted_parse(&text, &a, &f));
 *     for (size_t i = 0; i < a.n; i++) ... buf_text(&a.text) + a.pieces[i].begin, a.pieces[i].size
 *     weighted_done(&a);
 */
#ifndef ENGINE_PROMPT_WEIGHTED_H
#define ENGINE_PROMPT_WEIGHTED_H

#include "engine/prompt/text.h"
#include "proto/buf.h"

#define WEIGHTED_DEPTH_MAX 255 /* brackets of one kind open at once */

struct weighted_piece {
    size_t begin, size; /* bytes of the text below */
    double weight;
};

struct weighted {
    struct buf text;               /* the pieces' texts, one after another */
    struct weighted_piece *pieces; /* [n], owned; neighbours differ in weight */
    size_t n, capacity;
};

/* ERR_INPUT: a weight that is no finite number, too many open brackets. n is at least 1. */
int weighted_parse(const struct prompt_text *t, struct weighted *ret_a, struct prompt_fault *f);

/* The whole text as one piece of weight 1, brackets being letters: emphasis "None". */
int weighted_literal(const struct prompt_text *t, struct weighted *ret_a, struct prompt_fault *f);
void weighted_done(struct weighted *a);

/* Whether piece i is BREAK: the rest of its chunk stays empty. */
bool weighted_is_break(const struct weighted *a, size_t i);

#endif
