/*
 * What happened is told to the session, and what it makes of that is performed (actions.h). Each is
 * called when its descriptor is readable. Errors end the worker.
 */
#ifndef WORKER_EVENTS_H
#define WORKER_EVENTS_H

#include "worker/worker.h"

/* From the coordinator. */
int events_frames(struct worker *w, struct err *e);
/* From the runner. */
int events_reports(struct worker *w, struct err *e);
/* From the stock of files. */
int events_stock(struct worker *w, struct err *e);
/* The first signal asks to leave, the second to leave at once. */
int events_signal(struct worker *w, struct err *e);
/* The time limit, once it is over: what runs is finished, the rest handed back. */
int events_time(struct worker *w, int64_t now_ms, struct err *e);

#endif
