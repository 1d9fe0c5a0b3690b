#include "coordinator/backlog.h"

#define ANSWER_COST (1u << 20) /* of looking it up */

static size_t waiting_of(const struct backlog *l, const struct peer *peer)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += peer_equal(&l->items[(l->first + i) % BACKLOG_MAX].peer, peer);
    return n;
}

int backlog_add(struct backlog *l, const struct out *out, struct err *e)
{
    if (l->n == BACKLOG_MAX || waiting_of(l, &out->peer) == BACKLOG_PEER_MAX)
        return 0;
    if (!l->items && !(l->items = calloc(BACKLOG_MAX, sizeof *l->items)))
        return err_set(e, ERR_OOM, "no memory for a list of requests");
    l->items[(l->first + l->n++) % BACKLOG_MAX] = *out;
    return 0;
}

bool backlog_next(struct backlog *l, struct out *ret_out)
{
    if (l->n == 0)
        return false;
    *ret_out = l->items[l->first];
    l->first = (l->first + 1) % BACKLOG_MAX;
    l->n--;
    return true;
}

uint64_t backlog_cost(const struct out *out, size_t answer_bytes)
{
    /* A check reads up to a slice of files for an answer of some bytes. */
    return ANSWER_COST + (out->answer == MSG_CHECK ? BACKLOG_SLICE : answer_bytes);
}

void backlog_done(struct backlog *l)
{
    free(l->items);
    *l = (struct backlog){0};
}
