/*
 * The state folder of an output folder, OUT/.litho: the coordinator's store, the children's logs,
 * what runs before measured, and the drawn bundles of manifests (`litho run` finds the seeds of an
 * earlier run there, so that the same command goes on with the same job).
 *
 *     TRY(state_locate("out", &s, e));        // no effect on the disk
 *     TRY(state_make(&s, e));                 // makes the folders
 *     state_done(&s);
 */
#ifndef JOBS_CLI_STATE_H
#define JOBS_CLI_STATE_H

#include "proto/buf.h"
#include "proto/err.h"

struct state {
    char *out;     /* the output folder, as given; owned, like all of these */
    char *folder;  /* OUT/.litho */
    char *logs;    /* OUT/.litho/logs */
    char *bundles; /* OUT/.litho/bundles */
};

/* The names alone; nothing is made or looked at. ret_s: state_done(). ERR_OOM. */
int state_locate(const char *out, struct state *ret_s, struct err *e);

/* Makes the folders that are missing, parents too. */
int state_make(const struct state *s, struct err *e);

/* The bundle that an earlier run drew for this source; ERR_MISSING if there is none. Appends. */
int state_bundle_read(const struct state *s, const char *source_hash, struct buf *ret_bundle,
                      struct err *e);
/* Keeps it: whole or not at all, also over a crash. */
int state_bundle_write(const struct state *s, const char *source_hash, const struct buf *bundle,
                       struct err *e);

void state_done(struct state *s);

#endif
