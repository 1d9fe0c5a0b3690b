#include "proto/msg_scan.h"

#include "proto/msg.h"

#include <stdint.h>

/* What one tag byte says (msgpack spec.md, "Formats"). */
struct head {
    size_t head_bytes; /* tag, length and extension type */
    uint64_t body_bytes;
    uint64_t children; /* values inside: twice the pairs of a map */
};

static uint64_t big_endian(const unsigned char *p, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

/* Formats whose length stands in 1, 2 or 4 bytes after the tag. false if those are cut off. */
static bool head_with_length(const unsigned char *p, size_t left, size_t length_bytes,
                             uint64_t *ret_length)
{
    if (left < 1 + length_bytes)
        return false;
    *ret_length = big_endian(p + 1, length_bytes);
    return true;
}

/* false for a tag that does not exist or a cut head. left >= 1. */
static bool head_read(const unsigned char *p, size_t left, struct head *h)
{
    unsigned char tag = p[0];
    size_t width = 0;
    uint64_t length = 0;

    *h = (struct head){.head_bytes = 1};
    if (tag <= 0x7f || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3)
        return true; /* small integers, nil, booleans */
    if (tag <= 0x8f) {
        h->children = 2 * (uint64_t)(tag & 0x0f);
    } else if (tag <= 0x9f) {
        h->children = tag & 0x0f;
    } else if (tag <= 0xbf) {
        h->body_bytes = tag & 0x1f;
    } else if (tag == 0xca || tag == 0xcb) {
        h->body_bytes = tag == 0xca ? 4 : 8;
    } else if (tag >= 0xcc && tag <= 0xd3) {
        h->body_bytes = (uint64_t)1 << (tag & 3); /* 0xcc and 0xd0 are multiples of 4 */
    } else if (tag >= 0xd4 && tag <= 0xd8) {
        h->head_bytes = 2;
        h->body_bytes = (uint64_t)1 << (tag - 0xd4);
    } else if (tag == 0xc1) {
        return false;
    } else {
        width = tag >= 0xdc   ? (size_t)2 << (tag & 1) /* array, map: 16, 32 */
                : tag >= 0xd9 ? (size_t)1 << (tag - 0xd9)
                : tag >= 0xc7 ? (size_t)1 << (tag - 0xc7)
                              : (size_t)1 << (tag - 0xc4);
        if (!head_with_length(p, left, width, &length))
            return false;
        h->head_bytes = 1 + width + (tag >= 0xc7 && tag <= 0xc9);
        if (tag >= 0xdc)
            h->children = tag >= 0xde ? 2 * length : length;
        else
            h->body_bytes = length;
    }
    return true;
}

int msg_scan(const void *frame, size_t size, struct err *e)
{
    const unsigned char *bytes = frame;
    uint64_t open[MSG_DEPTH_MAX + 1] = {1}; /* values still to come at each depth */
    size_t depth = 0, at = 0;
    uint64_t n_values = 1;
    struct head h;

    if (size > MSG_FRAME_MAX)
        return err_set(e, ERR_INPUT, "frame of %zu bytes, over the limit of %u", size,
                       MSG_FRAME_MAX);
    for (;;) {
        while (open[depth] == 0) {
            if (depth == 0)
                return at == size ? 0
                                  : err_set(e, ERR_INPUT, "frame has %zu bytes after its value",
                                            size - at);
            depth--;
        }
        open[depth]--;
        if (at == size || !head_read(bytes + at, size - at, &h) || h.head_bytes > size - at ||
            h.body_bytes > size - at - h.head_bytes || h.children > size - at - h.head_bytes)
            return err_set(e, ERR_INPUT, "frame is not MessagePack: torn or unknown at byte %zu",
                           at);
        at += h.head_bytes + (size_t)h.body_bytes;
        if (h.children == 0)
            continue;
        n_values += h.children;
        if (n_values > MSG_VALUES_MAX)
            return err_set(e, ERR_INPUT, "frame has more than %u values", MSG_VALUES_MAX);
        if (depth == MSG_DEPTH_MAX)
            return err_set(e, ERR_INPUT, "frame is nested deeper than %d", MSG_DEPTH_MAX);
        open[++depth] = h.children;
    }
}

/* Bytes of the well-formed sequence at p, 0 if there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t n;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */

    if (p[0] < 0x80)
        return p[0] != 0;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (left < n || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return n;
}

size_t utf8_span(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0, n;

    for (;;) {
        while (at < size && p[at] < 0x80 && p[at] > 0)
            at++;
        if (at == size || (n = utf8_length(p + at, size - at)) == 0)
            return at;
        at += n;
    }
}
