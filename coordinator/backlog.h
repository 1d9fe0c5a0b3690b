/*
 * Requests whose answers cost time on the disk (pictures, records, checks of files), a slice of
 * them for each batch: however many one client asks for, the others and the workers are served
 * between. First come, first served; of one peer at most BACKLOG_PEER_MAX wait, and what is beyond
 * is forgotten, since every request is asked again (proto/PROTOCOL.md, "Requests").
 *
 *     TRY(backlog_add(&l, out, e));                       // after the commit
 *     for (uint64_t cost = 0; cost < BACKLOG_SLICE && backlog_next(&l, &out);)
 *         cost += backlog_cost(&out, bytes of its answer);
 */
#ifndef COORDINATOR_BACKLOG_H
#define COORDINATOR_BACKLOG_H

#include "coordinator/coord.h"
#include "coordinator/outbox.h"

#define BACKLOG_MAX      1024
#define BACKLOG_PEER_MAX 64
#define BACKLOG_SLICE    (16u << 20) /* of backlog_cost() */

/* Zeroed memory is empty. */
struct backlog {
    struct out *items; /* a ring of BACKLOG_MAX; owned, NULL until the first */
    size_t first, n;
};

/* out: of OUT_ANSWER; copied, nothing of it is taken over. */
int backlog_add(struct backlog *l, const struct out *out, struct err *e);

/* The next one; false: none waits. */
bool backlog_next(struct backlog *l, struct out *ret_out);

/* What an answer of so many bytes is counted as, in bytes read. */
uint64_t backlog_cost(const struct out *out, size_t answer_bytes);

void backlog_done(struct backlog *l);

#endif
