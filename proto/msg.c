#include "proto/msg.h"

#include "proto/msg_scan.h"
#include "proto/msg_table.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {
#define X(id, name, member) [id] = name,
    MSG_TABLE(X)
#undef X
};

bool attempt_ref_equal(const struct attempt_ref *a, const struct attempt_ref *b)
{
    return a->index == b->index && a->attempt == b->attempt && strcmp(a->job, b->job) == 0;
}

const char *msg_type_name(enum msg_type type)
{
    return (unsigned)type < MSG_TYPE_COUNT ? names[type] : "?";
}

/*
 * Encoding. Members are read and written by memcpy: the tables know their offsets, not their types.
 */

static uint64_t member_uint(const void *member, enum field_kind kind)
{
    uint32_t narrow;
    uint64_t wide;

    if (kind == FIELD_UINT32) {
        memcpy(&narrow, member, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, member, sizeof wide);
    return wide;
}

static const void *member_pointer(const void *member)
{
    const void *p;

    memcpy(&p, member, sizeof p);
    return p;
}

static size_t member_count(const void *row, const struct field *f)
{
    size_t n;

    memcpy(&n, (const char *)row + f->count_offset, sizeof n);
    return n;
}

bool msg_is_hash(const char *text, size_t size)
{
    bool all = size == HASH_HEX_SIZE - 1;

    for (size_t i = 0; all && i < size; i++)
        all = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    return all;
}

/* --- tokens, the shortest form of each; a failed allocation shows in buf_check --- */

/* A tag and what follows it, big-endian. */
static void put_tag(struct buf *b, unsigned tag, uint64_t value, int bytes)
{
    char head[9] = {(char)tag};

    for (int i = 0; i < bytes; i++)
        head[1 + i] = (char)(value >> 8 * (bytes - 1 - i));
    buf_append(b, head, (size_t)bytes + 1);
}

static void put_uint(struct buf *b, uint64_t value)
{
    if (value < 0x80)
        put_tag(b, (unsigned)value, 0, 0);
    else if (value <= UINT8_MAX)
        put_tag(b, 0xcc, value, 1);
    else if (value <= UINT16_MAX)
        put_tag(b, 0xcd, value, 2);
    else if (value <= UINT32_MAX)
        put_tag(b, 0xce, value, 4);
    else
        put_tag(b, 0xcf, value, 8);
}

static void put_real(struct buf *b, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_tag(b, 0xcb, bits, 8);
}

/* Of lengths of at most 32 bits: a tag of its own up to fixed_max, tag8 with one byte (0: there is
 * none), tag16 and tag16 + 1 with two and four. */
static void put_length(struct buf *b, unsigned fixed, size_t fixed_max, unsigned tag8,
                       unsigned tag16, size_t n)
{
    if (n <= fixed_max)
        put_tag(b, fixed | (unsigned)n, 0, 0);
    else if (tag8 && n <= UINT8_MAX)
        put_tag(b, tag8, n, 1);
    else if (n <= UINT16_MAX)
        put_tag(b, tag16, n, 2);
    else
        put_tag(b, tag16 + 1, n, 4);
}

static void put_map(struct buf *b, size_t n)
{
    put_length(b, 0x80, 15, 0, 0xde, n);
}

static void put_string(struct buf *b, const char *text, size_t size)
{
    put_length(b, 0xa0, 31, 0xd9, 0xda, size);
    buf_append(b, text, size);
}

/* --- fields --- */

static int pack_row(struct buf *b, const struct fields *fields, const void *row, struct err *e);

static int pack_uint(struct buf *b, const struct field *f, const void *member, struct err *e)
{
    uint64_t value = member_uint(member, f->kind);

    if (value < f->min || value > f->max)
        return err_set(e, ERR_ARG, "'%s' is %llu, not within %llu..%llu", f->key,
                       (unsigned long long)value, (unsigned long long)f->min,
                       (unsigned long long)f->max);
    put_uint(b, value);
    return 0;
}

static int pack_real(struct buf *b, const struct field *f, const void *member, struct err *e)
{
    double value;

    memcpy(&value, member, sizeof value);
    if (!isfinite(value))
        return err_set(e, ERR_ARG, "'%s' is not finite", f->key);
    put_real(b, value);
    return 0;
}

static int pack_text(struct buf *b, const struct field *f, const char *text, struct err *e)
{
    size_t size = strlen(text), at = 0, span = utf8_span(text, size);

    if (size < f->min || size > f->max)
        return err_set(e, ERR_ARG, "'%s' has %zu bytes, not %llu..%llu", f->key, size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    if (!f->prose && span < size)
        return err_set(e, ERR_ARG, "'%s' is not UTF-8", f->key);
    put_length(b, 0xa0, 31, 0xd9, 0xda, size);
    for (;;) {
        buf_append(b, text + at, span);
        at += span;
        if (at == size)
            return 0;
        buf_putc(b, '?');
        at++;
        span = utf8_span(text + at, size - at);
    }
}

static int pack_hash(struct buf *b, const struct field *f, const char *text, struct err *e)
{
    size_t size = strnlen(text, HASH_HEX_SIZE);

    if (!msg_is_hash(text, size) && !(f->optional && size == 0))
        return err_set(e, ERR_ARG, "'%s' is not a SHA-256 of 64 hex digits", f->key);
    put_string(b, text, size);
    return 0;
}

static int pack_bytes(struct buf *b, const struct field *f, const void *row, const void *member,
                      struct err *e)
{
    size_t size = member_count(row, f);

    if (size < f->min || size > f->max)
        return err_set(e, ERR_ARG, "'%s' has %zu bytes, not %llu..%llu", f->key, size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    put_length(b, 0, 0, 0xc4, 0xc5, size); /* one byte at least: f->min */
    buf_append(b, member_pointer(member), size);
    return 0;
}

static int pack_list(struct buf *b, const struct field *f, const void *row, const void *member,
                     struct err *e)
{
    size_t n = member_count(row, f);
    const char *rows = member_pointer(member);
    int rc;

    if (n > f->max)
        return err_set(e, ERR_ARG, "'%s' has %zu rows, over the limit of %llu", f->key, n,
                       (unsigned long long)f->max);
    put_length(b, 0x90, 15, 0, 0xdc, n);
    for (size_t i = 0; i < n; i++) {
        put_map(b, f->rows->n);
        if ((rc = pack_row(b, f->rows, rows + i * f->rows->size, e)) != 0)
            return err_set(e, rc, "%s[%zu]: %s", f->key, i, e->text);
    }
    return 0;
}

static int pack_field(struct buf *b, const struct field *f, const void *row, struct err *e)
{
    const void *member = (const char *)row + f->offset;
    const char *text;
    bool yes;

    put_string(b, f->key, f->key_size);
    switch (f->kind) {
    case FIELD_UINT32:
    case FIELD_UINT64:
        return pack_uint(b, f, member, e);
    case FIELD_REAL:
        return pack_real(b, f, member, e);
    case FIELD_BOOL:
        memcpy(&yes, member, sizeof yes);
        put_tag(b, yes ? 0xc3 : 0xc2, 0, 0);
        return 0;
    case FIELD_STRING:
        text = member_pointer(member);
        return pack_text(b, f, text ? text : "", e);
    case FIELD_HASH:
        return pack_hash(b, f, member, e);
    case FIELD_BYTES:
        return pack_bytes(b, f, row, member, e);
    case FIELD_MAP:
        put_map(b, f->rows->n);
        return pack_row(b, f->rows, member, e);
    case FIELD_LIST:
        return pack_list(b, f, row, member, e);
    }
    return err_set(e, ERR_INTERNAL, "'%s' has no kind", f->key);
}

static int pack_row(struct buf *b, const struct fields *fields, const void *row, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < fields->n && rc == 0; i++)
        rc = pack_field(b, &fields->at[i], row, e);
    return rc;
}

int msg_encode(const struct msg *m, struct buf *ret_frame, struct err *e)
{
    const struct fields *fields = msg_fields(m->type);
    size_t start = ret_frame->size;
    struct err inner;
    int rc;

    put_map(ret_frame, fields->n + 1);
    put_string(ret_frame, "type", 4);
    put_string(ret_frame, names[m->type], strlen(names[m->type]));
    rc = pack_row(ret_frame, fields, (const char *)m + MSG_UNION, &inner);
    if (rc == 0)
        rc = buf_check(ret_frame, &inner);
    if (rc == 0 && ret_frame->size - start > MSG_FRAME_MAX)
        rc = err_set(&inner, ERR_ARG, "frame of %zu bytes, over the limit of %u",
                     ret_frame->size - start, MSG_FRAME_MAX);
    if (rc != 0) {
        ret_frame->size = start;
        return err_set(e, rc, "%s: %s", names[m->type], inner.text);
    }
    return 0;
}
