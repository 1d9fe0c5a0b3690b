#include "coordinator/gangs.h"

#include "coordinator/attempts.h"
#include "coordinator/chains.h"
#include "coordinator/sched.h"

size_t gang_size(const struct job_entry *j)
{
    return j->gang == GANG_SHAPE ? (size_t)j->gang_shape.guidance * j->gang_shape.tensor : 1;
}

size_t gang_size_of(const struct task_entry *t)
{
    const struct job_entry *j = t->job;

    if (t->too_large > 0)
        return t->too_large;
    return j->gang == GANG_SHAPE && !t->guided ? j->gang_shape.tensor : gang_size(j);
}

/* Takes part in gangs at all. */
static bool able(const struct worker *w)
{
    return !w->lost && !w->leaving && w->stated && w->host[0] != '\0';
}

static bool is_free(const struct worker *w)
{
    return w->credits > 0 && w->n_tasks == 0 && w->probing == 0 && !w->reserved;
}

/* Members of a gang lie on one host, or can all be reached from others. */
enum spread { ONE_HOST, SEVERAL_HOSTS };

struct gang_need gang_need_of(const struct task_entry *t, size_t n)
{
    unsigned precisions = t->needs.model_key ? 1u << t->needs.precision : 0;

    return (struct gang_need){.n = n, .task = t, .precisions = precisions};
}

/* Could be in one gang: their parts are of one device class at its precisions. */
static bool kin(const struct worker *a, const struct worker *b, const struct gang_need *g,
                enum spread spread)
{
    return (spread == ONE_HOST ? strcmp(a->host, b->host) == 0 : a->reachable && b->reachable) &&
           abilities_equal(&a->abilities, &b->abilities,
                           g->precisions ? g->precisions : PRECISIONS_ALL);
}

/* Whether the worker may have the task; NULL: any task. */
static bool suits(const struct worker *w, const struct task_entry *t)
{
    return t == NULL ||
           (abilities_suit(&w->abilities, &t->needs) && chain_suits(t, w) &&
            !(t->only_elsewhere && task_refused_by(t, w->session)) &&
            (t->memory_over == 0 || w->memory_bytes == 0 || w->memory_bytes > t->memory_over));
}

static bool is_blocked(const struct worker *w, const struct task_entry *t)
{
    return t && block_holds(&w->blocks, t->needs.model_key, t->needs.pixels);
}

/* Workers that are not blocked for it are too few for a gang: those that are take part too. */
static bool blocks_count(const struct coord *c, const struct worker *w, const struct gang_need *g,
                         enum spread spread)
{
    const struct task_entry *t = g->task;
    size_t all = 0;

    for (size_t i = 0; i < c->n_workers; i++) {
        const struct worker *v = c->workers[i];

        all += able(v) && kin(v, w, g, spread) && suits(v, t) && !is_blocked(v, t);
    }
    return all >= g->n;
}

static bool may_lead(const struct worker *w, const struct task_entry *t)
{
    return able(w) && is_free(w) && w->meeting && w->meeting[0] && suits(w, t);
}

/* gang_find() for one spread: workers that are blocked come last, those of w's own host first. */
static bool find_within(const struct coord *c, struct worker *w, const struct gang_need *g,
                        enum spread spread, struct worker **ret_members)
{
    const struct task_entry *t = g->task;
    bool strict = blocks_count(c, w, g, spread);
    size_t found = 1;

    if (!may_lead(w, t) || (strict && is_blocked(w, t)))
        return false;
    ret_members[0] = w;
    for (int turn = 0; turn < (strict ? 2 : 4); turn++) {
        bool blocked = turn / 2, own_host = turn % 2 == 0;

        for (size_t i = 0; i < c->n_workers && found < g->n; i++) {
            struct worker *v = c->workers[i];

            if (v != w && able(v) && is_free(v) && kin(v, w, g, spread) && suits(v, t) &&
                is_blocked(v, t) == blocked && (strcmp(v->host, w->host) == 0) == own_host)
                ret_members[found++] = v;
        }
    }
    return found == g->n;
}

