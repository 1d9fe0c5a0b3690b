#include "jobs/cli/client.h"

#include "proto/clock.h"
#include "proto/link.h"
#include "proto/msg_plain.h"
#include "proto/version.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_SLICE_MS   100  /* between calls of check */
#define ASK_AGAIN_MS    1500 /* before hello and the request are repeated */
#define LINGER_LEAVE_MS 200
#define FRAMES_AT_ONCE  64 /* whatever the coordinator sends, time passes and Ctrl-C is heard */

struct client {
    struct client_options o;
    struct link *link;
    uint64_t request; /* number of the latest */
    struct buf frame; /* the latest received; answers may borrow from it */
    bool welcome;
};

static int send_msg(struct client *c, const struct msg *m, struct err *e)
{
    struct buf frame = {0};
    struct peer nobody = {0};
    int rc = msg_encode(m, &frame, e);

    if (rc == 0)
        rc = link_send(c->link, &nobody, frame.data, frame.size, e);
    if (rc == ERR_TIMEOUT) /* the queue is full: the coordinator is away, and we ask again later */
        rc = 0;
    buf_done(&frame);
    return rc;
}

static int send_hello(struct client *c, struct err *e)
{
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = PROTOCOL_VERSION,
                              .protocol_min = PROTOCOL_VERSION_MIN,
                              .role = "client",
                              .software = "litho " LITHO_VERSION,
                              .name = "",
                              .device = "",
                              .device_class = ""}};

    return send_msg(c, &m, e);
}

static int refusal(const struct msg_error *error, struct err *e)
{
    return err_set(e, err_from_name(error->code), "%s", error->text);
}

/*
 * Takes one waiting message. 1: it is for the caller, in ret_m; 0: nothing for the caller, more may
 * wait; *ret_empty says that none waits.
 */
static int take(struct client *c, struct msg *ret_m, bool *ret_empty, struct err *e)
{
    struct msg pong = {.type = MSG_PONG};
    struct peer from;
    struct msg m;
    int rc = link_receive(c->link, &from, &c->frame, e);

    *ret_empty = rc == 0;
    if (rc <= 0)
        return rc;
    if ((rc = msg_decode(c->frame.data, c->frame.size, &m, e)) != 0)
        return rc;
    msg_plain(&m);
    switch (m.type) {
    case MSG_PING:
        rc = send_msg(c, &pong, e);
        break;
    case MSG_PONG:
        break;
    case MSG_WELCOME:
        c->welcome = true;
        break;
    default:
        *ret_m = m;
        return 1;
    }
    msg_done(&m);
    return rc;
}

static int wait_slice(struct client *c, int64_t until_ms, struct err *e)
{
    int64_t left = until_ms - clock_monotonic_ms();
    int rc;

    if (c->o.check != NULL && (rc = c->o.check(c->o.user, e)) != 0)
        return rc;
    if (left < 0)
        left = 0;
    rc = link_wait(c->link, NULL, 0, left < WAIT_SLICE_MS ? (int)left : WAIT_SLICE_MS, e);
    return rc < 0 ? rc : 0;
}

static int no_answer(const struct client *c, struct err *e)
{
    return err_set(e, ERR_TIMEOUT,
                   "no coordinator answers at %s; start one (litho-coordinator --listen %s --state "
                   "DIR --out DIR) or name another with --connect or LITHO_CONNECT",
                   c->o.endpoint, c->o.endpoint);
}

static int client_new(const struct client_options *o, struct client **ret_client, struct err *e)
{
    struct client *c = calloc(1, sizeof(*c));
    int rc = 0;

    if (c == NULL)
        return err_set(e, ERR_OOM, "client: out of memory");
    c->o = *o;
    TRY(link_connect(o->endpoint, NULL, &c->link, e));
    TRY(send_hello(c, e));
    *ret_client = c;
    c = NULL;
out:
    client_close(c);
    return rc;
}

int client_open(const struct client_options *o, struct client **ret_client, struct err *e)
{
    int64_t deadline = clock_monotonic_ms() + o->timeout_ms;
    struct client *c = NULL;
    struct msg m;
    bool empty;
    int rc = 0, n = 0;

    TRY(client_new(o, &c, e));
    while (!c->welcome) {
        rc = take(c, &m, &empty, e);
        if (rc == 1) {
            rc = m.type == MSG_ERROR ? refusal(&m.error, e) : 0;
            msg_done(&m);
        }
        TRY(rc);
        if (!empty && ++n % FRAMES_AT_ONCE != 0)
            continue;
        if (clock_monotonic_ms() >= deadline)
            TRY(no_answer(c, e));
        TRY(wait_slice(c, deadline, e));
    }
    *ret_client = c;
    c = NULL;
out:
    client_close(c);
    return rc;
}

