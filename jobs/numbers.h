/*
 * Number lists and ranges as AUTOMATIC1111's X/Y/Z plot writes them, and OpenJD's (<IntRangeExpr>):
 *
 *     7        1-5        1-5 (+2)        10-5 (-3)        1-10 [5]        1-10:2        1-3, 7
 *
 * An element stays a formula however many values it has. Pure, no allocation but the result's.
 *
 *     TRY(numbers_parse(text, true, &numbers, &problem, e));
 *     for (k = 0; k < numbers.items[0].count; k++) number_at(&numbers.items[0], k)
 */
#ifndef JOBS_NUMBERS_H
#define JOBS_NUMBERS_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBERS_MAX 10000
#define NUMBER_MAX  9007199254740991.0 /* magnitude of a number, 2^53 - 1 */

struct number_run {
    double first, step;
    double last;    /* of `spread`: the end of the range */
    uint64_t count; /* values, at least 1 */
    bool spread;    /* "[n]": evenly spread, as numpy's linspace computes it */
    bool integer;   /* values are whole numbers */
    bool written_as_range;
    size_t offset; /* where the element starts in the text, bytes */
};

struct numbers {
    struct number_run *items; /* owned */
    size_t n;                 /* at least 1 */
    uint64_t count;           /* values of all elements */
    bool any_range;           /* an element is written as a range */
};

/* What is wrong, for people, and where in the text. */
struct number_problem {
    char text[200]; /* empty: nothing */
    size_t offset;
};

/*
 * Reads a comma separated list. integer: all numbers whole; "1-10 [5]" is then cut to whole
 * numbers, as AUTOMATIC1111 does. Returns 0 with ret_problem->text empty and *ret_numbers to be
 * released with numbers_done; 0 with a problem and nothing to release; or ERR_OOM.
 */
int numbers_parse(const char *text, bool integer, struct numbers *ret_numbers,
                  struct number_problem *ret_problem, struct err *e);

void numbers_done(struct numbers *r);

/*
 * Value k < count. Numbers that are not whole are rounded to ten decimals, so that 0.1 taken three
 * times is 0.3.
 */
double number_at(const struct number_run *r, uint64_t k);

#endif
