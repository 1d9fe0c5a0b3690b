#include "worker/events.h"

#include "proto/clock.h"
#include "proto/log.h"
#include "worker/actions.h"

#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define FRAMES_AT_ONCE 256

/* However much the coordinator sends, signals and the time are looked at between. */
int events_frames(struct worker *w, struct err *e)
{
    struct err bad;
    struct msg m;
    int got = 0, rc = 0;

    for (int n = 0; n < FRAMES_AT_ONCE && !w->over; n++) {
        if ((got = link_receive(w->link, NULL, &w->in, e)) != 1)
            break;
        if (msg_decode(w->in.data, w->in.size, &m, &bad) != 0) {
            log_warn("frame_refused", "bytes=%zu text=\"%s\"", w->in.size, bad.text);
            continue;
        }
        rc = session_message(w->session, &m, clock_monotonic_ms(), e);
        if (rc == 0 && m.type == MSG_CHUNK)
            rc = stock_chunk(w->stock, &m.chunk, e);
        else if (rc == 0 && m.type == MSG_GONE)
            rc = stock_gone(w->stock, &m.gone, e);
        msg_done(&m);
        if (rc == 0)
            rc = actions_perform(w, e);
        if (rc != 0)
            return rc;
    }
    return got < 0 ? got : 0;
}

/* Other tasks would fail likewise: what waits is handed back; what runs ends by itself. */
static int on_device_lost(struct worker *w, const struct err *why, int64_t now_ms, struct err *e)
{
    int rc = 0;

    if (w->device_lost)
        return 0;
    w->device_lost = true;
    log_error("device_lost", "text=\"%s\"", why->text);
    if (w->leaving)
        return 0;
    TRY(session_leave(w->session, true, now_ms, e));
    TRY(actions_perform(w, e));
out:
    return rc;
}

/* Shapes that a device's libraries compute apart cost speed, not bytes. */
static void log_trials(const struct engine_trials *t)
{
    if (t->whole + t->apart + t->refused > 0)
        log_debug("trials", "whole=%lld apart=%lld refused=%lld", (long long)t->whole,
                  (long long)t->apart, (long long)t->refused);
}

int events_reports(struct worker *w, struct err *e)
{
    struct report r;
    int64_t now_ms;
    int rc = 0;

    while (!w->over && runner_take(w->runner, &r)) {
        now_ms = clock_monotonic_ms();
        w->rendering = r.kind == REPORT_PROGRESS || r.more;
        log_trials(&r.trials);
        if (r.kind == REPORT_PROGRESS)
            TRY(session_progress(w->session, r.step, r.steps, now_ms, e));
        else if (r.kind == REPORT_FINISHED)
            TRY(session_finished(w->session, &r.picture, now_ms, e));
        else if (r.kind == REPORT_HELPED)
            TRY(session_helped(w->session, now_ms, e));
        else
            TRY(session_failed(w->session, &r.error, now_ms, e));
        TRY(actions_perform(w, e));
        w->finished |= r.kind == REPORT_FINISHED || r.kind == REPORT_HELPED;
        if (r.kind == REPORT_FAILED && r.error.code == ERR_DEVICE)
            TRY(on_device_lost(w, &r.error, now_ms, e));
    }
out:
    return rc;
}

static int on_stock_event(struct worker *w, struct stock_event *s, struct err *e)
{
    const struct msg want = {.type = MSG_WANT, .want = s->want};
    int64_t now_ms = clock_monotonic_ms();

    switch (s->what) {
    case STOCK_WANT:
        if (session_is_open(w->session))
            actions_send(w, &want);
        return 0;
    case STOCK_READY:
        if (!actions_keep_files(w, &s->ref, s->given))
            return 0;
        return session_gathered(w->session, &s->ref, now_ms, e);
    case STOCK_FAILED:
        return session_ungathered(w->session, &s->ref, &s->why, now_ms, e);
    case STOCK_FETCHING:
        return session_fetching(w->session, &s->ref, s->fetched, s->total, e);
    }
    return 0;
}

int events_stock(struct worker *w, struct err *e)
{
    struct stock_event event;
    int rc = 0;

    while (!w->over && stock_next(w->stock, &event)) {
        TRY(on_stock_event(w, &event, e));
        TRY(actions_perform(w, e));
    }
out:
    return rc;
}

int events_signal(struct worker *w, struct err *e)
{
    struct signalfd_siginfo info;
    int rc = 0;

    if (read(w->signals, &info, sizeof info) != sizeof info)
        return 0;
    log_info("stopping", "signal=%s", strsignal((int)info.ssi_signo));
    if (w->leaving && w->signalled)
        TRY(session_stop(w->session, e));
    else
        TRY(session_leave(w->session, false, clock_monotonic_ms(), e));
    w->leaving = w->signalled = true;
    TRY(actions_perform(w, e));
out:
    return rc;
}

int events_time(struct worker *w, int64_t now_ms, struct err *e)
{
    const struct options *o = &w->options;
    int rc = 0;

    if (!o->time_limit_s || w->leaving || now_ms - w->started_ms < INT64_C(1000) * o->time_limit_s)
        return 0;
    log_info("stopping", "reason=\"time limit of %u s\"", o->time_limit_s);
    w->leaving = true;
    TRY(session_leave(w->session, true, now_ms, e));
    TRY(actions_perform(w, e));
out:
    return rc;
}
