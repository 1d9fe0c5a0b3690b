/* Answers to clients: submit, list, status, cancel, workers, records, fetch. Part of the reactor.
 */
#ifndef COORDINATOR_REQUESTS_H
#define COORDINATOR_REQUESTS_H

#include "coordinator/reactor.h"

/* m is one of the requests. */
int on_request(struct coord *c, const struct peer *peer, const struct msg *m, int64_t now_ms,
               struct outbox *o, struct err *e);
int on_opened(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e);
int on_restored(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
                struct err *e);

/* request: the one that fails, 0: none of them, the session is refused. */
int send_error(struct outbox *o, const struct peer *peer, uint64_t request, const struct err *why,
               struct err *e);

#endif
