#include "coordinator/lobby.h"

#include "proto/msg.h"

#include <string.h>

/* A client's hello or request: it may be dropped, for its sender repeats it. */
static bool from_client(const struct msg *m, uint64_t *ret_request)
{
    *ret_request = 0;
    switch (m->type) {
    case MSG_HELLO:
        return strcmp(m->hello.role, "client") == 0;
    case MSG_SUBMIT:
        *ret_request = m->submit.request;
        return true;
    case MSG_LIST:
        *ret_request = m->list.request;
        return true;
    case MSG_STATUS:
        *ret_request = m->status.request;
        return true;
    case MSG_CANCEL:
        *ret_request = m->cancel.request;
        return true;
    case MSG_WORKERS:
        *ret_request = m->workers.request;
        return true;
    case MSG_RECORDS:
        *ret_request = m->records.request;
        return true;
    case MSG_FETCH:
        *ret_request = m->fetch.request;
        return true;
    case MSG_PAUSE:
    case MSG_RESUME:
    case MSG_REMOVE:
        *ret_request = m->pause.request;
        return true;
    case MSG_RETRY:
        *ret_request = m->retry.request;
        return true;
    case MSG_DRAIN:
        *ret_request = m->drain.request;
        return true;
    case MSG_HISTORY:
        *ret_request = m->history.request;
        return true;
    case MSG_CHECK:
        *ret_request = m->check.request;
        return true;
    default:
        return false;
    }
}

/* A worker's message whose next one says as much. */
static bool said_again(const struct msg *m)
{
    return m->type == MSG_PING || m->type == MSG_PROGRESS;
}

static int refuse(struct link *link, const struct peer *peer, uint64_t request, const char *why,
                  struct err *e)
{
    struct msg m = {.type = MSG_ERROR,
                    .error = {.request = request, .code = err_name(ERR_IO), .text = why}};
    struct buf frame = {0};
    int rc;

    TRY(msg_encode(&m, &frame, e));
    rc = link_send(link, peer, frame.data, frame.size, e);
    if (rc == ERR_MISSING || rc == ERR_TIMEOUT) /* gone, or it does not read */
        rc = 0;
out:
    buf_done(&frame);
    return rc;
}

bool lobby_full(const struct lobby *l)
{
    return l->n == LOBBY_MESSAGES || l->bytes >= LOBBY_BYTES;
}

int lobby_serve(struct lobby *l, struct link *link, const char *why, struct err *e)
{
    struct buf frame = {0};
    struct peer peer;
    int rc = 0;

    while (!lobby_full(l) && (rc = link_receive(link, &peer, &frame, e)) == 1) {
        uint64_t request = 0;
        struct msg m = {0};
        bool valid = msg_decode(frame.data, frame.size, &m, NULL) == 0;
        bool client = valid && from_client(&m, &request), again = valid && said_again(&m);

        msg_done(&m);
        if (client)
            TRY(refuse(link, &peer, request, why, e));
        if (client || again)
            continue;
        l->bytes += frame.size;
        l->kept[(l->first + l->n++) % LOBBY_MESSAGES] = (struct kept){peer, frame};
        frame = (struct buf){0};
    }
    rc = rc < 0 ? rc : 0;
out:
    buf_done(&frame);
    return rc;
}

bool lobby_next(struct lobby *l, struct peer *ret_peer, struct buf *ret_frame)
{
    struct kept *kept = &l->kept[l->first];

    if (l->n == 0)
        return false;
    *ret_peer = kept->peer;
    buf_done(ret_frame);
    *ret_frame = kept->frame;
    kept->frame = (struct buf){0};
    l->bytes -= ret_frame->size;
    l->first = (l->first + 1) % LOBBY_MESSAGES;
    l->n--;
    return true;
}

void lobby_done(struct lobby *l)
{
    for (size_t i = 0; i < LOBBY_MESSAGES; i++)
        buf_done(&l->kept[i].frame);
    l->n = 0;
}
