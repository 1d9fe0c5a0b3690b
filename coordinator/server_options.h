/* The command line of litho-coordinator. Prints help, the version and what is wrong. */
#ifndef COORDINATOR_SERVER_OPTIONS_H
#define COORDINATOR_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_MODELS_MAX 64 /* directories of --models */

/* Strings are borrowed from argv. */
struct server_options {
    const char *listen, *state, *out, *metrics;
    const char *directories[SERVER_MODELS_MAX]; /* of models */
    size_t n_directories;
    bool empty_results;
    int64_t heartbeat_ms, silence_ms, grace_ms; /* 0: as in coord.h */
};

/* o: zeroed. Sets the log's level too. -1: go on; else the program's exit code. */
int server_options_parse(int argc, char **argv, struct server_options *o);

#endif
