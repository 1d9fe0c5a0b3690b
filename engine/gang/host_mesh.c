/*
 * How the members of a host gang come to have a socket for every pair. Each opens a door and tells
 * rank 0; when all are there, rank 0 tells everybody the doors, and every member knocks at those
 * below its rank.
 */
#include "engine/gang/host.h"
#include "proto/clock.h"

#include <string.h>
#include <unistd.h>

#define MAGIC 0x6761u /* of a greeting, and its version */

struct greeting {
    uint32_t magic, rank, size;
    char token[HOST_TOKEN_SIZE];
    char address[HOST_ADDRESS_SIZE]; /* the caller's own door */
};
_Static_assert(sizeof(struct greeting) <= HOST_GREETING_MAX, "a greeting has its room");

static int say(const struct host_wait *wait, int fd, int peer, const void *bytes, size_t n,
               struct err *e)
{
    struct host_flow f = {.fd = fd, .peer = peer, .send = bytes, .n_send = n};

    return host_move(wait, &f, 1, e);
}

static int hear(const struct host_wait *wait, int fd, int peer, void *bytes, size_t n,
                struct err *e)
{
    struct host_flow f = {.fd = fd, .peer = peer, .receive = bytes, .n_receive = n};

    return host_move(wait, &f, 1, e);
}

static void greeting_of(const struct gang_place *p, const struct host_door *door,
                        struct greeting *ret_greeting)
{
    *ret_greeting =
        (struct greeting){.magic = MAGIC, .rank = (uint32_t)p->rank, .size = (uint32_t)p->size};
    memcpy(ret_greeting->token, door->token, sizeof ret_greeting->token);
    memcpy(ret_greeting->address, door->address, sizeof ret_greeting->address);
}

/* Of a member that is still missing, with the gang's token. */
static bool is_one_of_us(const struct greeting *g, const struct gang_place *p,
                         const struct host_door *door, const int fds[])
{
    return g->magic == MAGIC && g->size == (uint32_t)p->size && g->rank < (uint32_t)p->size &&
           g->rank > (uint32_t)p->rank && fds[g->rank] < 0 &&
           memcmp(g->token, door->token, sizeof g->token) == 0 &&
           memchr(g->address, 0, sizeof g->address) != NULL;
}

/* The members above one's own rank, as they come. addresses: NULL, or where they can be met. */
static int let_in(const struct host_wait *wait, const struct gang_place *p,
                  const struct host_door *door, int fds[], char (*addresses)[HOST_ADDRESS_SIZE],
                  struct err *e)
{
    int64_t until_ms = clock_monotonic_ms() + wait->patience_ms;
    struct host_callers callers = {0};
    int rc = 0, missing = p->size - 1 - p->rank;

    while (missing > 0) {
        struct greeting g;
        int fd;

        TRY(host_callers_next(&callers, wait, door, until_ms, &g, sizeof g, &fd, e));
        if (!is_one_of_us(&g, p, door, fds)) {
            close(fd);
            continue;
        }
        fds[g.rank] = fd;
        if (addresses != NULL)
            memcpy(addresses[g.rank], g.address, sizeof g.address);
        until_ms = clock_monotonic_ms() + wait->patience_ms;
        missing--;
    }
out:
    host_callers_done(&callers);
    return rc;
}

static int knock(const struct host_wait *wait, const struct gang_place *p,
                 const struct host_door *door, const char *address, int rank, int fds[],
                 struct err *e)
{
    struct greeting g;
    int rc = 0;

    greeting_of(p, door, &g);
    TRY(host_connect(wait, address, &fds[rank], e));
    TRY(say(wait, fds[rank], rank, &g, sizeof g, e));
out:
    return rc;
}

static int gather(const struct host_wait *wait, const struct gang_place *p,
                  const struct host_door *door, int fds[], struct err *e)
{
    char addresses[GANG_SIZE_MAX][HOST_ADDRESS_SIZE] = {{0}};
    int rc = 0;

    TRY(let_in(wait, p, door, fds, addresses, e));
    for (int i = 1; i < p->size; i++)
        TRY(say(wait, fds[i], i, addresses, sizeof addresses, e));
out:
    return rc;
}

static int arrive(const struct host_wait *wait, const struct gang_place *p, int fds[],
                  struct err *e)
{
    char addresses[GANG_SIZE_MAX][HOST_ADDRESS_SIZE], token[HOST_TOKEN_SIZE];
    struct host_door door = {.fd = -1};
    int rc = 0;

    host_token(p->meeting, token);
    TRY(host_door_open(&door, strncmp(p->meeting, "unix:", 5) == 0, p->address, token, e));
    TRY(knock(wait, p, &door, p->meeting, 0, fds, e));
    TRY(hear(wait, fds[0], 0, addresses, sizeof addresses, e));
    for (int i = 1; i < p->rank; i++) {
        addresses[i][HOST_ADDRESS_SIZE - 1] = 0;
        TRY(knock(wait, p, &door, addresses[i], i, fds, e));
    }
    TRY(let_in(wait, p, &door, fds, NULL, e));
out:
    host_door_close(&door);
    return rc;
}

int host_mesh(const struct gang_place *place, const struct host_door *door, int fds[],
              struct err *e)
{
    const struct host_wait wait = {place->abort_fd, place->patience_ms};

    for (int i = 0; i < place->size; i++)
        fds[i] = -1;
    return place->rank == 0 ? gather(&wait, place, door, fds, e) : arrive(&wait, place, fds, e);
}
