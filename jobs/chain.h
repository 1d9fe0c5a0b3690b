/*
 * Frames that start from each other, as a bundle's "chain" says: the axis that counts them, in the
 * last factor of the product, and what becomes of the seed. Part of jobs/job.c; see jobs/SPEC.md,
 * "Chains".
 */
#ifndef JOBS_CHAIN_H
#define JOBS_CHAIN_H

#include "jobs/exclude.h"

/* As Deforum names it. */
enum seed_behavior {
    SEED_ITER, /* each frame's is one more */
    SEED_FIXED,
};

struct chain {
    uint64_t frames; /* of each chain; 1: there are none */
    enum seed_behavior seed_behavior;
};

/* "iter", "fixed"; false: another word. */
bool seed_behavior_named(const char *name, enum seed_behavior *ret_behavior);

/* Parameters that are one for all frames of a chain: what decides the device's bytes, the size, and
 * what the first one starts from. */
bool chain_holds_still(int param);

/* NULL: there is none. ERR_INPUT says what is wrong with it. */
int chain_read(const json_t *value, const struct axes *axes, struct chain *ret_chain,
               struct err *e);

/* ERR_INPUT: a rule would leave out single frames. */
int chain_check_exclude(const struct chain *chain, const struct exclude *exclude, struct err *e);

/* Makes the task of a combination that of its frame; a later one starts from init_image `before`.
 */
int chain_apply(const struct chain *chain, uint64_t frame, const char *before, struct task *t,
                struct err *e);

#endif
