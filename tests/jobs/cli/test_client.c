/* The client against a coordinator that this test plays, driven from the client's own waiting. */
#include "jobs/cli/client.h"

#include "proto/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct played {
    char folder[64], endpoint[80];
    struct link *link;
    struct client_options options;
    /* what the coordinator does */
    const char *refuse_hello; /* code of the error that answers hello, or NULL */
    int forget;               /* requests answered with a "say hello first", as after a restart */
    int ignore;               /* requests never answered */
    bool late_first;          /* an answer to an older request comes first */
    bool wrong_type;
    const char *refuse; /* code of the error that answers requests, or NULL */
    bool ping;          /* a ping comes before the answer */
    int interrupted;    /* waits until check ends them, 0: never */
    /* what it saw */
    int hellos, requests, pongs, byes;
};

static void send_to(struct played *p, const struct peer *peer, struct msg *m)
{
    struct buf frame = {0};
    struct err e;

    assert_int_equal(msg_encode(m, &frame, &e), 0);
    assert_int_equal(link_send(p->link, peer, frame.data, frame.size, &e), 0);
    buf_done(&frame);
}

static void send_error(struct played *p, const struct peer *peer, uint64_t request,
                       const char *code, const char *text)
{
    struct msg m = {.type = MSG_ERROR, .error = {request, code, text}};

    send_to(p, peer, &m);
}

static void answer_hello(struct played *p, const struct peer *peer)
{
    struct msg m = {.type = MSG_WELCOME,
                    .welcome = {.protocol = PROTOCOL_VERSION,
                                .software = "test",
                                .heartbeat_ms = 1000,
                                .silence_ms = 5000,
                                .frame_max = MSG_FRAME_MAX}};

    p->hellos++;
    if (p->refuse_hello != NULL)
        send_error(p, peer, 0, p->refuse_hello, "speaks 2..3");
    else
        send_to(p, peer, &m);
}

static void answer_list(struct played *p, const struct peer *peer, uint64_t request)
{
    struct msg m = {.type = MSG_JOBS, .jobs = {.request = request, .total = 42}};
    struct msg ping = {.type = MSG_PING};
    struct msg fleet = {.type = MSG_FLEET, .fleet = {.request = request}};

    p->requests++;
    if (p->ignore > 0) {
        p->ignore--;
        return;
    }
    if (p->forget > 0) {
        p->forget--;
        send_error(p, peer, 0, "conflict", "say hello first");
        return;
    }
    if (p->refuse != NULL) {
        send_error(p, peer, request, p->refuse, "the reason");
        return;
    }
    if (p->ping)
        send_to(p, peer, &ping);
    if (p->late_first) {
        m.jobs.request = request + 1000;
        m.jobs.total = 7;
        send_to(p, peer, &m);
        m.jobs.request = request;
        m.jobs.total = 42;
    }
    send_to(p, peer, p->wrong_type ? &fleet : &m);
}

static int play(void *user, struct err *e)
{
    struct played *p = user;
    struct buf frame = {0};
    struct peer peer;
    struct msg m;

    while (link_receive(p->link, &peer, &frame, NULL) == 1) {
        assert_int_equal(msg_decode(frame.data, frame.size, &m, e), 0);
        if (m.type == MSG_HELLO)
            answer_hello(p, &peer);
        else if (m.type == MSG_LIST)
            answer_list(p, &peer, m.list.request);
        p->pongs += m.type == MSG_PONG;
        p->byes += m.type == MSG_BYE;
        msg_done(&m);
    }
    buf_done(&frame);
    if (p->interrupted > 0 && --p->interrupted == 0)
        return err_set(e, ERR_CANCELLED, "the user stopped it");
    return 0;
}

