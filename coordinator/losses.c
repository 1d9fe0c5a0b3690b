/* What workers hold, and what is lost with them: attempts.h. */
#include "coordinator/attempts.h"
#include "coordinator/controls.h"
#include "coordinator/gangs.h"
#include "coordinator/history.h"
#include "coordinator/pick.h"

/* A lease and a `ready` may pass each other on the wire for this long. */
#define CROSSING_MS 10000

static bool held(const struct msg_ready *m, const struct task_entry *t, const struct run *r)
{
    for (size_t i = 0; i < m->n_held; i++)
        if (m->held[i].index == t->index && m->held[i].attempt == r->attempt &&
            strcmp(m->held[i].job, t->job->hash) == 0)
            return true;
    return false;
}

/*
 * A run went away without a result: free again. blame: the task may be what its worker died of.
 * Three lost workers quarantine the task.
 */
static int run_lost(struct coord *c, struct task_entry *t, struct run *r, bool blame,
                    int64_t now_ms, struct outbox *o, struct err *e)
{
    const struct worker *w = coord_session(c, r->session);
    uint32_t gang = r->gang;
    char text[160];
    int rc;

    TRY(history_note(c, t, r->attempt, w ? w->name : "", err_name(blame ? ERR_LOST : ERR_CANCELLED),
                     blame ? "the worker was lost while it worked on this task"
                           : "the worker does not hold it any more",
                     r->since_ms, now_ms, o, e));
    if (blame && w)
        lost_add(&t->lost, r->attempt, peer_hash(&w->peer));
    gang_note_over(t, r);
    run_remove(c, t, r);
    TRY(gang_dissolve(c, t, gang, o, e));
    c->count.lost++;
    if (blame && t->lost.n >= POLICY_LOSSES_MAX && t->phase == TASK_RUNNING && t->n_runs == 0) {
        snprintf(text, sizeof text,
                 "quarantined: %u workers were lost while they worked on this task", t->lost.n);
        return task_fail(c, t, NULL, err_name(ERR_LOST), text, now_ms, o, e);
    }
    task_free_if_idle(c, t);
    TRY(task_persist(o, t, NULL, e));
out:
    return rc;
}

struct task_entry *task_at_work(const struct worker *w)
{
    for (size_t i = 0; i < w->n_tasks; i++)
        if (run_of(w->tasks[i], w)->started)
            return w->tasks[i];
    return w->n_tasks ? w->tasks[0] : NULL;
}

/* Leases that the worker does not know of. Returns in ret_crossing those that may be on the way. */
static int leases_missed(struct coord *c, struct worker *w, const struct msg_ready *m,
                         int64_t now_ms, uint32_t *ret_crossing, struct outbox *o, struct err *e)
{
    int rc = 0;

    *ret_crossing = 0;
    for (size_t i = w->n_tasks; i-- > 0;) {
        struct task_entry *t = w->tasks[i];
        struct run *r = run_of(t, w);
        /* A new process under the same address died with what it had started. */
        bool blame = !w->stated && r->started;

        if (held(m, t, r))
            continue;
        if (w->stated && now_ms - r->since_ms <= CROSSING_MS)
            ++*ret_crossing;
        else
            TRY(run_lost(c, t, r, blame, now_ms, o, e));
    }
out:
    return rc;
}

static int adopt(struct coord *c, struct worker *w, const struct attempt_ref *ref, int64_t now_ms,
                 struct outbox *o, struct err *e)
{
    struct task_entry *t;
    const char *verdict;
    struct run *r;
    int rc = 0;

