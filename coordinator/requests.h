/* Answers to clients: what they ask of jobs and workers. Part of the reactor; what they tell jobs
 * and workers to do is controls.h's. */
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

/* Answers of type job, fleet and jobs. */
int send_job(struct coord *c, const struct peer *peer, uint64_t request, const struct job_entry *j,
             int64_t now_ms, struct outbox *o, struct err *e);
int send_fleet(struct coord *c, const struct peer *peer, uint64_t request, int64_t now_ms,
               struct outbox *o, struct err *e);
int on_list(struct coord *c, const struct peer *peer, const struct msg_list *m, int64_t now_ms,
            struct outbox *o, struct err *e);

/* Has the job read back from the store, over many batches if it is large; answered by
 * EVENT_RESTORED. */
int job_reopen(const struct coord *c, struct job_entry *j, enum reopen what, struct outbox *o,
               struct err *e);

/* It is being opened already: whoever asked last is answered once it is, the one before is told
 * that another did. */
int job_reopen_for(struct job_entry *j, const struct peer *peer, uint64_t request,
                   enum msg_type asked, int64_t now_ms, struct outbox *o, struct err *e);

/* Who asked is not kept waiting for all of a large job: it is answered while the job waits. */
#define REOPEN_ANSWER_MS 2000
int reopen_tick(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                struct err *e);

/* request: the one that fails, 0: none of them, the session is refused. */
int send_error(struct outbox *o, const struct peer *peer, uint64_t request, const struct err *why,
               struct err *e);

#endif
