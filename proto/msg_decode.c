/* Frames back to messages: msg.h. */
#include "proto/msg.h"
#include "proto/msg_scan.h"
#include "proto/msg_table.h"

#include <math.h>
#include <string.h>

#define POOL_BYTES 2048 /* of most messages' strings */

/* Where a frame is read. It was scanned: whole values, one after the other. */
struct reader {
    const unsigned char *at, *end;
};

enum value_kind {
    VALUE_WHOLE,    /* an integer of 0 or more: number */
    VALUE_NEGATIVE, /* number, as int64_t */
    VALUE_REAL,     /* number, a double's bits */
    VALUE_BOOL,     /* number */
    VALUE_STRING,   /* body, size */
    VALUE_BYTES,    /* body, size */
    VALUE_ARRAY,    /* children */
    VALUE_MAP,      /* children: keys and values */
    VALUE_OTHER     /* nil, extensions */
};

struct value {
    enum value_kind kind;
    uint64_t number, children;
    const char *body;
    size_t size; /* bytes of body */
};

static uint64_t big_endian(const unsigned char *p, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

/* Signed integers of 1, 2, 4 and 8 bytes. */
static void take_signed(struct value *v)
{
    int shift = 64 - 8 * (int)v->size;
    int64_t n = (int64_t)(v->number << shift) >> shift;

    v->kind = n < 0 ? VALUE_NEGATIVE : VALUE_WHOLE;
    v->number = (uint64_t)n;
}

static void take_real(struct value *v)
{
    uint32_t narrow = (uint32_t)v->number;
    double wide;
    float x;

    v->kind = VALUE_REAL;
    if (v->size == sizeof wide)
        return;
    memcpy(&x, &narrow, sizeof x);
    wide = (double)x;
    memcpy(&v->number, &wide, sizeof wide);
}

/* One token: a value, or the head of an array or a map whose children come next. */
static struct value take(struct reader *r)
{
    struct value v = {.kind = VALUE_OTHER};
    unsigned char tag = r->at[0];
    struct msg_head h;

    msg_head_read(r->at, (size_t)(r->end - r->at), &h);
    v.children = h.children;
    v.body = (const char *)r->at + h.head_bytes;
    v.size = (size_t)h.body_bytes;
    r->at += h.head_bytes + h.body_bytes;
    if (tag <= 0x7f) {
        v.kind = VALUE_WHOLE;
        v.number = tag;
    } else if (tag >= 0xe0) {
        v.kind = VALUE_NEGATIVE;
        v.number = (uint64_t)(int8_t)tag;
    } else if (tag <= 0x8f || tag == 0xde || tag == 0xdf) {
        v.kind = VALUE_MAP;
    } else if (tag <= 0x9f || tag == 0xdc || tag == 0xdd) {
        v.kind = VALUE_ARRAY;
    } else if (tag <= 0xbf || (tag >= 0xd9 && tag <= 0xdb)) {
        v.kind = VALUE_STRING;
    } else if (tag >= 0xc4 && tag <= 0xc6) {
        v.kind = VALUE_BYTES;
    } else if (tag == 0xc2 || tag == 0xc3) {
        v.kind = VALUE_BOOL;
        v.number = tag & 1;
    } else if (tag >= 0xca && tag <= 0xd3) {
        v.number = big_endian((const unsigned char *)v.body, v.size);
        v.kind = VALUE_WHOLE;
        if (tag <= 0xcb)
            take_real(&v);
        else if (tag >= 0xd0)
            take_signed(&v);
    }
    return v;
}

/* What is inside the values that follow, and those. */
static void skip(struct reader *r, uint64_t n_values)
{
    while (n_values) {
        struct msg_head h;

        msg_head_read(r->at, (size_t)(r->end - r->at), &h);
        r->at += h.head_bytes + h.body_bytes;
        n_values += h.children - 1;
    }
}

/* --- fields --- */

static int unpack_row(struct pool *pool, const struct fields *fields, struct reader *r, void *row,
                      struct err *e);

static int wrong_type(const struct field *f, const char *wanted, struct err *e)
{
    return err_set(e, ERR_INPUT, "'%s' must be %s", f->key, wanted);
}

static int unpack_uint(const struct field *f, const struct value *v, void *member, struct err *e)
{
    uint32_t narrow = (uint32_t)v->number;

    if (v->kind != VALUE_WHOLE)
        return wrong_type(f, "an integer of 0 or more", e);
    if (v->number < f->min || v->number > f->max)
        return err_set(e, ERR_INPUT, "'%s' is %llu, not within %llu..%llu", f->key,
                       (unsigned long long)v->number, (unsigned long long)f->min,
                       (unsigned long long)f->max);
    if (f->kind == FIELD_UINT32)
        memcpy(member, &narrow, sizeof narrow);
    else
        memcpy(member, &v->number, sizeof v->number);
    return 0;
}

static int unpack_real(const struct field *f, const struct value *v, void *member, struct err *e)
{
    double value;

    if (v->kind == VALUE_REAL)
        memcpy(&value, &v->number, sizeof value);
    else if (v->kind == VALUE_WHOLE)
        value = (double)v->number;
    else if (v->kind == VALUE_NEGATIVE)
        value = (double)(int64_t)v->number;
    else
        return wrong_type(f, "a number", e);
    if (!isfinite(value))
        return wrong_type(f, "a finite number", e);
    memcpy(member, &value, sizeof value);
    return 0;
}

static int unpack_text(struct pool *pool, const struct field *f, const struct value *v,
                       void *member, struct err *e)
{
    char *copy;

    if (v->kind != VALUE_STRING)
        return wrong_type(f, "a string", e);
    if (v->size < f->min || v->size > f->max)
        return err_set(e, ERR_INPUT, "'%s' has %zu bytes, not %llu..%llu", f->key, v->size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    if (utf8_span(v->body, v->size) < v->size)
        return wrong_type(f, "UTF-8 without NUL", e);
    copy = pool_text(pool, v->body, v->size);
    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for '%s'", f->key);
    memcpy(member, &copy, sizeof copy);
    return 0;
}

static int unpack_hash(const struct field *f, const struct value *v, char *member, struct err *e)
{
    if (v->kind != VALUE_STRING ||
        (!msg_is_hash(v->body, v->size) && !(f->optional && v->size == 0)))
        return wrong_type(f, "a string of 64 hex digits", e);
    memcpy(member, v->body, v->size);
    member[v->size] = 0;
    return 0;
}

static int unpack_bytes(const struct field *f, const struct value *v, void *row, void *member,
                        struct err *e)
{
    if (v->kind != VALUE_BYTES)
        return wrong_type(f, "bytes (bin)", e);
    if (v->size < f->min || v->size > f->max)
        return err_set(e, ERR_INPUT, "'%s' has %zu bytes, not %llu..%llu", f->key, v->size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    memcpy(member, &v->body, sizeof v->body);
    memcpy((char *)row + f->count_offset, &v->size, sizeof v->size);
    return 0;
}

static int unpack_list(struct pool *pool, const struct field *f, const struct value *v,
                       struct reader *r, void *row, void *member, struct err *e)
{
    size_t n = (size_t)v->children;
    char *rows = NULL;
    int rc;

    if (v->kind != VALUE_ARRAY)
        return wrong_type(f, "an array", e);
    if (n > f->max)
        return err_set(e, ERR_INPUT, "'%s' has %zu rows, over the limit of %llu", f->key, n,
                       (unsigned long long)f->max);
    if (n) {
        rows = pool_take(pool, n * f->rows->size);
        if (!rows)
            return err_set(e, ERR_OOM, "out of memory for '%s'", f->key);
        memset(rows, 0, n * f->rows->size);
    }
    for (size_t i = 0; i < n; i++)
        if ((rc = unpack_row(pool, f->rows, r, rows + i * f->rows->size, e)) != 0)
            return err_set(e, rc, "%s[%zu]: %s", f->key, i, e->text);
    memcpy(member, &rows, sizeof rows);
    memcpy((char *)row + f->count_offset, &n, sizeof n);
    return 0;
}

static int unpack_field(struct pool *pool, const struct field *f, struct reader *r, void *row,
                        struct err *e)
{
    void *member = (char *)row + f->offset;
    struct value v;
    bool yes;
    int rc;

    if (f->kind == FIELD_MAP) {
        rc = unpack_row(pool, f->rows, r, member, e);
        return rc ? err_set(e, rc, "%s: %s", f->key, e->text) : 0;
    }
    v = take(r);
    switch (f->kind) {
    case FIELD_UINT32:
    case FIELD_UINT64:
        return unpack_uint(f, &v, member, e);
    case FIELD_REAL:
        return unpack_real(f, &v, member, e);
    case FIELD_BOOL:
        if (v.kind != VALUE_BOOL)
            return wrong_type(f, "true or false", e);
        yes = v.number != 0;
        memcpy(member, &yes, sizeof yes);
        return 0;
    case FIELD_STRING:
        return unpack_text(pool, f, &v, member, e);
    case FIELD_HASH:
        return unpack_hash(f, &v, member, e);
    case FIELD_BYTES:
        return unpack_bytes(f, &v, row, member, e);
    case FIELD_LIST:
        return unpack_list(pool, f, &v, r, row, member, e);
    case FIELD_MAP:
        break;
    }
    return err_set(e, ERR_INTERNAL, "'%s' has no kind", f->key);
}

static bool is_word(const struct value *v, const char *word, size_t size)
{
    return v->kind == VALUE_STRING && v->size == size && memcmp(v->body, word, size) == 0;
}

/* Our own senders keep the table's order, so `expected` is the first guess. fields->n: none. */
static size_t field_of(const struct fields *fields, const struct value *key, size_t expected)
{
    for (size_t i = 0; i < fields->n; i++) {
        size_t k = expected + i < fields->n ? expected + i : expected + i - fields->n;

        if (is_word(key, fields->at[k].key, fields->at[k].key_size))
            return k;
    }
    return fields->n;
}

/* What a field holds that the sender left out. */
static int unpack_missing(const struct field *f, void *row, struct err *e)
{
    static const char *const empty = "";

    if (!f->optional)
        return err_set(e, ERR_INPUT, "'%s' is missing", f->key);
    if (f->kind == FIELD_STRING)
        memcpy((char *)row + f->offset, &empty, sizeof empty);
    return 0; /* the row is zeroed */
}

/* row: zeroed. */
static int unpack_row(struct pool *pool, const struct fields *fields, struct reader *r, void *row,
                      struct err *e)
{
    struct value map = take(r);
    uint32_t seen = 0;
    size_t k = 0;
    int rc = 0;

    if (map.kind != VALUE_MAP)
        return err_set(e, ERR_INPUT, "must be a map");
    for (uint64_t i = 0; i < map.children / 2; i++) {
        struct value key = take(r);

        skip(r, key.children);
        k = field_of(fields, &key, k < fields->n ? k : 0);
        if (k == fields->n) { /* of a later version */
            skip(r, 1);
            continue;
        }
        if (seen & UINT32_C(1) << k)
            return err_set(e, ERR_INPUT, "'%s' is there twice", fields->at[k].key);
        seen |= UINT32_C(1) << k;
        TRY(unpack_field(pool, &fields->at[k++], r, row, e));
    }
    for (k = 0; k < fields->n; k++)
        if (!(seen & UINT32_C(1) << k))
            TRY(unpack_missing(&fields->at[k], row, e));
out:
    return rc;
}

/* --- frames --- */

/* r: a copy, at the frame's start. */
static int unpack_type(struct reader r, enum msg_type *ret_type, struct err *e)
{
    struct value map = take(&r), type = {.kind = VALUE_OTHER};
    bool any = false;

    if (map.kind != VALUE_MAP)
        return err_set(e, ERR_INPUT, "frame is not a map");
    for (uint64_t i = 0; i < map.children / 2; i++) {
        struct value key = take(&r), value;

        skip(&r, key.children);
        value = take(&r);
        skip(&r, value.children);
        if (!is_word(&key, "type", 4))
            continue;
        if (any)
            return err_set(e, ERR_INPUT, "frame has 'type' twice");
        any = true;
        type = value;
    }
    if (type.kind != VALUE_STRING)
        return err_set(e, ERR_INPUT, "frame has no 'type' that is a string");
    for (int t = 0; t < MSG_TYPE_COUNT; t++) {
        const char *name = msg_type_name((enum msg_type)t);

        if (name[0] == (type.size ? type.body[0] : 0) && is_word(&type, name, strlen(name))) {
            *ret_type = (enum msg_type)t;
            return 0;
        }
    }
    return err_set(e, ERR_INPUT, "message of a type unknown to protocol %d", PROTOCOL_VERSION);
}

int msg_decode(const void *frame, size_t size, struct msg *ret_m, struct err *e)
{
    struct reader r = {.at = frame, .end = (const unsigned char *)frame + size};
    struct msg m = {.pool = {.block_bytes = POOL_BYTES}};
    struct err inner;
    int rc;

    *ret_m = (struct msg){0};
    TRY(msg_scan(frame, size, e));
    TRY(unpack_type(r, &m.type, e));
    rc = unpack_row(&m.pool, msg_fields(m.type), &r, (char *)&m + MSG_UNION, &inner);
    if (rc != 0)
        TRY(err_set(e, rc, "%s: %s", msg_type_name(m.type), inner.text));
    *ret_m = m;
    m.pool = (struct pool){0};
out:
    pool_done(&m.pool);
    return rc;
}

void msg_done(struct msg *m)
{
    pool_done(&m->pool);
    *m = (struct msg){0};
}