    t = task_named(c, ref, &verdict);
    if (!t) {
        struct msg revoke = {.type = MSG_REVOKE, .revoke = {.ref = *ref}};

        TRY(outbox_send(o, &w->peer, &revoke, e));
        TRY(send_ack(o, &w->peer, ref->job, ref->index, ref->attempt, verdict, e));
        goto out;
    }
    r = run_numbered(t, ref->attempt);
    if ((r && r->session == w->session) || t->phase == TASK_WRITING)
        goto out;
    if (run_is_anothers(c, r, w) || (!r && attempt_is_over(t, ref->attempt))) {
        TRY(send_revoke(c, o, w, t, ref->attempt, e));
        goto out;
    }
    /* A failure that was handled, its ack still on the way or lost: the attempt is over. Only the
     * first ready of a session can tell of attempts that we do not know to be running. */
    if (!r && (w->stated || attempt_has_failed(t, ref->attempt)))
        goto out;
    if (r)
        run_remove(c, t, r);
    TRY(run_add(t, ref->attempt, w, now_ms, &r, e));
    if (!r) {
        TRY(send_revoke(c, o, w, t, ref->attempt, e));
        goto out;
    }
    c->count.adopted++;
    lost_forgive(&t->lost, ref->attempt);
    if (t->phase == TASK_READY)
        task_to(c, t, TASK_RUNNING);
    TRY(task_persist(o, t, w, e));
out:
    return rc;
}

/* What a worker counted since it told last, into the count of all. */
static void cache_add(uint64_t *all, uint64_t *last, uint64_t now)
{
    *all += now > *last ? now - *last : 0;
    *last = now;
}

int on_ready(struct coord *c, struct worker *w, const struct msg_ready *m, int64_t now_ms,
             struct outbox *o, struct err *e)
{
    uint32_t crossing;
    int rc;

    TRY(leases_missed(c, w, m, now_ms, &crossing, o, e));
    for (size_t i = 0; i < m->n_held; i++)
        TRY(adopt(c, w, &m->held[i], now_ms, o, e));
    w->probing = coord_awaited_by(c, w); /* what else was lost on the way heals here */
    crossing += w->probing;
    w->credits = m->credits > crossing ? m->credits - crossing : 0;
    if (w->credits > MSG_PAGE_MAX)
        w->credits = MSG_PAGE_MAX;
    if (w->leaving) { /* said again: the first may have been lost */
        w->credits = 0;
        TRY(send_leave(o, w, e));
    }
    w->stated = true;
    w->reserved = false;
    cache_add(&c->assets.cache_hits, &w->cache_hits, m->cache_hits);
    cache_add(&c->assets.cache_misses, &w->cache_misses, m->cache_misses);
    cache_add(&c->assets.cache_evictions, &w->cache_evictions, m->cache_evictions);
    cache_add(&c->assets.cache_damaged, &w->cache_damaged, m->cache_damaged);
    if (!gang_meets_at(w, m->meeting))
        TRY(text_replace(&w->meeting, m->meeting, e));
out:
    return rc;
}

/* Lost workers are shown for a while: the oldest makes room. */
static void worker_retire(struct coord *c, struct worker *w)
{
    struct worker *oldest = NULL;
    size_t n = 0;

    w->lost = true;
    w->credits = 0;
    for (size_t i = 0; i < c->n_workers; i++) {
        if (!c->workers[i]->lost)
            continue;
        n++;
        if (!oldest || c->workers[i]->heard_ms < oldest->heard_ms)
            oldest = c->workers[i];
    }
    if (n > COORD_LOST_SHOWN)
        coord_worker_remove(c, oldest);
}

int worker_lose(struct coord *c, struct worker *w, bool blame, const char *why, int64_t now_ms,
                struct outbox *o, struct err *e)
{
    const struct task_entry *at_work = blame ? task_at_work(w) : NULL;
    int rc = 0;

    TRY(outbox_log(o, blame ? LOG_WARN : LOG_INFO, e, "worker_lost",
                   "name=%s why=%s leases=%zu done=%llu failed=%llu", w->name, why, w->n_tasks,
                   (unsigned long long)w->done, (unsigned long long)w->failed));
    while (w->n_tasks) {
        struct task_entry *t = w->tasks[w->n_tasks - 1];

        TRY(run_lost(c, t, run_of(t, w), blame && (t == at_work || run_of(t, w)->started), now_ms,
                     o, e));
    }
    if (blame)
        worker_retire(c, w);
    else
        coord_worker_remove(c, w);
out:
    return rc;
}

/* How long an attempt may be quiet. */
static int64_t patience_ms(const struct coord *c, const struct worker *w,
                           const struct task_entry *t, const struct run *r)
{
    double growth = t->step_growth > 1 ? t->step_growth : 1;
    double learned_ms = 10 * growth * speed_ms(&w->speeds, t->speed_key);

    if (!r->started)
        return c->limits.load_ms;
    return learned_ms > (double)c->limits.stall_ms ? (int64_t)learned_ms : c->limits.stall_ms;
}

