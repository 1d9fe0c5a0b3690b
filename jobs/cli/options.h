/*
 * The command line of one subcommand: options anywhere, `--name value` or `--name=value`, `--`
 * ends them. Unknown names are refused with the nearest known one.
 *
 *     rc = options_read(command->options, argc, argv, &o, e);
 *     if (o.value[OPTION_OUT] != NULL) ...
 */
#ifndef JOBS_CLI_OPTIONS_H
#define JOBS_CLI_OPTIONS_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* id, name, placeholder of its value (NULL: a switch), help */
#define OPTION_TABLE(X)                                                                            \
    X(OPTION_OUT, "out", "DIR", "folder of the pictures; its state lives in DIR/.litho (./out)")   \
    X(OPTION_OUT_FILE, "out", "FILE", "where the new picture goes (IMAGE with .replay.png)")       \
    X(OPTION_SET, "set", "KEY=VALUE", "override a manifest key, dots reach inside; repeatable")    \
    X(OPTION_MODEL, "model", "PATH", "use this model instead of the manifest's or the record's")   \
    X(OPTION_MODELS, "models", "DIR", "the model library (LITHO_MODELS, ./models)")                \
    X(OPTION_WORKERS, "workers", "N", "worker processes (2, or 1 on a single core)")               \
    X(OPTION_THREADS, "threads", "N", "threads of each worker (cores / workers)")                  \
    X(OPTION_CONNECT, "connect", "ENDPOINT", "the coordinator, tcp://HOST:PORT (LITHO_CONNECT)")   \
    X(OPTION_VERIFY, "verify", NULL, "compare with the original; exit code 0 if equal, else 1")    \
    X(OPTION_JSON, "json", NULL, "print JSON, one document a line, keys as in jobs/cli/README.md") \
    X(OPTION_QUIET, "quiet", NULL, "print nothing but failures")                                   \
    X(OPTION_WAIT, "wait", NULL, "follow the job until it is over, as `watch` does")               \
    X(OPTION_TOKEN, "token", "T", "a second submit with this token names the first one's job")     \
    X(OPTION_PRIORITY, "priority", "N", "1 to 100, larger goes first (the manifest's, or 50)")     \
    X(OPTION_FORCE, "force", NULL, "render again, and replace, what is there")                     \
    X(OPTION_REPLACE, "force", NULL, "replace files that differ")                                  \
    X(OPTION_FAILED, "failed", NULL, "only what failed; files of pictures are not looked for")     \
    X(OPTION_HELP, "help", NULL, "this text")

enum option_id {
#define X(id, name, value, help) id,
    OPTION_TABLE(X) OPTION_COUNT
#undef X
};

#define OPTION_BIT(id) (1u << (id))

#define OPTIONS_SETS_MAX      64
#define OPTIONS_ARGUMENTS_MAX 8

struct options {
    const char *value[OPTION_COUNT]; /* NULL: not given; "" for a switch that was */
    const char *sets[OPTIONS_SETS_MAX];
    size_t n_sets;
    const char *arguments[OPTIONS_ARGUMENTS_MAX]; /* what is no option */
    size_t n_arguments;
};

/* Reads argv[0..argc-1] (the command's name left out); strings are borrowed. allowed: OPTION_BITs.
 * ERR_ARG names what is wrong. */
int options_read(unsigned allowed, int argc, char *const *argv, struct options *ret_o,
                 struct err *e);

/* The value as a number within bounds, or `otherwise` when it was not given. */
int options_number(const struct options *o, enum option_id id, int64_t min, int64_t max,
                   int64_t otherwise, int64_t *ret_number, struct err *e);

const char *option_name(enum option_id id);
const char *option_placeholder(enum option_id id); /* NULL for a switch */
const char *option_help(enum option_id id);

#endif
