#include "worker/session.h"

#include "proto/version.h"
#include "worker/leases.h"
#include "worker/results.h"
#include "worker/session_inner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SOFTWARE "litho-worker " LITHO_VERSION

int session_new(const struct session_options *o, struct session **ret_session, struct err *e)
{
    struct session *s = calloc(1, sizeof *s);

    if (!s)
        return err_set(e, ERR_OOM, "out of memory for a session");
    s->options = *o;
    if (!s->options.keep_bytes)
        s->options.keep_bytes = 256u << 20;
    s->share = 1;
    s->heartbeat_ms = SESSION_HEARTBEAT_MS;
    s->silence_ms = SESSION_SILENCE_MS;
    *ret_session = s;
    return 0;
}

void session_free(struct session *s)
{
    if (!s)
        return;
    held_list_done(&s->held);
    free(s->actions);
    free(s->refs);
    free(s);
}

void session_begin(struct session *s)
{
    assert(s->taken == s->n_actions);
    s->taken = s->n_actions = 0;
}

int session_action_add(struct session *s, enum session_what what, struct session_action **ret_a,
                       struct err *e)
{
    struct session_action *grown;
    size_t room = s->actions_max ? s->actions_max * 2 : 8;

    if (s->n_actions == s->actions_max) {
        grown = realloc(s->actions, room * sizeof *grown);
        if (!grown)
            return err_set(e, ERR_OOM, "out of memory for a session's messages");
        s->actions = grown;
        s->actions_max = room;
    }
    *ret_a = &s->actions[s->n_actions++];
    **ret_a = (struct session_action){.what = what};
    return 0;
}

const struct session_action *session_next(struct session *s)
{
    if (s->taken == s->n_actions) {
        s->taken = s->n_actions = 0;
        return NULL;
    }
    return &s->actions[s->taken++];
}

int session_send(struct session *s, const struct msg *m, struct err *e)
{
    struct session_action *a = NULL;
    int rc = session_action_add(s, SESSION_SEND, &a, e);

    if (rc == 0)
        a->msg = *m;
    return rc;
}

static int send_hello(struct session *s, int64_t now_ms, struct err *e)
{
    const struct session_options *o = &s->options;
    const struct msg m = {.type = MSG_HELLO,
                          .hello = {.protocol = PROTOCOL_VERSION,
                                    .protocol_min = PROTOCOL_VERSION_MIN,
                                    .role = "worker",
                                    .software = SOFTWARE,
                                    .name = o->name,
                                    .device = o->device,
                                    .device_class = o->device_class,
                                    .memory_bytes = o->memory_bytes,
                                    .threads = o->threads,
                                    .host = o->host,
                                    .batch = o->batch,
                                    .gang_address = o->gang_address,
                                    .precisions = (struct hello_precision *)o->precisions,
                                    .n_precisions = o->n_precisions}};

    s->state = STATE_GREETING;
    s->hello_ms = now_ms;
    return session_send(s, &m, e);
}

/*
 * A fresh connection, so that nothing of the old conversation arrives before the hello. The frames
 * that the old one still had in its queue are covered: results are kept, leases stated in ready.
 */
static int reconnect(struct session *s, int64_t now_ms, int code, const char *why, struct err *e)
{
    struct session_action *a = NULL;
    int rc;

    TRY(session_action_add(s, SESSION_RECONNECT, &a, e));
    err_set(&a->why, code, "%s", why);
    rc = send_hello(s, now_ms, e);
out:
    return rc;
}

static int end(struct session *s, int code, const char *text, struct err *e)
{
    struct session_action *a = NULL;
    int rc = session_action_add(s, SESSION_END, &a, e);

    if (rc == 0 && code != 0)
        err_set(&a->why, code, "%s", text);
    s->state = STATE_OVER;
    return rc;
}

