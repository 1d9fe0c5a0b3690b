/*
 * The job that a manifest on the command line means: `plan`, `run` and `submit` begin with one.
 *
 *     struct order d = {0};
 *     TRY(order_read(c, &state, &d, e));      // mistakes were shown; or state NULL: always drawn
 *     job_count(d.job) ...
 *     TRY(order_keep(&d, &state, e));         // the seeds that were drawn, for the next time
 *     order_done(&d);
 */
#ifndef JOBS_CLI_ORDER_H
#define JOBS_CLI_ORDER_H

#include "jobs/cli/cli.h"
#include "jobs/cli/state.h"
#include "jobs/job.h"
#include "jobs/manifest.h"

struct order {
    struct job *job; /* with a state, its folder is set (job_set_folder) */
    struct buf bundle;
    char source_hash[HASH_HEX_SIZE];
    bool drawn;   /* seeds were drawn for it just now */
    bool resumed; /* its seeds are those of an earlier run */
    struct diagnostics diagnostics;
};

/*
 * Reads the manifest c->options.arguments[0] with --set and --model. Diagnostics go to stderr (with
 * --json those of a failure are in d->diagnostics, for the caller to print). ERR_INPUT after
 * mistakes. order_done in any case.
 */
int order_read(struct cli *c, const struct state *state, struct order *ret_d, struct err *e);

/* Writes the bundle into the state if its seeds were drawn now; else it has no effect. */
int order_keep(const struct order *d, const struct state *state, struct err *e);

/* Exit code after a failed order_read; says what the diagnostics did not. */
int order_fail(struct cli *c, const struct order *d, const struct err *e);

void order_done(struct order *d);

#endif
