/*
 * Each arrow of "A worker's session" in proto/PROTOCOL.md: where the session stands, what comes,
 * what it says and does, and whether it is open then. A line here is a line there.
 */
#include "tests/worker/session_case.h"

/* ---- how it comes to stand somewhere; what it said until then is dropped */

static struct session *new_one(void)
{
    const struct session_options o = {
        .name = "w", .device = "cpu", .device_class = "cpu", .capacity = 2};
    struct session *s = NULL;

    assert_int_equal(session_new(&o, &s, NULL), 0);
    return s;
}

static struct session *greeting(void)
{
    struct session *s = start(2);

    sends(s, MSG_HELLO);
    return s;
}

static struct session *is_open(void)
{
    return opened(2);
}

static void drop_said(struct session *s)
{
    while (session_next(s))
        ;
}

static struct session *rendering(void)
{
    struct session *s = opened(2);

    hear_lease(s, 1, 1);
    drop_said(s);
    return s;
}

static struct session *with_one_that_waits(void)
{
    struct session *s = rendering();

    hear_lease(s, 2, 1);
    drop_said(s);
    return s;
}

static struct session *with_a_result(void)
{
    struct session *s = rendering();

    render_ends(s, "png");
    drop_said(s);
    return s;
}

static struct session *greeting_with_a_result(void)
{
    struct session *s = with_a_result();

    hear_error(s, "conflict", MSG_HELLO_FIRST, T0);
    drop_said(s);
    return s;
}

static struct session *leaving(void)
{
    struct session *s = with_a_result();

    assert_int_equal(session_leave(s, true, T0, NULL), 0);
    drop_said(s);
    return s;
}

static struct session *it_is_over(void)
{
    struct session *s = opened(2);

    assert_int_equal(session_stop(s, NULL), 0);
    drop_said(s);
    return s;
}

/* ---- what comes */

static void a_tick(struct session *s)
{
    assert_int_equal(session_tick(s, T0, NULL), 0);
}

static void five_seconds(struct session *s)
{
    assert_int_equal(session_tick(s, T0 + SESSION_GREETING_MS, NULL), 0);
}

static void silence(struct session *s)
{
    assert_int_equal(session_tick(s, T0 + SESSION_SILENCE_MS + 1, NULL), 0);
}

static void thirty_seconds(struct session *s)
{
    const struct msg pong = {.type = MSG_PONG};

    hear(s, &pong, T0 + SESSION_RESEND_MS - 1);
    drop_said(s);
    assert_int_equal(session_tick(s, T0 + SESSION_RESEND_MS, NULL), 0);
}

static void ten_seconds_of_leaving(struct session *s)
{
    const struct msg pong = {.type = MSG_PONG};

    hear(s, &pong, T0 + SESSION_LEAVE_MS - 1);
    drop_said(s);
    assert_int_equal(session_tick(s, T0 + SESSION_LEAVE_MS, NULL), 0);
}

static void welcome(struct session *s)
{
    hear_welcome(s, T0);
}

static void other_version(struct session *s)
{
    hear_error(s, "conflict", "protocol 9 to 9 is spoken here", T0);
}

static void hello_first(struct session *s)
{
    hear_error(s, "conflict", MSG_HELLO_FIRST, T0);
}

static void another_error(struct session *s)
{
    hear_error(s, "bad_input", "no message", T0);
}

static void unsent(struct session *s)
{
    assert_int_equal(session_unsent(s, T0, NULL), 0);
}

static void a_lease(struct session *s)
{
    hear_lease(s, 1, 1);
}

static void another_lease(struct session *s)
{
    hear_lease(s, 9, 1);
}

static void a_step(struct session *s)
{
    assert_int_equal(session_progress(s, 3, 20, T0, NULL), 0);
}

static void a_picture(struct session *s)
{
    render_ends(s, "png");
}

static void a_failure(struct session *s)
{
    const struct err why = {.code = ERR_INTERNAL, .text = "it went wrong"};

    assert_int_equal(session_failed(s, &why, T0, NULL), 0);
}

