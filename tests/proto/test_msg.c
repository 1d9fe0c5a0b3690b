#include "proto/msg.h"
#include "proto/msg_scan.h"
#include "proto/msg_table.h"

#include <math.h>
#include <msgpack.h>
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

static void *keep(size_t size)
{
    assert_true(n_kept < sizeof kept / sizeof *kept);
    return kept[n_kept++] = calloc(1, size);
}

static int free_rows(void **state)
{
    (void)state;
    while (n_kept)
        free(kept[--n_kept]);
    return 0;
}

static void fill(const struct fields *fields, char *row, unsigned salt)
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

static struct msg filled(enum msg_type type)
{
    struct msg m = {.type = type};

    fill(msg_fields(type), (char *)&m.hello, 3);
    return m;
}

static void encode(const struct msg *m, struct buf *frame)
{
    struct err e = {0};

    frame->size = 0;
    if (msg_encode(m, frame, &e) != 0)
        fail_msg("%s", e.text);
}

static void every_message_survives_the_trip(void **state)
{
    struct buf frame = {0}, again = {0};
    struct err e = {0};

    (void)state;
    for (int t = 0; t < MSG_TYPE_COUNT; t++) {
        struct msg m = filled((enum msg_type)t), back;

        encode(&m, &frame);
        if (msg_decode(frame.data, frame.size, &back, &e) != 0)
            fail_msg("%s", e.text);
        assert_int_equal(back.type, t);
        encode(&back, &again);
        assert_int_equal(again.size, frame.size);
        assert_memory_equal(again.data, frame.data, frame.size);
        msg_done(&back);
    }
    buf_done(&frame);
    buf_done(&again);
}

static void members_arrive_where_they_were(void **state)
{
    struct attempt_ref held[] = {{HASH_A, 7, 1}, {HASH_A, 8, 2}};
    struct msg m = {.type = MSG_READY, .ready = {.credits = 2, .held = held, .n_held = 2}}, back;
    struct buf frame = {0};

    (void)state;
    encode(&m, &frame);
    assert_int_equal(msg_decode(frame.data, frame.size, &back, NULL), 0);
    assert_int_equal(back.ready.credits, 2);
    assert_int_equal(back.ready.n_held, 2);
    assert_string_equal(back.ready.held[1].job, HASH_A);
    assert_int_equal(back.ready.held[1].index, 8);
    assert_int_equal(back.ready.held[1].attempt, 2);
    msg_done(&back);

    m = (struct msg){.type = MSG_RESULT,
                     .result = {.ref = held[0],
                                .sha256 = HASH_A,
                                .png = "abc",
                                .png_size = 3,
                                .device_class = "cpu-avx2",
                                .precision = "f32",
                                .render_seconds = 0.1,
                                .black = true}};
    encode(&m, &frame);
    assert_int_equal(msg_decode(frame.data, frame.size, &back, NULL), 0);
    assert_int_equal(back.result.png_size, 3);
    assert_memory_equal(back.result.png, "abc", 3);
    assert_true((const char *)back.result.png > frame.data &&
                (const char *)back.result.png < frame.data + frame.size); /* borrowed */
    assert_true(back.result.render_seconds == 0.1);
    assert_true(back.result.load_seconds == 0);
    assert_true(back.result.black);
    msg_done(&back);
    buf_done(&frame);
}

/* A frame as another program might write it. */
static void pack_text(msgpack_packer *pk, const char *text)
{
    msgpack_pack_str(pk, strlen(text));
    msgpack_pack_str_body(pk, text, strlen(text));
}

static void refused(const msgpack_sbuffer *frame, const char *why)
{
    struct err e = {0};
    struct msg m;

    assert_int_equal(msg_decode(frame->data, frame->size, &m, &e), ERR_INPUT);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
    assert_null(m.pool.used);
}

static void unknown_keys_are_skipped_and_optional_ones_default(void **state)
{
    msgpack_sbuffer frame;
    msgpack_packer pk;
    struct msg m;

    (void)state;
    msgpack_sbuffer_init(&frame);
    msgpack_packer_init(&pk, &frame, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 6);
    pack_text(&pk, "future");
    msgpack_pack_array(&pk, 1);
    msgpack_pack_nil(&pk);
    msgpack_pack_int(&pk, -5); /* a key that is no string */
    msgpack_pack_true(&pk);
    pack_text(&pk, "role");
    pack_text(&pk, "client");
    pack_text(&pk, "protocol");
    msgpack_pack_int(&pk, 1);
    pack_text(&pk, "protocol_min");
    msgpack_pack_int(&pk, 1);
    pack_text(&pk, "type");
    pack_text(&pk, "hello");
    assert_int_equal(msg_decode(frame.data, frame.size, &m, NULL), 0);
    assert_int_equal(m.type, MSG_HELLO);
    assert_string_equal(m.hello.role, "client");
    assert_string_equal(m.hello.name, "");
    assert_int_equal(m.hello.threads, 0);
    msg_done(&m);
    msgpack_sbuffer_destroy(&frame);
}

