/* Frames back to messages: msg.h. */
#include "proto/msg.h"
#include "proto/msg_scan.h"
#include "proto/msg_table.h"

#include <math.h>
#include <msgpack.h>
#include <string.h>

#define POOL_BYTES 2048 /* of most messages' strings */

/*
 * Most frames' values fit one such block of msgpack-c's, which malloc has at hand. Its own measure
 * of 8 KiB is looked for, cut and joined again at each frame, by a tenth of the coordinator's time.
 */
#define ZONE_BYTES 960

static int unpack_row(struct pool *pool, const struct fields *fields, const msgpack_object *map,
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

static int unpack_text(struct pool *pool, const struct field *f, const msgpack_object *o,
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
    copy = pool_text(pool, o->via.str.ptr, size);
    if (!copy)
        return err_set(e, ERR_OOM, "out of memory for '%s'", f->key);
    memcpy(member, &copy, sizeof copy);
    return 0;
}

static int unpack_hash(const struct field *f, const msgpack_object *o, char *member, struct err *e)
{
    size_t size = o->via.str.size;

    if (o->type != MSGPACK_OBJECT_STR ||
        (!msg_is_hash(o->via.str.ptr, size) && !(f->optional && size == 0)))
        return wrong_type(f, "a string of 64 hex digits", e);
    if (size)
        memcpy(member, o->via.str.ptr, size);
    member[size] = 0;
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

static int unpack_list(struct pool *pool, const struct field *f, const msgpack_object *o, void *row,
                       void *member, struct err *e)
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
        rows = pool_alloc(pool, n * f->rows->size);
        if (!rows)
            return err_set(e, ERR_OOM, "out of memory for '%s'", f->key);
    }
    for (size_t i = 0; i < n; i++)
        if ((rc = unpack_row(pool, f->rows, &o->via.array.ptr[i], rows + i * f->rows->size, e)))
            return err_set(e, rc, "%s[%zu]: %s", f->key, i, e->text);
    memcpy(member, &rows, sizeof rows);
    memcpy((char *)row + f->count_offset, &n, sizeof n);
    return 0;
}

static int unpack_field(struct pool *pool, const struct field *f, const msgpack_object *o,
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

static bool is_word(const msgpack_object *o, const char *word, size_t size)
{
    return o->type == MSGPACK_OBJECT_STR && o->via.str.size == size &&
           memcmp(o->via.str.ptr, word, size) == 0;
}

/* Our own senders keep the table's order, so `expected` is the first guess. fields->n: none. */
static size_t field_of(const struct fields *fields, const msgpack_object *key, size_t expected)
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
static int unpack_row(struct pool *pool, const struct fields *fields, const msgpack_object *map,
                      void *row, struct err *e)
{
    const msgpack_object_kv *pairs = map->via.map.ptr;
    uint32_t seen = 0;
    size_t k = 0;
    int rc = 0;

    if (map->type != MSGPACK_OBJECT_MAP)
        return err_set(e, ERR_INPUT, "must be a map");
    for (size_t i = 0; i < map->via.map.size; i++) {
        k = field_of(fields, &pairs[i].key, k < fields->n ? k : 0);
        if (k == fields->n)
            continue; /* of a later version */
        if (seen & UINT32_C(1) << k)
            return err_set(e, ERR_INPUT, "'%s' is there twice", fields->at[k].key);
        seen |= UINT32_C(1) << k;
        TRY(unpack_field(pool, &fields->at[k++], &pairs[i].val, row, e));
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
        if (!is_word(&map->via.map.ptr[i].key, "type", 4))
            continue;
        if (type)
            return err_set(e, ERR_INPUT, "frame has 'type' twice");
        type = &map->via.map.ptr[i].val;
    }
    if (!type || type->type != MSGPACK_OBJECT_STR)
        return err_set(e, ERR_INPUT, "frame has no 'type' that is a string");
    for (int t = 0; t < MSG_TYPE_COUNT; t++) {
        const char *name = msg_type_name((enum msg_type)t);

        if (is_word(type, name, strlen(name))) {
            *ret_type = (enum msg_type)t;
            return 0;
        }
    }
    return err_set(e, ERR_INPUT, "message of a type unknown to protocol %d", PROTOCOL_VERSION);
}

int msg_decode(const void *frame, size_t size, struct msg *ret_m, struct err *e)
{
    struct msg m = {.pool = {.block_bytes = POOL_BYTES}};
    msgpack_zone zone = {0};
    msgpack_object value;
    msgpack_unpack_return outcome;
    struct err inner;
    size_t at = 0;
    bool zoned = false;
    int rc;

    *ret_m = (struct msg){0};
    TRY(msg_scan(frame, size, e));
    zoned = msgpack_zone_init(&zone, ZONE_BYTES);
    outcome = zoned ? msgpack_unpack(frame, size, &at, &zone, &value) : MSGPACK_UNPACK_NOMEM_ERROR;
    if (outcome == MSGPACK_UNPACK_NOMEM_ERROR)
        TRY(err_set(e, ERR_OOM, "out of memory for a frame of %zu bytes", size));
    if (outcome != MSGPACK_UNPACK_SUCCESS || at != size)
        TRY(err_set(e, ERR_INPUT, "frame is not MessagePack"));
    TRY(unpack_type(&value, &m.type, e));
    rc = unpack_row(&m.pool, msg_fields(m.type), &value, (char *)&m + MSG_UNION, &inner);
    if (rc != 0)
        TRY(err_set(e, rc, "%s: %s", msg_type_name(m.type), inner.text));
    *ret_m = m;
    m.pool = (struct pool){0};
out:
    pool_done(&m.pool);
    if (zoned)
        msgpack_zone_destroy(&zone);
    return rc;
}

void msg_done(struct msg *m)
{
    pool_done(&m->pool);
    *m = (struct msg){0};
}
