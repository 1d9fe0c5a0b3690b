/*
 * What each class of failure means, as one table. The reactor asks it; nothing else decides.
 *
 *     if (policy_of(code)->where == POLICY_NOWHERE)
 *         the task fails at once
 */
#ifndef COORDINATOR_POLICY_H
#define COORDINATOR_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_LOSSES_MAX 3 /* distinct workers lost on one task quarantine it */
#define POLICY_BLOCK_MAX                                                                           \
    3 /* tasks of one (model, class) that a worker fails before it is blocked */

enum policy_where {
    POLICY_NOWHERE,   /* it would fail everywhere: no other attempt */
    POLICY_ELSEWHERE, /* only on workers that have not failed it; without one it fails */
    POLICY_LARGER,    /* the same, and only with more memory */
    POLICY_ANYWHERE   /* elsewhere first, on the same worker if there is no other */
};

struct policy {
    int code; /* ERR_* */
    enum policy_where where;
    uint32_t tries; /* attempts that may end so before the task fails */
    bool costs;     /* one of the tries; else it is nobody's fault */
    bool blocks;    /* counts towards the worker's block for the model */
};

/* The row of a class; codes without one are treated as ERR_INTERNAL. Static. */
const struct policy *policy_of(int code);

#endif
