/*
 * The first look at a frame from outside, before anything is allocated for it: one MessagePack
 * value, whole, within the limits of msg.h. msgpack-c alone would allocate what a five-byte frame
 * claims (an array of 2^32 elements: 96 GB). Pure functions. Private to proto/.
 */
#ifndef PROTO_MSG_SCAN_H
#define PROTO_MSG_SCAN_H

#include "proto/err.h"

#include <stddef.h>

/*
 * ERR_INPUT with the offset if the frame is longer than MSG_FRAME_MAX, torn, nested deeper than
 * MSG_DEPTH_MAX, holds more than MSG_VALUES_MAX values, or has bytes after its value.
 */
int msg_scan(const void *frame, size_t size, struct err *e);

/*
 * How many leading bytes are well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong
 * forms) without NUL; `size` if all are.
 */
size_t utf8_span(const char *text, size_t size);

#endif