static int stalled(struct coord *c, struct worker *w, struct task_entry *t, int64_t quiet_ms,
                   int64_t now_ms, struct outbox *o, struct err *e)
{
    struct msg_failed failed = {.code = err_name(ERR_TIMEOUT), .retryable = true};
    struct run *r = run_of(t, w);
    int64_t since_ms = r->since_ms;
    uint32_t gang = r->gang;
    char text[160];
    int rc = 0;

    snprintf(text, sizeof text, "no progress for %lld s at step %u of %u",
             (long long)(quiet_ms / 1000), r->step, r->steps);
    failed.text = text;
    failed.ref.attempt = r->attempt;
    c->count.stalled++;
    TRY(send_revoke(c, o, w, t, r->attempt, e));
    attempt_note_over(t, r->attempt); /* the revocation may be lost */
    run_remove(c, t, r);
    TRY(gang_dissolve(c, t, gang, o, e));
    if (t->phase == TASK_RUNNING && t->n_runs == 0)
        TRY(attempt_failed(c, t, w, &failed, since_ms, now_ms, o, e));
out:
    return rc;
}

/* A batch stalls as a whole. */
static int stall_check(struct coord *c, struct worker *w, int64_t now_ms, struct outbox *o,
                       struct err *e)
{
    struct task_entry *t = task_at_work(w);
    const struct run *r = t ? run_of(t, w) : NULL;
    int64_t quiet_ms;
    int rc = 0;

    if (!r)
        return 0;
    quiet_ms = now_ms - (w->active_ms > r->since_ms ? w->active_ms : r->since_ms);
    if (quiet_ms <= patience_ms(c, w, t, r))
        return 0;
    w->active_ms = now_ms;
    do {
        TRY(stalled(c, w, t, quiet_ms, now_ms, o, e));
        t = task_at_work(w);
    } while (t && run_of(t, w)->started);
out:
    return rc;
}

/* Attempts from before a restart that no worker claimed in time. */
static void unclaimed_drop(struct coord *c, int64_t now_ms)
{
    for (size_t i = 0; i < c->n_buckets; i++) {
        for (struct task_entry *t = c->buckets[i]; t; t = t->chain) {
            for (size_t k = t->n_runs; k-- > 0;)
                if (t->runs[k].session == 0 && t->runs[k].until_ms <= now_ms)
                    run_remove(c, t, &t->runs[k]);
            task_free_if_idle(c, t);
        }
    }
}

/* Tasks that no connected worker can do: they waited for one that is gone. */
static int hopeless_fail(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct task_entry *next;
    int rc = 0;

    for (struct task_entry *t = c->ready_first; t; t = next) {
        bool connected = false;

        next = t->next;
        if (!t->only_elsewhere)
            continue;
        for (size_t i = 0; i < c->n_workers; i++)
            connected |= !c->workers[i]->lost;
        if (connected && !pick_elsewhere(c, t, 0))
            TRY(task_fail(c, t, NULL, t->fail_code, t->fail_text, now_ms, o, e));
    }
out:
    return rc;
}

static int stuck_retry(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    int rc = 0;

    if (now_ms < c->retry_ms)
        return 0;
    while (c->stuck) {
        struct delivery *d = c->stuck;
        struct out *out;

        TRY(outbox_add(o, OUT_WRITE, &out, e));
        c->stuck = d->next;
        c->stuck_bytes -= d->png_size;
        d->next = NULL;
        out->delivery = d;
    }
out:
    return rc;
}

int attempts_tick(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    int rc = 0;

    for (size_t i = c->n_workers; i-- > 0;) {
        struct worker *w = c->workers[i];

        if (w->lost)
            continue;
        if (now_ms - w->heard_ms > c->limits.silence_ms)
            TRY(worker_lose(c, w, true, "silent", now_ms, o, e));
        else
            TRY(stall_check(c, w, now_ms, o, e));
    }
    unclaimed_drop(c, now_ms);
    TRY(hopeless_fail(c, now_ms, o, e));
    TRY(stuck_retry(c, now_ms, o, e));
out:
    return rc;
}