bool gang_find(const struct coord *c, struct worker *w, const struct gang_need *g,
               struct worker **ret_members)
{
    struct worker *others[MSG_GANG_MAX];

    if (find_within(c, w, g, ONE_HOST, ret_members))
        return true;
    if (!w->reachable || !find_within(c, w, g, SEVERAL_HOSTS, ret_members))
        return false;
    for (size_t i = 0; i < c->n_workers; i++) /* one host first: another one leads there */
        if (find_within(c, c->workers[i], g, ONE_HOST, others))
            return false;
    return true;
}

static bool waits_within(const struct coord *c, const struct worker *w, const struct gang_need *g,
                         enum spread spread)
{
    const struct task_entry *t = g->task;
    bool seen = false, strict = blocks_count(c, w, g, spread);
    size_t all = 0, free_ones = 0, busy_before = 0;

    if (!able(w) || !suits(w, t) || (strict && is_blocked(w, t)))
        return false;
    for (size_t i = 0; i < c->n_workers; i++) {
        const struct worker *v = c->workers[i];

        seen |= v == w;
        if (!able(v) || !kin(v, w, g, spread) || !suits(v, t) || (strict && is_blocked(v, t)))
            continue;
        all++;
        free_ones += is_free(v);
        busy_before += !is_free(v) && !seen;
    }
    if (all < g->n)
        return false;
    return is_free(w) || free_ones + busy_before < g->n;
}

bool gang_waits(const struct coord *c, const struct worker *w, const struct gang_need *g)
{
    return waits_within(c, w, g, ONE_HOST) ||
           (w->reachable && waits_within(c, w, g, SEVERAL_HOSTS));
}

/* Workers, busy ones too, that could be in one gang with w; but one of `session`, or that cannot
 * have the task. */
static size_t kin_of(const struct coord *c, const struct worker *w, const struct gang_need *g,
                     uint64_t session, enum spread spread)
{
    const struct task_entry *t = g->task;
    size_t n = 0;

    for (size_t i = 0; i < c->n_workers; i++) {
        const struct worker *v = c->workers[i];

        n += able(v) && kin(v, w, g, spread) && v->session != session &&
             (t == NULL ||
              (abilities_suit(&v->abilities, &t->needs) && chain_suits(t, v) &&
               !task_refused_by(t, v->session) &&
               (t->memory_over == 0 || v->memory_bytes == 0 || v->memory_bytes > t->memory_over)));
    }
    return n;
}

static bool possible(const struct coord *c, const struct gang_need *g, uint64_t session)
{
    for (size_t i = 0; i < c->n_workers; i++) {
        const struct worker *w = c->workers[i];

        if (able(w) && (kin_of(c, w, g, session, ONE_HOST) >= g->n ||
                        (w->reachable && kin_of(c, w, g, session, SEVERAL_HOSTS) >= g->n)))
            return true;
    }
    return false;
}

bool gang_possible(const struct coord *c, size_t n, unsigned precisions)
{
    return possible(c, &(struct gang_need){.n = n, .precisions = precisions}, 0);
}

bool gang_elsewhere(const struct coord *c, const struct task_entry *t, size_t n, uint64_t session)
{
    const struct gang_need g = gang_need_of(t, n);

    return possible(c, &g, session);
}

/* What a gang of `size`, 1: a worker alone, learned about a task's steps has a key of its own. */
static uint64_t key_of(const struct task_entry *t, size_t size)
{
    return (t->speed_key ^ UINT64_C(0x9e3779b97f4a7c15) * size) | 1;
}

/* By what was learned a gang of two is worth its second worker; or nothing was learned yet. A chain
 * has frames enough to learn from: its first one alone, the next one shared. */
static bool pays(const struct worker *w, const struct task_entry *t)
{
    double alone = speed_ms(&w->speeds, key_of(t, 1));
    double together = speed_ms(&w->speeds, key_of(t, 2));

    if (t->job->frames > 1 && alone <= 0)
        return false;
    return alone <= 0 || together <= 0 || alone >= GANGS_GAIN * together;
}

/* `auto`: two share a task where so many are free that all tasks that can be begun now can be
 * shared; of chains that is a frame each. */
