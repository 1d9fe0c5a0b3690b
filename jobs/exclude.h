/*
 * The combinations that a job leaves out, and exact counting without a list of them. Part of
 * jobs/job.c.
 *
 * A rule holds for an index if, for each column it names, the index' value is one of the rule's. So
 * a rule is one set of positions per factor of the product, and the indices of several rules at
 * once are a product of intersections: inclusion-exclusion counts the union. Positions are grouped
 * by the set of rules they belong to (a bit mask); memory follows the positions that rules name,
 * never the length of a range.
 */
#ifndef JOBS_EXCLUDE_H
#define JOBS_EXCLUDE_H

#include "jobs/axis.h"

#define EXCLUDE_RULES_MAX 12

/* A position that at least one rule names. */
struct exclude_mark {
    uint64_t at;
    uint32_t mask; /* bit r: rule r holds here, as far as this factor goes */
};

struct exclude_factor {
    uint32_t base; /* mask of positions without a mark: the rules that name nothing here */
    struct exclude_mark *marks;  /* [n_marks], by position */
    struct exclude_mark *groups; /* the same by (mask, position) */
    size_t n_marks;
};

struct exclude {
    const struct axes *axes; /* borrowed */
    size_t n_rules;
    struct exclude_factor *factors; /* [axes->n_factors] */
    /* [n_factors + 1][2^n_rules]: combinations of the factors from f on that all rules of a set
     * hold for */
    uint64_t *after;
};

/*
 * Reads "exclude" of a bundle: a list of objects, column -> list of values. Values are equal byte
 * by byte, or as numbers (5 and 5.0) in ranges and in columns of numbers; a value that an axis does
 * not have matches nothing. `axes` must outlive it. ret_exclude: exclude_done().
 */
int exclude_read(const json_t *rules, const struct axes *axes, struct exclude *ret_exclude,
                 struct err *e);
void exclude_done(struct exclude *x);

/* How many indices below `index` (<= span) a rule holds for. */
uint64_t exclude_below(const struct exclude *x, uint64_t index);

/* Some positions of a factor. */
struct exclude_slice {
    size_t factor;
    const uint64_t *positions; /* [n] distinct */
    size_t n;
};

/* How many combinations no rule holds for, of those that have each slice's factor at one of its
 * positions. At most one slice for a factor. */
uint64_t exclude_kept(const struct exclude *x, const struct exclude_slice *slices, size_t n);

/* Whether a rule holds for that index, below the span. */
bool exclude_holds(const struct exclude *x, uint64_t index);

/* The first index >= from that no rule holds for, or the span. */
uint64_t exclude_next(const struct exclude *x, uint64_t from);

#endif
