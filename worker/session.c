#include "worker/session.h"

#include "proto/version.h"
#include "worker/cache.h"
#include "worker/kind.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SOFTWARE "litho-worker " LITHO_VERSION

enum held_state {
    HELD_WAITING,  /* to be rendered */
    HELD_RUNNING,  /* START was given, its report is due */
    HELD_DROPPED,  /* running, but nobody wants it any more */
    HELD_RENDERED, /* picture waits for its ack */
    HELD_HELPED,   /* done for another member of its gang; waits for its ack */
    HELD_FAILED,   /* error waits for its ack */
};

/* One lease, from its arrival until it is acknowledged, revoked or refused. */
struct held {
    struct attempt_ref ref;
    enum held_state state;
    char *task;       /* owned */
    struct kind kind; /* of its task */
    struct session_gang gang;
    char *meeting;              /* owned, NULL alone; gang.meeting is it */
    struct picture picture;     /* HELD_RENDERED */
    struct err error;           /* HELD_FAILED */
    int64_t sent_ms;            /* when its result last left */
    struct lease_asset *assets; /* [n_assets]; owned with their strings */
    size_t n_assets;
    bool gathering;   /* they are not here yet */
    bool offered;     /* on this connection */
    bool spilled;     /* the picture's bytes are on disk */
    bool unspillable; /* the disk refused them */
    size_t png_size;  /* of a spilled one */
};

enum session_state {
    STATE_NEW,      /* before the first tick */
    STATE_GREETING, /* hello is out */
    STATE_OPEN,     /* welcome came */
    STATE_OVER
};

struct session {
    struct session_options options;
    enum session_state state;
    int64_t hello_ms, heard_ms, pinged_ms; /* when hello left, a frame came, a ping left */
    int64_t ready_ms;                      /* when what is held was last stated */
    int64_t heartbeat_ms, silence_ms;
    struct held **held; /* owned; in order of arrival */
    size_t n_held, held_max;
    bool owes_ready;
    bool leaving, finishing; /* asked to leave; with what runs */
    int64_t leave_ms;        /* since when nothing runs, or it was asked to stop */
    uint64_t kept_bytes, spilled_bytes;

    char meeting[MSG_NAME_MAX + 1]; /* said in ready */
    struct cache_counts cache;      /* the same */
    struct session_action *actions; /* owned */
    size_t n_actions, taken, actions_max;
    struct attempt_ref *refs; /* of the ready in actions; owned */
    size_t share;             /* how many of the last lease's kind are rendered together */
    const char *starting[SESSION_LEASES_MAX]; /* of the start in actions */
    const struct attempt_ref *starting_refs[SESSION_LEASES_MAX];
};

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

static void held_free(struct held *h)
{
    for (size_t i = 0; i < h->n_assets; i++) {
        free((char *)h->assets[i].role);
        free((char *)h->assets[i].name);
    }
    free(h->assets);
    free(h->task);
    free(h->meeting);
    picture_done(&h->picture);
    free(h);
}

void session_free(struct session *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_held; i++)
        held_free(s->held[i]);
    free(s->held);
    free(s->actions);
    free(s->refs);
    free(s);
}

/* Every event starts so: the actions of the one before are taken. */
static void begin(struct session *s)
{
    assert(s->taken == s->n_actions);
    s->taken = s->n_actions = 0;
}

/* An empty action at the end of the list. */
static int add_action(struct session *s, enum session_what what, struct session_action **ret_a,
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

static int send(struct session *s, const struct msg *m, struct err *e)
{
    struct session_action *a = NULL;
    int rc = add_action(s, SESSION_SEND, &a, e);

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
                                    .batch = o->batch}};

    s->state = STATE_GREETING;
    s->hello_ms = now_ms;
    return send(s, &m, e);
}

/*
 * A fresh connection, so that nothing of the old conversation arrives before the hello. The frames
 * that the old one still had in its queue are covered: results are kept, leases stated in ready.
 */
static int reconnect(struct session *s, int64_t now_ms, int code, const char *why, struct err *e)
{
    struct session_action *a = NULL;
    int rc;

    TRY(add_action(s, SESSION_RECONNECT, &a, e));
    err_set(&a->why, code, "%s", why);
    rc = send_hello(s, now_ms, e);
out:
    return rc;
}

static int end(struct session *s, int code, const char *text, struct err *e)
{
    struct session_action *a = NULL;
    int rc = add_action(s, SESSION_END, &a, e);

    if (rc == 0 && code != 0)
        err_set(&a->why, code, "%s", text);
    s->state = STATE_OVER;
    return rc;
}

