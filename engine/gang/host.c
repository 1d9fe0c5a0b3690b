/*
 * The host backend: gang.h over a mesh of sockets.
 *
 * all_reduce: the numbers are cut into as many slices as there are members. Each member sends its
 * part of every slice to the slice's owner, who adds the parts in rank order and sends the sum to
 * all: 2 (size - 1) / size of the numbers leave each member, the least there can be (Rabenseifner
 * 2004), and every sum is taken once, by one member.
 */
#include "engine/gang/host.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_BYTES (1u << 20) /* of one slice at a time: bounds the scratch of a sum */

/* In front of every transfer: members at different operations notice it. */
struct frame {
    uint32_t sequence, check; /* of what went this way before; the operation's name */
    uint64_t bytes;
};

struct host {
    struct gang gang;
    struct host_wait wait;
    struct host *whole;         /* of a part: the gang that it is a part of; else NULL */
    int members[GANG_SIZE_MAX]; /* rank -> rank in the whole gang */
    int fds[GANG_SIZE_MAX];     /* by rank in the whole gang; owned by it */
    uint32_t sent[GANG_SIZE_MAX], received[GANG_SIZE_MAX]; /* transfers; the whole gang's count */
    char *scratch; /* [size - 1 slices of CHUNK_BYTES], owned */
    bool broken;
};

enum operation { OP_SUM, OP_SPREAD, OP_GATHER, OP_BROADCAST, OP_EXCHANGE, OP_SPLIT };

static struct host *host_of(struct gang *g)
{
    return (struct host *)g;
}

static struct host *whole_of(struct host *h)
{
    return h->whole != NULL ? h->whole : h;
}

static int broken(struct host *h, int rc)
{
    if (rc != 0)
        h->broken = whole_of(h)->broken = true;
    return rc;
}

static int check_frames(struct host *h, const struct frame *frames, const struct gang_transfer *t,
                        int n, enum operation op, struct err *e)
{
    struct host *w = whole_of(h);

    for (int i = 0; i < n; i++) {
        int peer = h->members[t[i].peer];

        if (t[i].receive_bytes == 0)
            continue;
        if (frames[i].sequence != w->received[peer] || frames[i].check != (uint32_t)op ||
            frames[i].bytes != t[i].receive_bytes)
            return err_set(e, ERR_INTERNAL, "member %d of the gang is at another operation",
                           t[i].peer);
        w->received[peer]++;
    }
    return 0;
}

/* Frames first, then what they announce. */
static int transfer(struct host *h, const struct gang_transfer *t, int n, enum operation op,
                    struct err *e)
{
    struct frame out[GANG_SIZE_MAX] = {{0}}, in[GANG_SIZE_MAX] = {{0}};
    struct host_flow heads[GANG_SIZE_MAX], bodies[GANG_SIZE_MAX];
    struct host *w = whole_of(h);
    int rc = 0;

    if (w->broken)
        return err_set(e, ERR_LOST, "the gang is broken");
    for (int i = 0; i < n; i++) {
        int peer = h->members[t[i].peer];

        heads[i] = (struct host_flow){.fd = w->fds[peer], .peer = t[i].peer};
        bodies[i] = heads[i];
        if (t[i].send_bytes > 0) {
            out[i] = (struct frame){w->sent[peer]++, (uint32_t)op, t[i].send_bytes};
            heads[i].send = (const char *)&out[i];
            heads[i].n_send = sizeof out[i];
        }
        if (t[i].receive_bytes > 0) {
            heads[i].receive = (char *)&in[i];
            heads[i].n_receive = sizeof in[i];
        }
        bodies[i].send = t[i].send;
        bodies[i].n_send = t[i].send_bytes;
        bodies[i].receive = t[i].receive;
        bodies[i].n_receive = t[i].receive_bytes;
    }
    TRY(host_move(&h->wait, heads, n, e));
    TRY(check_frames(h, in, t, n, op, e));
    TRY(host_move(&h->wait, bodies, n, e));
out:
    return broken(h, rc);
}

/* Where slice `rank` of n numbers begins. */
static int64_t slice_at(int64_t n, int rank, int size)
{
    return n / size * rank + (n % size < rank ? n % size : rank);
}

