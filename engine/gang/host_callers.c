/*
 * Who knocks at a door: all are heard at once, so that one who says nothing, or a byte now and
 * then, keeps no member out; and none of them makes the wait longer.
 */
#include "engine/gang/host.h"
#include "proto/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING_MS 5000 /* for a caller to say who it is, all of it */

static void drop(struct host_callers *c, int i)
{
    close(c->at[i].fd);
    c->at[i] = c->at[--c->n];
}

void host_callers_done(struct host_callers *c)
{
    while (c->n > 0)
        drop(c, 0);
}

/* The one at the door for longest makes room: a member says at once who it is. */
static void make_room(struct host_callers *c)
{
    int oldest = 0;

    for (int i = 1; i < c->n; i++)
        if (c->at[i].since_ms < c->at[oldest].since_ms)
            oldest = i;
    if (c->n == HOST_CALLERS_MAX)
        drop(c, oldest);
}

/* 1: its greeting is whole; 0: more may come; -1: it left. */
static int hear(struct host_caller *caller, size_t size)
{
    ssize_t n =
        recv(caller->fd, caller->greeting + caller->heard, size - caller->heard, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return -1;
    caller->heard += (size_t)n;
    return caller->heard == size;
}

/* Those who said who they are come out one by one: the place in c->at, -1: none has. */
static int hear_all(struct host_callers *c, size_t size, int64_t now_ms)
{
    for (int i = c->n; i-- > 0;) {
        int heard = hear(&c->at[i], size);

        if (heard > 0)
            return i;
        if (heard < 0 || now_ms - c->at[i].since_ms > GREETING_MS)
            drop(c, i);
    }
    return -1;
}

/* 1: somebody came in. */
static int let_one_in(struct host_callers *c, const struct host_door *door, int64_t now_ms,
                      struct err *e)
{
    int fd, rc = host_accept(door, &fd, e);

    if (rc != 1)
        return rc;
    make_room(c);
    c->at[c->n++] = (struct host_caller){.fd = fd, .since_ms = now_ms};
    return 1;
}

/* Until something happens at the door, or a caller has had its time. */
static int wait_there(const struct host_callers *c, const struct host_wait *wait,
                      const struct host_door *door, int64_t left_ms, struct err *e)
{
    struct pollfd fds[HOST_CALLERS_MAX + 2] = {{.fd = door->fd, .events = POLLIN},
                                               {.fd = wait->abort_fd, .events = POLLIN}};

    for (int i = 0; i < c->n; i++)
        fds[i + 2] = (struct pollfd){.fd = c->at[i].fd, .events = POLLIN};
    if (c->n > 0 && left_ms > GREETING_MS)
        left_ms = GREETING_MS;
    if (poll(fds, (nfds_t)c->n + 2, (int)left_ms) > 0 && fds[1].revents != 0)
        return err_set(e, ERR_CANCELLED, "the gang was told to stop");
    return 0;
}

int host_callers_next(struct host_callers *c, const struct host_wait *wait,
                      const struct host_door *door, int64_t until_ms, void *greeting, size_t size,
                      int *ret_fd, struct err *e)
{
    int64_t now_ms;
    int rc, i;

    for (;;) {
        now_ms = clock_monotonic_ms();
        if ((rc = let_one_in(c, door, now_ms, e)) < 0)
            return rc;
        if ((i = hear_all(c, size, now_ms)) >= 0)
            break;
        if (now_ms >= until_ms)
            return err_set(e, ERR_LOST, "a member of the gang did not come");
        if (rc == 0 && (rc = wait_there(c, wait, door, until_ms - now_ms, e)) != 0)
            return rc;
    }
    memcpy(greeting, c->at[i].greeting, size);
    *ret_fd = c->at[i].fd;
    c->at[i] = c->at[--c->n];
    return 0;
}
