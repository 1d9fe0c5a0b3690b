#include "proto/link.h"

#include "proto/handover.h"
#include "proto/msg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define ENDPOINT_MAX 256
#define IPC_PATH_MAX 107 /* sun_path of Linux without its NUL */

/*
 * Frames waiting per peer. Receiving is kept short, since a frame may be a picture: a full queue
 * makes the peer's own queue fill up, and nothing is lost.
 */
#define QUEUE_SEND    1000
#define QUEUE_RECEIVE 64

#define BACKLOG     1024 /* peers that connect at once; one that is turned away waits a second */
#define DESCRIPTORS 16   /* of libzmq's threads and a socket; seen: 11 */

#define RECONNECT_MS     50
#define RECONNECT_MAX_MS 2000

/*
 * Small frames on their way out. libzmq frees what it has sent in a thread of its own; with malloc
 * both threads would wait for each other's lock at each frame. So chunks come back by this list.
 */
#define CHUNK_BYTES 1024
#define CHUNKS_KEPT 4096

/*
 * Large frames on their way to a peer that does not read them would fill the memory long before
 * they are QUEUE_SEND: beyond so many bytes its queue is full. One frame of any size has room.
 */
#define LARGE_BYTES     (64u << 10)
#define LARGE_BYTES_MAX (64u << 20) /* of one peer */

struct chunk {
    struct chunk *next;
    struct link *link;
    char data[CHUNK_BYTES];
};

/* What large frames to a peer take until libzmq has sent them. */
struct debt {
    struct peer peer;
    _Atomic size_t bytes; /* taken back by libzmq's thread; at 0 another peer may have the place */
};

struct large {
    struct debt *debt;
    size_t size;
    char data[];
};

struct link {
    void *context, *socket; /* libzmq's */
    bool router;
    char endpoint[ENDPOINT_MAX];
    zmq_pollitem_t *items; /* of link_wait; owned */
    size_t items_max;
    struct chunk *idle; /* owned; this thread's */
    size_t n_idle;
    _Atomic(struct chunk *) returned; /* pushed by libzmq's thread, taken all at once */
    struct debt **debts;              /* [n_debts], owned */
    size_t n_debts;
};

static int zmq_err(struct err *e, const char *what)
{
    int number = zmq_errno();
    int code = number == ENOMEM ? ERR_OOM : ERR_IO;

    return err_set(e, code, "%s: %s", what, zmq_strerror(number));
}

/* The text after `prefix`, or NULL. */
static const char *after(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

static bool is_loopback(const char *host, bool *ret_ipv6)
{
    struct in_addr v4;
    struct in6_addr v6;

    *ret_ipv6 = false;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) != 1)
        return false;
    *ret_ipv6 = true;
    return IN6_IS_ADDR_LOOPBACK(&v6);
}

static int check_port(const char *endpoint, const char *port, bool listens, struct err *e)
{
    size_t digits = strspn(port, "0123456789");
    long value = digits && digits <= 5 && !port[digits] ? strtol(port, NULL, 10) : -1;

    if (listens && (strcmp(port, "*") == 0 || value == 0))
        return 0;
    if (value < 1 || value > 65535)
        return err_set(e, ERR_ARG, "endpoint '%s': the port must be %s1..65535", endpoint,
                       listens ? "* or " : "");
    return 0;
}

/* ret_native: the endpoint as libzmq wants it: no host names, no port 0. */
static int tcp_endpoint(const char *endpoint, const char *address, bool listens,
                        char ret_native[ENDPOINT_MAX], bool *ret_ipv6, struct err *e)
{
    const char *colon = strrchr(address, ':');
    char host[ENDPOINT_MAX];
    size_t n = colon ? (size_t)(colon - address) : 0;
    int rc;

    if (n == 0)
        return err_set(e, ERR_ARG, "endpoint '%s' must be tcp://ADDRESS:PORT", endpoint);
    if (address[0] == '[' && address[n - 1] == ']')
        snprintf(host, sizeof host, "%.*s", (int)n - 2, address + 1);
    else
        snprintf(host, sizeof host, "%.*s", (int)n, address);
    if (strcmp(host, "localhost") == 0)
        snprintf(host, sizeof host, "127.0.0.1");
    if (!is_loopback(host, ret_ipv6))
        return err_set(e, ERR_ARG,
                       "endpoint '%s': '%s' is not a loopback address (127.0.0.1, localhost, "
                       "[::1]); the wire has no keys yet, so other machines need a tunnel",
                       endpoint, host);
    if ((rc = check_port(endpoint, colon + 1, listens, e)) != 0)
        return rc;
    snprintf(ret_native, ENDPOINT_MAX, *ret_ipv6 ? "tcp://[%s]:%s" : "tcp://%s:%s", host,
             strspn(colon + 1, "0") == strlen(colon + 1) ? "*" : colon + 1);
    return 0;
}