/* The end of leaving: nothing is held, or the coordinator does not take it. */
static int leave_if_done(struct session *s, int64_t now_ms, struct err *e)
{
    const struct msg bye = {.type = MSG_BYE};
    int rc = 0;

    if (!s->leaving)
        return 0;
    if (s->finishing && held_running(&s->held)) {
        s->leave_ms = now_ms;
        return 0;
    }
    if (s->held.n > 0 && now_ms - s->leave_ms < SESSION_LEAVE_MS)
        return 0;
    if (s->state == STATE_OPEN)
        TRY(session_send(s, &bye, e));
    rc = end(s, 0, "", e);
out:
    return rc;
}

int session_settle(struct session *s, int64_t now_ms, struct err *e)
{
    int rc = 0;

    if (s->state == STATE_OVER)
        return 0;
    TRY(results_offer(s, now_ms, e));
    TRY(leases_start(s, e));
    TRY(results_spill(s, e));
    if (s->owes_ready && s->state == STATE_OPEN)
        TRY(leases_state(s, now_ms, e));
    TRY(leave_if_done(s, now_ms, e));
out:
    return rc;
}

static int on_welcome(struct session *s, const struct msg_welcome *m, int64_t now_ms, struct err *e)
{
    char text[120];
    int rc = 0;

    if (m->protocol < PROTOCOL_VERSION_MIN || m->protocol > PROTOCOL_VERSION) {
        snprintf(text, sizeof text, "the coordinator speaks protocol %u, this worker %d to %d",
                 m->protocol, PROTOCOL_VERSION_MIN, PROTOCOL_VERSION);
        return end(s, ERR_CONFLICT, text, e);
    }
    s->heartbeat_ms = m->heartbeat_ms;
    s->silence_ms = m->silence_ms;
    if (s->state == STATE_OPEN) { /* of a hello said twice: it waits for a ready again */
        s->owes_ready = true;
        return 0;
    }
    s->state = STATE_OPEN;
    s->pinged_ms = now_ms;
    for (size_t i = 0; i < s->held.n; i++)
        s->held.items[i]->offered = false;
    TRY(leases_state(s, now_ms, e));
    TRY(results_offer(s, now_ms, e));
out:
    return rc;
}

static int on_error(struct session *s, const struct msg_error *m, int64_t now_ms, struct err *e)
{
    if (m->request != 0)
        return 0;
    if (strcmp(m->text, MSG_HELLO_FIRST) == 0) /* in GREETING the hello is on its way */
        return s->state == STATE_OPEN ? send_hello(s, now_ms, e) : 0;
    if (s->state == STATE_GREETING && err_from_name(m->code) == ERR_CONFLICT)
        return end(s, ERR_CONFLICT, m->text, e);
    /* Refused for another reason: said again after a pause, on a new connection. */
    s->state = STATE_GREETING;
    s->hello_ms = now_ms;
    return 0;
}

static int begin_leaving(struct session *s, bool finish, int64_t now_ms, struct err *e)
{
    struct session_action *a = NULL;

    if (s->state == STATE_OVER || (s->leaving && s->finishing <= finish))
        return 0;
    s->leaving = true;
    s->finishing = finish;
    s->leave_ms = now_ms;
    leases_hand_back(s);
    if (held_wanted(&s->held) && !finish)
        return session_action_add(s, SESSION_CANCEL, &a, e);
    return 0;
}

int session_leave(struct session *s, bool finish, int64_t now_ms, struct err *e)
{
    int rc;

    session_begin(s);
    TRY(begin_leaving(s, finish, now_ms, e));
    rc = session_settle(s, now_ms, e);
out:
    return rc;
}