static void missing_key_is_named_with_its_message(void **state)
{
    msgpack_sbuffer frame;
    msgpack_packer pk;

    (void)state;
    msgpack_sbuffer_init(&frame);
    msgpack_packer_init(&pk, &frame, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 2);
    pack_text(&pk, "type");
    pack_text(&pk, "submit");
    pack_text(&pk, "request");
    msgpack_pack_int(&pk, 1);
    refused(&frame, "submit: 'bundle' is missing");
    msgpack_sbuffer_destroy(&frame);
}

/* {"type": "list", "request": 1, "limit": <packed by the caller>} */
static void list_with_limit(void (*pack)(msgpack_packer *), const char *why)
{
    msgpack_sbuffer frame;
    msgpack_packer pk;

    msgpack_sbuffer_init(&frame);
    msgpack_packer_init(&pk, &frame, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 3);
    pack_text(&pk, "type");
    pack_text(&pk, "list");
    pack_text(&pk, "request");
    msgpack_pack_int(&pk, 1);
    pack_text(&pk, "limit");
    pack(&pk);
    refused(&frame, why);
    msgpack_sbuffer_destroy(&frame);
}

static void pack_zero(msgpack_packer *pk)
{
    msgpack_pack_int(pk, 0);
}

static void pack_minus(msgpack_packer *pk)
{
    msgpack_pack_int(pk, -1);
}

static void pack_much(msgpack_packer *pk)
{
    msgpack_pack_uint64(pk, UINT64_C(1) << 32); /* 0 in 32 bits */
}

static void pack_digits(msgpack_packer *pk)
{
    pack_text(pk, "5");
}

static void pack_twice(msgpack_packer *pk)
{
    msgpack_pack_int(pk, 5);
}

static void numbers_out_of_bounds_are_refused(void **state)
{
    (void)state;
    list_with_limit(pack_zero, "list: 'limit' is 0, not within 1..1000");
    list_with_limit(pack_minus, "list: 'limit' must be an integer of 0 or more");
    list_with_limit(pack_much, "list: 'limit' is 4294967296");
    list_with_limit(pack_digits, "list: 'limit' must be an integer");
}

/* What a gang's shape is computed from. */
static void gangs_that_cannot_be_are_refused(void **state)
{
    static const struct {
        uint32_t guidance, tensor, rank;
    } wrong[] = {{3, 1, 0}, {2, 9, 0}, {65536, 65536, 1}, {1, 8, 16}, {1, UINT32_MAX, 0}};
    struct msg m = filled(MSG_LEASE);
    struct buf frame = {0};
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        m.lease.gang_guidance = wrong[i].guidance;
        m.lease.gang_tensor = wrong[i].tensor;
        m.lease.gang_rank = wrong[i].rank;
        assert_int_equal(msg_encode(&m, &frame, &e), ERR_ARG); /* by the reader's table */
    }
    buf_done(&frame);
}

static void key_that_is_there_twice_is_refused(void **state)
{
    msgpack_sbuffer frame;
    msgpack_packer pk;

    (void)state;
    msgpack_sbuffer_init(&frame);
    msgpack_packer_init(&pk, &frame, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 4);
    pack_text(&pk, "type");
    pack_text(&pk, "workers");
    pack_text(&pk, "request");
    pack_twice(&pk);
    pack_text(&pk, "request");
    pack_twice(&pk);
    pack_text(&pk, "type");
    pack_text(&pk, "workers");
    refused(&frame, "twice");
    msgpack_sbuffer_destroy(&frame);
}

/* {"type": "status", "request": 1, "job": text of size bytes} */
static void status_of(const char *job, size_t size, const char *why)
{
    msgpack_sbuffer frame;
    msgpack_packer pk;

    msgpack_sbuffer_init(&frame);
    msgpack_packer_init(&pk, &frame, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 3);
    pack_text(&pk, "type");
    pack_text(&pk, "status");
    pack_text(&pk, "request");
    msgpack_pack_int(&pk, 1);
    pack_text(&pk, "job");
    msgpack_pack_str(&pk, size);
    msgpack_pack_str_body(&pk, job, size);
    refused(&frame, why);
    msgpack_sbuffer_destroy(&frame);
}

