/*
 * The `litho` command: one file per subcommand (command_plan.c, ...), all behind one table in
 * cli.c. This header is what they share; only these files print.
 *
 *     int main(int argc, char **argv) { return cli_main(argc, argv); }
 */
#ifndef JOBS_CLI_CLI_H
#define JOBS_CLI_CLI_H

#include "jobs/cli/options.h"
#include "jobs/cli/terminal.h"
#include "proto/buf.h"
#include "proto/err.h"

#include <jansson.h>

enum exit_code {
    EXIT_DONE = 0,         /* every picture is there; --verify: equal */
    EXIT_FAILED = 1,       /* something failed, and was said; --verify: differs */
    EXIT_USAGE = 2,        /* mistakes in the manifest or the command line */
    EXIT_INTERRUPTED = 130 /* Ctrl-C */
};

struct cli {
    struct options options;
    struct terminal out; /* stdout: answers, JSON */
    struct terminal err; /* stderr: progress, errors */
};

/* Runs one command line; returns the process's exit code. */
int cli_main(int argc, char *const *argv);

/* The subcommands; each returns an enum exit_code. Arguments were counted. */
int command_plan(struct cli *c);
int command_run(struct cli *c);
int command_submit(struct cli *c);
int command_list(struct cli *c);
int command_status(struct cli *c);
int command_watch(struct cli *c);
int command_cancel(struct cli *c);
int command_workers(struct cli *c);
int command_pause(struct cli *c);
int command_resume(struct cli *c);
int command_retry(struct cli *c);
int command_logs(struct cli *c);
int command_get(struct cli *c);
int command_fsck(struct cli *c);
int command_rm(struct cli *c);
int command_drain(struct cli *c);
int command_replay(struct cli *c);

static inline bool cli_has(const struct cli *c, enum option_id id)
{
    return c->options.value[id] != NULL;
}

/* "litho: <text>" on stderr, with --json a line with the class of error on stdout too, and the exit
 * code that fits: EXIT_USAGE for ERR_ARG. */
int cli_fail(struct cli *c, const struct err *e);
void cli_note(struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line of canonical JSON on stdout; takes over the reference. */
void cli_json(struct cli *c, json_t *value);

#endif