static bool settled(const struct held *h)
{
    return h->state == HELD_RENDERED || h->state == HELD_HELPED || h->state == HELD_FAILED;
}

static size_t count(const struct session *s, bool want_settled)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_held; i++)
        n += settled(s->held[i]) == want_settled;
    return n;
}

/* Results that may still be rendered find a place. */
static bool has_room(const struct session *s)
{
    size_t kept = 0, spilled = 0;

    for (size_t i = 0; i < s->n_held; i++) {
        kept += settled(s->held[i]) && !s->held[i]->spilled;
        spilled += s->held[i]->spilled;
    }
    return kept < SESSION_RESULTS_MAX && spilled < SESSION_SPILLED_MAX;
}

/* While one batch is rendered another waits. */
static size_t capacity(const struct session *s)
{
    return s->options.capacity > 2 * s->share || s->share <= 1 ? s->options.capacity : 2 * s->share;
}

static int send_ready(struct session *s, int64_t now_ms, struct err *e)
{
    size_t leases = count(s, false), n = 0;
    struct msg m = {.type = MSG_READY};
    struct attempt_ref *refs = realloc(s->refs, (s->n_held + 1) * sizeof *refs);

    if (!refs)
        return err_set(e, ERR_OOM, "out of memory for a session's messages");
    s->refs = refs;
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i]->state != HELD_DROPPED)
            refs[n++] = s->held[i]->ref;
    if (leases < capacity(s) && has_room(s) && !s->leaving)
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
    return send(s, &m, e);
}

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
        return send(s, &m, e);
    }
    if (h->state == HELD_FAILED) {
        m.failed = (struct msg_failed){.ref = h->ref,
                                       .code = err_name(h->error.code),
                                       .text = h->error.text,
                                       .retryable = err_retryable(h->error.code)};
        return send(s, &m, e);
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
        return send(s, &m, e);
    m.result.png_size = h->png_size;
    rc = add_action(s, SESSION_SEND, &a, e);
    if (rc == 0) {
        a->msg = m;
        a->ref = h->ref;
        a->spilled = true;
    }
    return rc;
}

/* Results that did not leave on this connection, or long ago: a few at a time, in their order. */
static int offer(struct session *s, int64_t now_ms, struct err *e)
{
    size_t on_way = 0;
    int rc = 0;

    if (s->state != STATE_OPEN)
        return 0;
    for (size_t i = 0; i < s->n_held; i++)
        on_way += settled(s->held[i]) && s->held[i]->offered &&
                  now_ms - s->held[i]->sent_ms < SESSION_RESEND_MS;
    for (size_t i = 0; i < s->n_held && on_way < SESSION_OFFERS_MAX; i++) {
        struct held *h = s->held[i];

        if (!settled(h) || (h->offered && now_ms - h->sent_ms < SESSION_RESEND_MS))
            continue;
        TRY(send_result(s, h, now_ms, e));
        on_way++;
    }
out:
    return rc;
}

/* Beyond the memory for results the latest go to disk: the oldest are the next to be acknowledged.
 */
static int spill(struct session *s, struct err *e)
{
    int rc = 0;

    for (size_t i = s->n_held; i-- > 0 && s->kept_bytes > s->options.keep_bytes;) {
        struct held *h = s->held[i];
        struct session_action *a = NULL;

        if (h->state != HELD_RENDERED || h->spilled || h->unspillable ||
            s->spilled_bytes + h->picture.png.size > s->options.spill_bytes)
            continue;
        TRY(add_action(s, SESSION_SPILL, &a, e));
        a->ref = h->ref;
        a->msg =
            (struct msg){.type = MSG_RESULT,
                         .result = {.png = h->picture.png.data, .png_size = h->picture.png.size}};
        /* As if it were there already; session_spilled corrects it. */
        h->spilled = true;
        h->png_size = h->picture.png.size;
        s->kept_bytes -= h->png_size;
        s->spilled_bytes += h->png_size;
    }
out:
    return rc;
}

/* The first of what runs. */
static struct held *running(const struct session *s)
{
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i]->state == HELD_RUNNING || s->held[i]->state == HELD_DROPPED)
            return s->held[i];
    return NULL;
}

static bool same_ref(const struct attempt_ref *a, const struct attempt_ref *b)
{
    return a->index == b->index && a->attempt == b->attempt && strcmp(a->job, b->job) == 0;
}

static struct held *find(const struct session *s, const struct attempt_ref *ref)
{
    for (size_t i = 0; i < s->n_held; i++)
        if (same_ref(&s->held[i]->ref, ref))
            return s->held[i];
    return NULL;
}

