/*
 * msg_decode on any bytes, and what it accepts must survive encoding and decoding again.
 *
 *     clang -g -O1 -std=gnu11 -D_GNU_SOURCE -I. -include proto/banned.h \
 *         -fsanitize=fuzzer,address,undefined tests/fuzz/fuzz_msg.c proto/msg*.c proto/buf.c \
 *         proto/err.c -lmsgpackc -lm -o fuzz_msg
 *     ./fuzz_msg -max_total_time=60 tests/fuzz/corpus/msg
 */
#include "proto/msg.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf frame = {0}, again = {0};
    struct msg m, back;

    if (msg_decode(data, size, &m, NULL) != 0)
        return 0;
    if (msg_encode(&m, &frame, NULL) != 0)
        abort(); /* accepted, but not sayable */
    if (msg_decode(frame.data, frame.size, &back, NULL) != 0)
        abort();
    if (msg_encode(&back, &again, NULL) != 0 || again.size != frame.size ||
        memcmp(again.data, frame.data, frame.size) != 0)
        abort();
    msg_done(&m);
    msg_done(&back);
    buf_done(&frame);
    buf_done(&again);
    return 0;
}