static void its_ack(struct session *s)
{
    hear_ref(s, MSG_ACK, 1, 1);
}

static void a_revoke(struct session *s)
{
    hear_ref(s, MSG_REVOKE, 1, 1);
}

static void a_ping(struct session *s)
{
    const struct msg m = {.type = MSG_PING};

    hear(s, &m, T0);
}

static void a_leave(struct session *s)
{
    const struct msg m = {.type = MSG_LEAVE};

    hear(s, &m, T0);
}

static void a_signal(struct session *s)
{
    assert_int_equal(session_leave(s, false, T0, NULL), 0);
}

static void a_stop(struct session *s)
{
    assert_int_equal(session_stop(s, NULL), 0);
}

/* ---- what it does */

/* "reconnect, hello" */
static void list_actions(struct session *s, char *ret_text, size_t size)
{
    static const char *const names[] = {"send",   "spill", "unspill", "reconnect",
                                        "gather", "start", "cancel",  "end"};
    const struct session_action *a;
    size_t at = 0;

    ret_text[0] = '\0';
    while ((a = session_next(s)))
        at +=
            (size_t)snprintf(ret_text + at, size - at, "%s%s", at ? ", " : "",
                             a->what == SESSION_SEND ? msg_type_name(a->msg.type) : names[a->what]);
}

static const struct arrow {
    struct session *(*from)(void);
    void (*by)(struct session *s);
    const char *does;
    bool open;
} arrows[] = {
    {new_one, a_tick, "hello", false},
    {new_one, a_stop, "end", false},
    {greeting, welcome, "ready", true},
    {greeting_with_a_result, welcome, "ready, result", true},
    {greeting, five_seconds, "reconnect, hello", false},
    {greeting, other_version, "end", false},
    {greeting, hello_first, "", false},
    {greeting, another_error, "", false},
    {greeting, a_lease, "", false},
    {greeting, a_stop, "end", false},
    {is_open, welcome, "ready", true},
    {is_open, hello_first, "hello", false},
    {is_open, another_error, "", false},
    {is_open, silence, "reconnect, hello", false},
    {is_open, unsent, "reconnect, hello", false},
    {is_open, a_ping, "pong", true},
    {is_open, thirty_seconds, "ping, ready", true},
    {is_open, a_lease, "start", true},
    {rendering, a_lease, "", true},
    {rendering, another_lease, "", true},
    {rendering, a_step, "progress", true},
    {rendering, a_picture, "result, ready", true},
    {with_one_that_waits, a_picture, "result, start, ready", true},
    {rendering, a_failure, "failed, ready", true},
    {rendering, a_revoke, "cancel, ready", true},
    {rendering, hello_first, "hello", false},
    {with_a_result, its_ack, "", true},
    {with_a_result, a_revoke, "", true},
    {with_a_result, thirty_seconds, "ping, result, ready", true},
    {is_open, a_leave, "bye, end", false},
    {rendering, a_leave, "", true},
    {with_one_that_waits, a_leave, "failed", true},
    {with_a_result, a_leave, "", true},
    {leaving, another_lease, "ready", true},
    {leaving, its_ack, "bye, end", false},
    {leaving, ten_seconds_of_leaving, "ping, bye, end", false},
    {greeting, a_signal, "end", false},
    {with_one_that_waits, a_signal, "cancel, failed", true},
    {is_open, a_stop, "bye, end", false},
    {rendering, a_stop, "cancel, bye, end", false},
    {it_is_over, a_lease, "", false},
    {it_is_over, welcome, "", false},
};

static void each_arrow_does_what_the_protocol_says(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++) {
        const struct arrow *a = &arrows[i];
        struct session *s = a->from();
        char does_it[200];

        a->by(s);
        list_actions(s, does_it, sizeof does_it);
        if (strcmp(does_it, a->does) != 0 || session_is_open(s) != a->open) {
            print_error("arrow %zu: does '%s' (%s), not '%s'\n", i, does_it,
                        session_is_open(s) ? "open" : "not open", a->does);
            wrong++;
        }
        session_free(s);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_arrow_does_what_the_protocol_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
