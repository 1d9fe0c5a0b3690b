/*
 * litho-worker --plan: the memory that tasks would take at their peak, by a dry run of the
 * networks. Models are opened, nothing is rendered. For people, and for `litho plan`.
 *
 * With --json one document a task, in their order:
 *     {"height":512,"model":"sd15","render":1,"total":3,"weights":2,"width":512}        // bytes
 *     {"code":"asset_missing","error":"model 'sd15' is not ...","model":"sd15"}
 */
#ifndef WORKER_PLAN_H
#define WORKER_PLAN_H

#include "worker/options.h"

#include <stdio.h>

/* Prints to out, and what fails to err. Returns the exit code: 0; 1 if a task cannot be
 * planned; 2 for a task that is none. */
int plan_tasks(const struct options *o, FILE *out, FILE *err);

#endif