static size_t choose(const struct coord *c, const struct worker *w, const struct task_entry *t,
                     uint64_t free_tasks)
{
    const struct gang_need g = gang_need_of(t, 2);
    uint64_t free_ones = 0;

    if (t->job->gang != GANG_AUTO || !t->guided || !pays(w, t))
        return 1;
    for (size_t i = 0; i < c->n_workers; i++)
        free_ones +=
            able(c->workers[i]) && is_free(c->workers[i]) &&
            (kin(c->workers[i], w, &g, ONE_HOST) || kin(c->workers[i], w, &g, SEVERAL_HOSTS));
    return free_ones >= 2 * free_tasks && free_ones >= 2 ? 2 : 1;
}

void gang_plan(struct coord *c, struct worker *w, struct task_entry *t, uint64_t free_tasks)
{
    struct worker *members[MSG_GANG_MAX];
    size_t n = gang_size_of(t);
    struct gang_need g;

    t->gang.n = 0;
    if (n == 1)
        n = choose(c, w, t, free_tasks);
    g = gang_need_of(t, n);
    if (n == 1 || !gang_find(c, w, &g, members))
        return;
    t->gang.n = n;
    if (t->job->gang == GANG_AUTO)
        t->gang.guidance = t->too_large > 0 ? 1 : 2;
    else
        t->gang.guidance = t->guided ? t->job->gang_shape.guidance : 1;
    for (size_t i = 0; i < n; i++) {
        t->gang.sessions[i] = members[i]->session;
        members[i]->reserved = true;
        worker_prepares(members[i], t);
        if (i > 0)
            members[i]->credits--;
    }
}

void gang_release(struct coord *c, struct task_entry *t, bool give_back)
{
    for (size_t i = 0; i < t->gang.n; i++) {
        struct worker *w = coord_session(c, t->gang.sessions[i]);

        if (!w)
            continue;
        w->reserved = false;
        if (give_back && i > 0)
            w->credits++;
    }
    t->gang.n = 0;
}

/* The attempts' rows, the runs, the messages. */
static int lease_all(struct coord *c, struct task_entry *t, struct worker **members,
                     const char *task, int64_t now_ms, struct outbox *o, struct err *e)
{
    const struct planned_gang *g = &t->gang;
    uint32_t first = t->attempts + 1;
    struct msg m = {.type = MSG_LEASE,
                    .lease = {.task = task,
                              .keep = chain_goes_on(t),
                              .gang_guidance = g->guidance,
                              .gang_tensor = (uint32_t)g->n / g->guidance,
                              .gang_meeting = members[0]->meeting}};
    struct asset_set assets = {0};
    int rc;

    TRY(sched_assets(c, t, task, &assets, e));
    TRY(assets_note(t, &assets, o, e));
    m.lease.assets = assets.rows;
    m.lease.n_assets = assets.n;
    memcpy(m.lease.ref.job, t->job->hash, sizeof m.lease.ref.job);
    m.lease.ref.index = t->index;
    for (size_t i = 0; i < g->n; i++) {
        struct run *r;

        TRY(run_add(t, first + (uint32_t)i, members[i], now_ms, &r, e));
        if (!r)
            TRY(err_set(e, ERR_INTERNAL, "no room for a gang's attempts"));
        r->gang = first;
        memcpy(r->task_hash, assets.task_hash, sizeof r->task_hash);
        t->attempts++;
        c->count.leases++;
        m.lease.ref.attempt = t->attempts;
        m.lease.gang_rank = (uint32_t)i;
        TRY(outbox_send(o, &members[i]->peer, &m, e));
        members[i]->sent_ms = now_ms;
    }
    TRY(task_persist(o, t, members[0], e));
    TRY(outbox_log(o, LOG_INFO, e, "gang",
                   "job=%.12s index=%llu attempt=%u leader=%s guidance=%u "
                   "tensor=%u",
                   t->job->hash, (unsigned long long)t->index, first, members[0]->name,
                   m.lease.gang_guidance, m.lease.gang_tensor));
    c->count.gangs++;
    free(members[0]->met); /* good for one gang; the next ready says another */
    members[0]->met = members[0]->meeting;
    members[0]->meeting = NULL;
out:
    asset_set_done(&assets);
    return rc;
}

