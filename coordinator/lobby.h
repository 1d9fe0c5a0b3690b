/*
 * What happens to messages while the state folder refuses a commit. Clients are told why at once
 * (error, code io) and ask again. Pings and progress are let go, since their next one says as much:
 * they would soon fill the lobby, and clients would go unanswered. Everything else is kept in
 * order, and stays in the socket once that is full.
 *
 *     while (refused)
 *         TRY(lobby_serve(&lobby, link, "the disk is full", e));
 *     while (lobby_next(&lobby, &peer, &frame)) ...              // then the link's own
 *     lobby_done(&lobby);
 */
#ifndef COORDINATOR_LOBBY_H
#define COORDINATOR_LOBBY_H

#include "proto/link.h"

#include <stdbool.h>

#define LOBBY_MESSAGES 512
#define LOBBY_BYTES    (128u << 20) /* kept; the message that goes beyond still fits */

struct lobby {
    struct kept {
        struct peer peer;
        struct buf frame;
    } kept[LOBBY_MESSAGES];
    size_t first, n;
    size_t bytes;
};

/* No room: lobby_serve would do nothing, and waiting for the link would return at once. */
bool lobby_full(const struct lobby *l);

/* Takes what waits on the link. why: for clients. */
int lobby_serve(struct lobby *l, struct link *link, const char *why, struct err *e);

/* The oldest kept message; frame's content is replaced. */
bool lobby_next(struct lobby *l, struct peer *ret_peer, struct buf *ret_frame);

void lobby_done(struct lobby *l);

#endif
