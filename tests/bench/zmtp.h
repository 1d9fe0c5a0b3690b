/*
 * A DEALER of one connection, spoken by hand (ZMTP 3.0, RFC 23, mechanism NULL): what a thousand
 * simulated workers cost must not be what is measured. One thread; the descriptor does not block.
 *
 *     TRY(zmtp_connect(&z, "tcp://127.0.0.1:5555", "worker/sim-1", e));
 *     zmtp_put(&z, frame, size);
 *     TRY(zmtp_flush(&z, e));
 *     TRY(zmtp_read(&z, e));                      // when poll says so
 *     while (zmtp_next(&z, &frame, &size)) ...    // borrowed until the next read
 *     zmtp_close(&z);
 */
#ifndef TESTS_BENCH_ZMTP_H
#define TESTS_BENCH_ZMTP_H

#include "proto/buf.h"

struct zmtp {
    int fd;
    struct buf in, out;
    size_t in_at, out_at; /* bytes already taken, already sent */
    bool greeted, ready;  /* what was read of the other side's start */
};

/* endpoint: tcp://A.B.C.D:PORT or ipc://PATH, as a coordinator publishes it. */
int zmtp_connect(struct zmtp *z, const char *endpoint, const char *identity, struct err *e);
void zmtp_close(struct zmtp *z);

/* Queues one message of one frame. */
void zmtp_put(struct zmtp *z, const void *frame, size_t size);

/* Sends what the system takes; the rest stays queued: z->out.size > z->out_at. */
int zmtp_flush(struct zmtp *z, struct err *e);

/* Reads what is there. ERR_LOST: the other side closed. */
int zmtp_read(struct zmtp *z, struct err *e);

/* The next whole frame of a message. false: none. */
bool zmtp_next(struct zmtp *z, const unsigned char **ret_frame, size_t *ret_size);

#endif