int gang_lease(struct coord *c, struct task_entry *t, const char *task, int64_t now_ms,
               struct outbox *o, bool *ret_gave, struct err *e)
{
    struct worker *members[MSG_GANG_MAX];
    int rc = 0;

    *ret_gave = false;
    for (size_t i = 0; i < t->gang.n; i++) {
        members[i] = coord_session(c, t->gang.sessions[i]);
        if (!members[i] || members[i]->leaving)
            return 0;
    }
    if (!members[0]->meeting)
        return 0;
    task_to(c, t, TASK_RUNNING);
    TRY(lease_all(c, t, members, task, now_ms, o, e));
    *ret_gave = true;
out:
    return rc;
}

bool gang_meets_at(const struct worker *w, const char *meeting)
{
    if (!meeting || !w->met || strcmp(meeting, w->met) != 0)
        return false;
    for (size_t i = 0; i < w->n_tasks; i++) {
        const struct run *r = run_of(w->tasks[i], w);

        if (r && r->gang == r->attempt)
            return true;
    }
    return false;
}

void gang_note_over(struct task_entry *t, const struct run *r)
{
    if (r->gang)
        attempt_note_over(t, r->attempt);
}

int gang_dissolve(struct coord *c, struct task_entry *t, uint32_t gang, struct outbox *o,
                  struct err *e)
{
    int rc = 0;

    for (size_t i = t->n_runs; gang && i-- > 0;) {
        struct run *r = &t->runs[i];
        const struct worker *w = coord_session(c, r->session);

        if (r->gang != gang)
            continue;
        gang_note_over(t, r);
        if (w)
            TRY(send_revoke(c, o, w, t, r->attempt, e));
        run_remove(c, t, r);
    }
out:
    return rc;
}

bool gang_grow(const struct coord *c, struct task_entry *t)
{
    uint32_t parts = t->too_large > 0 ? 2 * t->too_large : 2;

    if (t->job->gang != GANG_AUTO || parts > CONDUCT_TENSOR_MAX ||
        !gang_possible(c, parts, gang_need_of(t, parts).precisions))
        return false;
    t->too_large = parts;
    t->only_elsewhere = false;
    t->memory_over = 0; /* of the whole task on one device */
    return true;
}

static void mean(double *value, double sample)
{
    *value += (*value > 0 ? 0.2 : 1) * (sample - *value);
}

void gang_learn_alone(const struct task_entry *t, struct worker *w, double ms)
{
    speed_learn(&w->speeds, key_of(t, 1), ms);
}

void gang_learn(struct task_entry *t, const struct run *r, struct worker *w, double ms)
{
    double alone = speed_ms(&w->speeds, key_of(t, 1));
    size_t n = 0;

    if (r->gang != r->attempt) /* one voice for each gang */
        return;
    for (size_t i = 0; i < t->n_runs; i++)
        n += t->runs[i].gang == r->gang;
    speed_learn(&w->speeds, key_of(t, n), ms);
    mean(&t->job->gang_step_ms, ms);
    if (alone > 0 && ms > 0)
        mean(&t->job->gang_speedup, alone / ms);
}

int on_helped(struct coord *c, struct worker *w, const struct msg_helped *m, int64_t now_ms,
              struct outbox *o, struct err *e)
{
    struct task_entry *t;
    const char *verdict;
    struct run *r;
    int rc = 0;

    w->active_ms = now_ms;
    t = task_named(c, &m->ref, &verdict);
    if (!t)
        return attempt_dismiss(c, w, &m->ref, verdict, o, e);
    TRY(send_ack(o, &w->peer, m->ref.job, m->ref.index, m->ref.attempt, "accepted", e));
    r = run_numbered(t, m->ref.attempt);
    if (r && (!r->session || r->session == w->session)) {
        run_remove(c, t, r);
        task_free_if_idle(c, t);
    }
out:
    return rc;
}
