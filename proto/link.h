/*
 * One end of the wire: a ROUTER that serves peers, or a DEALER that is one. Frames go in and come
 * out; what they mean is msg.h's. Behind it: libzmq.
 *
 * Sockets have message limits (MSG_FRAME_MAX), mandatory routing with handover, high-water marks,
 * no lingering on close beyond the given time. Use from one thread. Zmq errors become struct err.
 *
 *     TRY(link_listen("tcp://127.0.0.1:5555", &link, e));
 *     while (link_receive(link, &peer, &frame, e) == 1)     // 0: nothing there now
 *         ...
 *     link_send(link, &peer, buf_text(&frame), frame.size, e);
 */
#ifndef PROTO_LINK_H
#define PROTO_LINK_H

#include "proto/buf.h"
#include "proto/err.h"

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

struct link;

/* Address of a peer as the ROUTER knows it. On a DEALER unused: zeroed, or NULL given. */
struct peer {
    uint8_t size; /* 1..255 bytes of id */
    unsigned char id[255];
};

/*
 * Binds a ROUTER. endpoint: tcp://ADDRESS:PORT (port * or 0: any free one) or ipc://PATH. Addresses
 * beyond loopback are refused (ERR_ARG) until the wire has keys. Raises the process's limit of open
 * files as far as allowed. ERR_CONFLICT: the address is in use.
 */
int link_listen(const char *endpoint, struct link **ret_link, struct err *e);

/*
 * Starts a DEALER that connects, and reconnects by itself for ever; frames sent before it is
 * connected wait. identity: at most 255 bytes, the same over reconnects and restarts (handover), or
 * NULL for one of the library's. ret_link: link_close().
 */
int link_connect(const char *endpoint, const char *identity, struct link **ret_link, struct err *e);

/* The endpoint as bound or given, with the real port. Borrowed from the link. */
const char *link_endpoint(const struct link *link);

/*
 * Sends one frame without waiting. ERR_MISSING: the ROUTER has no such peer now. ERR_TIMEOUT: the
 * peer's queue is full, or a ROUTER's peer has not yet taken 64 MiB of large frames; nothing was
 * sent. Multi-part frames are never sent.
 */
int link_send(struct link *link, const struct peer *peer, const void *frame, size_t size,
              struct err *e);

/*
 * Takes one waiting frame: 1 and the frame in ret_frame (content replaced), 0 when none waits, or a
 * negative ERR_*. Multi-part messages from strangers are dropped whole.
 */
int link_receive(struct link *link, struct peer *ret_peer, struct buf *ret_frame, struct err *e);

/*
 * Waits until the link or one of n_fds other descriptors (POLLIN and POLLOUT; revents filled) is
 * ready, or timeout_ms passed (-1: for ever). EINTR returns early with 0. Returns 1 if the link has
 * frames to receive, else 0.
 */
int link_wait(struct link *link, struct pollfd *fds, int n_fds, int timeout_ms, struct err *e);

/* Gives queued frames at most linger_ms to leave. NULL is legal. */
void link_close(struct link *link, int linger_ms);

#endif
