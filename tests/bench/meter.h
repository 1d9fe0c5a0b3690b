/*
 * Time and traffic of a backend's operations, by kind: the members of its table are replaced by
 * ones that look at the clock around the backend's own. One backend of a process at a time; what it
 * is asked for while planning does not count.
 */
#ifndef TESTS_BENCH_METER_H
#define TESTS_BENCH_METER_H

#include "engine/ops/ops.h"

enum meter_kind {
    METER_LINEAR,
    METER_CONV3, /* convolutions of 3x3 */
    METER_CONV1, /* and all others */
    METER_ATTENTION,
    METER_GROUP_NORM,
    METER_LAYER_NORM,
    METER_GEGLU,
    METER_ACTIVATE,
    METER_ADD,
    METER_CONCAT,
    METER_UPSAMPLE,
    METER_COPY, /* put and get */
    METER_KINDS
};
const char *meter_name(enum meter_kind kind);

/*
 * Since the last reset. flops: two for each multiply-add of linear, conv2d and attention, nothing
 * for the rest. bytes: each operand, result and weight once.
 */
struct meter {
    long calls;
    double seconds, flops, bytes;
};

void meter_wrap(struct ops *o);
void meter_done(void);

void meter_reset(void);
void meter_read(struct meter ret_meters[METER_KINDS]);

#endif