static void strings_must_be_utf8_without_nul(void **state)
{
    static const char *const broken[] = {
        "\xff", "a\x80", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82",
    };

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        status_of(broken[i], strlen(broken[i]), "status: 'job' must be UTF-8");
    status_of("a\0b", 3, "status: 'job' must be UTF-8 without NUL");
    status_of("", 0, "status: 'job' has 0 bytes");
}

static void utf8_of_every_length_is_well_formed(void **state)
{
    const char *text = "a\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf0\x90\x80\x80"
                       "\xf4\x8f\xbf\xbf";

    (void)state;
    assert_int_equal(utf8_span(text, strlen(text)), strlen(text));
    assert_int_equal(utf8_span("ab\xe2\x82", 4), 2);
    assert_int_equal(utf8_span("", 0), 0);
}

static void prose_is_repaired_and_names_are_refused_by_the_sender(void **state)
{
    struct msg m = {.type = MSG_ERROR, .error = {.code = "io", .text = "cut \xe2\x82"}}, back;
    struct buf frame = {0};
    struct err e = {0};

    (void)state;
    encode(&m, &frame);
    assert_int_equal(msg_decode(frame.data, frame.size, &back, NULL), 0);
    assert_string_equal(back.error.text, "cut ??");
    msg_done(&back);

    m.error.code = "\xff";
    frame.size = 0;
    buf_puts(&frame, "before");
    assert_int_equal(msg_encode(&m, &frame, &e), ERR_ARG);
    assert_string_equal(e.text, "error: 'code' is not UTF-8");
    assert_int_equal(frame.size, 6);
    buf_done(&frame);
}

static void sender_refuses_what_the_receiver_would(void **state)
{
    struct msg m = {.type = MSG_LIST, .list = {.request = 1, .limit = MSG_PAGE_MAX + 1}};
    struct buf frame = {0};
    struct err e = {0};
    char name[300];

    (void)state;
    assert_int_equal(msg_encode(&m, &frame, &e), ERR_ARG);
    memset(name, 'x', sizeof name);
    name[299] = 0;
    m = (struct msg){.type = MSG_STATUS, .status = {.request = 1, .job = name}};
    assert_int_equal(msg_encode(&m, &frame, &e), ERR_ARG);
    m = (struct msg){.type = MSG_REVOKE, .revoke = {.ref = {"12", 1, 1}}};
    assert_int_equal(msg_encode(&m, &frame, &e), ERR_ARG);
    m = (struct msg){.type = MSG_REVOKE, .revoke = {.ref = {HASH_A, 1, 0}}};
    assert_int_equal(msg_encode(&m, &frame, &e), ERR_ARG);
    m = (struct msg){.type = MSG_RESULT,
                     .result = {.ref = {HASH_A, 1, 1},
                                .sha256 = HASH_A,
                                .png = "x",
                                .png_size = 1,
                                .device_class = "c",
                                .precision = "f32",
                                .load_seconds = NAN}};
    assert_int_equal(msg_encode(&m, &frame, &e), ERR_ARG);
    assert_string_equal(e.text, "result: 'load_seconds' is not finite");
    buf_done(&frame);
}

/* Decodes bytes that must be refused before anything of their claimed size is allocated. */
static void hostile(const void *bytes, size_t size, const char *why)
{
    msgpack_sbuffer frame = {.data = (char *)(uintptr_t)bytes, .size = size};

    refused(&frame, why);
}

static void five_bytes_that_claim_gigabytes_are_refused(void **state)
{
    (void)state;
    hostile("\xdd\xff\xff\xff\xff", 5, "torn");
    hostile("\xdf\xff\xff\xff\xff", 5, "torn");
    hostile("\xc6\xff\xff\xff\xff", 5, "torn");
    hostile("\xdb\xff\xff\xff\xff", 5, "torn");
    hostile("\xc9\xff\xff\xff\xff", 5, "torn");
    hostile("\xdc\xff", 2, "torn");
    hostile("\xc1", 1, "torn or unknown");
    hostile("", 0, "torn");
    hostile("\x80\x80", 2, "after its value");
    hostile("\x93\x01\x02", 3, "torn");
    hostile("\x01", 1, "frame is not a map");
    hostile("\x80", 1, "no 'type'");
    hostile("\x81\xa4type\xa3xyz", 10, "unknown to protocol 1");
    hostile("\x81\xa4type\x01", 7, "no 'type'");
}