static size_t number_bytes(enum gang_number number)
{
    return number == GANG_F32 ? 4 : 2;
}

/* One chunk of every slice at a time; a transfer for every other member. */
struct reduction {
    struct host *host;
    char *x;
    size_t width; /* bytes of a number */
    enum gang_number number;
    char *own; /* this member's slice of the chunk */
    int64_t own_n;
    struct gang_transfer to_owner[GANG_SIZE_MAX], to_all[GANG_SIZE_MAX];
};

static void cut(struct reduction *r, int64_t at, int64_t n)
{
    struct gang *g = &r->host->gang;
    int k = 0;

    r->own = r->x + (size_t)(at + slice_at(n, g->rank, g->size)) * r->width;
    r->own_n = slice_at(n, g->rank + 1, g->size) - slice_at(n, g->rank, g->size);
    for (int i = 0; i < g->size; i++) {
        int64_t from = slice_at(n, i, g->size), to = slice_at(n, i + 1, g->size);
        char *slice = r->x + (size_t)(at + from) * r->width;

        if (i == g->rank)
            continue;
        r->to_owner[k] =
            (struct gang_transfer){.peer = i,
                                   .send = slice,
                                   .send_bytes = (size_t)(to - from) * r->width,
                                   .receive = r->host->scratch + (size_t)k * CHUNK_BYTES,
                                   .receive_bytes = (size_t)r->own_n * r->width};
        r->to_all[k] = (struct gang_transfer){.peer = i,
                                              .send = r->own,
                                              .send_bytes = (size_t)r->own_n * r->width,
                                              .receive = slice,
                                              .receive_bytes = (size_t)(to - from) * r->width};
        k++;
    }
}

static void add_up(struct reduction *r)
{
    struct gang *g = &r->host->gang;
    const void *parts[GANG_SIZE_MAX];
    int k = 0;

    for (int i = 0; i < g->size; i++)
        parts[i] = i == g->rank ? r->own : r->host->scratch + (size_t)k++ * CHUNK_BYTES;
    host_sum(r->own, parts, g->size, r->own_n, r->number);
}

static int all_reduce(struct gang *g, void *x, int64_t n, enum gang_number number, struct err *e)
{
    struct reduction r = {
        .host = host_of(g), .x = x, .width = number_bytes(number), .number = number};
    int64_t step = (int64_t)(CHUNK_BYTES / r.width) * g->size;
    int rc = 0;

    if (number == GANG_F16)
        return err_set(e, ERR_ARG, "gangs of CPUs add no f16");
    for (int64_t at = 0; at < n; at += step) {
        cut(&r, at, n - at < step ? n - at : step);
        TRY(transfer(r.host, r.to_owner, g->size - 1, OP_SUM, e));
        add_up(&r);
        TRY(transfer(r.host, r.to_all, g->size - 1, OP_SPREAD, e));
    }
out:
    return rc;
}

static int all_gather(struct gang *g, float *all, const int64_t counts[], struct err *e)
{
    struct gang_transfer t[GANG_SIZE_MAX];
    float *parts[GANG_SIZE_MAX];
    int k = 0;

    for (int i = 0; i < g->size; i++) {
        parts[i] = all;
        all += counts[i];
    }
    for (int i = 0; i < g->size; i++)
        if (i != g->rank)
            t[k++] = (struct gang_transfer){.peer = i,
                                            .send = parts[g->rank],
                                            .send_bytes = (size_t)counts[g->rank] * sizeof **parts,
                                            .receive = parts[i],
                                            .receive_bytes = (size_t)counts[i] * sizeof **parts};
    return transfer(host_of(g), t, k, OP_GATHER, e);
}

static int broadcast(struct gang *g, void *bytes, size_t size, int root, struct err *e)
{
    struct gang_transfer t[GANG_SIZE_MAX] = {
        {.peer = root, .receive = bytes, .receive_bytes = size}};
    int k = 0;

    if (g->rank != root)
        return transfer(host_of(g), t, 1, OP_BROADCAST, e);
    for (int i = 0; i < g->size; i++)
        if (i != root)
            t[k++] = (struct gang_transfer){.peer = i, .send = bytes, .send_bytes = size};
    return transfer(host_of(g), t, k, OP_BROADCAST, e);
}

