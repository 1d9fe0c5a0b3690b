#include "tests/bench/zmtp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING_BYTES 64
#define READ_BYTES     65536
#define PATIENCE_MS    10000

enum { FLAG_LONG = 2, FLAG_COMMAND = 4 };

static int address_of(const char *endpoint, struct sockaddr_storage *ret_address,
                      socklen_t *ret_size, struct err *e)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ret_address;
    struct sockaddr_un *un = (struct sockaddr_un *)ret_address;
    const char *colon = strrchr(endpoint, ':');
    char host[64];

    memset(ret_address, 0, sizeof *ret_address);
    if (strncmp(endpoint, "ipc://", 6) == 0 && strlen(endpoint + 6) < sizeof un->sun_path) {
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, endpoint + 6, strlen(endpoint + 6) + 1);
        *ret_size = sizeof *un;
        return 0;
    }
    if (strncmp(endpoint, "tcp://", 6) == 0 && colon > endpoint + 6) {
        snprintf(host, sizeof host, "%.*s", (int)(colon - endpoint - 6), endpoint + 6);
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)strtol(colon + 1, NULL, 10));
        *ret_size = sizeof *in;
        if (inet_pton(AF_INET, host, &in->sin_addr) == 1)
            return 0;
    }
    return err_set(e, ERR_ARG, "no endpoint: '%s'", endpoint);
}

static void put_property(struct buf *b, const char *name, const char *value)
{
    buf_putc(b, (char)strlen(name));
    buf_puts(b, name);
    buf_append(b, "\0\0", 3);
    buf_putc(b, (char)strlen(value));
    buf_puts(b, value);
}

/* RFC 23: signature, version 3.0, mechanism, no server; then READY with the socket's kind. */
static void put_greeting(struct buf *out, const char *identity)
{
    static const char start[] = "\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL";
    char greeting[GREETING_BYTES] = {0};
    struct buf ready = {0};

    memcpy(greeting, start, sizeof start - 1);
    buf_append(out, greeting, sizeof greeting);
    buf_puts(&ready, "\x05READY");
    put_property(&ready, "Socket-Type", "DEALER");
    put_property(&ready, "Identity", identity);
    buf_putc(out, FLAG_COMMAND);
    buf_putc(out, (char)ready.size);
    buf_append(out, ready.data, ready.size);
    buf_done(&ready);
}

void zmtp_close(struct zmtp *z)
{
    if (z->fd >= 0)
        close(z->fd);
    buf_done(&z->in);
    buf_done(&z->out);
    *z = (struct zmtp){.fd = -1};
}

void zmtp_put(struct zmtp *z, const void *frame, size_t size)
{
    char head[9] = {0};

    if (size < 256) {
        head[1] = (char)size;
        buf_append(&z->out, head, 2);
    } else {
        head[0] = FLAG_LONG;
        for (int i = 0; i < 8; i++)
            head[1 + i] = (char)(size >> (56 - 8 * i));
        buf_append(&z->out, head, 9);
    }
    buf_append(&z->out, frame, size);
}

int zmtp_flush(struct zmtp *z, struct err *e)
{
    int rc = buf_check(&z->out, e);

    while (rc == 0 && z->out_at < z->out.size) {
        ssize_t n = send(z->fd, z->out.data + z->out_at, z->out.size - z->out_at, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_errno(e, "send");
        z->out_at += n > 0 ? (size_t)n : 0;
    }
    z->out.size = z->out_at = 0;
    return rc;
}

int zmtp_read(struct zmtp *z, struct err *e)
{
    static char block[READ_BYTES];
    ssize_t n = recv(z->fd, block, sizeof block, 0);

    if (n == 0)
        return err_set(e, ERR_LOST, "the coordinator closed the connection");
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : err_errno(e, "receive");
    if (z->in_at > 0) {
        memmove(z->in.data, z->in.data + z->in_at, z->in.size - z->in_at);
        z->in.size -= z->in_at;
        z->in_at = 0;
    }
    buf_append(&z->in, block, (size_t)n);
    return buf_check(&z->in, e);
}

/* One frame of any kind; false: not whole yet. */
static bool take_frame(struct zmtp *z, unsigned char *ret_flags, const unsigned char **ret_body,
                       size_t *ret_size)
{
    const unsigned char *p = (const unsigned char *)z->in.data + z->in_at;
    size_t left = z->in.size - z->in_at, head = left && p[0] & FLAG_LONG ? 9 : 2, size = 0;

    if (left < head)
        return false;
    for (size_t i = 1; i < head; i++)
        size = size << 8 | p[i];
    if (left - head < size)
        return false;
    *ret_flags = p[0];
    *ret_body = p + head;
    *ret_size = size;
    z->in_at += head + size;
    return true;
}

/* The other side's greeting, and its first command, READY. */
static void greeting_take(struct zmtp *z)
{
    const unsigned char *body;
    unsigned char flags;
    size_t size;

    if (!z->greeted) {
        if (z->in.size < GREETING_BYTES)
            return;
        z->in_at = GREETING_BYTES;
        z->greeted = true;
    }
    z->ready = take_frame(z, &flags, &body, &size);
}

bool zmtp_next(struct zmtp *z, const unsigned char **ret_frame, size_t *ret_size)
{
    unsigned char flags;

    while (take_frame(z, &flags, ret_frame, ret_size))
        if (!(flags & FLAG_COMMAND))
            return true;
    return false;
}

int zmtp_connect(struct zmtp *z, const char *endpoint, const char *identity, struct err *e)
{
    struct sockaddr_storage address;
    socklen_t size;
    int yes = 1, rc;

    *z = (struct zmtp){.fd = -1};
    TRY(address_of(endpoint, &address, &size, e));
    z->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (z->fd < 0 || connect(z->fd, (struct sockaddr *)&address, size) != 0)
        TRY(err_errno(e, endpoint));
    if (address.ss_family == AF_INET)
        setsockopt(z->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (fcntl(z->fd, F_SETFL, O_NONBLOCK) != 0)
        TRY(err_errno(e, endpoint));
    put_greeting(&z->out, identity);
    TRY(zmtp_flush(z, e));
    /* A message before the other side is ready would be a breach of the protocol. */
    while (!z->ready) {
        struct pollfd fd = {.fd = z->fd, .events = POLLIN};

        if (poll(&fd, 1, PATIENCE_MS) == 0)
            TRY(err_set(e, ERR_TIMEOUT, "%s does not greet", endpoint));
        TRY(zmtp_read(z, e));
        greeting_take(z);
    }
out:
    if (rc != 0)
        zmtp_close(z);
    return rc;
}
