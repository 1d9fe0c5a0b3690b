/* Opening a job of the store again, for tests of what is left of it. */
#ifndef TESTS_COORDINATOR_REOPEN_H
#define TESTS_COORDINATOR_REOPEN_H

#include "coordinator/store.h"
#include "tests/coordinator/fixture.h"

/* A whole reopening, slice after slice. */
static inline bool never(void *user)
{
    (void)user;
    return false;
}

static inline void reopen_job(struct store *s, enum reopen what,
                              bool (*again)(void *user, const struct record *r),
                              int (*f)(void *user, struct restored *r, struct err *e), void *user)
{
    const struct store_slice slice = {
        .job = 1, .what = what, .again = again, .enough = never, .user = user};
    uint64_t next = 0;
    bool over = false;
    size_t taken;

    while (!over)
        MUST(store_reopen_slice(s, &slice, &next, &taken, &over, e));
    MUST(store_reopen_end(s, 1, what, f, user, e));
}

#endif
