/* While the disk refuses: clients are told, workers' messages wait in order. */
#include "coordinator/lobby.h"

#include "proto/msg.h"
#include "tests/coordinator/fixture.h"

struct table {
    struct link *router, *dealer;
    struct lobby lobby;
};

static int setup(void **state)
{
    struct table *t = calloc(1, sizeof *t);

    MUST(link_listen("tcp://127.0.0.1:0", &t->router, e));
    MUST(link_connect(link_endpoint(t->router), "peer", &t->dealer, e));
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct table *t = *state;

    lobby_done(&t->lobby);
    link_close(t->dealer, 0);
    link_close(t->router, 0);
    free(t);
    return 0;
}

static void say(struct table *t, const struct msg *m)
{
    struct buf frame = {0};

    MUST(msg_encode(m, &frame, e));
    MUST(link_send(t->dealer, NULL, frame.data, frame.size, e));
    buf_done(&frame);
}

static void serve_until(struct table *t, size_t kept)
{
    struct err err;

    while (t->lobby.n < kept) {
        assert_int_not_equal(link_wait(t->router, NULL, 0, 10000, &err), -1);
        MUST(lobby_serve(&t->lobby, t->router, "disk is full", e));
    }
}

static void say_progress(struct table *t, uint64_t index)
{
    struct msg m = {.type = MSG_PROGRESS};

    memset(m.progress.ref.job, 'a', HASH_HEX_SIZE - 1);
    m.progress.ref.index = index;
    m.progress.ref.attempt = 1;
    m.progress.step = 1;
    m.progress.steps = 2;
    say(t, &m);
}

static void say_failed(struct table *t, uint64_t index)
{
    struct msg m = {.type = MSG_FAILED};

    memset(m.failed.ref.job, 'a', HASH_HEX_SIZE - 1);
    m.failed.ref.index = index;
    m.failed.ref.attempt = 1;
    m.failed.code = "internal";
    m.failed.text = "it broke";
    say(t, &m);
}

/* The next answer to the peer. */
static void hear(struct table *t, struct buf *frame, struct msg *ret_m)
{
    struct peer peer;
    struct err err;

    while (link_receive(t->dealer, &peer, frame, &err) == 0)
        assert_int_not_equal(link_wait(t->dealer, NULL, 0, 10000, &err), -1);
    MUST(msg_decode(frame->data, frame->size, ret_m, e));
}

static void requests_are_refused_with_the_reason_and_the_rest_is_kept_in_order(void **state)
{
    struct table *t = *state;
    struct buf frame = {0};
    struct peer peer;
    struct msg m;

    say_failed(t, 1);
    say(t, &(struct msg){.type = MSG_LIST, .list = {.request = 9, .limit = 1}});
    say_failed(t, 2);
    serve_until(t, 2);
    hear(t, &frame, &m);
    assert_int_equal(m.type, MSG_ERROR);
    assert_int_equal(m.error.request, 9);
    assert_string_equal(m.error.code, "io");
    assert_string_equal(m.error.text, "disk is full");
    msg_done(&m);
    for (uint64_t index = 1; index <= 2; index++) {
        assert_true(lobby_next(&t->lobby, &peer, &frame));
        assert_int_equal(peer.size, 4);
        MUST(msg_decode(frame.data, frame.size, &m, e));
        assert_int_equal(m.failed.ref.index, index);
        msg_done(&m);
    }
    assert_false(lobby_next(&t->lobby, &peer, &frame));
    assert_int_equal(t->lobby.bytes, 0);
    buf_done(&frame);
}

static void a_full_lobby_leaves_the_rest_in_the_socket(void **state)
{
    struct table *t = *state;
    struct buf frame = {0};
    struct peer peer;
    struct msg m;

    for (uint64_t index = 0; index <= LOBBY_MESSAGES; index++)
        say_failed(t, index);
    serve_until(t, LOBBY_MESSAGES);
    assert_true(lobby_full(&t->lobby));
    MUST(lobby_serve(&t->lobby, t->router, "disk is full", e));
    assert_int_equal(t->lobby.n, LOBBY_MESSAGES);
    assert_true(lobby_next(&t->lobby, &peer, &frame));
    serve_until(t, LOBBY_MESSAGES); /* round the ring's end */
    for (uint64_t index = 1; index <= LOBBY_MESSAGES; index++) {
        assert_true(lobby_next(&t->lobby, &peer, &frame));
        MUST(msg_decode(frame.data, frame.size, &m, e));
        assert_int_equal(m.failed.ref.index, index);
        msg_done(&m);
    }
    buf_done(&frame);
}

/* Workers at work say more than any lobby holds; a client is answered all the same. */
static void pings_and_progress_fill_no_lobby(void **state)
{
    struct table *t = *state;
    struct buf frame = {0};
    struct msg m;
    struct err err;

    for (uint64_t index = 0; index < 2 * LOBBY_MESSAGES; index++) {
        if (index % 2)
            say_progress(t, index);
        else
            say(t, &(struct msg){.type = MSG_PING});
        assert_int_not_equal(link_wait(t->router, NULL, 0, 10000, &err), -1);
        MUST(lobby_serve(&t->lobby, t->router, "disk is full", e));
        assert_int_equal(t->lobby.n, 0);
    }
    say(t, &(struct msg){.type = MSG_LIST, .list = {.request = 9, .limit = 1}});
    say_failed(t, 7);
    serve_until(t, 1);
    hear(t, &frame, &m);
    assert_int_equal(m.type, MSG_ERROR);
    assert_int_equal(m.error.request, 9);
    msg_done(&m);
    assert_int_equal(t->lobby.n, 1);
    buf_done(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            requests_are_refused_with_the_reason_and_the_rest_is_kept_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_lobby_leaves_the_rest_in_the_socket, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pings_and_progress_fill_no_lobby, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
