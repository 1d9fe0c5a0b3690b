/*
 * The host backend's parts, for engine/gang/ alone: doors where members meet, the mesh of sockets
 * between them, transfers over it, sums.
 */
#ifndef ENGINE_GANG_HOST_H
#define ENGINE_GANG_HOST_H

#include "engine/gang/gang.h"

#include <stdbool.h>

#define HOST_ADDRESS_SIZE 96 /* "tcp:127.0.0.1:40123/TOKEN", NUL-terminated */
#define HOST_TOKEN_SIZE   33 /* 128 random bits in hex; who knows it belongs to the gang */

/* A listening socket and the text that leads to it. */
struct host_door {
    int fd; /* -1: closed */
    char token[HOST_TOKEN_SIZE];
    char address[HOST_ADDRESS_SIZE];
};

/* Where a door may be. */
struct host_place {
    char ip[16];          /* of the loopback network */
    uint16_t first, last; /* ports; 0: any free one */
};

/* ERR_ARG as gang_address_check() says. */
int host_place_read(const char *text, struct host_place *ret_place, struct err *e);

/*
 * local: a Unix socket in Linux' abstract namespace, of this user alone; else TCP at `address`
 * (gang_address_check()), NULL: 127.0.0.1. token: NULL: a new one.
 */
int host_door_open(struct host_door *ret_door, bool local, const char *address, const char *token,
                   struct err *e);
void host_door_close(struct host_door *door);

/* The token within an address; "" if there is none. */
void host_token(const char *address, char ret_token[HOST_TOKEN_SIZE]);

/* Whom a member waits for, and how long. */
struct host_wait {
    int abort_fd; /* -1: none */
    int patience_ms;
};

/* One direction each way of one socket. Zero the counters before use. */
struct host_flow {
    int fd, peer; /* peer: for messages */
    const char *send;
    size_t n_send, sent;
    char *receive;
    size_t n_receive, received;
};

/* Moves all flows to their ends, both ways at once. Errors as gang.h says. */
int host_move(const struct host_wait *wait, struct host_flow *flows, int n, struct err *e);

/* ERR_ARG for a text that is no address. ret_fd: connected, non-blocking, owned by the caller. */
int host_connect(const struct host_wait *wait, const char *address, int *ret_fd, struct err *e);

/* 1: a caller that waited at the door; 0: none. Those of another user are turned away. */
int host_accept(const struct host_door *door, int *ret_fd, struct err *e);

#define HOST_CALLERS_MAX  32  /* heard at a time; beyond, the oldest is sent away */
#define HOST_GREETING_MAX 192 /* bytes */

/* Callers who have not yet said who they are. Zeroed memory has none. */
struct host_callers {
    struct host_caller {
        int fd;
        int64_t since_ms;
        size_t heard;
        char greeting[HOST_GREETING_MAX];
    } at[HOST_CALLERS_MAX];
    int n;
};

/*
 * Whose greeting of `size` bytes is whole; ret_fd: the caller of this function closes it. ERR_LOST:
 * nobody came until `until_ms` of the monotonic clock, whoever else is at the door.
 */
int host_callers_next(struct host_callers *c, const struct host_wait *wait,
                      const struct host_door *door, int64_t until_ms, void *greeting, size_t size,
                      int *ret_fd, struct err *e);
void host_callers_done(struct host_callers *c);

/* fds[size]: a socket for every other member, -1 at one's own rank; the caller closes them. */
int host_mesh(const struct gang_place *place, const struct host_door *door, int fds[],
              struct err *e);

/* sum[n] = parts[0] + parts[1] + ... in this order; sum may be one of the parts. */
void host_sum(void *sum, const void *const parts[], int n_parts, int64_t n,
              enum gang_number number);

/* The host backend's gang_join(). */
int host_join(const struct gang_place *place, const struct host_door *door, struct gang **ret_gang,
              struct err *e);

#endif
