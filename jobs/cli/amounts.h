/* Durations, sizes and counts as people read them: "1:05", "3.2 GB", "100,000,000". */
#ifndef JOBS_CLI_AMOUNTS_H
#define JOBS_CLI_AMOUNTS_H

#include "proto/buf.h"

#include <stdint.h>

/* "0.4 s", "12 s", "1:05 min", "2:03:00 h", "5 days". seconds: 0 or more. */
void amount_duration(double seconds, struct buf *ret_text);

/* "812 bytes", "3.2 kB", "1.5 GB": powers of 1000. */
void amount_bytes(double bytes, struct buf *ret_text);

/* "12,345". */
void amount_count(uint64_t n, struct buf *ret_text);

/* "12 images", "1 image". */
void amount_images(uint64_t n, struct buf *ret_text);

/* "2.6 images/s", "4.1 images/min", "7 images/h". */
void amount_rate(double images_per_second, struct buf *ret_text);

#endif