/* Every request and every answer begins with its number. */
static uint64_t *request_of(struct msg *m)
{
    switch (m->type) {
    case MSG_ERROR:
        return &m->error.request;
    case MSG_SUBMIT:
        return &m->submit.request;
    case MSG_SUBMITTED:
        return &m->submitted.request;
    case MSG_LIST:
        return &m->list.request;
    case MSG_JOBS:
        return &m->jobs.request;
    case MSG_STATUS:
        return &m->status.request;
    case MSG_JOB:
        return &m->job.request;
    case MSG_CANCEL:
        return &m->cancel.request;
    case MSG_WORKERS:
        return &m->workers.request;
    case MSG_FLEET:
        return &m->fleet.request;
    case MSG_RECORDS:
        return &m->records.request;
    case MSG_PAGE:
        return &m->page.request;
    case MSG_PAUSE:
    case MSG_RESUME:
    case MSG_REMOVE:
        return &m->pause.request;
    case MSG_RETRY:
        return &m->retry.request;
    case MSG_DRAIN:
        return &m->drain.request;
    case MSG_HISTORY:
        return &m->history.request;
    case MSG_ATTEMPTS:
        return &m->attempts.request;
    case MSG_CHECK:
        return &m->check.request;
    case MSG_CHECKED:
        return &m->checked.request;
    case MSG_FETCH:
        return &m->fetch.request;
    case MSG_PICTURE:
        return &m->picture.request;
    default:
        return NULL;
    }
}

/* After its restart, or a long silence of ours, the coordinator does not know us any more. */
static bool forgotten(const struct msg *m)
{
    return m->type == MSG_ERROR && m->error.request == 0 &&
           strcmp(m->error.text, "say hello first") == 0;
}

/* What a received message means for the request: 1 it is the answer, 0 it is not, negative: it
 * refuses, or ends the session. */
static int judge(struct client *c, struct msg *m, enum msg_type wanted, struct err *e)
{
    uint64_t *number = request_of(m);

    if (forgotten(m)) {
        c->welcome = false;
        return 0;
    }
    if (m->type == MSG_ERROR && m->error.request == 0)
        return refusal(&m->error, e);
    if (number == NULL || *number != c->request)
        return 0; /* the late answer of a request that was repeated */
    if (m->type == MSG_ERROR)
        return refusal(&m->error, e);
    if (m->type != wanted)
        return err_set(e, ERR_INPUT, "the coordinator at %s answered '%s' where '%s' was due",
                       c->o.endpoint, msg_type_name(m->type), msg_type_name(wanted));
    return 1;
}

static int ask_again(struct client *c, const struct msg *request, struct err *e)
{
    int rc = send_hello(c, e);

    c->welcome = true; /* as far as we know; another nameless error tells otherwise */
    return rc != 0 ? rc : send_msg(c, request, e);
}

int client_ask(struct client *c, struct msg *request, enum msg_type wanted, struct msg *ret_answer,
               struct err *e)
{
    int64_t now = clock_monotonic_ms(), deadline = now + c->o.timeout_ms;
    int64_t again = now + ASK_AGAIN_MS;
    struct msg m;
    bool empty;
    int rc, n = 0;

    *request_of(request) = ++c->request;
    if ((rc = send_msg(c, request, e)) != 0)
        return rc;
    for (;;) {
        rc = take(c, &m, &empty, e);
        if (rc == 1) {
            rc = judge(c, &m, wanted, e);
            if (rc == 1) {
                *ret_answer = m;
                return 0;
            }
            msg_done(&m);
        }
        if (rc < 0)
            return rc;
        if (!empty && ++n % FRAMES_AT_ONCE != 0)
            continue;
        now = clock_monotonic_ms();
        if (now >= deadline)
            return no_answer(c, e);
        if (!c->welcome || now >= again) {
            if ((rc = ask_again(c, request, e)) != 0)
                return rc;
            again = now + ASK_AGAIN_MS;
        }
        if ((rc = wait_slice(c, deadline, e)) != 0)
            return rc;
    }
}

int client_page(const struct client *c, uint64_t from, uint64_t next, uint64_t *ret_next,
                struct err *e)
{
    if (next != 0 && next <= from)
        return err_set(e, ERR_INPUT, "the coordinator at %s answered a page that leads back",
                       c->o.endpoint);
    *ret_next = next;
    return 0;
}

int client_pause(struct client *c, int pause_ms, struct err *e)
{
    int64_t until = clock_monotonic_ms() + pause_ms;
    struct msg m;
    bool empty;
    int rc, n;

    do {
        if ((rc = wait_slice(c, until, e)) != 0)
            return rc;
        n = 0;
        do {
            rc = take(c, &m, &empty, e);
            if (rc == 1)
                msg_done(&m);
            if (rc < 0)
                return rc;
        } while (!empty && ++n < FRAMES_AT_ONCE);
    } while (clock_monotonic_ms() < until);
    return 0;
}

void client_close(struct client *c)
{
    struct msg bye = {.type = MSG_BYE};

    if (c == NULL)
        return;
    if (c->link != NULL && c->welcome)
        send_msg(c, &bye, NULL);
    link_close(c->link, c->welcome ? LINGER_LEAVE_MS : 0);
    buf_done(&c->frame);
    free(c);
}
