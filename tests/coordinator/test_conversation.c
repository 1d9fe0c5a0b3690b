/*
 * The arrows of "The conversation" and of attempts in proto/PROTOCOL.md: where a peer or a lease
 * stands, what comes, and what the peer hears then. A line here is an arrow there.
 */
#include "tests/coordinator/table.h"

/* ---- where it stands */

static void stranger(struct table *t)
{
    (void)t;
}

static void with_a_job(struct table *t)
{
    submit(t, "a", 3);
}

static void welcomed(struct table *t)
{
    with_a_job(t);
    hello(t, "w", "worker");
}

static void leased(struct table *t)
{
    with_a_job(t);
    join(t, "w", 1);
}

static void begun(struct table *t)
{
    leased(t);
    progress(t, "w", 0, 1, 0);
}

static void acknowledged(struct table *t)
{
    begun(t);
    result(t, "w", 0, 1);
}

static void silent_too_long(struct table *t)
{
    begun(t);
    tick(t, 16000);
}

static void ping_for_70_seconds(struct table *t)
{
    for (int i = 0; i < 7; i++) {
        tick(t, 10000);
        say(t, "w", &(struct msg){.type = MSG_PING});
    }
}

static void stalled(struct table *t)
{
    begun(t);
    ping_for_70_seconds(t);
}

static void writing(struct table *t)
{
    begun(t);
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
}

static void drained(struct table *t)
{
    struct msg m = {.type = MSG_DRAIN, .drain = {.request = 4, .worker = "w"}};

    leased(t);
    say(t, "client", &m);
}

static void a_client(struct table *t)
{
    hello(t, "client", "client");
}

/* ---- what comes */

static void hello_comes(struct table *t)
{
    hello(t, "w", "worker");
}

static void hello_of_the_future(struct table *t)
{
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = PROTOCOL_VERSION + 9,
                              .protocol_min = PROTOCOL_VERSION + 8,
                              .role = "worker",
                              .software = "test",
                              .name = "w",
                              .device = "a device",
                              .device_class = "cpu-avx2"}};

    say(t, "w", &m);
}

static void ready_comes(struct table *t)
{
    ready(t, "w", 1);
}

static void time_passes(struct table *t)
{
    tick(t, 1000);
}

static void ping_comes(struct table *t)
{
    say(t, "w", &(struct msg){.type = MSG_PING});
}

static void bye_comes(struct table *t)
{
    say(t, "w", &(struct msg){.type = MSG_BYE});
}

static void bye_and_another_ready(struct table *t)
{
    bye_comes(t);
    join(t, "w2", 3);
}

static void progress_comes(struct table *t)
{
    progress(t, "w", 0, 1, 3);
}

static void fetching_comes(struct table *t)
{
    struct msg m = {.type = MSG_FETCHING, .fetching = {.fetched = 1, .total = 2}};

    m.fetching.ref = ref(t, 0, 1);
    say(t, "w", &m);
}

static void progress_of_nothing(struct table *t)
{
    progress(t, "w", 2, 7, 3);
}

static void result_comes(struct table *t)
{
    result(t, "w", 0, 1);
}

static void failure_comes(struct table *t)
{
    failed(t, "w", 0, 1, "bad_input");
}

static void helped_comes(struct table *t)
{
    struct msg m = {.type = MSG_HELPED};

    m.helped.ref = ref(t, 0, 1);
    say(t, "w", &m);
}

/* A lone worker cannot only have helped: the task is free again, not settled. */
static void help_alone_and_another_ready(struct table *t)
{
    helped_comes(t);
    join(t, "w2", 1);
}

static void the_job_is_cancelled(struct table *t)
{
    say(t, "client", &(struct msg){.type = MSG_CANCEL, .cancel = {.request = 5, .job = "a"}});
}

static void silence(struct table *t)
{
    tick(t, 16000);
    join(t, "w2", 1);
}

/* The first result of a task is on its way to the disk. */
static void a_disk_that_refuses(struct table *t)
{
    t->write_code = ERR_IO;
    result(t, "w", 0, 1);
}

static void the_disk_takes_writes(struct table *t)
{
    t->write_code = 0;
    tick(t, 10000);
}

static void ready_without_it(struct table *t)
{
    t->now_ms += 11000;
    ready(t, "w", 0);
    join(t, "w2", 1);
}

static void the_revoked_one_is_held_all_the_same(struct table *t)
{
    ready_holding(t, "w", 0, 0, 1);
}

static void it_comes_back_with_its_lease(struct table *t)
{
    hello(t, "w", "worker");
    ready_holding(t, "w", 0, 0, 1);
}

static void it_comes_back_with_a_lease_of_no_job(struct table *t)
{
    hello(t, "w", "worker");
    ready_holding(t, "w", 0, 2, 9);
}

