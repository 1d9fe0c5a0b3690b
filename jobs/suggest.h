/*
 * "Did you mean": the nearest known word to a misspelt one, by edit distance. Pure, no allocation.
 *
 *     diagnose(d, at, "unknown key '%s'%s", key, ...);
 */
#ifndef JOBS_SUGGEST_H
#define JOBS_SUGGEST_H

#include "proto/buf.h"

#include <stddef.h>

#define SUGGEST_WORD_MAX 64 /* bytes; longer words get no suggestion */

/*
 * Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment) between
 * two words, letters' case ignored; SUGGEST_WORD_MAX + 1 if a word is longer than that.
 */
int suggest_distance(const char *a, const char *b);

/* The nearest choice if it is near enough to be meant (a third of the word's letters), or NULL. */
const char *suggest_nearest(const char *word, const char *const *choices, size_t n);

/* Appends ", did you mean 'x'?" or, without a near choice, nothing. */
void suggest_text(const char *word, const char *const *choices, size_t n, struct buf *ret_text);

#endif