static void remove_held(struct session *s, struct held *h)
{
    size_t i = 0;

    while (s->held[i] != h)
        i++;
    memmove(s->held + i, s->held + i + 1, (s->n_held - i - 1) * sizeof *s->held);
    s->n_held--;
    if (h->state == HELD_RENDERED && !h->spilled)
        s->kept_bytes -= h->picture.png.size;
    if (h->spilled)
        s->spilled_bytes -= h->png_size;
    held_free(h);
}

/* Nobody needs its file any more either. */
static int forget(struct session *s, struct held *h, struct err *e)
{
    struct session_action *a = NULL;
    int rc = 0;

    if (h->spilled && (rc = add_action(s, SESSION_UNSPILL, &a, e)) == 0)
        a->ref = h->ref;
    remove_held(s, h);
    return rc;
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
    const struct held *f = s->held[first];
    size_t n = 0;

    for (size_t i = first; i < s->n_held; i++) {
        struct held *h = s->held[i];

        if (i > first &&
            (n >= batch_of(s, &f->kind) || !may_start(h) || h->kind.key != f->kind.key))
            continue;
        h->state = HELD_RUNNING;
        s->starting_refs[n] = &h->ref;
        s->starting[n++] = h->task;
    }
    return n;
}

static int start_next(struct session *s, struct err *e)
{
    struct session_action *a = NULL;
    int rc;

    if (running(s) || s->leaving)
        return 0;
    for (size_t i = 0; i < s->n_held; i++) {
        if (!may_start(s->held[i]))
            continue;
        if ((rc = add_action(s, SESSION_START, &a, e)) != 0)
            return rc;
        a->ref = s->held[i]->ref;
        a->task = s->held[i]->task;
        a->gang = s->held[i]->gang;
        a->n_tasks = start_batch(s, i);
        a->tasks = s->starting;
        a->refs = s->starting_refs;
        return 0;
    }
    return 0;
}

/* The end of leaving: nothing is held, or the coordinator does not take it. */
static int leave_if_done(struct session *s, int64_t now_ms, struct err *e)
{
    const struct msg bye = {.type = MSG_BYE};
    int rc = 0;

    if (!s->leaving)
        return 0;
    if (s->finishing && running(s)) {
        s->leave_ms = now_ms;
        return 0;
    }
    if (s->n_held > 0 && now_ms - s->leave_ms < SESSION_LEAVE_MS)
        return 0;
    if (s->state == STATE_OPEN)
        TRY(send(s, &bye, e));
    rc = end(s, 0, "", e);
out:
    return rc;
}

/* What every event may lead to: the next render, and one ready that states the outcome. */
static int settle(struct session *s, int64_t now_ms, struct err *e)
{
    int rc = 0;

    if (s->state == STATE_OVER)
        return 0;
    TRY(offer(s, now_ms, e));
    TRY(start_next(s, e));
    TRY(spill(s, e));
    if (s->owes_ready && s->state == STATE_OPEN)
        TRY(send_ready(s, now_ms, e));
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
    for (size_t i = 0; i < s->n_held; i++)
        s->held[i]->offered = false;
    TRY(send_ready(s, now_ms, e));
    TRY(offer(s, now_ms, e));
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

/* The files that the lease lists are looked for, and their list kept. */
static int gather(struct session *s, struct held *h, const struct msg_lease *m, struct err *e)
{
    struct session_action *a = NULL;
    int rc = 0;

    if (m->n_assets == 0)
        return 0;
    h->assets = calloc(m->n_assets, sizeof *h->assets);
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
    TRY(add_action(s, SESSION_GATHER, &a, e));
    a->ref = h->ref;
    a->task = h->task;
    a->assets = h->assets;
    a->n_assets = h->n_assets;
out:
    return rc;
}

static int on_lease(struct session *s, const struct msg_lease *m, struct err *e)
{
    struct held **grown, *h;
    size_t room = s->held_max ? s->held_max * 2 : 8;

    if (s->state != STATE_OPEN || find(s, &m->ref))
        return 0;
    if (count(s, false) >= SESSION_LEASES_MAX || s->leaving) {
        s->owes_ready = true; /* which says that it is not held */
        return 0;
    }
    if (s->n_held == s->held_max) {
        grown = realloc(s->held, room * sizeof *grown);
        if (!grown)
            return err_set(e, ERR_OOM, "out of memory for a lease");
        s->held = grown;
        s->held_max = room;
    }
    h = calloc(1, sizeof *h);
    if (!h || !(h->task = strdup(m->task))) {
        free(h);
        return err_set(e, ERR_OOM, "out of memory for a lease");
    }
    if (m->gang_guidance && !(h->meeting = strdup(m->gang_meeting))) {
        held_free(h);
        return err_set(e, ERR_OOM, "out of memory for a lease");
    }
    h->gang = (struct session_gang){m->gang_guidance, m->gang_tensor > 0 ? m->gang_tensor : 1,
                                    m->gang_rank, h->meeting};
    h->ref = m->ref;
    if (s->options.batch > 1 && !m->alone && !m->gang_guidance)
        h->kind = kind_of(h->task);
    if (batch_of(s, &h->kind) != s->share) { /* other room than was stated */
        s->share = batch_of(s, &h->kind);
        s->owes_ready = s->options.batch > 1;
    }
    s->held[s->n_held++] = h;
    return gather(s, h, m, e);
}

/* Whether anybody waits for something of what runs. */
static bool wanted(const struct session *s)
{
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i]->state == HELD_RUNNING)
            return true;
    return false;
}

