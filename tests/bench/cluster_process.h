/*
 * A litho-coordinator of its own for a bench: started on a state folder, asked, stopped. The
 * coordinator takes empty results (`--empty-results`); its log goes to DIR/log.
 */
#ifndef TESTS_BENCH_CLUSTER_PROCESS_H
#define TESTS_BENCH_CLUSTER_PROCESS_H

#include "proto/msg.h"
#include "tests/bench/zmtp.h"

#include <sys/types.h>

struct cluster {
    char dir[256]; /* state, out and log are below */
    const char *program;
    bool ipc; /* a Unix socket instead of TCP */
    pid_t pid;
    char endpoint[300];
    struct zmtp client;
    uint64_t request;
};

/* Starts it and waits for its endpoint; the time that took includes the restore of the state. */
int cluster_start(struct cluster *c, struct err *e);
/* SIGTERM and wait, or SIGKILL. */
int cluster_stop(struct cluster *c, bool kill, struct err *e);

/* Connects a client, which says hello and is welcomed. */
int cluster_client(struct cluster *c, struct err *e);
/* Sends a request; m's number is set in m and returned. */
int cluster_send(struct cluster *c, struct msg *m, uint64_t *request, struct err *e);
/* Waits for the next message to the client; ret_m: msg_done. An error is ERR_CONFLICT. */
int cluster_answer(struct cluster *c, struct msg *ret_m, struct err *e);

/* Anonymous memory of the process, bytes. */
int cluster_memory(const struct cluster *c, uint64_t *ret_bytes, struct err *e);

#endif
