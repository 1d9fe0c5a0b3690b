/* Doors of the host backend: addresses, listening, connecting. */
#include "engine/gang/host.h"
#include "proto/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:"
#define TCP_PREFIX  "tcp:"
#define ADDRESS     "127.0.0.1" /* of who has none of its own */
#define CROWDED_MS  20          /* before a full Unix door is tried again */

static int new_token(char ret_token[HOST_TOKEN_SIZE], struct err *e)
{
    unsigned char bytes[(HOST_TOKEN_SIZE - 1) / 2];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_errno(e, "random numbers");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(ret_token + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* A name in the abstract namespace: no file, gone with its socket. */
static socklen_t unix_name(struct sockaddr_un *ret_name, const char *id)
{
    *ret_name = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_name->sun_path + 1, sizeof ret_name->sun_path - 1, "litho-gang-%s", id);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret_name->sun_path + 1));
}

/* One token may have several doors: each has a number of its own beside it. */
static int listen_unix(struct host_door *d, struct err *e)
{
    char id[HOST_TOKEN_SIZE + 16], salt[HOST_TOKEN_SIZE];
    struct sockaddr_un name;
    socklen_t size;
    int rc = 0;

    TRY(new_token(salt, e));
    snprintf(id, sizeof id, "%.8s/%s", salt, d->token);
    size = unix_name(&name, id);
    d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0 || bind(d->fd, (struct sockaddr *)&name, size) != 0 ||
        listen(d->fd, GANG_SIZE_MAX) != 0)
        return err_errno(e, "a gang's socket");
    snprintf(d->address, sizeof d->address, UNIX_PREFIX "%s", id);
out:
    return rc;
}

/* 0: none. */
static long port_at(const char *text, char **ret_end)
{
    long port = *text >= '0' && *text <= '9' ? strtol(text, ret_end, 10) : 0;

    return port <= 65535 ? port : 0;
}

/* "FIRST-LAST", two ports or more. */
static int read_ports(const char *text, struct host_place *p, struct err *e)
{
    char *end = NULL;
    long first = port_at(text, &end), last = first;

    if (first > 0 && *end == '-')
        last = port_at(end + 1, &end);
    if (first < 1 || last < first || *end != 0)
        return err_set(e, ERR_ARG, "'%.40s': ports are FIRST-LAST, within 1 to 65535", text);
    if (first == last)
        return err_set(e, ERR_ARG,
                       "port %ld alone is too little: the meeting place of the next gang is open "
                       "while one renders, so a worker needs two, such as %ld-%ld",
                       first, first < 65535 ? first : first - 1, first < 65535 ? first + 1 : first);
    p->first = (uint16_t)first;
    p->last = (uint16_t)last;
    return 0;
}

int host_place_read(const char *text, struct host_place *ret_place, struct err *e)
{
    struct host_place p = {0};
    size_t n = strcspn(text, ":");
    struct in_addr ip;
    int rc = 0;

    if (n < sizeof p.ip)
        memcpy(p.ip, text, n);
    if (inet_pton(AF_INET, p.ip, &ip) != 1 || ntohl(ip.s_addr) >> 24 != 127)
        return err_set(e, ERR_ARG,
                       "'%.60s' is not a loopback address (127.0.0.0/8): what members of a gang "
                       "say to each other has no keys yet, so other machines need a tunnel",
                       text);
    if (text[n] == ':')
        TRY(read_ports(text + n + 1, &p, e));
    *ret_place = p;
out:
    return rc;
}

/* A listening socket; -1 and errno: none. Ports of gangs that are over may be used again. */
static int listen_at(const struct host_place *p, long port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), why;

    inet_pton(AF_INET, p->ip, &name.sin_addr);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, GANG_SIZE_MAX) == 0)
        return fd;
    why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return -1;
}

static int listen_tcp(struct host_door *d, const char *address, struct err *e)
{
    struct sockaddr_in name = {0};
    socklen_t size = sizeof name;
    struct host_place place;
    char what[80];
    int rc = 0;

    TRY(host_place_read(address, &place, e));
    for (long port = place.first; d->fd < 0 && port <= place.last; port++) {
        d->fd = listen_at(&place, port);
        if (d->fd < 0 && errno != EADDRINUSE) {
            snprintf(what, sizeof what, "a gang's socket at %s, port %ld", place.ip, port);
            return err_errno(e, what);
        }
    }
    if (d->fd < 0)
        return err_set(e, ERR_IO, "a gang's socket: all ports of %s are in use", address);
    if (getsockname(d->fd, (struct sockaddr *)&name, &size) != 0)
        return err_errno(e, "a gang's socket");
    snprintf(d->address, sizeof d->address, TCP_PREFIX "%s:%d/%s", place.ip, ntohs(name.sin_port),
             d->token);
out:
    return rc;
}

int host_door_open(struct host_door *ret_door, bool local, const char *address, const char *token,
                   struct err *e)
{
    struct host_door d = {.fd = -1};
    int rc = 0;