static void deep_nests_and_many_values_are_refused(void **state)
{
    unsigned char nest[MSG_DEPTH_MAX + 2];
    size_t many = MSG_VALUES_MAX + 16;
    unsigned char *flat = malloc(many);

    (void)state;
    memset(nest, 0x91, sizeof nest);
    nest[sizeof nest - 1] = 0;
    hostile(nest, sizeof nest, "nested deeper");
    assert_int_equal(msg_scan(nest + 1, sizeof nest - 1, NULL), 0);

    memset(flat, 0, many);
    flat[0] = 0xdd;
    flat[1] = (unsigned char)((many - 5) >> 24);
    flat[2] = (unsigned char)((many - 5) >> 16);
    flat[3] = (unsigned char)((many - 5) >> 8);
    flat[4] = (unsigned char)(many - 5);
    hostile(flat, many, "more than 1048576 values");
    free(flat);
}

/* xorshift: the same mutations on every run. */
static uint32_t draw(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static void cut_and_damaged_frames_never_break_the_reader(void **state)
{
    struct buf frame = {0};
    uint32_t x = 2463534242u;
    int n_refused = 0;

    (void)state;
    for (int t = 0; t < MSG_TYPE_COUNT; t++) {
        struct msg m = filled((enum msg_type)t), back;
        char *copy;

        encode(&m, &frame);
        for (size_t cut = 0; cut < frame.size; cut++) {
            copy = malloc(cut + 1); /* exact size: a read past the end is an ASan report */
            memcpy(copy, frame.data, cut);
            assert_int_equal(msg_decode(copy, cut, &back, NULL), ERR_INPUT);
            free(copy);
        }
        for (int k = 0; k < 400; k++) {
            copy = malloc(frame.size);
            memcpy(copy, frame.data, frame.size);
            for (uint32_t n = draw(&x) % 3 + 1; n; n--)
                copy[draw(&x) % frame.size] = (char)draw(&x);
            if (msg_decode(copy, frame.size, &back, NULL) != 0)
                n_refused++;
            msg_done(&back);
            free(copy);
        }
    }
    assert_true(n_refused > 1000);
    buf_done(&frame);
}

/* PROTOCOL.md shows this frame in hex. */
static void ack_has_the_documented_bytes(void **state)
{
    static const unsigned char expected[] = "\x85\xa4type\xa3"
                                            "ack\xa3job\xd9\x40" HASH_A "\xa5index\xcd\x01\x00\xa7"
                                            "attempt\x01\xa7verdict\xa8"
                                            "accepted";
    struct msg m = {.type = MSG_ACK, .ack = {.ref = {HASH_A, 256, 1}, .verdict = "accepted"}};
    struct buf frame = {0};

    (void)state;
    encode(&m, &frame);
    assert_int_equal(frame.size, sizeof expected - 1);
    assert_memory_equal(frame.data, expected, frame.size);
    buf_done(&frame);
}

/* A value again, by msgpack-c: as it writes it itself, or in forms of our choice. */
enum forms { SHORTEST, WIDE, SIGNED, NARROW_REALS, WHOLE_REALS };

static void repack(msgpack_packer *pk, const msgpack_object *o, enum forms forms)
{
    if (o->type == MSGPACK_OBJECT_MAP) {
        msgpack_pack_map(pk, o->via.map.size);
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            repack(pk, &o->via.map.ptr[i].key, forms);
            repack(pk, &o->via.map.ptr[i].val, forms);
        }
    } else if (o->type == MSGPACK_OBJECT_ARRAY) {
        msgpack_pack_array(pk, o->via.array.size);
        for (uint32_t i = 0; i < o->via.array.size; i++)
            repack(pk, &o->via.array.ptr[i], forms);
    } else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && forms == WIDE) {
        msgpack_pack_fix_uint64(pk, o->via.u64);
    } else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && forms == SIGNED) {
        if (o->via.u64 <= INT8_MAX)
            msgpack_pack_fix_int8(pk, (int8_t)o->via.u64);
        else if (o->via.u64 <= INT64_MAX)
            msgpack_pack_fix_int64(pk, (int64_t)o->via.u64);
        else
            msgpack_pack_uint64(pk, o->via.u64);
    } else if (o->type == MSGPACK_OBJECT_FLOAT64 && forms == NARROW_REALS) {
        msgpack_pack_float(pk, -1.5f);
    } else if (o->type == MSGPACK_OBJECT_FLOAT64 && forms == WHOLE_REALS) {
        msgpack_pack_int(pk, -200);
    } else {
        msgpack_pack_object(pk, *o);
    }
}

