/*
 * Watching one job until nothing changes any more: the common part of `run` and `watch`.
 */
#ifndef JOBS_CLI_FOLLOW_H
#define JOBS_CLI_FOLLOW_H

#include "jobs/cli/cli.h"
#include "jobs/cli/client.h"

struct follow {
    struct cli *cli;
    struct client *client;
    const char *job; /* as in the status request */
    /* Called with each status, may be NULL. */
    void (*seen)(void *user, const struct msg_job *m);
    void *user;
    bool lines;   /* --json prints one for each change */
    bool patient; /* a coordinator that does not answer is waited for */
};

/*
 * Shows progress on stderr (a live line or plain ones), or with --json, if `lines`, one line on
 * stdout for each change; nothing with --quiet. ret_final: the settled job, msg_done(). Errors are
 * the client's; with ret_final zeroed.
 */
int follow_job(const struct follow *f, struct msg *ret_final, struct err *e);

/* What `litho watch` does, from the first look to the exit code. */
int watch_job(struct cli *c, struct client *client, const char *job);

#endif
