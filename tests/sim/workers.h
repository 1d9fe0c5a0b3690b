/*
 * The simulated workers: the real sessions, with renders that take time, hang, fail and meet in
 * gangs, and files that come in parts.
 */
#ifndef TESTS_SIM_WORKERS_H
#define TESTS_SIM_WORKERS_H

#include "tests/sim/cluster.h"

static inline void send(struct sim *s, int worker, const struct session_action *a)
{
    const struct attempt_ref *ref = &a->msg.result.ref;
    struct buf frame = {0};

    if (a->msg.type == MSG_RESULT)
        s->results[ref->index] |= UINT64_C(1) << ref->attempt % 64;
    MUST(msg_encode(&a->msg, &frame, e));
    transmit(s, true, worker, frame.data, frame.size);
    buf_done(&frame);
}

/* A new meeting place for each gang that it leads, as litho-worker has it. */
static inline void offer(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];

    snprintf(w->next, sizeof w->next, "w%d.%d.%d", worker, w->process, w->offers++);
    session_meeting(w->session, w->next);
}

static inline void take_part(struct sim *s, int worker, const struct session_gang *gang)
{
    struct sim_worker *w = &s->workers[worker];

    w->gang = *gang;
    if (!gang->guidance)
        return;
    snprintf(w->meeting, sizeof w->meeting, "%s", gang->meeting);
    if (gang->rank == 0 && strcmp(w->meeting, w->next) == 0)
        offer(s, worker);
    else if (gang->rank == 0)
        w->cancelled = true; /* the place was given up */
}

/* Whoever else is at the worker's gang; NULL: nobody, or not yet, or no more. */
static inline struct sim_worker *partner(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];

    for (int i = 0; i < s->n_workers; i++)
        if (i != worker && s->workers[i].rendering && s->workers[i].gang.guidance &&
            strcmp(s->workers[i].meeting, w->meeting) == 0)
            return &s->workers[i];
    return NULL;
}

/* Every third task is f32, which the last worker does not render. */
static inline bool refuses(const struct sim *s, int worker, uint64_t index)
{
    return worker == s->n_workers - 1 && index % 3 == 0;
}

static inline void perform(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];
    const struct session_action *a;

    while (w->session && (a = session_next(w->session))) {
        switch (a->what) {
        case SESSION_SEND:
            send(s, worker, a);
            break;
        case SESSION_RECONNECT:
            w->connection++;
            break;
        case SESSION_GATHER:
            assert_int_equal(a->n_assets, 1);
            assert_string_equal(a->assets[0].sha256, s->model_sha256);
            w->gathering[w->n_gathering++ % SESSION_LEASES_MAX] = a->ref;
            break;
        case SESSION_START:
            if (s->files && w->have < sizeof MODEL - 1)
                fail_msg("worker %d renders without the model", worker);
            if (s->files && refuses(s, worker, a->ref.index))
                fail_msg("worker %d renders f32", worker);
            start_of(a->task, w->start);
            if (s->chains && a->ref.index % FRAMES > 0 &&
                (s->disk.records[a->ref.index - 1] != 1 ||
                 strcmp(w->start, s->disk.is[a->ref.index - 1]) != 0))
                fail_msg("worker %d starts from a frame that is not durable", worker);
            w->rendering = true;
            w->cancelled = false;
            w->met = false;
            w->ref = a->ref;
            w->step = 0;
            take_part(s, worker, &a->gang);
            /* Workers differ in speed, and some renders hang. */
            w->done_ms = s->now_ms + 200 + draw(s, 1000) * (uint32_t)(1 + worker * worker);
            if (chance(s, 60))
                w->done_ms += 1000000;
            w->stepped_ms = s->now_ms;
            break;
        case SESSION_CANCEL:
            w->cancelled = true;
            break;
        case SESSION_END:
            fail_msg("a worker left: %s", a->why.text);
        default:
            break;
        }
    }
}

static inline void render_ends(struct sim *s, int worker)
{
    struct err cancelled = {.code = ERR_CANCELLED, .text = "cancelled"};
    struct sim_worker *w = &s->workers[worker];
    struct picture p = {.precision = "f32", .render_seconds = 1};

    w->rendering = false;
    if (w->gang.guidance && w->gang.rank > 0 && !w->cancelled) {
        MUST(session_helped(w->session, s->now_ms, e));
        return;
    }
    if (w->cancelled || chance(s, 20)) {
        MUST(session_failed(w->session, &cancelled, s->now_ms, e));
        return;
    }
    buf_printf(&p.png, "picture %d %s", (int)w->ref.index, w->start);
    p.device_class = strdup("cpu");
    memset(p.sha256, 'a', sizeof p.sha256 - 1);
    if (s->chains) { /* no two are alike: a frame that was mixed up with another's would show */
        char by[64];

        snprintf(by, sizeof by, "%d.%d.%u.%u", worker, w->process, (unsigned)w->ref.index,
                 w->ref.attempt);
        MUST(hash_bytes(by, strlen(by), p.sha256, e));
    }
    MUST(session_finished(w->session, &p, s->now_ms, e));
}

