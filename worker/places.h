/* Where on this machine the parts of a task's model are. */
#ifndef WORKER_PLACES_H
#define WORKER_PLACES_H

#include "jobs/library.h"
#include "jobs/task.h"
#include "worker/given.h"
#include "worker/resident.h"

struct places {
    struct buf model, config, vae;
    struct resident_model wanted; /* the same for resident_get; borrows the texts above */
};

/*
 * given: what was gathered for the lease; what it lacks (or all, if it is NULL) is looked for in
 * the library. ERR_MISSING, ERR_INPUT as the library says. A model_config that the library does not
 * have goes on as it is: the engine knows families by name. ret_places: places_done().
 */
int places_find(const struct library *library, const struct task *t, const struct given *given,
                struct places *ret_places, struct err *e);
void places_done(struct places *places);

#endif
