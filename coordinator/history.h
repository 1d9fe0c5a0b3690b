/*
 * What became of attempts that gave no picture, as rows for `litho logs`. The attempt that settled
 * a task stands in its record. Part of the reactor.
 */
#ifndef COORDINATOR_HISTORY_H
#define COORDINATOR_HISTORY_H

#include "coordinator/reactor.h"

/* Adds the row to this batch. since_ms: leased at, as now_ms counts; 0: unknown. */
int history_note(const struct coord *c, const struct task_entry *t, uint32_t attempt,
                 const char *worker, const char *code, const char *text, int64_t since_ms,
                 int64_t now_ms, struct outbox *o, struct err *e);

#endif
