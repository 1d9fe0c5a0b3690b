/*
 * Simulated workers: each a connection of its own to a real coordinator, that takes leases and ends
 * them with `empty` after task_us of doing nothing. One thread drives all of them.
 *
 *     TRY(fleet_open(&f, endpoint, 1000, 8, 0, e));
 *     TRY(fleet_run(&f, now_us() + 5000000, e));
 *     fleet_close(&f);
 */
#ifndef TESTS_BENCH_FLEET_H
#define TESTS_BENCH_FLEET_H

#include "proto/hash.h"
#include "tests/bench/zmtp.h"

#include <stdint.h>

#define FLEET_WINDOW_MAX 256

struct held {
    uint64_t index, attempt;
};

struct sim_worker {
    struct zmtp z;
    char job[HASH_HEX_SIZE];
    struct held queue[FLEET_WINDOW_MAX]; /* leases to be done, a ring */
    uint32_t first, n;
    int64_t end_us; /* of the task at work */
    bool ended;     /* something ended since the last `ready` */
    bool waits;     /* for the socket to take more */
};

struct fleet {
    struct sim_worker *workers; /* [n], owned */
    size_t n;
    int epoll;
    uint32_t window; /* leases that a worker holds, at most */
    int64_t task_us;
    uint64_t leases, acks;  /* seen so far */
    int64_t busy_us;        /* of all workers' time: tasks done, times task_us */
    int64_t first_lease_us; /* 0: none yet */
    bool stop_at_lease;     /* fleet_run returns at the first lease */
};

/* Monotonic. */
int64_t now_us(void);

int fleet_open(struct fleet *f, const char *endpoint, size_t n, uint32_t window, int64_t task_us,
               struct err *e);
void fleet_close(struct fleet *f);

/* Lets them work until then. */
int fleet_run(struct fleet *f, int64_t until_us, struct err *e);

#endif
