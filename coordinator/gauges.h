/* The coordinator's numbers for monitoring/METRICS.md, taken from its state. One thread. */
#ifndef COORDINATOR_GAUGES_H
#define COORDINATOR_GAUGES_H

#include "coordinator/coord.h"
#include "monitoring/http.h"

struct gauges;

/* ret_gauges: gauges_free(), legal on NULL. ERR_OOM. */
int gauges_new(struct gauges **ret_gauges, struct err *e);
void gauges_free(struct gauges *g);

/* A durable record. */
void gauges_record(struct gauges *g, const struct record *record);
/* A batch took this long, files, commit and messages; of that its commit, negative if it had none.
 */
void gauges_batch(struct gauges *g, int64_t took_ms, int64_t commit_ms);

/* Hands a snapshot to the server. */
int gauges_publish(struct gauges *g, const struct coord *c, int64_t now_ms, struct http *http,
                   struct err *e);

#endif