/* Nobody waits for this attempt any more: of an ack, its result is safe; of a revoke, not wanted.
 */
static int drop(struct session *s, const struct attempt_ref *ref, struct err *e)
{
    struct held *h = find(s, ref);
    struct session_action *a = NULL;

    if (!h || h->state == HELD_DROPPED)
        return 0;
    if (!settled(h) || !has_room(s))
        s->owes_ready = true;
    if (h->state != HELD_RUNNING)
        return forget(s, h, e);
    h->state = HELD_DROPPED;
    return wanted(s) ? 0 : add_action(s, SESSION_CANCEL, &a, e);
}

static void hand_back(struct session *s, struct held *h)
{
    h->state = HELD_FAILED;
    err_set(&h->error, ERR_CANCELLED, "the worker leaves");
    free(h->task);
    h->task = NULL;
    (void)s;
}

static int begin_leaving(struct session *s, bool finish, int64_t now_ms, struct err *e)
{
    struct session_action *a = NULL;

    if (s->state == STATE_OVER || (s->leaving && s->finishing <= finish))
        return 0;
    s->leaving = true;
    s->finishing = finish;
    s->leave_ms = now_ms;
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i]->state == HELD_WAITING)
            hand_back(s, s->held[i]);
    if (wanted(s) && !finish)
        return add_action(s, SESSION_CANCEL, &a, e);
    return 0;
}

int session_leave(struct session *s, bool finish, int64_t now_ms, struct err *e)
{
    int rc;

    begin(s);
    TRY(begin_leaving(s, finish, now_ms, e));
    rc = settle(s, now_ms, e);
out:
    return rc;
}

void session_spilled(struct session *s, const struct attempt_ref *ref, bool on_disk)
{
    struct held *h = find(s, ref);

    if (!h || !h->spilled)
        return;
    if (on_disk) {
        buf_done(&h->picture.png);
        return;
    }
    h->spilled = false;
    h->unspillable = true;
    s->kept_bytes += h->png_size;
    s->spilled_bytes -= h->png_size;
}

int session_spill_lost(struct session *s, const struct attempt_ref *ref, const struct err *why,
                       int64_t now_ms, struct err *e)
{
    struct held *h;

    begin(s);
    h = find(s, ref);
    if (h && h->spilled) {
        h->spilled = false;
        s->spilled_bytes -= h->png_size;
        h->state = HELD_FAILED;
        h->offered = false;
        err_set(&h->error, ERR_IO, "the picture waited on disk and is lost: %s", why->text);
    }
    return settle(s, now_ms, e);
}

int session_message(struct session *s, const struct msg *m, int64_t now_ms, struct err *e)
{
    const struct msg pong = {.type = MSG_PONG};
    int rc = 0;

    begin(s);
    if (s->state == STATE_NEW || s->state == STATE_OVER)
        return 0;
    s->heard_ms = now_ms;
    switch (m->type) {
    case MSG_WELCOME:
        TRY(on_welcome(s, &m->welcome, now_ms, e));
        break;
    case MSG_PING:
        TRY(send(s, &pong, e));
        break;
    case MSG_ERROR:
        TRY(on_error(s, &m->error, now_ms, e));
        break;
    case MSG_LEASE:
        TRY(on_lease(s, &m->lease, e));
        break;
    case MSG_ACK:
        TRY(drop(s, &m->ack.ref, e));
        break;
    case MSG_REVOKE:
        TRY(drop(s, &m->revoke.ref, e));
        break;
    case MSG_LEAVE:
        TRY(begin_leaving(s, true, now_ms, e));
        break;
    default: /* a sign of life, like every frame */
        break;
    }
    rc = settle(s, now_ms, e);
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
    return send_ready(s, now_ms, e);
}

