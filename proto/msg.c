#include "proto/msg.h"

#include "proto/msg_scan.h"
#include "proto/msg_table.h"

#include <math.h>
#include <msgpack.h>
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

/* --- writing, by msgpack-c --- */

static int pack_append(void *user, const char *data, size_t size)
{
    buf_append(user, data, size);
    return 0; /* a failed allocation shows in buf_check */
}

static void put_string(msgpack_packer *pk, const char *text, size_t size)
{
    msgpack_pack_str(pk, size);
    msgpack_pack_str_body(pk, text, size);
}

static int pack_row(msgpack_packer *pk, const struct fields *fields, const void *row,
                    struct err *e);

static int pack_uint(msgpack_packer *pk, const struct field *f, const void *member, struct err *e)
{
    uint64_t value = member_uint(member, f->kind);

    if (value < f->min || value > f->max)
        return err_set(e, ERR_ARG, "'%s' is %llu, not within %llu..%llu", f->key,
                       (unsigned long long)value, (unsigned long long)f->min,
                       (unsigned long long)f->max);
    msgpack_pack_uint64(pk, value);
    return 0;
}

static int pack_real(msgpack_packer *pk, const struct field *f, const void *member, struct err *e)
{
    double value;

    memcpy(&value, member, sizeof value);
    if (!isfinite(value))
        return err_set(e, ERR_ARG, "'%s' is not finite", f->key);
    msgpack_pack_double(pk, value);
    return 0;
}

static int pack_text(msgpack_packer *pk, const struct field *f, const char *text, struct err *e)
{
    size_t size = strlen(text), at = 0, span = utf8_span(text, size);

    if (size < f->min || size > f->max)
        return err_set(e, ERR_ARG, "'%s' has %zu bytes, not %llu..%llu", f->key, size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    if (!f->prose && span < size)
        return err_set(e, ERR_ARG, "'%s' is not UTF-8", f->key);
    msgpack_pack_str(pk, size);
    for (;;) {
        msgpack_pack_str_body(pk, text + at, span);
        at += span;
        if (at == size)
            return 0;
        msgpack_pack_str_body(pk, "?", 1);
        at++;
        span = utf8_span(text + at, size - at);
    }
}

static int pack_hash(msgpack_packer *pk, const struct field *f, const char *text, struct err *e)
{
    size_t size = strnlen(text, HASH_HEX_SIZE);

    if (!msg_is_hash(text, size) && !(f->optional && size == 0))
        return err_set(e, ERR_ARG, "'%s' is not a SHA-256 of 64 hex digits", f->key);
    put_string(pk, text, size);
    return 0;
}

static int pack_bytes(msgpack_packer *pk, const struct field *f, const void *row,
                      const void *member, struct err *e)
{
    size_t size = member_count(row, f);

    if (size < f->min || size > f->max)
        return err_set(e, ERR_ARG, "'%s' has %zu bytes, not %llu..%llu", f->key, size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    msgpack_pack_bin(pk, size);
    msgpack_pack_bin_body(pk, member_pointer(member), size);
    return 0;
}

static int pack_list(msgpack_packer *pk, const struct field *f, const void *row, const void *member,
                     struct err *e)
{
    size_t n = member_count(row, f);
    const char *rows = member_pointer(member);
    int rc;

    if (n > f->max)
        return err_set(e, ERR_ARG, "'%s' has %zu rows, over the limit of %llu", f->key, n,
                       (unsigned long long)f->max);
    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++) {
        msgpack_pack_map(pk, f->rows->n);
        if ((rc = pack_row(pk, f->rows, rows + i * f->rows->size, e)) != 0)
            return err_set(e, rc, "%s[%zu]: %s", f->key, i, e->text);
    }
    return 0;
}

static int pack_field(msgpack_packer *pk, const struct field *f, const void *row, struct err *e)
{
    const void *member = (const char *)row + f->offset;
    const char *text;
    bool yes;

    put_string(pk, f->key, f->key_size);
    switch (f->kind) {
    case FIELD_UINT32:
    case FIELD_UINT64:
        return pack_uint(pk, f, member, e);
    case FIELD_REAL:
        return pack_real(pk, f, member, e);
    case FIELD_BOOL:
        memcpy(&yes, member, sizeof yes);
        (yes ? msgpack_pack_true : msgpack_pack_false)(pk);
        return 0;
    case FIELD_STRING:
        text = member_pointer(member);
        return pack_text(pk, f, text ? text : "", e);
    case FIELD_HASH:
        return pack_hash(pk, f, member, e);
    case FIELD_BYTES:
        return pack_bytes(pk, f, row, member, e);
    case FIELD_MAP:
        msgpack_pack_map(pk, f->rows->n);
        return pack_row(pk, f->rows, member, e);
    case FIELD_LIST:
        return pack_list(pk, f, row, member, e);
    }
    return err_set(e, ERR_INTERNAL, "'%s' has no kind", f->key);
}

static int pack_row(msgpack_packer *pk, const struct fields *fields, const void *row, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < fields->n && rc == 0; i++)
        rc = pack_field(pk, &fields->at[i], row, e);
    return rc;
}

int msg_encode(const struct msg *m, struct buf *ret_frame, struct err *e)
{
    const struct fields *fields = msg_fields(m->type);
    size_t start = ret_frame->size;
    struct err inner;
    msgpack_packer pk;
    int rc;

    msgpack_packer_init(&pk, ret_frame, pack_append);
    msgpack_pack_map(&pk, fields->n + 1);
    put_string(&pk, "type", 4);
    put_string(&pk, names[m->type], strlen(names[m->type]));
    rc = pack_row(&pk, fields, (const char *)m + MSG_UNION, &inner);
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
