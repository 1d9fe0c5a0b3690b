#include "worker/actions.h"

#include "proto/clock.h"
#include "proto/log.h"

#include <stdlib.h>
#include <string.h>

int actions_offer_meeting(struct worker *w, struct err *e)
{
    const char *address = w->options.gang_address;
    int rc;

    w->offer = NULL;
    rc = gang_offer_new(address ? GANG_TCP : GANG_UNIX, address, &w->offer, e);
    session_meeting(w->session, w->offer ? gang_offer_text(w->offer) : "");
    return rc;
}

/* Files of leases that are over; all: of every lease. */
static void gathered_drop(struct worker *w, bool all)
{
    for (struct gathered **at = &w->gathered, *g; (g = *at);) {
        if (!all && session_needs_files(w->session, &g->ref)) {
            at = &g->next;
            continue;
        }
        if (!all)
            stock_release(w->stock, &g->ref);
        *at = g->next;
        given_free(g->given);
        free(g);
    }
}

static struct gathered *gathered_of(const struct worker *w, const struct attempt_ref *ref)
{
    struct gathered *g = w->gathered;

    while (g && !attempt_ref_equal(&g->ref, ref))
        g = g->next;
    return g;
}

bool actions_keep_files(struct worker *w, const struct attempt_ref *ref, struct given *given)
{
    struct gathered *g = gathered_of(w, ref);

    if (!g) {
        given_free(given);
        return false;
    }
    given_free(g->given);
    g->given = given;
    return true;
}

void actions_drop_files(struct worker *w)
{
    gathered_drop(w, true);
}

static int gather(struct worker *w, const struct session_action *a, struct err *e)
{
    struct gathered *g = calloc(1, sizeof *g);

    if (!g)
        return err_set(e, ERR_OOM, "out of memory for a lease");
    g->ref = a->ref;
    g->next = w->gathered;
    w->gathered = g;
    return stock_gather(w->stock, &a->ref, a->task, a->assets, a->n_assets, e);
}

static void log_message(const struct msg *m)
{
    if (m->type == MSG_RESULT)
        log_info("result_sent",
                 "job=%.12s index=%llu attempt=%u seconds=%.3f load=%.3f bytes=%zu%s",
                 m->result.ref.job, (unsigned long long)m->result.ref.index, m->result.ref.attempt,
                 m->result.render_seconds, m->result.load_seconds, m->result.png_size,
                 m->result.black ? " black=true" : "");
    else if (m->type == MSG_FAILED)
        log_warn("failure_sent", "job=%.12s index=%llu attempt=%u code=%s text=\"%s\"",
                 m->failed.ref.job, (unsigned long long)m->failed.ref.index, m->failed.ref.attempt,
                 m->failed.code, m->failed.text);
    else
        log_debug("send", "type=%s", msg_type_name(m->type));
}

void actions_send(struct worker *w, const struct msg *m)
{
    struct err e;

    w->out.size = 0;
    if (msg_encode(m, &w->out, &e) != 0) {
        log_error("message_unsent", "text=\"%s\"", e.text); /* our own mistake */
        return;
    }
    log_message(m);
    if (link_send(w->link, NULL, w->out.data, w->out.size, &e) != 0) {
        log_warn("message_unsent", "type=%s text=\"%s\"", msg_type_name(m->type), e.text);
        w->unsent = true;
    }
}

static int reconnect(struct worker *w, const struct err *why, struct err *e)
{
    /* One line for each loss, not one for each try. */
    log_line(w->reconnects++ ? LOG_DEBUG : LOG_WARN, "reconnect", "connect=%s reason=\"%s\"",
             w->options.connect, why->text);
    link_close(w->link, 0);
    w->link = NULL;
    w->unsent = false;
    return link_connect(w->options.connect, w->identity, &w->link, e);
}

