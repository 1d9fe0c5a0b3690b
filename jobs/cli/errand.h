/*
 * One job on a private cluster, from the bundle to the settled job: what `run` and `replay` share.
 *
 *     struct errand r = {.cli = c, .job = job, .bundle = &bundle, .options = {...}};
 *     rc = errand_run(&r, e);
 *     ... r.final.job.summary ...
 *     errand_done(&r);                // stops the cluster
 */
#ifndef JOBS_CLI_ERRAND_H
#define JOBS_CLI_ERRAND_H

#include "jobs/cli/cli.h"
#include "jobs/cli/client.h"
#include "jobs/cli/cluster.h"
#include "jobs/job.h"

#include <stdbool.h>
#include <stdint.h>

struct errand {
    /* given; borrowed */
    struct cli *cli;
    const struct job *job;
    const struct buf *bundle;
    struct cluster_options options;
    bool lines; /* as in follow.h */
    bool force; /* what is there is rendered again */
    /* found */
    struct msg final;        /* the settled job, or zero */
    uint64_t there_at_first; /* images of earlier runs */
    uint64_t done;           /* images, as last seen */
    int64_t first_step_ms;   /* when a task was first seen in its steps; 0: never */
    uint64_t done_at_step;   /* images then */
    char refused[512];       /* why none of its workers can go on; "" */
    /* own */
    struct cluster *cluster;
    struct client *client;
};

/* ERR_CANCELLED after Ctrl-C, ERR_LOST if the cluster cannot go on, ERR_MISSING if something is
 * left to render and a model is not on this machine, ERR_ARG if its workers do not render the
 * precision that is asked for, or the coordinator's refusal. Catches the
 * interrupt signals. */
int errand_run(struct errand *r, struct err *e);

/* Ends the cluster in good order; counts in r stay. */
void errand_stop(struct errand *r);

void errand_done(struct errand *r);

/* Processors that this process may use, at least 1. */
int errand_cores(void);

#endif