static int exchange(struct gang *g, const struct gang_transfer *transfers, int n, struct err *e)
{
    if (n < 0 || n > g->size - 1)
        return err_set(e, ERR_ARG, "an exchange with %d of %d members", n, g->size);
    return transfer(host_of(g), transfers, n, OP_EXCHANGE, e);
}

static int check(struct gang *g, struct err *e)
{
    struct host *h = host_of(g), *w = whole_of(h);
    struct pollfd stop = {.fd = h->wait.abort_fd, .events = POLLIN};
    char byte;

    if (w->broken)
        return err_set(e, ERR_LOST, "the gang is broken");
    if (poll(&stop, 1, 0) > 0)
        return broken(h, err_set(e, ERR_CANCELLED, "the gang was told to stop"));
    for (int i = 0; i < g->size; i++)
        if (i != g->rank && recv(w->fds[h->members[i]], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            return broken(h, err_set(e, ERR_LOST, "member %d of the gang went away", i));
    return 0;
}

static void host_free(struct gang *g)
{
    struct host *h = host_of(g);

    if (g == NULL)
        return;
    for (int i = 0; i < GANG_SIZE_MAX && h->whole == NULL; i++)
        if (h->fds[i] >= 0)
            close(h->fds[i]);
    free(h->scratch);
    free(h);
}

static int split(struct gang *g, int colour, struct gang **ret_part, struct err *e);

static int host_new(const struct host_wait *wait, int rank, int size, struct host **ret_host,
                    struct err *e)
{
    struct host *h = calloc(1, sizeof *h);

    if (h == NULL ||
        (h->scratch = malloc((size_t)(size > 1 ? size - 1 : 1) * CHUNK_BYTES)) == NULL) {
        free(h);
        return err_set(e, ERR_OOM, "no memory for a gang");
    }
    h->gang = (struct gang){.name = "host",
                            .rank = rank,
                            .size = size,
                            .all_reduce = all_reduce,
                            .all_gather = all_gather,
                            .broadcast = broadcast,
                            .exchange = exchange,
                            .split = split,
                            .check = check,
                            .free = host_free};
    h->wait = *wait;
    for (int i = 0; i < GANG_SIZE_MAX; i++) {
        h->fds[i] = -1;
        h->members[i] = i;
    }
    *ret_host = h;
    return 0;
}

/* Everybody's colour, by rank. */
static int tell_colours(struct host *h, int32_t colours[], struct err *e)
{
    struct gang_transfer t[GANG_SIZE_MAX];
    int k = 0;

    for (int i = 0; i < h->gang.size; i++)
        if (i != h->gang.rank)
            t[k++] = (struct gang_transfer){.peer = i,
                                            .send = &colours[h->gang.rank],
                                            .send_bytes = sizeof *colours,
                                            .receive = &colours[i],
                                            .receive_bytes = sizeof *colours};
    return transfer(h, t, k, OP_SPLIT, e);
}

static int split(struct gang *g, int colour, struct gang **ret_part, struct err *e)
{
    struct host *h = host_of(g), *part = NULL;
    int32_t colours[GANG_SIZE_MAX];
    int members[GANG_SIZE_MAX], n = 0, rank = 0, rc = 0;

    colours[g->rank] = colour;
    TRY(tell_colours(h, colours, e));
    for (int i = 0; i < g->size; i++) {
        if (i == g->rank)
            rank = n;
        if (colours[i] == colour)
            members[n++] = h->members[i];
    }
    TRY(host_new(&h->wait, rank, n, &part, e));
    part->whole = whole_of(h);
    memcpy(part->members, members, (size_t)n * sizeof *members);
    *ret_part = &part->gang;
out:
    return rc;
}

int host_join(const struct gang_place *place, const struct host_door *door, struct gang **ret_gang,
              struct err *e)
{
    const struct host_wait wait = {place->abort_fd, place->patience_ms};
    struct host *h = NULL;
    int rc = 0;

    TRY(host_new(&wait, place->rank, place->size, &h, e));
    TRY(host_mesh(place, door, h->fds, e));
    *ret_gang = &h->gang;
    h = NULL;
out:
    host_free(h != NULL ? &h->gang : NULL);
    return rc;
}
