/*
 * Set of task indices, 0..2^53, that is cheap when nearly everything below some index is in it:
 * a floor below which all is in, and pages of bits above it. Settled tasks of a job are such a set,
 * so its memory follows the tasks in flight, not the tasks done.
 *
 *     struct bits b = {0};
 *     TRY(bits_add(&b, 7, e));
 *     bits_raise(&b, 8);               // everything below 8 is now in the set
 *     bits_done(&b);
 */
#ifndef COORDINATOR_BITS_H
#define COORDINATOR_BITS_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITS_PAGE 4096 /* indices of one page */

struct bits_page {
    uint64_t number; /* indices number * BITS_PAGE .. + BITS_PAGE - 1 */
    uint64_t words[BITS_PAGE / 64];
};

/* Zeroed memory is the empty set. */
struct bits {
    uint64_t floor;           /* every index below is in the set */
    struct bits_page **pages; /* ascending by number; owned */
    size_t n_pages, room;
};

/* Legal for one that is in already. ERR_OOM: the set is unchanged. */
int bits_add(struct bits *b, uint64_t index, struct err *e);
bool bits_has(const struct bits *b, uint64_t index);

/* Adds a whole page of indices at once: bit i of words is number * BITS_PAGE + i. */
int bits_put_page(struct bits *b, uint64_t number, const uint64_t words[BITS_PAGE / 64],
                  struct err *e);

/* The first index >= from that is not in the set. Looks at words, not at bits. */
uint64_t bits_gap(const struct bits *b, uint64_t from);

/* Puts every index below floor into the set and frees the pages below it. Never lowers. */
void bits_raise(struct bits *b, uint64_t floor);

void bits_done(struct bits *b);

#endif
