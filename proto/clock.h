/*
 * Time as the programs' main loops read it. Decisions take `now_ms` as an argument and never call
 * this.
 */
#ifndef PROTO_CLOCK_H
#define PROTO_CLOCK_H

#include <stdint.h>

/* Milliseconds since an arbitrary start; never goes back. */
int64_t clock_monotonic_ms(void);

/* Milliseconds since 1970-01-01 UTC, for records that people read. */
int64_t clock_wall_ms(void);

#endif
