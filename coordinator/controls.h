/*
 * What clients tell jobs and workers to do: cancel, pause, resume, retry, remove, drain. Part of
 * the reactor (reactor.h has the rules); called by requests.c alone. Each is answered, and may be
 * repeated without harm.
 */
#ifndef COORDINATOR_CONTROLS_H
#define COORDINATOR_CONTROLS_H

#include "coordinator/reactor.h"

/* A job that is over stays as it is. */
int on_cancel(struct coord *c, const struct peer *peer, uint64_t request, struct job_entry *j,
              int64_t now_ms, struct outbox *o, struct err *e);

/* No lease while paused; attempts that run go on. */
int on_pause(struct coord *c, const struct peer *peer, uint64_t request, struct job_entry *j,
             bool paused, int64_t now_ms, struct outbox *o, struct err *e);

/* What failed is done again, also while the job runs. */
int on_retry(struct coord *c, const struct peer *peer, const struct msg_retry *m,
             struct job_entry *j, int64_t now_ms, struct outbox *o, struct err *e);

/* Forgets a job that is over; its files stay. */
int on_remove(struct coord *c, const struct peer *peer, uint64_t request, struct job_entry *j,
              int64_t now_ms, struct outbox *o, struct err *e);

/* Workers of that name get no lease any more, and are told to leave. */
int on_drain(struct coord *c, const struct peer *peer, const struct msg_drain *m, int64_t now_ms,
             struct outbox *o, struct err *e);

/* Says it to one worker. */
int send_leave(struct outbox *o, struct worker *w, struct err *e);

#endif
