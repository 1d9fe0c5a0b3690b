/* Messages there and back, and the bytes in which they go. */
#include "tests/proto/messages.h"

#include <msgpack.h>

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
        cmocka_unit_test(prose_is_repaired_and_names_are_refused_by_the_sender),
        cmocka_unit_test(sender_refuses_what_the_receiver_would),
        cmocka_unit_test(ack_has_the_documented_bytes),
        cmocka_unit_test(msgpack_c_writes_every_message_in_the_same_bytes),
        cmocka_unit_test(numbers_are_read_in_every_form),
        cmocka_unit_test(lengths_take_the_shortest_form),
    };

    return cmocka_run_group_tests_name("msg", tests, NULL, free_rows);
}
