/*
 * Counters, gauges and histograms, and their Prometheus text (exposition format 0.0.4). Families
 * are known at start and have at most one label, whose values are few and fixed by the program:
 * never job names, task indices or anything a user chooses.
 *
 * One thread; http.h hands a finished text over to another.
 *
 *     struct metrics *m;
 *     TRY(metrics_new(&m, e));
 *     id = metrics_family(m, METRIC_GAUGE, "litho_workers", "Workers by state.", "state");
 *     metrics_set(m, id, "idle", 3);
 *     metrics_text(m, &text);
 */
#ifndef MONITORING_METRICS_H
#define MONITORING_METRICS_H

#include "proto/buf.h"
#include "proto/err.h"

#define METRICS_FAMILIES_MAX 64
#define METRICS_LABELS_MAX   32 /* values of one label */
#define METRICS_BUCKETS_MAX  24

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics;

/* ret_metrics: metrics_free(), legal on NULL. ERR_OOM. */
int metrics_new(struct metrics **ret_metrics, struct err *e);
void metrics_free(struct metrics *m);

/*
 * A new family; all texts are static. label NULL: one value. Returns its id, or -1 if there are
 * METRICS_FAMILIES_MAX already. Later calls with id -1 do nothing.
 */
int metrics_family(struct metrics *m, enum metric_kind kind, const char *name, const char *help,
                   const char *label);

/* A histogram with upper bounds ascending, n <= METRICS_BUCKETS_MAX; +Inf is added. Static. */
int metrics_histogram(struct metrics *m, const char *name, const char *help, const double *bounds,
                      int n);

/* value: of the label, copied; "" for a family without one. Beyond METRICS_LABELS_MAX values the
 * rest is counted under "other". */
void metrics_set(struct metrics *m, int id, const char *value, double x);
void metrics_add(struct metrics *m, int id, const char *value, double x);
void metrics_observe(struct metrics *m, int id, double x);

/* Appends all families in Prometheus text format 0.0.4, in order of their ids. */
void metrics_text(const struct metrics *m, struct buf *ret_text);

#endif
