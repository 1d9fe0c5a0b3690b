/* Frames that are no message of ours: of other programs, damaged, hostile. None breaks the reader.
 */
#include "proto/msg_scan.h"
#include "tests/proto/messages.h"

#include <msgpack.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_keys_are_skipped_and_optional_ones_default),
        cmocka_unit_test(missing_key_is_named_with_its_message),
        cmocka_unit_test(numbers_out_of_bounds_are_refused),
        cmocka_unit_test(gangs_that_cannot_be_are_refused),
        cmocka_unit_test(key_that_is_there_twice_is_refused),
        cmocka_unit_test(strings_must_be_utf8_without_nul),
        cmocka_unit_test(utf8_of_every_length_is_well_formed),
        cmocka_unit_test(five_bytes_that_claim_gigabytes_are_refused),
        cmocka_unit_test(deep_nests_and_many_values_are_refused),
        cmocka_unit_test(cut_and_damaged_frames_never_break_the_reader),
    };

    return cmocka_run_group_tests_name("msg", tests, NULL, free_rows);
}