static void spill_result(struct worker *w, const struct session_action *a)
{
    struct err e;
    bool kept = spill_put(&w->spill, &a->ref, a->msg.result.png, a->msg.result.png_size, &e) == 0;

    if (kept)
        log_debug("result_spilled", "index=%llu attempt=%u bytes=%zu",
                  (unsigned long long)a->ref.index, a->ref.attempt, a->msg.result.png_size);
    else
        log_warn("result_not_spilled", "text=\"%s\"", e.text);
    session_spilled(w->session, &a->ref, kept);
}

static void send_spilled(struct worker *w, const struct session_action *a)
{
    struct msg m = a->msg;

    if (spill_get(&w->spill, &a->ref, m.result.png_size, &w->spilled, &w->lost_why) != 0) {
        log_error("spilled_result_lost", "text=\"%s\"", w->lost_why.text);
        w->lost = true;
        w->lost_ref = a->ref;
        return;
    }
    m.result.png = w->spilled.data;
    actions_send(w, &m);
}

/* The offer that a gang meets at is used up; one that is not the latest was given up. */
static int start(struct worker *w, const struct session_action *a, struct err *e)
{
    struct runner_gang g = {(int)a->gang.guidance, (int)a->gang.tensor, (int)a->gang.rank,
                            a->gang.meeting, NULL};
    const struct given *given[RUNNER_BATCH_MAX];
    struct err why;

    for (size_t i = 0; i < a->n_tasks; i++) {
        const struct gathered *files = gathered_of(w, a->refs[i]);

        given[i] = files ? files->given : NULL;
    }

    log_debug("start", "job=%.12s index=%llu attempt=%u batch=%zu rank=%u", a->ref.job,
              (unsigned long long)a->ref.index, a->ref.attempt, a->n_tasks, a->gang.rank);
    w->rendering = true;
    if (a->gang.guidance == 0)
        return runner_start(w->runner, a->tasks, given, a->n_tasks, NULL, e);
    if (g.rank == 0 && w->offer && strcmp(gang_offer_text(w->offer), g.meeting) == 0) {
        g.offer = w->offer;
        if (actions_offer_meeting(w, &why) != 0)
            log_warn("no_gang", "text=\"%s\"", why.text);
    }
    return runner_start(w->runner, &a->task, given, 1, &g, e);
}

static int perform(struct worker *w, const struct session_action *a, struct err *e)
{
    switch (a->what) {
    case SESSION_SEND:
        if (a->spilled)
            send_spilled(w, a);
        else
            actions_send(w, &a->msg);
        return 0;
    case SESSION_SPILL:
        spill_result(w, a);
        return 0;
    case SESSION_UNSPILL:
        spill_drop(&w->spill, &a->ref);
        return 0;
    case SESSION_KEEP:
        return stock_keep(w->stock, &a->msg.result, e);
    case SESSION_RECONNECT:
        return reconnect(w, &a->why, e);
    case SESSION_GATHER:
        return gather(w, a, e);
    case SESSION_START:
        return start(w, a, e);
    case SESSION_CANCEL:
        runner_cancel(w->runner);
        return 0;
    case SESSION_END:
        w->over = true;
        w->why = a->why;
        return 0;
    }
    return 0;
}

int actions_perform(struct worker *w, struct err *e)
{
    const struct session_action *a;
    struct cache_counts counts;
    int rc = 0;

    do {
        while ((a = session_next(w->session)))
            TRY(perform(w, a, e));
        if (!w->unsent && !w->lost)
            break;
        if (w->lost)
            TRY(session_spill_lost(w->session, &w->lost_ref, &w->lost_why, clock_monotonic_ms(),
                                   e));
        else
            TRY(session_unsent(w->session, clock_monotonic_ms(), e));
        w->unsent = w->lost && w->unsent;
        w->lost = false;
    } while (!w->over);
    gathered_drop(w, false);
    counts = stock_counts(w->stock);
    session_cache(w->session, &counts);
    if (session_is_open(w->session) != w->was_open) {
        w->was_open = !w->was_open;
        if (w->was_open)
            stock_connected(w->stock);
        w->reconnects = 0;
        log_info(w->was_open ? "connected" : "disconnected", "connect=%s held=%zu",
                 w->options.connect, session_held(w->session));
    }
out:
    return rc;
}