int session_tick(struct session *s, int64_t now_ms, struct err *e)
{
    const struct msg ping = {.type = MSG_PING};
    int rc = 0;

    begin(s);
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
            TRY(send(s, &ping, e));
            s->pinged_ms = now_ms;
        }
        TRY(offer(s, now_ms, e));
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
    begin(s);
    if (s->state != STATE_OPEN)
        return 0;
    return reconnect(s, now_ms, ERR_IO, "a message could not be sent", e);
}

int session_gathered(struct session *s, const struct attempt_ref *ref, int64_t now_ms,
                     struct err *e)
{
    struct held *h;

    begin(s);
    h = find(s, ref);
    if (h)
        h->gathering = false;
    return settle(s, now_ms, e);
}

int session_ungathered(struct session *s, const struct attempt_ref *ref, const struct err *why,
                       int64_t now_ms, struct err *e)
{
    struct held *h;

    begin(s);
    h = find(s, ref);
    if (h && h->state == HELD_WAITING) {
        h->state = HELD_FAILED;
        h->error = *why;
        s->owes_ready = true;
    }
    return settle(s, now_ms, e);
}

int session_fetching(struct session *s, const struct attempt_ref *ref, uint64_t fetched,
                     uint64_t total, struct err *e)
{
    const struct held *h;
    struct msg m = {.type = MSG_FETCHING,
                    .fetching = {.ref = *ref, .fetched = fetched, .total = total}};

    begin(s);
    h = find(s, ref);
    if (!h || h->state != HELD_WAITING || s->state != STATE_OPEN)
        return 0;
    return send(s, &m, e);
}

bool session_needs_files(const struct session *s, const struct attempt_ref *ref)
{
    const struct held *h = find(s, ref);

    return h && !settled(h);
}

int session_progress(struct session *s, uint32_t step, uint32_t steps, int64_t now_ms,
                     struct err *e)
{
    struct msg m = {.type = MSG_PROGRESS};
    int rc = 0;

    (void)now_ms;
    begin(s);
    for (size_t i = 0; i < s->n_held && s->state == STATE_OPEN; i++) {
        if (s->held[i]->state != HELD_RUNNING)
            continue;
        m.progress = (struct msg_progress){.ref = s->held[i]->ref, .step = step, .steps = steps};
        TRY(send(s, &m, e));
    }
out:
    return rc;
}

/* The first of what runs ended. NULL: nobody wants its outcome. */
static struct held *report(struct session *s, enum held_state outcome)
{
    struct held *h = running(s);

    s->owes_ready = true;
    if (!h)
        return NULL;
    if (h->state == HELD_DROPPED) {
        remove_held(s, h);
        return NULL;
    }
    h->state = outcome;
    free(h->task);
    h->task = NULL;
    return h;
}

int session_finished(struct session *s, struct picture *p, int64_t now_ms, struct err *e)
{
    struct held *h;
    int rc;

    begin(s);
    h = report(s, HELD_RENDERED);
    if (h) {
        h->picture = *p;
        *p = (struct picture){0};
        s->kept_bytes += h->picture.png.size;
    }
    rc = settle(s, now_ms, e);
    picture_done(p);
    return rc;
}

int session_helped(struct session *s, int64_t now_ms, struct err *e)
{
    begin(s);
    report(s, HELD_HELPED);
    return settle(s, now_ms, e);
}

void session_cache(struct session *s, const struct cache_counts *counts)
{
    s->cache = *counts;
}

void session_meeting(struct session *s, const char *meeting)
{
    snprintf(s->meeting, sizeof s->meeting, "%s", meeting);
}

int session_failed(struct session *s, const struct err *why, int64_t now_ms, struct err *e)
{
    struct held *h;

    begin(s);
    h = report(s, HELD_FAILED);
    if (h)
        h->error = *why;
    return settle(s, now_ms, e);
}

int session_stop(struct session *s, struct err *e)
{
    const struct msg bye = {.type = MSG_BYE};
    struct session_action *a = NULL;
    int rc = 0;

    begin(s);
    if (wanted(s))
        TRY(add_action(s, SESSION_CANCEL, &a, e));
    for (size_t i = 0; i < s->n_held; i++)
        if (s->held[i]->state == HELD_RUNNING)
            s->held[i]->state = HELD_DROPPED;
    if (s->state == STATE_OPEN)
        TRY(send(s, &bye, e));
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
    return s->n_held;
}
