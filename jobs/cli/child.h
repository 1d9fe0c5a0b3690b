/*
 * A program of ours as a child process: started next to our own binary, its output in a log file,
 * dead when we die, out of the terminal's reach (Ctrl-C comes to us alone, and we pass it on in
 * good order).
 *
 *     const char *argv[] = {"litho-worker", "--connect", endpoint, NULL};
 *     TRY(child_start(&child, argv, "out/.litho/logs/worker-1.log", e));
 *     if (child_ended(&child)) child_log_tail(&child, 5, &text);
 *     child_signal(&child, SIGTERM);
 */
#ifndef JOBS_CLI_CHILD_H
#define JOBS_CLI_CHILD_H

#include "proto/buf.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct child {
    pid_t pid;          /* 0: not running */
    int status;         /* of waitpid(2), once it ended */
    int64_t started_ms; /* monotonic */
    char *log;          /* path; owned */
};

/*
 * Starts argv[0], a program in our own binary's folder, output appended to the log file. argv ends
 * with NULL. ERR_MISSING if there is no such program. The child must not be running.
 */
int child_start(struct child *c, const char *const *argv, const char *log, struct err *e);

/* Reaps it if it has ended; true while it is not running. Never waits. */
bool child_ended(struct child *c);

/* No effect on one that is not running. */
void child_signal(struct child *c, int number);

/* "killed by signal 9 (Killed)" or "exit code 3". */
void child_how_ended(const struct child *c, struct buf *ret_text);

/* Appends the last lines of its log, indented by two; control characters become '?'. */
void child_log_tail(const struct child *c, int lines, struct buf *ret_text);

/* Kills it if it still runs, reaps it. Legal on zeroed memory. */
void child_done(struct child *c);

/* The folder of our own binary. ret_folder: caller frees. */
int child_programs_folder(char **ret_folder, struct err *e);

#endif
