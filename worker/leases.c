#include "worker/leases.h"

#include "worker/results.h"
#include "worker/session_inner.h"

#include <stdlib.h>
#include <string.h>

/* While one batch is rendered another waits. */
static size_t capacity(const struct session *s)
{
    return s->options.capacity > 2 * s->share || s->share <= 1 ? s->options.capacity : 2 * s->share;
}

int leases_state(struct session *s, int64_t now_ms, struct err *e)
{
    size_t leases = held_count(&s->held, false), n = 0;
    struct msg m = {.type = MSG_READY};
    struct attempt_ref *refs = realloc(s->refs, (s->held.n + 1) * sizeof *refs);

    if (!refs)
        return err_set(e, ERR_OOM, "out of memory for a session's messages");
    s->refs = refs;
    for (size_t i = 0; i < s->held.n; i++)
        if (s->held.items[i]->state != HELD_DROPPED)
            refs[n++] = s->held.items[i]->ref;
    if (leases < capacity(s) && held_has_room(&s->held) && !s->leaving)
        m.ready.credits = (uint32_t)(capacity(s) - leases);
    m.ready.held = refs;
    m.ready.n_held = n;
    m.ready.meeting = s->meeting;
    m.ready.cache_hits = s->cache.hits;
    m.ready.cache_misses = s->cache.misses;
    m.ready.cache_evictions = s->cache.evictions;
    m.ready.cache_damaged = s->cache.damaged;
    s->owes_ready = false;
    s->ready_ms = now_ms;
    return session_send(s, &m, e);
}

static bool may_start(const struct held *h)
{
    return h->state == HELD_WAITING && !h->gathering;
}

/* How many of a kind are rendered together, at most. */
static size_t batch_of(const struct session *s, const struct kind *k)
{
    const struct session_options *o = &s->options;
    uint64_t fit = o->batch_pixels && k->pixels ? o->batch_pixels / k->pixels : o->batch;

    if (!k->key || fit < 1)
        return 1;
    return fit < o->batch ? (size_t)fit : o->batch;
}

/* The lease at `first`, and those that go with it, as many as a batch has. How many it is. */
static size_t start_batch(struct session *s, size_t first)
{
    const struct held *f = s->held.items[first];
    size_t n = 0;

    for (size_t i = first; i < s->held.n; i++) {
        struct held *h = s->held.items[i];

        if (i > first &&
            (n >= batch_of(s, &f->kind) || !may_start(h) || h->kind.key != f->kind.key))
            continue;
        h->state = HELD_RUNNING;
        s->starting_refs[n] = &h->ref;
        s->starting[n++] = h->task;
    }
    return n;
}

int leases_start(struct session *s, struct err *e)
{
    struct session_action *a = NULL;
    int rc;

    if (held_running(&s->held) || s->leaving)
        return 0;
    for (size_t i = 0; i < s->held.n; i++) {
        if (!may_start(s->held.items[i]))
            continue;
        if ((rc = session_action_add(s, SESSION_START, &a, e)) != 0)
            return rc;
        a->ref = s->held.items[i]->ref;
        a->task = s->held.items[i]->task;
        a->gang = s->held.items[i]->gang;
        a->n_tasks = start_batch(s, i);
        a->tasks = s->starting;
        a->refs = s->starting_refs;
        return 0;
    }
    return 0;
}

/* The files that the lease lists, and those that the task binds names to, are looked for; their
 * list is kept. */
static int gather(struct session *s, struct held *h, const struct msg_lease *m, struct err *e)
{
    struct session_action *a = NULL;
    int rc = 0;

    if (m->n_assets == 0 && !kind_binds(h->task))
        return 0;
    h->assets = calloc(m->n_assets ? m->n_assets : 1, sizeof *h->assets);
    if (!h->assets)
        TRY(err_set(e, ERR_OOM, "out of memory for a lease"));
    for (size_t i = 0; i < m->n_assets; i++) {
        h->assets[i] = m->assets[i];
        h->assets[i].role = strdup(m->assets[i].role);
        h->assets[i].name = strdup(m->assets[i].name);
        h->n_assets++;
        if (!h->assets[i].role || !h->assets[i].name)
            TRY(err_set(e, ERR_OOM, "out of memory for a lease"));
    }
    h->gathering = true;
    TRY(session_action_add(s, SESSION_GATHER, &a, e));
    a->ref = h->ref;
    a->task = h->task;
    a->assets = h->assets;
    a->n_assets = h->n_assets;
out:
    return rc;
}

