/*
 * Each arrow of "A worker's session" in proto/PROTOCOL.md: where the session stands, what comes,
 * what it says and does, and where it stands then. Each row there has a line here.
 */
#include "tests/arrows.h"
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

static struct session *greeting_refused(void)
{
    struct session *s = greeting();

    hear_error(s, "bad_input", "no message", T0);
    return s;
}

static struct session *open_refused(void)
{
    struct session *s = is_open();

    hear_error(s, "bad_input", "no message", T0);
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
    static const char *const names[] = {
        [SESSION_SPILL] = "spill",         [SESSION_UNSPILL] = "unspill", [SESSION_KEEP] = "keep",
        [SESSION_RECONNECT] = "reconnect", [SESSION_GATHER] = "gather",   [SESSION_START] = "start",
        [SESSION_CANCEL] = "cancel",       [SESSION_END] = "end",
    };
    const struct session_action *a;
    size_t at = 0;

    ret_text[0] = '\0';
    while ((a = session_next(s)))
        at +=
            (size_t)snprintf(ret_text + at, size - at, "%s%s", at ? ", " : "",
                             a->what == SESSION_SEND ? msg_type_name(a->msg.type) : names[a->what]);
}

#define ERROR_OVER "error `conflict` that is not `say hello first`"
#define ERROR_WAIT "any other error"
#define UNSENT     "a frame that cannot be sent"
#define RENDERED   "a picture or a failure"
#define LEAVE      "leave, SIGTERM, its time limit"
#define PATIENCE   "10 s after its last render"
#define SECOND     "a second signal"

/* by: as the protocol has it; NULL: it changes nothing there, and is no row. */
static const struct arrow {
    struct session *(*start)(void);
    void (*move)(struct session *s);
    const char *does;
    const char *from, *by, *to;
} arrows[] = {
    {new_one, a_tick, "hello", "new", "its start", "greeting"},
    {new_one, a_stop, "end", "new", SECOND, "over"},
    {greeting, welcome, "ready", "greeting", "welcome", "open"},
    {greeting_with_a_result, welcome, "ready, result", "greeting", "welcome", "open"},
    {greeting, five_seconds, "reconnect, hello", "greeting", "5 s without an answer", "greeting"},
    {greeting, other_version, "end", "greeting", ERROR_OVER, "over"},
    {greeting, hello_first, "", "greeting", NULL, "greeting"},
    {greeting, another_error, "", "greeting", ERROR_WAIT, "greeting"},
    {greeting_refused, a_tick, "", "greeting", NULL, "greeting"},
    {greeting_refused, five_seconds, "reconnect, hello", "greeting", ERROR_WAIT, "greeting"},
    {greeting, a_lease, "", "greeting", NULL, "greeting"},
    {greeting, a_stop, "end", "greeting", SECOND, "over"},
    {is_open, welcome, "ready", "open", "welcome", "open"},
    {is_open, hello_first, "hello", "open", "error `say hello first`", "greeting"},
    {is_open, another_error, "", "open", ERROR_WAIT, "greeting"},
    {open_refused, a_tick, "", "greeting", NULL, "greeting"},
    {open_refused, five_seconds, "reconnect, hello", "greeting", ERROR_WAIT, "greeting"},
    {is_open, silence, "reconnect, hello", "open", "`silence_ms` of silence", "greeting"},
    {is_open, unsent, "reconnect, hello", "open", UNSENT, "greeting"},
    {is_open, a_ping, "pong", "open", NULL, "open"},
    {is_open, thirty_seconds, "ping, ready", "open", NULL, "open"},
    {is_open, a_lease, "start", "open", "lease", "open"},
    {rendering, a_lease, "", "open", "lease", "open"},
    {rendering, another_lease, "", "open", "lease", "open"},
    {rendering, a_step, "progress", "open", NULL, "open"},
    {rendering, a_picture, "result, ready", "open", RENDERED, "open"},
    {with_one_that_waits, a_picture, "result, start, ready", "open", RENDERED, "open"},
    {rendering, a_failure, "failed, ready", "open", RENDERED, "open"},
    {rendering, a_revoke, "cancel, ready", "open", "revoke", "open"},
    {rendering, hello_first, "hello", "open", "error `say hello first`", "greeting"},
    {with_a_result, its_ack, "", "open", "ack", "open"},
    {with_a_result, a_revoke, "", "open", "revoke", "open"},
    {with_a_result, thirty_seconds, "ping, result, ready", "open", NULL, "open"},
    {is_open, a_leave, "bye, end", "open", LEAVE, "over"},
    {rendering, a_leave, "", "open", LEAVE, "leaving"},
    {with_one_that_waits, a_leave, "failed", "open", LEAVE, "leaving"},
    {with_a_result, a_leave, "", "open", LEAVE, "leaving"},
    {with_one_that_waits, a_signal, "cancel, failed", "open", LEAVE, "leaving"},
    {leaving, another_lease, "ready", "leaving", NULL, "leaving"},
    {leaving, its_ack, "bye, end", "leaving", "ack", "over"},
    {leaving, ten_seconds_of_leaving, "ping, bye, end", "leaving", PATIENCE, "over"},
    {leaving, a_stop, "bye, end", "leaving", SECOND, "over"},
    {greeting, a_signal, "end", "greeting", NULL, "over"},
    {is_open, a_stop, "bye, end", "open", SECOND, "over"},
    {rendering, a_stop, "cancel, bye, end", "open", SECOND, "over"},
    {it_is_over, a_lease, "", "over", NULL, "over"},
    {it_is_over, welcome, "", "over", NULL, "over"},
};

static const char *const states[] = {"new", "greeting", "open", "leaving", "over"};

/* A session tells only whether it is open; that one leaves shows in the leases it wants. */
static bool stands(const struct session *s, const char *state)
{
    bool open = strcmp(state, "open") == 0 || strcmp(state, "leaving") == 0;

    return session_is_open(s) == open;
}

static bool as_the_protocol_says(struct rules *rules, const struct arrow *a)
{
    struct session *s = a->start();
    char does_it[200];
    bool right = stands(s, a->from), ends = strcmp(a->to, "over") == 0;

    a->move(s);
    list_actions(s, does_it, sizeof does_it);
    right &= strcmp(does_it, a->does) == 0 && stands(s, a->to);
    if (strcmp(a->from, "over") != 0)
        right &= ends == (strstr(does_it, "end") != NULL);
    session_free(s);
    if (!right)
        print_error("from %s: does '%s', not '%s'\n", a->from, does_it, a->does);
    return right & (!a->by || rules_take(rules, a->from, a->by, a->to));
}

static void each_arrow_does_what_the_protocol_says(void **state)
{
    struct rules rules;
    size_t wrong = 0;

    (void)state;
    rules_read(&rules, "**A worker's session**", states, sizeof states / sizeof *states);
    for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++)
        wrong += !as_the_protocol_says(&rules, &arrows[i]);
    assert_int_equal(wrong + rules_left(&rules), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_arrow_does_what_the_protocol_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