/* A member's render: it waits for the other, ends with it, and fails without it. */
static inline bool gang_holds(struct sim *s, int worker)
{
    struct err lost = {.code = ERR_LOST, .text = "member 1 of the gang went away"};
    struct sim_worker *w = &s->workers[worker], *other = partner(s, worker);

    if (!w->rendering || !w->gang.guidance || w->cancelled)
        return true;
    if (other && !w->met) {
        w->met = true;
        s->pairs++;
        if (other->done_ms > w->done_ms)
            w->done_ms = other->done_ms;
    }
    if (w->met && !other && s->now_ms < w->done_ms) {
        w->rendering = false; /* the other end is closed */
        MUST(session_failed(w->session, &lost, s->now_ms, e));
        perform(s, worker);
    }
    return w->met;
}

/* What a worker's stock does: wants what is not here, and says when all is. */
static inline void worker_fetches(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];
    struct msg m = {.type = MSG_WANT};

    if (w->n_gathering && w->have < sizeof MODEL - 1 && !w->fetch.sha256[0])
        fetch_begin(&w->fetch, s->model_sha256, w->have, sizeof MODEL - 1, sizeof MODEL - 1, PART);
    while (fetch_want(&w->fetch, s->now_ms, &m.want)) {
        struct buf frame = {0};

        MUST(msg_encode(&m, &frame, e));
        transmit(s, true, worker, frame.data, frame.size);
        buf_done(&frame);
    }
    if (w->have < sizeof MODEL - 1)
        return;
    assert_memory_equal(w->model, MODEL, sizeof MODEL - 1);
    while (w->n_gathering) {
        MUST(session_gathered(w->session, &w->gathering[--w->n_gathering], s->now_ms, e));
        perform(s, worker);
    }
}

static inline void worker_chunk(struct sim *s, int worker, const struct msg_chunk *chunk)
{
    struct sim_worker *w = &s->workers[worker];
    void *data;
    size_t size;

    MUST(fetch_chunk(&w->fetch, chunk, e));
    while (fetch_take(&w->fetch, &data, &size)) {
        memcpy(w->model + w->have, data, size);
        w->have += size;
        free(data);
    }
    if (fetch_over(&w->fetch))
        fetch_end(&w->fetch);
    (void)s;
}

static inline void worker_works(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];

    MUST(session_tick(w->session, s->now_ms, e));
    perform(s, worker);
    worker_fetches(s, worker);
    if (!gang_holds(s, worker))
        return;
    if (w->rendering && (w->cancelled || s->now_ms >= w->done_ms)) {
        render_ends(s, worker);
        perform(s, worker);
    } else if (w->rendering && s->now_ms < w->done_ms - 900000) {
        return; /* it hangs */
    } else if (w->rendering && s->now_ms - w->stepped_ms >= 200 && w->step < 20) {
        MUST(session_progress(w->session, w->step++, 20, s->now_ms, e));
        w->stepped_ms = s->now_ms;
        perform(s, worker);
    }
}

static inline void worker_starts(struct sim *s, int worker)
{
    static const struct hello_precision rows[] = {
        {"auto", "bf16", "cpu"}, {"bf16", "bf16", "cpu"}, {"f32", "f32", "cpu"}};
    const struct session_options o = {
        .name = "sim",
        .device = "sim",
        .device_class = "cpu",
        .host = host_of(s, worker),
        .gang_address = s->hosts && worker < WORKERS - 1 ? "127.0.0.1" : NULL,
        .precisions = rows,
        .n_precisions = s->files && worker == s->n_workers - 1 ? 2 : 3,
        .capacity = 2};

    MUST(session_new(&o, &s->workers[worker].session, e));
    offer(s, worker);
}

static inline void worker_dies(struct sim *s, int worker)
{
    struct sim_worker *w = &s->workers[worker];

    session_free(w->session);
    w->session = NULL;
    w->rendering = false;
    fetch_end(&w->fetch);
    w->n_gathering = 0;
    if (s->files && chance(s, 4)) /* and its disk with it */
        w->have = 0;
    w->process++;
    w->connection++;
    w->born_ms = s->now_ms + draw(s, 8000);
    s->deaths++;
}

/* Both workers of a host at once, and for a while. */
static inline void host_dies(struct sim *s, int host)
{
    for (int i = 2 * host; i < 2 * host + 2; i++) {
        if (s->workers[i].session)
            worker_dies(s, i);
        s->workers[i].born_ms = s->now_ms + 20000 + draw(s, 20000);
    }
    s->hosts_lost++;
}

#endif