/* A lease as it is held; ret_held: held_free(). */
static int held_new(const struct msg_lease *m, struct held **ret_held, struct err *e)
{
    struct held *h = calloc(1, sizeof *h);

    if (!h || !(h->task = strdup(m->task)) ||
        (m->gang_guidance && !(h->meeting = strdup(m->gang_meeting)))) {
        if (h)
            held_free(h);
        return err_set(e, ERR_OOM, "out of memory for a lease");
    }
    h->gang = (struct session_gang){m->gang_guidance, m->gang_tensor > 0 ? m->gang_tensor : 1,
                                    m->gang_rank, h->meeting};
    h->ref = m->ref;
    h->keep = m->keep;
    *ret_held = h;
    return 0;
}

int leases_take(struct session *s, const struct msg_lease *m, struct err *e)
{
    struct held *h = NULL;
    int rc;

    if (s->state != STATE_OPEN || held_find(&s->held, &m->ref))
        return 0;
    if (held_count(&s->held, false) >= SESSION_LEASES_MAX || s->leaving) {
        s->owes_ready = true; /* which says that it is not held */
        return 0;
    }
    if ((rc = held_new(m, &h, e)) != 0)
        return rc;
    if (s->options.batch > 1 && !m->alone && !m->gang_guidance)
        h->kind = kind_of(h->task);
    if ((rc = held_add(&s->held, h, e)) != 0) {
        held_free(h);
        return rc;
    }
    if (batch_of(s, &h->kind) != s->share) { /* other room than was stated */
        s->share = batch_of(s, &h->kind);
        s->owes_ready = s->options.batch > 1;
    }
    return gather(s, h, m, e);
}

/* Nobody needs its file any more either. */
static int forget(struct session *s, struct held *h, struct err *e)
{
    struct session_action *a = NULL;
    int rc = 0;

    if (h->spilled && (rc = session_action_add(s, SESSION_UNSPILL, &a, e)) == 0)
        a->ref = h->ref;
    held_remove(&s->held, h);
    return rc;
}

int leases_drop(struct session *s, const struct attempt_ref *ref, struct err *e)
{
    struct held *h = held_find(&s->held, ref);
    struct session_action *a = NULL;

    if (!h || h->state == HELD_DROPPED)
        return 0;
    if (!held_settled(h) || !held_has_room(&s->held))
        s->owes_ready = true;
    if (h->state != HELD_RUNNING)
        return forget(s, h, e);
    h->state = HELD_DROPPED;
    return held_wanted(&s->held) ? 0 : session_action_add(s, SESSION_CANCEL, &a, e);
}

void leases_hand_back(struct session *s)
{
    for (size_t i = 0; i < s->held.n; i++) {
        struct held *h = s->held.items[i];

        if (h->state != HELD_WAITING)
            continue;
        h->state = HELD_FAILED;
        err_set(&h->error, ERR_CANCELLED, "the worker leaves");
        free(h->task);
        h->task = NULL;
    }
}

int session_gathered(struct session *s, const struct attempt_ref *ref, int64_t now_ms,
                     struct err *e)
{
    struct held *h;

    session_begin(s);
    h = held_find(&s->held, ref);
    if (h)
        h->gathering = false;
    return session_settle(s, now_ms, e);
}

int session_ungathered(struct session *s, const struct attempt_ref *ref, const struct err *why,
                       int64_t now_ms, struct err *e)
{
    struct held *h;

    session_begin(s);
    h = held_find(&s->held, ref);
    if (h && h->state == HELD_WAITING) {
        h->state = HELD_FAILED;
        h->error = *why;
        s->owes_ready = true;
    }
    return session_settle(s, now_ms, e);
}

int session_fetching(struct session *s, const struct attempt_ref *ref, uint64_t fetched,
                     uint64_t total, struct err *e)
{
    const struct held *h;
    struct msg m = {.type = MSG_FETCHING,
                    .fetching = {.ref = *ref, .fetched = fetched, .total = total}};

    session_begin(s);
    h = held_find(&s->held, ref);
    if (!h || h->state != HELD_WAITING || s->state != STATE_OPEN)
        return 0;
    return session_send(s, &m, e);
}

bool session_needs_files(const struct session *s, const struct attempt_ref *ref)
{
    const struct held *h = held_find(&s->held, ref);

    return h && !held_settled(h);
}

void session_cache(struct session *s, const struct cache_counts *counts)
{
    s->cache = *counts;
}

void session_meeting(struct session *s, const char *meeting)
{
    snprintf(s->meeting, sizeof s->meeting, "%s", meeting);
    s->owes_ready = true; /* so that it is known before the task at hand is done */
}