int session_message(struct session *s, const struct msg *m, int64_t now_ms, struct err *e)
{
    const struct msg pong = {.type = MSG_PONG};
    int rc = 0;

    session_begin(s);
    if (s->state == STATE_NEW || s->state == STATE_OVER)
        return 0;
    s->heard_ms = now_ms;
    switch (m->type) {
    case MSG_WELCOME:
        TRY(on_welcome(s, &m->welcome, now_ms, e));
        break;
    case MSG_PING:
        TRY(session_send(s, &pong, e));
        break;
    case MSG_ERROR:
        TRY(on_error(s, &m->error, now_ms, e));
        break;
    case MSG_LEASE:
        TRY(leases_take(s, &m->lease, e));
        break;
    case MSG_ACK:
        TRY(leases_drop(s, &m->ack.ref, e));
        break;
    case MSG_REVOKE:
        TRY(leases_drop(s, &m->revoke.ref, e));
        break;
    case MSG_LEAVE:
        TRY(begin_leaving(s, true, now_ms, e));
        break;
    default: /* a sign of life, like every frame */
        break;
    }
    rc = session_settle(s, now_ms, e);
out:
    return rc;
}

/*
 * A connection that breaks and heals by itself loses frames, and nobody is told. A lost lease, or a
 * lost ready, would leave the worker idle for good, and a lost revoke of a render that does not
 * step would keep it busy for nobody: what is held is said again.
 */
static int restate(struct session *s, int64_t now_ms, struct err *e)
{
    if (s->leaving || now_ms - s->ready_ms < SESSION_RESEND_MS)
        return 0;
    return leases_state(s, now_ms, e);
}

int session_tick(struct session *s, int64_t now_ms, struct err *e)
{
    const struct msg ping = {.type = MSG_PING};
    int rc = 0;

    session_begin(s);
    switch (s->state) {
    case STATE_NEW:
        s->heard_ms = now_ms;
        return send_hello(s, now_ms, e);
    case STATE_GREETING:
        if (now_ms - s->hello_ms >= SESSION_GREETING_MS)
            TRY(reconnect(s, now_ms, ERR_TIMEOUT, "no answer to hello", e));
        rc = leave_if_done(s, now_ms, e);
        break;
    case STATE_OPEN:
        if (now_ms - s->heard_ms >= s->silence_ms)
            return reconnect(s, now_ms, ERR_TIMEOUT, "the coordinator is silent", e);
        if (now_ms - s->pinged_ms >= s->heartbeat_ms) {
            TRY(session_send(s, &ping, e));
            s->pinged_ms = now_ms;
        }
        TRY(results_offer(s, now_ms, e));
        TRY(restate(s, now_ms, e));
        TRY(leave_if_done(s, now_ms, e));
        break;
    case STATE_OVER:
        break;
    }
out:
    return rc;
}

int session_unsent(struct session *s, int64_t now_ms, struct err *e)
{
    session_begin(s);
    if (s->state != STATE_OPEN)
        return 0;
    return reconnect(s, now_ms, ERR_IO, "a message could not be sent", e);
}

int session_stop(struct session *s, struct err *e)
{
    const struct msg bye = {.type = MSG_BYE};
    struct session_action *a = NULL;
    int rc = 0;

    session_begin(s);
    if (held_wanted(&s->held))
        TRY(session_action_add(s, SESSION_CANCEL, &a, e));
    for (size_t i = 0; i < s->held.n; i++)
        if (s->held.items[i]->state == HELD_RUNNING)
            s->held.items[i]->state = HELD_DROPPED;
    if (s->state == STATE_OPEN)
        TRY(session_send(s, &bye, e));
    rc = end(s, 0, "", e);
out:
    return rc;
}

int session_wait_ms(const struct session *s, int64_t now_ms)
{
    int64_t due = now_ms + 1000, silence = s->heard_ms + s->silence_ms;

    if (s->state == STATE_NEW)
        due = now_ms;
    if (s->state == STATE_GREETING)
        due = s->hello_ms + SESSION_GREETING_MS;
    if (s->state == STATE_OPEN) {
        due = s->pinged_ms + s->heartbeat_ms;
        if (silence < due)
            due = silence;
    }
    return due <= now_ms ? 0 : due - now_ms > 1000 ? 1000 : (int)(due - now_ms);
}

bool session_is_open(const struct session *s)
{
    return s->state == STATE_OPEN;
}

size_t session_held(const struct session *s)
{
    return s->held.n;
}
