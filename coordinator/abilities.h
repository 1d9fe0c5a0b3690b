/*
 * Which precisions a worker renders, and what it makes of them: from its hello, or, of a worker
 * that states none, all of them as they are named. The scheduler's and the gangs' question. Pure.
 */
#ifndef COORDINATOR_ABILITIES_H
#define COORDINATOR_ABILITIES_H

#include "proto/msg.h"
#include "proto/terms.h"

#include <stdbool.h>

struct needs;

struct abilities {
    struct ability {
        char *device_class; /* owned; NULL: such tasks are refused */
        int computed;       /* enum precision; -1: the model decides, and only the same asked
                               precision is known to come to the same */
    } at[PRECISION_COUNT];
};

/* ret_a: abilities_done(), also on failure. ERR_OOM. */
int abilities_of(const struct msg_hello *hello, struct abilities *ret_a, struct err *e);
void abilities_done(struct abilities *a);

bool abilities_render(const struct abilities *a, enum precision asked);
/* The same of what a task needs; true while that is not known. */
bool abilities_suit(const struct abilities *a, const struct needs *n);

#define PRECISIONS_ALL ((1u << PRECISION_COUNT) - 1)

/* Whether of tasks of each of the precisions (as bits) both make equal bytes, or both none. */
bool abilities_equal(const struct abilities *a, const struct abilities *b, unsigned precisions);

/* Whether what is loaded for tasks of needs `x` serves those of `y`: model and precision, or all.
 */
bool abilities_same_model(const struct abilities *a, const struct needs *x, const struct needs *y);
bool abilities_same_all(const struct abilities *a, const struct needs *x, const struct needs *y);

#endif
