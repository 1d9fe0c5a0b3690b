#include "proto/msg.h"

#include "proto/msg_scan.h"
#include "proto/msg_table.h"

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
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

/* Every member of the union starts where it does. */
static size_t union_offset(void)
{
    return offsetof(struct msg, hello);
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

static bool is_hash(const char *text, size_t size)
{
    return size == HASH_HEX_SIZE - 1 && strspn(text, "0123456789abcdef") >= size;
}

static int pack_row(msgpack_packer *pk, const struct fields *fields, const void *row,
                    struct err *e);

static int pack_append(void *user, const char *data, size_t size)
{
    buf_append(user, data, size);
    return 0; /* a failed allocation shows in buf_check */
}

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
    size_t size = strlen(text), at = 0, span;

    if (size < f->min || size > f->max)
        return err_set(e, ERR_ARG, "'%s' has %zu bytes, not %llu..%llu", f->key, size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    if (!f->prose && utf8_span(text, size) < size)
        return err_set(e, ERR_ARG, "'%s' is not UTF-8", f->key);
    msgpack_pack_str(pk, size);
    while (at < size) {
        span = utf8_span(text + at, size - at);
        msgpack_pack_str_body(pk, text + at, span);
        at += span;
        if (at < size) {
            msgpack_pack_str_body(pk, "?", 1);
            at++;
        }
    }
    return 0;
}

static int pack_hash(msgpack_packer *pk, const struct field *f, const char *text, struct err *e)
{
    size_t size = strnlen(text, HASH_HEX_SIZE);

    if (!is_hash(text, size) && !(f->optional && size == 0))
        return err_set(e, ERR_ARG, "'%s' is not a SHA-256 of 64 hex digits", f->key);
    msgpack_pack_str(pk, size);
    msgpack_pack_str_body(pk, text, size);
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

    msgpack_pack_str(pk, strlen(f->key));
    msgpack_pack_str_body(pk, f->key, strlen(f->key));
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
    msgpack_packer pk;
    struct err inner;
    int rc;

    msgpack_packer_init(&pk, ret_frame, pack_append);
    msgpack_pack_map(&pk, fields->n + 1);
    msgpack_pack_str(&pk, 4);
    msgpack_pack_str_body(&pk, "type", 4);
    msgpack_pack_str(&pk, strlen(names[m->type]));
    msgpack_pack_str_body(&pk, names[m->type], strlen(names[m->type]));
    rc = pack_row(&pk, fields, (const char *)m + union_offset(), &inner);
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

/*
 * The pool: strings and arrays of one decoded message, in a chain of blocks that dies with it.
 */

struct block {
    struct block *next;
    size_t used, size; /* bytes of data */
    _Alignas(max_align_t) char data[];
};

static void *pool_bytes(struct block **pool, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    struct block *b = *pool;
    size_t block_size;
    void *p;

    size = (size + align - 1) / align * align;
    if (!b || b->size - b->used < size) {
        block_size = size > 2048 ? size : 2048;
        b = malloc(sizeof *b + block_size);
        if (!b)
            return NULL;
        *b = (struct block){.next = *pool, .size = block_size};
        *pool = b;
    }
    p = b->data + b->used;
    b->used += size;
    return p;
}

static void pool_free(struct block *pool)
{
    struct block *next;

    for (; pool; pool = next) {
        next = pool->next;
        free(pool);
    }
}

/*
 * Decoding.
 */

static int unpack_row(struct block **pool, const struct fields *fields, const msgpack_object *map,
                      void *row, struct err *e);

static int wrong_type(const struct field *f, const char *wanted, struct err *e)
{
    return err_set(e, ERR_INPUT, "'%s' must be %s", f->key, wanted);
}

static int unpack_uint(const struct field *f, const msgpack_object *o, void *member, struct err *e)
{
    uint64_t value = o->via.u64;
    uint32_t narrow = (uint32_t)value;

    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return wrong_type(f, "an integer of 0 or more", e);
    if (value < f->min || value > f->max)
        return err_set(e, ERR_INPUT, "'%s' is %llu, not within %llu..%llu", f->key,
                       (unsigned long long)value, (unsigned long long)f->min,
                       (unsigned long long)f->max);
    if (f->kind == FIELD_UINT32)
        memcpy(member, &narrow, sizeof narrow);
    else
        memcpy(member, &value, sizeof value);
    return 0;
}

static int unpack_real(const struct field *f, const msgpack_object *o, void *member, struct err *e)
{
    double value;

    switch (o->type) {
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        value = o->via.f64;
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        value = (double)o->via.u64;
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        value = (double)o->via.i64;
        break;
    default:
        return wrong_type(f, "a number", e);
    }
    if (!isfinite(value))
        return wrong_type(f, "a finite number", e);
    memcpy(member, &value, sizeof value);
    return 0;
}

static int unpack_text(struct block **pool, const struct field *f, const msgpack_object *o,
                       void *member, struct err *e)
{
    size_t size = o->via.str.size;
    char *copy;

    if (o->type != MSGPACK_OBJECT_STR)
        return wrong_type(f, "a string", e);
    if (size < f->min || size > f->max)
        return err_set(e, ERR_INPUT, "'%s' has %zu bytes, not %llu..%llu", f->key, size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    if (utf8_span(o->via.str.ptr, size) < size)
        return wrong_type(f, "UTF-8 without NUL", e);
    copy = pool_bytes(pool, size + 1);
    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for '%s'", f->key);
    memcpy(copy, o->via.str.ptr, size);
    copy[size] = 0;
    memcpy(member, &copy, sizeof copy);
    return 0;
}

static int unpack_hash(const struct field *f, const msgpack_object *o, char *member, struct err *e)
{
    char text[HASH_HEX_SIZE] = "";

    if (o->type != MSGPACK_OBJECT_STR || o->via.str.size >= HASH_HEX_SIZE)
        return wrong_type(f, "a string of 64 hex digits", e);
    if (o->via.str.size)
        memcpy(text, o->via.str.ptr, o->via.str.size);
    if (!is_hash(text, o->via.str.size) && !(f->optional && o->via.str.size == 0))
        return wrong_type(f, "a string of 64 hex digits", e);
    memcpy(member, text, sizeof text);
    return 0;
}

static int unpack_bytes(const struct field *f, const msgpack_object *o, void *row, void *member,
                        struct err *e)
{
    const char *bytes = o->via.bin.ptr;
    size_t size = o->via.bin.size;

    if (o->type != MSGPACK_OBJECT_BIN)
        return wrong_type(f, "bytes (bin)", e);
    if (size < f->min || size > f->max)
        return err_set(e, ERR_INPUT, "'%s' has %zu bytes, not %llu..%llu", f->key, size,
                       (unsigned long long)f->min, (unsigned long long)f->max);
    memcpy(member, &bytes, sizeof bytes);
    memcpy((char *)row + f->count_offset, &size, sizeof size);
    return 0;
}

static int unpack_list(struct block **pool, const struct field *f, const msgpack_object *o,
                       void *row, void *member, struct err *e)
{
    size_t n = o->via.array.size;
    char *rows = NULL;
    int rc;

    if (o->type != MSGPACK_OBJECT_ARRAY)
        return wrong_type(f, "an array", e);
    if (n > f->max)
        return err_set(e, ERR_INPUT, "'%s' has %zu rows, over the limit of %llu", f->key, n,
                       (unsigned long long)f->max);
    if (n) {
        rows = pool_bytes(pool, n * f->rows->size);
        if (!rows)
            return err_set(e, ERR_OOM, "out of memory for '%s'", f->key);
        memset(rows, 0, n * f->rows->size);
    }
    for (size_t i = 0; i < n; i++)
        if ((rc = unpack_row(pool, f->rows, &o->via.array.ptr[i], rows + i * f->rows->size, e)))
            return err_set(e, rc, "%s[%zu]: %s", f->key, i, e->text);
    memcpy(member, &rows, sizeof rows);
    memcpy((char *)row + f->count_offset, &n, sizeof n);
    return 0;
}

static int unpack_field(struct block **pool, const struct field *f, const msgpack_object *o,
                        void *row, struct err *e)
{
    void *member = (char *)row + f->offset;
    bool yes;
    int rc;

    switch (f->kind) {
    case FIELD_UINT32:
    case FIELD_UINT64:
        return unpack_uint(f, o, member, e);
    case FIELD_REAL:
        return unpack_real(f, o, member, e);
    case FIELD_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return wrong_type(f, "true or false", e);
        yes = o->via.boolean; /* the union holds a boolean only now */
        memcpy(member, &yes, sizeof yes);
        return 0;
    case FIELD_STRING:
        return unpack_text(pool, f, o, member, e);
    case FIELD_HASH:
        return unpack_hash(f, o, member, e);
    case FIELD_BYTES:
        return unpack_bytes(f, o, row, member, e);
    case FIELD_MAP:
        rc = unpack_row(pool, f->rows, o, member, e);
        return rc ? err_set(e, rc, "%s: %s", f->key, e->text) : 0;
    case FIELD_LIST:
        return unpack_list(pool, f, o, row, member, e);
    }
    return err_set(e, ERR_INTERNAL, "'%s' has no kind", f->key);
}

static bool key_is(const msgpack_object *o, const char *key)
{
    size_t n = strlen(key);

    return o->type == MSGPACK_OBJECT_STR && o->via.str.size == n &&
           memcmp(o->via.str.ptr, key, n) == 0;
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
static int unpack_row(struct block **pool, const struct fields *fields, const msgpack_object *map,
                      void *row, struct err *e)
{
    const msgpack_object_kv *pairs = map->via.map.ptr;
    uint32_t seen = 0;
    size_t k;
    int rc = 0;

    if (map->type != MSGPACK_OBJECT_MAP)
        return err_set(e, ERR_INPUT, "must be a map");
    for (size_t i = 0; i < map->via.map.size; i++) {
        for (k = 0; k < fields->n && !key_is(&pairs[i].key, fields->at[k].key); k++)
            ;
        if (k == fields->n)
            continue; /* of a later version */
        if (seen & UINT32_C(1) << k)
            return err_set(e, ERR_INPUT, "'%s' is there twice", fields->at[k].key);
        seen |= UINT32_C(1) << k;
        TRY(unpack_field(pool, &fields->at[k], &pairs[i].val, row, e));
    }
    for (k = 0; k < fields->n; k++)
        if (!(seen & UINT32_C(1) << k))
            TRY(unpack_missing(&fields->at[k], row, e));
out:
    return rc;
}

static int unpack_type(const msgpack_object *map, enum msg_type *ret_type, struct err *e)
{
    const msgpack_object *type = NULL;

    if (map->type != MSGPACK_OBJECT_MAP)
        return err_set(e, ERR_INPUT, "frame is not a map");
    for (size_t i = 0; i < map->via.map.size; i++) {
        if (!key_is(&map->via.map.ptr[i].key, "type"))
            continue;
        if (type)
            return err_set(e, ERR_INPUT, "frame has 'type' twice");
        type = &map->via.map.ptr[i].val;
    }
    if (!type || type->type != MSGPACK_OBJECT_STR)
        return err_set(e, ERR_INPUT, "frame has no 'type' that is a string");
    for (int t = 0; t < MSG_TYPE_COUNT; t++) {
        if (key_is(type, names[t])) {
            *ret_type = (enum msg_type)t;
            return 0;
        }
    }
    return err_set(e, ERR_INPUT, "message of a type unknown to protocol %d", PROTOCOL_VERSION);
}

int msg_decode(const void *frame, size_t size, struct msg *ret_m, struct err *e)
{
    struct msg m = {0};
    struct block *pool = NULL;
    msgpack_unpacked unpacked;
    msgpack_unpack_return outcome;
    size_t at = 0;
    struct err inner = {0};
    int rc;

    *ret_m = (struct msg){0};
    if ((rc = msg_scan(frame, size, e)) != 0)
        return rc;
    msgpack_unpacked_init(&unpacked);
    outcome = msgpack_unpack_next(&unpacked, frame, size, &at);
    if (outcome == MSGPACK_UNPACK_NOMEM_ERROR)
        TRY(err_set(e, ERR_OOM, "out of memory for a frame of %zu bytes", size));
    if (outcome != MSGPACK_UNPACK_SUCCESS || at != size)
        TRY(err_set(e, ERR_INPUT, "frame is not MessagePack"));
    TRY(unpack_type(&unpacked.data, &m.type, e));
    rc = unpack_row(&pool, msg_fields(m.type), &unpacked.data, (char *)&m + union_offset(), &inner);
    if (rc != 0)
        TRY(err_set(e, rc, "%s: %s", names[m.type], inner.text));
    *ret_m = m;
    ret_m->pool = pool;
    pool = NULL;
out:
    pool_free(pool);
    msgpack_unpacked_destroy(&unpacked);
    return rc;
}

void msg_done(struct msg *m)
{
    pool_free(m->pool);
    *m = (struct msg){0};
}