static int ipc_endpoint(const char *endpoint, const char *path, char ret_native[ENDPOINT_MAX],
                        struct err *e)
{
    if (path[0] == 0 || path[0] == '@' || path[0] == '*')
        return err_set(e, ERR_ARG, "endpoint '%s' must be ipc://PATH with the path of a socket",
                       endpoint);
    if (strlen(path) > IPC_PATH_MAX)
        return err_set(e, ERR_ARG, "endpoint '%s': the path is longer than %d bytes", endpoint,
                       IPC_PATH_MAX);
    snprintf(ret_native, ENDPOINT_MAX, "%s", endpoint);
    return 0;
}

static int native_endpoint(const char *endpoint, bool listens, char ret_native[ENDPOINT_MAX],
                           bool *ret_ipv6, struct err *e)
{
    const char *rest;

    *ret_ipv6 = false;
    if (strlen(endpoint) >= ENDPOINT_MAX)
        return err_set(e, ERR_ARG, "endpoint is longer than %d bytes", ENDPOINT_MAX - 1);
    if ((rest = after(endpoint, "tcp://")))
        return tcp_endpoint(endpoint, rest, listens, ret_native, ret_ipv6, e);
    if ((rest = after(endpoint, "ipc://")))
        return ipc_endpoint(endpoint, rest, ret_native, e);
    return err_set(e, ERR_ARG, "endpoint '%s' must be tcp://ADDRESS:PORT or ipc://PATH", endpoint);
}

static int option(struct link *link, int name, int value, struct err *e)
{
    return zmq_setsockopt(link->socket, name, &value, sizeof value) ? zmq_err(e, "socket option")
                                                                    : 0;
}

static int options(struct link *link, bool ipv6, struct err *e)
{
    const int64_t frame_max = MSG_FRAME_MAX;
    int rc = 0;

    if (zmq_setsockopt(link->socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max) != 0)
        return zmq_err(e, "message limit");
    TRY(option(link, ZMQ_SNDHWM, QUEUE_SEND, e));
    TRY(option(link, ZMQ_RCVHWM, QUEUE_RECEIVE, e));
    TRY(option(link, ZMQ_LINGER, 0, e));
    TRY(option(link, ZMQ_IPV6, ipv6, e));
    TRY(option(link, ZMQ_TCP_KEEPALIVE, 1, e));
    if (link->router) {
        /* Sends to peers that are gone say so; a peer that comes back replaces its old self. */
        TRY(option(link, ZMQ_ROUTER_MANDATORY, 1, e));
        TRY(option(link, ZMQ_ROUTER_HANDOVER, 1, e));
        TRY(option(link, ZMQ_BACKLOG, BACKLOG, e));
    } else {
        TRY(option(link, ZMQ_RECONNECT_IVL, RECONNECT_MS, e));
        TRY(option(link, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS, e));
    }
out:
    return rc;
}

/* Where libzmq finds no descriptor for its threads, it ends the process. */
static int check_descriptors(struct err *e)
{
    int taken[DESCRIPTORS], n = 0;
    int why = 0;

    while (n < DESCRIPTORS && why == 0) {
        taken[n] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        if (taken[n] < 0)
            why = errno;
        else
            n++;
    }
    while (n > 0)
        close(taken[--n]);
    return why == EMFILE ? err_set(e, ERR_IO,
                                   "too few files may be open at once for a socket: raise the "
                                   "limit (ulimit -n)")
                         : 0;
}

static int link_new(bool router, struct link **ret_link, struct err *e)
{
    struct link *link = calloc(1, sizeof *link);
    int rc = 0;

    if (!link)
        return err_set(e, ERR_OOM, "out of memory for a socket");
    TRY(check_descriptors(e));
    link->router = router;
    link->context = zmq_ctx_new();
    if (!link->context)
        TRY(zmq_err(e, "messaging"));
    link->socket = zmq_socket(link->context, router ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!link->socket)
        TRY(zmq_err(e, "socket"));
    *ret_link = link;
    link = NULL;
out:
    link_close(link, 0);
    return rc;
}

/* Each peer takes a descriptor; the usual soft limit of 1024 is for select(2), which nobody calls.
 */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* refused: the soft limit stays, and accept says so */
}