    if (token != NULL)
        snprintf(d.token, sizeof d.token, "%s", token);
    else
        TRY(new_token(d.token, e));
    TRY(local ? listen_unix(&d, e) : listen_tcp(&d, address != NULL ? address : ADDRESS, e));
    *ret_door = d;
    d.fd = -1;
out:
    host_door_close(&d);
    return rc;
}

void host_door_close(struct host_door *door)
{
    if (door->fd >= 0)
        close(door->fd);
    door->fd = -1;
}

void host_token(const char *address, char ret_token[HOST_TOKEN_SIZE])
{
    const char *slash = strrchr(address, '/');

    snprintf(ret_token, HOST_TOKEN_SIZE, "%s", slash != NULL ? slash + 1 : "");
}

/* A peer whose machine is gone is noticed, and small frames leave at once. */
static void tune(int fd)
{
    const int on = 1, gone_ms = 60000;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &gone_ms, sizeof gone_ms);
}

/* An abstract name belongs to nobody: only processes of this user may use it. */
static bool same_user(int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == geteuid();
}

/* Until the connection stands, or there is room at the door (Unix sockets say so by EAGAIN). */
static int wait_for(const struct host_wait *wait, int fd, int64_t until_ms, struct err *e)
{
    struct pollfd fds[2] = {{.fd = wait->abort_fd, .events = POLLIN},
                            {.fd = errno == EAGAIN ? -1 : fd, .events = POLLOUT}};
    int64_t left_ms = until_ms - clock_monotonic_ms();

    if (left_ms <= 0)
        return err_set(e, ERR_LOST, "the gang's meeting place does not answer");
    if (fds[1].fd < 0 && left_ms > CROWDED_MS)
        left_ms = CROWDED_MS;
    if (poll(fds, 2, (int)left_ms) > 0 && fds[0].revents != 0)
        return err_set(e, ERR_CANCELLED, "the gang was told to stop");
    return 0;
}

/* A second call tells how the first one ended. */
static int reach(const struct host_wait *wait, int fd, const struct sockaddr *name, socklen_t size,
                 struct err *e)
{
    int64_t until_ms = clock_monotonic_ms() + wait->patience_ms;
    int rc;

    while (connect(fd, name, size) != 0 && errno != EISCONN) {
        if (errno == ECONNREFUSED)
            return err_set(e, ERR_LOST, "the gang's meeting place is gone");
        if (errno != EINPROGRESS && errno != EALREADY && errno != EAGAIN && errno != EINTR)
            return err_errno(e, "a gang's meeting place");
        if ((rc = wait_for(wait, fd, until_ms, e)) != 0)
            return rc;
    }
    return 0;
}

static int connected(const struct host_wait *wait, int fd, const struct sockaddr *name,
                     socklen_t size, bool local, int *ret_fd, struct err *e)
{
    int rc;

    if (fd < 0)
        return err_errno(e, "a gang's socket");
    rc = reach(wait, fd, name, size, e);
    if (rc == 0 && local && !same_user(fd))
        rc = err_set(e, ERR_IO, "the gang's meeting place belongs to another user");
    if (rc != 0)
        close(fd);
    else
        *ret_fd = fd;
    return rc;
}

/* "tcp:ADDRESS:PORT/..." */
static int read_tcp(const char *text, struct sockaddr_in *ret_name, struct err *e)
{
    char address[HOST_ADDRESS_SIZE] = "";
    const char *colon = NULL;
    long port;
    int rc = 0;

    if (strncmp(text, TCP_PREFIX, strlen(TCP_PREFIX)) == 0 && strlen(text) < sizeof address)
        colon = strchr(text + strlen(TCP_PREFIX), ':');
    if (colon == NULL || (port = strtol(colon + 1, NULL, 10)) < 1 || port > 65535)
        return err_set(e, ERR_ARG, "'%.100s' is no meeting place of a gang", text);
    memcpy(address, text + strlen(TCP_PREFIX), (size_t)(colon - text) - strlen(TCP_PREFIX));
    TRY(gang_address_check(address, e));
    *ret_name = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &ret_name->sin_addr);
out:
    return rc;
}

int host_connect(const struct host_wait *wait, const char *address, int *ret_fd, struct err *e)
{
    struct sockaddr_in tcp;
    struct sockaddr_un name;
    int rc = 0;

    if (strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0 &&
        strlen(address) < HOST_ADDRESS_SIZE) {
        socklen_t size = unix_name(&name, address + strlen(UNIX_PREFIX));

        return connected(wait, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                         (struct sockaddr *)&name, size, true, ret_fd, e);
    }
    TRY(read_tcp(address, &tcp, e));
    rc = connected(wait, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                   (struct sockaddr *)&tcp, sizeof tcp, false, ret_fd, e);
    if (rc == 0)
        tune(*ret_fd);
out:
    return rc;
}

int host_accept(const struct host_door *door, int *ret_fd, struct err *e)
{
    bool local = strncmp(door->address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
    int fd;

    for (;;) {
        fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno == EAGAIN)
            return 0;
        if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
            return err_errno(e, "a gang's socket");
        if (fd >= 0 && (!local || same_user(fd)))
            break;
        if (fd >= 0)
            close(fd);
    }
    if (!local)
        tune(fd);
    *ret_fd = fd;
    return 1;
}
