/*
 * A private cluster: one coordinator and a few workers as child processes, on an ipc:// socket in a
 * temporary folder that nobody else can enter. `litho run` and `litho replay` own one each.
 *
 * A worker that dies is started again; one that dies three times in a row without ever taking a
 * task ends the run with the last lines of its log. The coordinator's death ends it at once.
 *
 *     TRY(cluster_start(&options, &cluster, e));          // the coordinator
 *     TRY(client_open(... cluster_endpoint(cluster), .check = cluster_check ...));
 *     TRY(cluster_start_workers(cluster, e));
 *     ...
 *     cluster_stop(cluster);
 *     cluster_free(cluster);
 */
#ifndef JOBS_CLI_CLUSTER_H
#define JOBS_CLI_CLUSTER_H

#include "proto/err.h"

#define CLUSTER_WORKERS_MAX 64
#define CLUSTER_THREADS_MAX 256

struct cluster;

/* Strings are borrowed while the cluster lives. */
struct cluster_options {
    const char *state;  /* folder of the coordinator's state; exists */
    const char *out;    /* folder of the pictures; exists */
    const char *logs;   /* folder of the children's logs, emptied of older ones; exists */
    const char *models; /* the workers' model library, or NULL for their default */
    int workers;        /* 1..CLUSTER_WORKERS_MAX */
    int threads;        /* of each worker, 1..CLUSTER_THREADS_MAX */
};

/*
 * Makes the private folder and starts the coordinator; then, once it answers, the workers. All are
 * children that die with us. ret_cluster: cluster_free(). Errors: those of child_start().
 */
int cluster_start(const struct cluster_options *o, struct cluster **ret_cluster, struct err *e);
int cluster_start_workers(struct cluster *c, struct err *e);

/* Borrowed from the cluster. */
const char *cluster_endpoint(const struct cluster *c);

/*
 * Looks after the children; struct client_options.check has this shape. ERR_LOST if the cluster
 * cannot go on, with the log's last lines; ERR_CANCELLED once the user has asked to stop.
 */
int cluster_check(void *cluster, struct err *e);

/* Tells that the worker of that name has a task, so that its next death is not counted with those
 * before. */
void cluster_worker_works(struct cluster *c, const char *name);

/* Workers started again so far. */
int cluster_restarts(const struct cluster *c);

/*
 * Ends all children in good order, workers first, and reaps them; a second interrupt (or 20
 * seconds) kills what is left.
 */
void cluster_stop(struct cluster *c);

/* Kills what still runs and removes the temporary folder. NULL is legal. */
void cluster_free(struct cluster *c);

#endif