static int set_up(void **state)
{
    struct played *p = calloc(1, sizeof(*p));
    struct err e;

    snprintf(p->folder, sizeof(p->folder), "/tmp/litho-test-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->endpoint, sizeof(p->endpoint), "ipc://%s/s", p->folder);
    assert_int_equal(link_listen(p->endpoint, &p->link, &e), 0);
    p->options = (struct client_options){
        .endpoint = p->endpoint, .timeout_ms = 20000, .check = play, .user = p};
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct played *p = *state;
    char path[100];

    link_close(p->link, 0);
    snprintf(path, sizeof(path), "%s/s", p->folder);
    unlink(path);
    rmdir(p->folder);
    free(p);
    return 0;
}

/* Opens, asks for the list once, closes; returns what client_ask returned. */
static int ask_once(struct played *p, uint64_t *ret_total, struct err *e)
{
    struct msg request = {.type = MSG_LIST, .list = {.limit = 10}}, answer;
    struct client *client;
    int rc;

    assert_int_equal(client_open(&p->options, &client, e), 0);
    rc = client_ask(client, &request, MSG_JOBS, &answer, e);
    if (rc == 0) {
        *ret_total = answer.jobs.total;
        msg_done(&answer);
    }
    client_close(client);
    return rc;
}

static void request_gets_its_answer(void **state)
{
    uint64_t total = 0;
    struct err e;

    assert_int_equal(ask_once(*state, &total, &e), 0);
    assert_int_equal(total, 42);
}

static void late_answer_of_another_request_is_skipped(void **state)
{
    struct played *p = *state;
    uint64_t total = 0;
    struct err e;

    p->late_first = true;
    assert_int_equal(ask_once(p, &total, &e), 0);
    assert_int_equal(total, 42);
}

static void ping_is_answered_while_waiting(void **state)
{
    struct played *p = *state;
    struct client *client;
    struct msg request = {.type = MSG_LIST, .list = {.limit = 10}}, answer;
    struct err e;

    p->ping = true;
    assert_int_equal(client_open(&p->options, &client, &e), 0);
    assert_int_equal(client_ask(client, &request, MSG_JOBS, &answer, &e), 0);
    msg_done(&answer);
    while (p->pongs == 0)
        assert_int_equal(client_pause(client, 1, &e), 0);
    client_close(client);
}

static void restarted_coordinator_is_greeted_and_asked_again(void **state)
{
    struct played *p = *state;
    uint64_t total = 0;
    struct err e;

    p->forget = 1;
    assert_int_equal(ask_once(p, &total, &e), 0);
    assert_int_equal(total, 42);
    assert_int_equal(p->hellos, 2);
    assert_int_equal(p->requests, 2);
}

static void lost_request_is_sent_again(void **state)
{
    struct played *p = *state;
    uint64_t total = 0;
    struct err e;

    p->ignore = 1;
    assert_int_equal(ask_once(p, &total, &e), 0);
    assert_int_equal(total, 42);
    assert_true(p->requests >= 2);
}

static void refusal_becomes_the_error(void **state)
{
    struct played *p = *state;
    uint64_t total;
    struct err e;

    p->refuse = "asset_missing";
    assert_int_equal(ask_once(p, &total, &e), ERR_MISSING);
    assert_string_equal(e.text, "the reason");
}

static void answer_of_another_type_is_an_error(void **state)
{
    struct played *p = *state;
    uint64_t total;
    struct err e;

    p->wrong_type = true;
    assert_int_equal(ask_once(p, &total, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "'fleet'"));
}

static void other_protocol_version_ends_the_opening(void **state)
{
    struct played *p = *state;
    struct client *client;
    struct err e;

    p->refuse_hello = "conflict";
    assert_int_equal(client_open(&p->options, &client, &e), ERR_CONFLICT);
    assert_string_equal(e.text, "speaks 2..3");
}

static void nobody_there_is_a_timeout_that_names_endpoint_and_cure(void **state)
{
    struct played *p = *state;
    struct client_options o = {.endpoint = "ipc:///nonexistent/socket", .timeout_ms = 50};
    struct client *client;
    struct err e;

    (void)p;
    assert_int_equal(client_open(&o, &client, &e), ERR_TIMEOUT);
    assert_non_null(strstr(e.text, "ipc:///nonexistent/socket"));
    assert_non_null(strstr(e.text, "litho-coordinator --listen"));
}

static void check_ends_the_wait(void **state)
{
    struct played *p = *state;
    uint64_t total;
    struct err e;

    p->ignore = 1000;
    p->interrupted = 10;
    assert_int_equal(ask_once(p, &total, &e), ERR_CANCELLED);
    assert_string_equal(e.text, "the user stopped it");
}

static void page_that_leads_back_is_refused(void **state)
{
    struct played *p = *state;
    struct client *client;
    uint64_t next = 7;
    struct err e;

    assert_int_equal(client_open(&p->options, &client, &e), 0);
    assert_int_equal(client_page(client, 5, 5, &next, &e), ERR_INPUT);
    assert_int_equal(client_page(client, 5, 1, &next, &e), ERR_INPUT);
    assert_int_equal(next, 7);
    assert_int_equal(client_page(client, 5, 6, &next, &e), 0);
    assert_int_equal(next, 6);
    assert_int_equal(client_page(client, 5, 0, &next, &e), 0);
    assert_int_equal(next, 0);
    client_close(client);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(request_gets_its_answer),
        TEST(late_answer_of_another_request_is_skipped),
        TEST(ping_is_answered_while_waiting),
        TEST(restarted_coordinator_is_greeted_and_asked_again),
        TEST(lost_request_is_sent_again),
        TEST(refusal_becomes_the_error),
        TEST(answer_of_another_type_is_an_error),
        TEST(other_protocol_version_ends_the_opening),
        TEST(nobody_there_is_a_timeout_that_names_endpoint_and_cure),
        TEST(check_ends_the_wait),
        TEST(page_that_leads_back_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