/* libzmq replaces a socket file without asking, also that of a listener that is well. */
static int check_unused(const char *endpoint, struct err *e)
{
    const char *path = after(endpoint, "ipc://");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bool answers;
    int fd;

    if (!path)
        return 0;
    memcpy(address.sun_path, path, strlen(path) + 1); /* IPC_PATH_MAX at most */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, path);
    answers = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return answers
               ? err_set(e, ERR_CONFLICT, "cannot listen at %s: Address already in use", endpoint)
               : 0;
}

/* Only the user's own programs may speak to a socket file. */
static int protect_ipc(const char *endpoint, struct err *e)
{
    const char *path = after(endpoint, "ipc://");

    return path && chmod(path, 0600) != 0 ? err_errno(e, path) : 0;
}

int link_listen(const char *endpoint, struct link **ret_link, struct err *e)
{
    struct link *link = NULL;
    char native[ENDPOINT_MAX];
    size_t size = sizeof link->endpoint;
    bool ipv6;
    int rc = 0;

    TRY(native_endpoint(endpoint, true, native, &ipv6, e));
    TRY(check_unused(native, e));
    raise_file_limit();
    TRY(link_new(true, &link, e));
    TRY(options(link, ipv6, e));
    if (zmq_bind(link->socket, native) != 0)
        TRY(err_set(e, zmq_errno() == EADDRINUSE ? ERR_CONFLICT : ERR_IO, "cannot listen at %s: %s",
                    endpoint, zmq_strerror(zmq_errno())));
    if (zmq_getsockopt(link->socket, ZMQ_LAST_ENDPOINT, link->endpoint, &size) != 0)
        TRY(zmq_err(e, endpoint));
    TRY(protect_ipc(native, e));
    *ret_link = link;
    link = NULL;
out:
    link_close(link, 0);
    return rc;
}

int link_connect(const char *endpoint, const char *identity, struct link **ret_link, struct err *e)
{
    struct link *link = NULL;
    char native[ENDPOINT_MAX];
    bool ipv6;
    int rc = 0;

    TRY(native_endpoint(endpoint, false, native, &ipv6, e));
    TRY(link_new(false, &link, e));
    TRY(options(link, ipv6, e));
    if (identity && zmq_setsockopt(link->socket, ZMQ_ROUTING_ID, identity, strlen(identity)) != 0)
        TRY(err_set(e, ERR_ARG, "identity '%s' must have 1..255 bytes", identity));
    if (zmq_connect(link->socket, native) != 0)
        TRY(err_set(e, ERR_IO, "cannot connect to %s: %s", endpoint, zmq_strerror(zmq_errno())));
    snprintf(link->endpoint, sizeof link->endpoint, "%s", native);
    *ret_link = link;
    link = NULL;
out:
    link_close(link, 0);
    return rc;
}

const char *link_endpoint(const struct link *link)
{
    return link->endpoint;
}

