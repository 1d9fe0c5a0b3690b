/* Messages with every field set, and their frames. */
#ifndef TESTS_PROTO_MESSAGES_H
#define TESTS_PROTO_MESSAGES_H

#include "proto/msg.h"
#include "proto/msg_table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HASH_A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const SOME_TEXT = "gr\xc3\xbc\xc3\x9f";

/*
 * A row with every member set, from the tables alone: numbers differ per field, so that a swapped
 * offset shows. Lists get two rows. Storage comes from calloc and is kept for free_rows.
 */
static void *kept[4096];
static size_t n_kept;

static inline void *keep(size_t size)
{
    assert_true(n_kept < sizeof kept / sizeof *kept);
    return kept[n_kept++] = calloc(1, size);
}

static inline int free_rows(void **state)
{
    (void)state;
    while (n_kept)
        free(kept[--n_kept]);
    return 0;
}

static inline void fill(const struct fields *fields, char *row, unsigned salt)
{
    for (size_t i = 0; i < fields->n; i++) {
        const struct field *f = &fields->at[i];
        uint64_t wide = f->max - salt - i, span = f->max - f->min;
        uint32_t narrow = (uint32_t)(f->min + (span ? (salt + i) % span : 0));
        double real = -0.1 * (double)(salt + i);
        bool yes = true;
        size_t count = f->kind == FIELD_LIST ? 2 : 5;
        void *pointer;

        switch (f->kind) {
        case FIELD_UINT32:
            memcpy(row + f->offset, &narrow, sizeof narrow);
            break;
        case FIELD_UINT64:
            memcpy(row + f->offset, &wide, sizeof wide);
            break;
        case FIELD_REAL:
            memcpy(row + f->offset, &real, sizeof real);
            break;
        case FIELD_BOOL:
            memcpy(row + f->offset, &yes, sizeof yes);
            break;
        case FIELD_HASH:
            memcpy(row + f->offset, HASH_A, HASH_HEX_SIZE);
            row[f->offset + i] = (char)('0' + salt % 10);
            break;
        case FIELD_STRING:
            pointer = keep(HASH_HEX_SIZE);
            if (f->min > strlen(SOME_TEXT))
                memcpy(pointer, HASH_A, HASH_HEX_SIZE);
            else
                memcpy(pointer, SOME_TEXT, strlen(SOME_TEXT));
            memcpy(row + f->offset, &pointer, sizeof pointer);
            break;
        case FIELD_BYTES:
            pointer = keep(count);
            memcpy(pointer, "\0\xff\1\2\3", count);
            memcpy(row + f->offset, &pointer, sizeof pointer);
            memcpy(row + f->count_offset, &count, sizeof count);
            break;
        case FIELD_MAP:
            fill(f->rows, row + f->offset, salt + 7);
            break;
        case FIELD_LIST:
            pointer = keep(count * f->rows->size);
            for (unsigned k = 0; k < count; k++)
                fill(f->rows, (char *)pointer + k * f->rows->size, salt + 11 + k);
            memcpy(row + f->offset, &pointer, sizeof pointer);
            memcpy(row + f->count_offset, &count, sizeof count);
            break;
        }
    }
}

static inline struct msg filled(enum msg_type type)
{
    struct msg m = {.type = type};

    fill(msg_fields(type), (char *)&m.hello, 3);
    return m;
}

static inline void encode(const struct msg *m, struct buf *frame)
{
    struct err e = {0};

    frame->size = 0;
    if (msg_encode(m, frame, &e) != 0)
        fail_msg("%s", e.text);
}

#endif