static void repack_frame(const struct buf *frame, enum forms forms, struct buf *ret_frame)
{
    msgpack_unpacked unpacked;
    msgpack_sbuffer bytes;
    msgpack_packer pk;
    size_t at = 0;

    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, frame->data, frame->size, &at),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, frame->size);
    msgpack_sbuffer_init(&bytes);
    msgpack_packer_init(&pk, &bytes, msgpack_sbuffer_write);
    repack(&pk, &unpacked.data, forms);
    ret_frame->size = 0;
    buf_append(ret_frame, bytes.data, bytes.size);
    msgpack_sbuffer_destroy(&bytes);
    msgpack_unpacked_destroy(&unpacked);
}

static void msgpack_c_writes_every_message_in_the_same_bytes(void **state)
{
    struct buf frame = {0}, again = {0};

    (void)state;
    for (int t = 0; t < MSG_TYPE_COUNT; t++) {
        struct msg m = filled((enum msg_type)t);

        encode(&m, &frame);
        repack_frame(&frame, SHORTEST, &again);
        assert_int_equal(again.size, frame.size);
        assert_memory_equal(again.data, frame.data, frame.size);
    }
    buf_done(&frame);
    buf_done(&again);
}

static void numbers_are_read_in_every_form(void **state)
{
    struct buf frame = {0}, other = {0}, back = {0}, wanted = {0};

    (void)state;
    for (int t = 0; t < MSG_TYPE_COUNT; t++) {
        struct msg m = filled((enum msg_type)t), read;

        for (enum forms forms = WIDE; forms <= WHOLE_REALS; forms++) {
            encode(&m, &frame);
            repack_frame(&frame, forms, &other);
            assert_int_equal(msg_decode(other.data, other.size, &read, NULL), 0);
            encode(&read, &back);
            if (forms <= SIGNED) {
                assert_int_equal(back.size, frame.size);
                assert_memory_equal(back.data, frame.data, frame.size);
            } else { /* the same numbers, as doubles */
                repack_frame(&back, forms, &wanted);
                assert_int_equal(wanted.size, other.size);
                assert_memory_equal(wanted.data, other.data, other.size);
            }
            msg_done(&read);
        }
    }
    buf_done(&frame);
    buf_done(&other);
    buf_done(&back);
    buf_done(&wanted);
}

/* The strings whose lengths are around each form's limit. */
static void lengths_take_the_shortest_form(void **state)
{
    static const size_t sizes[] = {0, 31, 32, 255, 256, MSG_STRING_MAX};
    struct buf frame = {0}, again = {0};
    char *text = calloc(1, MSG_STRING_MAX + 1);

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct msg m = {.type = MSG_ERROR, .error = {.code = "input", .text = text}};

        memset(text, 'x', sizes[i]);
        text[sizes[i]] = 0;
        encode(&m, &frame);
        repack_frame(&frame, SHORTEST, &again);
        assert_int_equal(again.size, frame.size);
        assert_memory_equal(again.data, frame.data, frame.size);
    }
    buf_done(&frame);
    buf_done(&again);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_survives_the_trip),
        cmocka_unit_test(members_arrive_where_they_were),
        cmocka_unit_test(unknown_keys_are_skipped_and_optional_ones_default),
        cmocka_unit_test(missing_key_is_named_with_its_message),
        cmocka_unit_test(numbers_out_of_bounds_are_refused),
        cmocka_unit_test(gangs_that_cannot_be_are_refused),
        cmocka_unit_test(key_that_is_there_twice_is_refused),
        cmocka_unit_test(strings_must_be_utf8_without_nul),
        cmocka_unit_test(utf8_of_every_length_is_well_formed),
        cmocka_unit_test(prose_is_repaired_and_names_are_refused_by_the_sender),
        cmocka_unit_test(sender_refuses_what_the_receiver_would),
        cmocka_unit_test(five_bytes_that_claim_gigabytes_are_refused),
        cmocka_unit_test(deep_nests_and_many_values_are_refused),
        cmocka_unit_test(cut_and_damaged_frames_never_break_the_reader),
        cmocka_unit_test(ack_has_the_documented_bytes),
        cmocka_unit_test(msgpack_c_writes_every_message_in_the_same_bytes),
        cmocka_unit_test(numbers_are_read_in_every_form),
        cmocka_unit_test(lengths_take_the_shortest_form),
    };

    return cmocka_run_group_tests_name("msg", tests, NULL, free_rows);
}