static void a_want_of_no_file(struct table *t)
{
    struct msg m = {.type = MSG_WANT, .want = {.bytes = 1}};

    memset(m.want.sha256, 'b', HASH_HEX_SIZE - 1);
    say(t, "w", &m);
}

static void a_request(struct table *t)
{
    say(t, "client", &(struct msg){.type = MSG_LIST, .list = {.request = 6}});
}

static void a_request_for_no_job(struct table *t)
{
    say(t, "client", &(struct msg){.type = MSG_STATUS, .status = {.request = 6, .job = "no"}});
}

/* ---- what is heard */

static void add_heard(struct buf *b, const struct out *out)
{
    struct msg m;

    MUST(msg_decode(out->frame.data, out->frame.size, &m, e));
    buf_printf(b, "%s%s", b->size > 0 ? ", " : "", msg_type_name(m.type));
    if (m.type == MSG_ACK)
        buf_printf(b, " %s", m.ack.verdict);
    if (m.type == MSG_ERROR)
        buf_printf(b, " %s", m.error.code);
    if (m.type == MSG_LEASE)
        buf_printf(b, " %d/%u", (int)m.lease.ref.index, m.lease.ref.attempt);
    msg_done(&m);
}

/* All messages to a peer in their order, as "ack accepted, lease 1/1". Caller frees. */
static struct buf heard(const struct table *t, const char *by)
{
    struct peer peer = peer_named(by);
    struct buf b = {0};

    for (size_t i = 0; i < t->o.n; i++)
        if (t->o.items[i].type == OUT_SEND && peer_equal(&t->o.items[i].peer, &peer))
            add_heard(&b, &t->o.items[i]);
    return b;
}

static const struct arrow {
    void (*from)(struct table *t);
    void (*by)(struct table *t);
    const char *who, *hears;
} arrows[] = {
    {stranger, hello_comes, "w", "welcome"},
    {stranger, hello_of_the_future, "w", "error conflict"},
    {stranger, ready_comes, "w", "error conflict"},
    {stranger, ping_comes, "w", "error conflict"},
    {stranger, a_request, "client", "error conflict"},
    {a_client, a_request, "client", "jobs"},
    {a_client, a_request_for_no_job, "client", "error asset_missing"},
    {welcomed, hello_comes, "w", "welcome"},
    {welcomed, ping_comes, "w", "pong"},
    {welcomed, time_passes, "w", ""},
    {welcomed, ready_comes, "w", "lease 0/1"},
    {welcomed, a_want_of_no_file, "w", "gone"},
    {welcomed, bye_comes, "w", ""},
    {leased, progress_comes, "w", ""},
    {leased, fetching_comes, "w", ""},
    {leased, failure_comes, "w", "ack accepted"},
    {begun, progress_comes, "w", ""},
    {begun, result_comes, "w", "ack accepted"},
    {begun, failure_comes, "w", "ack accepted"},
    {begun, helped_comes, "w", "ack accepted"},
    {begun, help_alone_and_another_ready, "w2", "welcome, lease 0/2"},
    {begun, the_job_is_cancelled, "w", "revoke"},
    {begun, progress_of_nothing, "w", "revoke"},
    {begun, ready_without_it, "w2", "welcome, lease 0/2"},
    {begun, a_disk_that_refuses, "w", ""},
    {writing, the_disk_takes_writes, "w", "ping, ack accepted"},
    {writing, result_comes, "w", ""},
    {stalled, the_revoked_one_is_held_all_the_same, "w", "revoke"},
    {stalled, result_comes, "w", "ack accepted"},
    {begun, bye_and_another_ready, "w2", "welcome, lease 0/2, lease 1/1, lease 2/1"},
    {begun, silence, "w2", "welcome, lease 0/2"},
    {acknowledged, result_comes, "w", "ack duplicate"},
    {acknowledged, progress_comes, "w", "revoke"},
    {acknowledged, ready_comes, "w", "lease 1/1"},
    {silent_too_long, ping_comes, "w", "error conflict"},
    {silent_too_long, it_comes_back_with_its_lease, "w", "welcome"},
    {silent_too_long, it_comes_back_with_a_lease_of_no_job, "w", "welcome, revoke, ack unknown"},
    {drained, ready_comes, "w", "leave"},
};

static void each_arrow_is_answered_as_the_protocol_says(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof arrows / sizeof *arrows; i++) {
        const struct arrow *a = &arrows[i];
        void *one = NULL;
        struct buf said;

        setup(&one);
        a->from(one);
        fresh(one);
        a->by(one);
        said = heard(one, a->who);
        if (strcmp(buf_text(&said), a->hears) != 0) {
            print_error("arrow %zu: %s hears '%s', not '%s'\n", i, a->who, buf_text(&said),
                        a->hears);
            wrong++;
        }
        buf_done(&said);
        teardown(&one);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_arrow_is_answered_as_the_protocol_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
