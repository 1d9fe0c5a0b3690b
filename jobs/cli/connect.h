/* The coordinator that the user named, for the commands that speak with a running one. */
#ifndef JOBS_CLI_CONNECT_H
#define JOBS_CLI_CONNECT_H

#include "jobs/cli/cli.h"
#include "jobs/cli/client.h"

/* --connect, else LITHO_CONNECT; ERR_ARG with neither. ERR_TIMEOUT after a few seconds. */
int connect_open(struct cli *c, struct client **ret_client, struct err *e);

#endif