static void chunk_return(void *data, void *hint)
{
    struct chunk *c = hint;
    struct link *link;

    (void)data;
    handover_take(c);
    link = c->link;
    c->next = atomic_load_explicit(&link->returned, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&link->returned, &c->next, c,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

/* What came back becomes idle, up to a limit. */
static void chunks_collect(struct link *link)
{
    struct chunk *c = atomic_exchange_explicit(&link->returned, NULL, memory_order_acquire), *next;

    for (; c; c = next) {
        next = c->next;
        if (link->n_idle >= CHUNKS_KEPT) {
            free(c);
            continue;
        }
        c->next = link->idle;
        link->idle = c;
        link->n_idle++;
    }
}

static struct chunk *chunk_take(struct link *link)
{
    struct chunk *c;

    if (!link->idle)
        chunks_collect(link);
    c = link->idle;
    if (!c)
        return malloc(sizeof *c);
    link->idle = c->next;
    link->n_idle--;
    return c;
}

static void chunks_free(struct link *link)
{
    chunks_collect(link);
    for (struct chunk *c = link->idle, *next; c; c = next) {
        next = c->next;
        free(c);
    }
}

static int send_result(int n, struct err *e)
{
    if (n >= 0)
        return 0;
    if (zmq_errno() == EHOSTUNREACH)
        return err_set(e, ERR_MISSING, "the peer is not connected");
    if (zmq_errno() == EAGAIN)
        return err_set(e, ERR_TIMEOUT, "the peer's queue is full");
    return zmq_err(e, "send");
}

/* A last part of at most CHUNK_BYTES. */
static int send_small(struct link *link, const void *data, size_t size, struct err *e)
{
    struct chunk *c = chunk_take(link);
    zmq_msg_t part;
    int n, rc;

    if (!c)
        return err_set(e, ERR_OOM, "no memory for a frame");
    c->link = link;
    memcpy(c->data, data, size);
    handover_give(c);
    if (zmq_msg_init_data(&part, c->data, size, chunk_return, c) != 0) {
        free(c);
        return zmq_err(e, "frame");
    }
    do
        n = zmq_msg_send(&part, link->socket, ZMQ_DONTWAIT);
    while (n < 0 && zmq_errno() == EINTR);
    rc = send_result(n, e);
    if (rc != 0)
        zmq_msg_close(&part);
    return rc;
}

static int send_part(struct link *link, const void *data, size_t size, int flags, struct err *e)
{
    int n;

    do
        n = zmq_send(link->socket, data, size, flags | ZMQ_DONTWAIT);
    while (n < 0 && zmq_errno() == EINTR);
    return send_result(n, e);
}

static void large_sent(void *data, void *hint)
{
    struct large *l = hint;

    (void)data;
    handover_take(l);
    atomic_fetch_sub(&l->debt->bytes, l->size);
    free(l);
}

static int debt_of(struct link *link, const struct peer *peer, struct debt **ret_debt,
                   struct err *e)
{
    struct debt *idle = NULL, **grown;

    for (size_t i = 0; i < link->n_debts; i++) {
        struct debt *d = link->debts[i];

        if (d->peer.size == peer->size && memcmp(d->peer.id, peer->id, peer->size) == 0) {
            *ret_debt = d;
            return 0;
        }
        if (atomic_load(&d->bytes) == 0)
            idle = d;
    }
    if (!idle) {
        grown = realloc(link->debts, (link->n_debts + 1) * sizeof *grown);
        if (grown)
            link->debts = grown;
        if (!grown || !(idle = calloc(1, sizeof *idle)))
            return err_set(e, ERR_OOM, "no memory for a frame");
        link->debts[link->n_debts++] = idle;
    }
    idle->peer = *peer;
    *ret_debt = idle;
    return 0;
}

/* As a part that is counted until it has left. */
static int large_new(struct debt *debt, const void *data, size_t size, zmq_msg_t *ret_part,
                     struct err *e)
{
    struct large *l = malloc(sizeof *l + size);

    if (!l)
        return err_set(e, ERR_OOM, "no memory for a frame");
    *l = (struct large){.debt = debt, .size = size};
    memcpy(l->data, data, size);
    handover_give(l);
    if (zmq_msg_init_data(ret_part, l->data, size, large_sent, l) != 0) {
        free(l);
        return zmq_err(e, "frame");
    }
    atomic_fetch_add(&debt->bytes, size);
    return 0;
}

/* Of a ROUTER, address and frame: what the peer has not taken yet is bounded. */
static int send_large(struct link *link, const struct peer *peer, const void *data, size_t size,
                      struct err *e)
{
    struct debt *debt;
    zmq_msg_t part;
    size_t owed;
    int n, rc;

    if ((rc = debt_of(link, peer, &debt, e)) != 0)
        return rc;
    owed = atomic_load(&debt->bytes);
    if (owed != 0 && owed + size > LARGE_BYTES_MAX)
        return err_set(e, ERR_TIMEOUT, "the peer's queue is full");
    if ((rc = large_new(debt, data, size, &part, e)) != 0)
        return rc;
    TRY(send_part(link, peer->id, peer->size, ZMQ_SNDMORE, e));
    do
        n = zmq_msg_send(&part, link->socket, ZMQ_DONTWAIT);
    while (n < 0 && zmq_errno() == EINTR);
    TRY(send_result(n, e));
out:
    if (rc != 0)
        zmq_msg_close(&part); /* which counts it as gone */
    return rc;
}

static void debts_free(struct link *link)
{
    for (size_t i = 0; i < link->n_debts; i++)
        free(link->debts[i]);
    free(link->debts);
}

int link_send(struct link *link, const struct peer *peer, const void *frame, size_t size,
              struct err *e)
{
    int rc = 0;

    if (size > MSG_FRAME_MAX)
        return err_set(e, ERR_ARG, "frame of %zu bytes, over the limit of %u", size, MSG_FRAME_MAX);
    if (link->router && peer->size == 0)
        return err_set(e, ERR_ARG, "a frame needs a peer to go to");
    /* The ROUTER accepts a frame with its address or refuses the address: it never sends half. */
    if (link->router && size > LARGE_BYTES)
        return send_large(link, peer, frame, size, e);
    if (link->router)
        TRY(send_part(link, peer->id, peer->size, ZMQ_SNDMORE, e));
    TRY(size && size <= CHUNK_BYTES ? send_small(link, frame, size, e)
                                    : send_part(link, frame, size, 0, e));
out:
    return rc;
}

/* One part. 1: taken, 0: none waits. */
static int receive_part(struct link *link, zmq_msg_t *part, struct err *e)
{
    int n;

    do
        n = zmq_msg_recv(part, link->socket, ZMQ_DONTWAIT);
    while (n < 0 && zmq_errno() == EINTR);
    if (n >= 0)
        return 1;
    return zmq_errno() == EAGAIN ? 0 : zmq_err(e, "receive");
}

/* Takes the rest of a message that has more parts than it should. */
static int drop_rest(struct link *link, zmq_msg_t *part, struct err *e)
{
    int got = 1;

    while (got == 1 && zmq_msg_more(part))
        got = receive_part(link, part, e);
    return got;
}

/* One message. 1: it is well formed; 0: none waits; 2: dropped. */
static int receive_message(struct link *link, zmq_msg_t *part, struct peer *ret_peer,
                           struct buf *ret_frame, struct err *e)
{
    int got;

    *ret_peer = (struct peer){0};
    if ((got = receive_part(link, part, e)) != 1)
        return got;
    if (link->router) {
        if (zmq_msg_size(part) == 0 || zmq_msg_size(part) > sizeof ret_peer->id ||
            !zmq_msg_more(part))
            return (got = drop_rest(link, part, e)) < 0 ? got : 2;
        ret_peer->size = (uint8_t)zmq_msg_size(part);
        memcpy(ret_peer->id, zmq_msg_data(part), ret_peer->size);
        if ((got = receive_part(link, part, e)) != 1)
            return got;
    }
    if (zmq_msg_more(part))
        return (got = drop_rest(link, part, e)) < 0 ? got : 2;
    ret_frame->size = 0;
    buf_append(ret_frame, zmq_msg_data(part), zmq_msg_size(part));
    return (got = buf_check(ret_frame, e)) != 0 ? got : 1;
}

int link_receive(struct link *link, struct peer *ret_peer, struct buf *ret_frame, struct err *e)
{
    struct peer peer;
    zmq_msg_t part;
    int got;

    zmq_msg_init(&part);
    do
        got = receive_message(link, &part, ret_peer ? ret_peer : &peer, ret_frame, e);
    while (got == 2);
    zmq_msg_close(&part);
    return got;
}

static int grow_items(struct link *link, size_t n, struct err *e)
{
    zmq_pollitem_t *items;

    if (n <= link->items_max)
        return 0;
    items = realloc(link->items, n * sizeof *items);
    if (!items)
        return err_set(e, ERR_OOM, "out of memory for %zu descriptors", n);
    link->items = items;
    link->items_max = n;
    return 0;
}

int link_wait(struct link *link, struct pollfd *fds, int n_fds, int timeout_ms, struct err *e)
{
    zmq_pollitem_t *item;
    int rc;

    if ((rc = grow_items(link, (size_t)n_fds + 1, e)) != 0)
        return rc;
    link->items[0] = (zmq_pollitem_t){.socket = link->socket, .events = ZMQ_POLLIN};
    for (int i = 0; i < n_fds; i++) {
        short events = (short)((fds[i].events & POLLIN ? ZMQ_POLLIN : 0) |
                               (fds[i].events & POLLOUT ? ZMQ_POLLOUT : 0));
        link->items[i + 1] = (zmq_pollitem_t){.fd = fds[i].fd, .events = events};
        fds[i].revents = 0;
    }
    rc = zmq_poll(link->items, n_fds + 1, timeout_ms);
    if (rc < 0)
        return zmq_errno() == EINTR ? 0 : zmq_err(e, "wait");
    for (int i = 0; i < n_fds; i++) {
        item = &link->items[i + 1];
        fds[i].revents = (short)((item->revents & ZMQ_POLLIN ? POLLIN : 0) |
                                 (item->revents & ZMQ_POLLOUT ? POLLOUT : 0) |
                                 (item->revents & ZMQ_POLLERR ? POLLERR : 0));
    }
    return (link->items[0].revents & ZMQ_POLLIN) != 0;
}

void link_close(struct link *link, int linger_ms)
{
    if (!link)
        return;
    if (link->socket) {
        zmq_setsockopt(link->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
        zmq_close(link->socket);
    }
    if (link->context)
        while (zmq_ctx_term(link->context) != 0 && zmq_errno() == EINTR)
            ;
    chunks_free(link); /* with the context gone, all have come back */
    debts_free(link);
    free(link->items);
    free(link);
}
