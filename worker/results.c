#include "worker/results.h"

#include "worker/session_inner.h"

#include <stdlib.h>
#include <string.h>

static int send_result(struct session *s, struct held *h, int64_t now_ms, struct err *e)
{
    const struct picture *p = &h->picture;
    struct msg m = {.type = MSG_FAILED};
    struct session_action *a = NULL;
    int rc;

    h->sent_ms = now_ms;
    h->offered = true;
    if (h->state == HELD_HELPED) {
        m = (struct msg){.type = MSG_HELPED, .helped = {.ref = h->ref}};
        return session_send(s, &m, e);
    }
    if (h->state == HELD_FAILED) {
        m.failed = (struct msg_failed){.ref = h->ref,
                                       .code = err_name(h->error.code),
                                       .text = h->error.text,
                                       .retryable = err_retryable(h->error.code)};
        return session_send(s, &m, e);
    }
    m.type = MSG_RESULT;
    m.result = (struct msg_result){.ref = h->ref,
                                   .png = p->png.data,
                                   .png_size = p->png.size,
                                   .device_class = p->device_class,
                                   .precision = p->precision,
                                   .load_seconds = p->load_seconds,
                                   .render_seconds = p->render_seconds,
                                   .black = p->black};
    memcpy(m.result.sha256, p->sha256, sizeof m.result.sha256);
    if (!h->spilled)
        return session_send(s, &m, e);
    m.result.png_size = h->png_size;
    rc = session_action_add(s, SESSION_SEND, &a, e);
    if (rc == 0) {
        a->msg = m;
        a->ref = h->ref;
        a->spilled = true;
    }
    return rc;
}

int results_offer(struct session *s, int64_t now_ms, struct err *e)
{
    size_t on_way = 0;
    int rc = 0;

    if (s->state != STATE_OPEN)
        return 0;
    for (size_t i = 0; i < s->held.n; i++)
        on_way += held_settled(s->held.items[i]) && s->held.items[i]->offered &&
                  now_ms - s->held.items[i]->sent_ms < SESSION_RESEND_MS;
    for (size_t i = 0; i < s->held.n && on_way < SESSION_OFFERS_MAX; i++) {
        struct held *h = s->held.items[i];

        if (!held_settled(h) || (h->offered && now_ms - h->sent_ms < SESSION_RESEND_MS))
            continue;
        TRY(send_result(s, h, now_ms, e));
        on_way++;
    }
out:
    return rc;
}

int results_spill(struct session *s, struct err *e)
{
    int rc = 0;

    for (size_t i = s->held.n; i-- > 0 && s->held.kept_bytes > s->options.keep_bytes;) {
        struct held *h = s->held.items[i];
        struct session_action *a = NULL;

        if (h->state != HELD_RENDERED || h->spilled || h->unspillable ||
            s->held.spilled_bytes + h->picture.png.size > s->options.spill_bytes)
            continue;
        TRY(session_action_add(s, SESSION_SPILL, &a, e));
        a->ref = h->ref;
        a->msg =
            (struct msg){.type = MSG_RESULT,
                         .result = {.png = h->picture.png.data, .png_size = h->picture.png.size}};
        /* As if it were there already; session_spilled corrects it. */
        h->spilled = true;
        h->png_size = h->picture.png.size;
        s->held.kept_bytes -= h->png_size;
        s->held.spilled_bytes += h->png_size;
    }
out:
    return rc;
}

void session_spilled(struct session *s, const struct attempt_ref *ref, bool on_disk)
{
    struct held *h = held_find(&s->held, ref);

    if (!h || !h->spilled)
        return;
    if (on_disk) {
        buf_done(&h->picture.png);
        return;
    }
    h->spilled = false;
    h->unspillable = true;
    s->held.kept_bytes += h->png_size;
    s->held.spilled_bytes -= h->png_size;
}

int session_spill_lost(struct session *s, const struct attempt_ref *ref, const struct err *why,
                       int64_t now_ms, struct err *e)
{
    struct held *h;

    session_begin(s);
    h = held_find(&s->held, ref);
    if (h && h->spilled) {
        h->spilled = false;
        s->held.spilled_bytes -= h->png_size;
        h->state = HELD_FAILED;
        h->offered = false;
        err_set(&h->error, ERR_IO, "the picture waited on disk and is lost: %s", why->text);
    }
    return session_settle(s, now_ms, e);
}

int session_progress(struct session *s, uint32_t step, uint32_t steps, int64_t now_ms,
                     struct err *e)
{
    struct msg m = {.type = MSG_PROGRESS};
    int rc = 0;

    (void)now_ms;
    session_begin(s);
    for (size_t i = 0; i < s->held.n && s->state == STATE_OPEN; i++) {
        if (s->held.items[i]->state != HELD_RUNNING)
            continue;
        m.progress =
            (struct msg_progress){.ref = s->held.items[i]->ref, .step = step, .steps = steps};
        TRY(session_send(s, &m, e));
    }
out:
    return rc;
}

/* The first of what runs ended. NULL: nobody wants its outcome. */
static struct held *report(struct session *s, enum held_state outcome)
{
    struct held *h = held_running(&s->held);

    s->owes_ready = true;
    if (!h)
        return NULL;
    if (h->state == HELD_DROPPED) {
        held_remove(&s->held, h);
        return NULL;
    }
    h->state = outcome;
    free(h->task);
    h->task = NULL;
    return h;
}

static int keep(struct session *s, const struct held *h, struct err *e)
{
    struct session_action *a = NULL;
    int rc = session_action_add(s, SESSION_KEEP, &a, e);

    if (rc != 0)
        return rc;
    a->ref = h->ref;
    a->msg = (struct msg){.type = MSG_RESULT,
                          .result = {.png = h->picture.png.data, .png_size = h->picture.png.size}};
    memcpy(a->msg.result.sha256, h->picture.sha256, sizeof a->msg.result.sha256);
    return 0;
}

int session_finished(struct session *s, struct picture *p, int64_t now_ms, struct err *e)
{
    struct held *h;
    int rc;

    session_begin(s);
    h = report(s, HELD_RENDERED);
    if (h) {
        h->picture = *p;
        *p = (struct picture){0};
        s->held.kept_bytes += h->picture.png.size;
    }
    if (h && h->keep)
        TRY(keep(s, h, e));
    rc = session_settle(s, now_ms, e);
out:
    picture_done(p);
    return rc;
}

int session_helped(struct session *s, int64_t now_ms, struct err *e)
{
    session_begin(s);
    report(s, HELD_HELPED);
    return session_settle(s, now_ms, e);
}

int session_failed(struct session *s, const struct err *why, int64_t now_ms, struct err *e)
{
    struct held *h;

    session_begin(s);
    h = report(s, HELD_FAILED);
    if (h)
        h->error = *why;
    return session_settle(s, now_ms, e);
}
