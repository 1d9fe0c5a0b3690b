/* Bytes over the host backend's sockets, and sums of what came. */
#include "engine/gang/host.h"
#include "proto/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static int lost(const struct host_flow *f, struct err *e)
{
    return err_set(e, ERR_LOST, "member %d of the gang went away", f->peer);
}

/* As much as goes now; 1: something moved. */
static int push(struct host_flow *f, struct err *e)
{
    ssize_t n;

    if (f->sent == f->n_send)
        return 0;
    n = send(f->fd, f->send + f->sent, f->n_send - f->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
        f->sent += (size_t)n;
        return 1;
    }
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT
               ? lost(f, e)
               : err_errno(e, "a gang's socket");
}

static int pull(struct host_flow *f, struct err *e)
{
    ssize_t n;

    if (f->received == f->n_receive)
        return 0;
    n = recv(f->fd, f->receive + f->received, f->n_receive - f->received, MSG_DONTWAIT);
    if (n > 0) {
        f->received += (size_t)n;
        return 1;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n == 0 || errno == ECONNRESET || errno == ETIMEDOUT ? lost(f, e)
                                                               : err_errno(e, "a gang's socket");
}

/* One round over all flows. Returns how many moved, or an error. */
static int turn(struct host_flow *flows, int n, struct err *e)
{
    int moved = 0;

    for (int i = 0; i < n; i++) {
        int out = push(&flows[i], e), in = out < 0 ? out : pull(&flows[i], e);

        if (in < 0)
            return in;
        moved += out + in;
    }
    return moved;
}

/* The descriptors of flows that are not at their ends; the abort descriptor comes last. */
static int watch(const struct host_wait *wait, const struct host_flow *flows, int n,
                 struct pollfd *ret_fds)
{
    int n_fds = 0;

    for (int i = 0; i < n; i++) {
        const struct host_flow *f = &flows[i];
        short events = (short)((f->sent < f->n_send ? POLLOUT : 0) |
                               (f->received < f->n_receive ? POLLIN : 0));

        if (events != 0)
            ret_fds[n_fds++] = (struct pollfd){.fd = f->fd, .events = events};
    }
    ret_fds[n_fds] = (struct pollfd){.fd = wait->abort_fd, .events = POLLIN};
    return n_fds;
}

int host_move(const struct host_wait *wait, struct host_flow *flows, int n, struct err *e)
{
    struct pollfd fds[GANG_SIZE_MAX + 1];
    int64_t moved_ms = clock_monotonic_ms(), left;
    int rc, n_fds;

    for (;;) {
        if ((rc = turn(flows, n, e)) < 0)
            return rc;
        if ((n_fds = watch(wait, flows, n, fds)) == 0)
            return 0;
        if (rc > 0)
            moved_ms = clock_monotonic_ms();
        left = moved_ms + wait->patience_ms - clock_monotonic_ms();
        if (left <= 0)
            return err_set(e, ERR_LOST, "nothing came from the gang for %d s",
                           wait->patience_ms / 1000);
        if (poll(fds, (nfds_t)n_fds + 1, (int)left) > 0 && fds[n_fds].revents != 0)
            return err_set(e, ERR_CANCELLED, "the gang was told to stop");
    }
}

static float bf16_to_float(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

/* To the nearest, halves to even; NaN stays one. */
static uint16_t bf16_from_float(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void sum_floats(float *sum, const float *const parts[], int n_parts, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = parts[0][i];

        for (int k = 1; k < n_parts; k++)
            s += parts[k][i];
        sum[i] = s;
    }
}

static void sum_bf16(uint16_t *sum, const uint16_t *const parts[], int n_parts, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = bf16_to_float(parts[0][i]);

        for (int k = 1; k < n_parts; k++)
            s += bf16_to_float(parts[k][i]);
        sum[i] = bf16_from_float(s);
    }
}

void host_sum(void *sum, const void *const parts[], int n_parts, int64_t n, enum gang_number number)
{
    if (number == GANG_F32)
        sum_floats(sum, (const float *const *)parts, n_parts, n);
    else
        sum_bf16(sum, (const uint16_t *const *)parts, n_parts, n);
}
