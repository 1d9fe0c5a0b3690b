#include "coordinator/sched.h"

#include "coordinator/assets.h"
#include "coordinator/attempts.h"
#include "coordinator/chains.h"
#include "coordinator/gangs.h"
#include "coordinator/pick.h"
#include "coordinator/tail.h"
#include "coordinator/waits.h"

#define ADOPTIONS_MAX 64 /* tries of one worker per call: pictures found need no lease */

/* FNV-1a over what a step's time depends on. Never 0. */
static uint64_t speed_key(const struct task *task)
{
    uint64_t x = UINT64_C(0xcbf29ce484222325);
    int64_t sides[5] = {task->width, task->height, 0, 0, task->sampler};

    task_size(task, &sides[2], &sides[3]);
    for (const char *p = task->model; *p; p++)
        x = (x ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        x = (x ^ (uint64_t)sides[i]) * UINT64_C(0x100000001b3);
    return x | 1;
}

/* How many times a step of the second pass takes longer than one of the first, at most: attention
 * grows with the square of the pixels. */
static double step_growth(const struct task *task)
{
    double ratio;
    int64_t w, h;

    task_hires_size(task, &w, &h);
    ratio = (double)w * (double)h / ((double)task->width * task->height);
    return ratio > 1 ? ratio * ratio : 1;
}

int sched_describe(struct task_entry *t, struct task *ret_task, struct err *e)
{
    int rc = job_task(t->job->job, t->index, ret_task, e);

    if (rc != 0)
        return rc;
    t->needs = needs_of(ret_task);
    t->speed_key = speed_key(ret_task);
    t->step_growth = step_growth(ret_task);
    t->steps = ret_task->steps;
    t->guided = ret_task->cfg_scale > 1;
    rc = chain_start_here(t, ret_task, e);
    if (rc != 0)
        task_done(ret_task);
    return rc;
}

/* Tasks of the job that could be leased now: chains not begun, and frames that wait. */
static uint64_t free_frames(const struct coord *c, const struct job_entry *j)
{
    uint64_t n = j->queue.ahead / j->frames;

    for (const struct task_entry *t = c->ready_first; t; t = t->next)
        n += t->job == j && chain_is_open(t);
    return n;
}

/* Tasks that no worker has yet and one could have. */
static uint64_t free_tasks(const struct coord *c)
{
    uint64_t left = 0;

    for (size_t i = 0; i < c->n_jobs; i++) {
        const struct job_entry *j = c->jobs[i];

        if (j->phase == JOB_RUNNING && !j->paused && j->frames > 1)
            left += free_frames(c, j);
        else if (j->phase == JOB_RUNNING && !j->paused)
            left += j->tasks - j->done - j->failed - j->running;
    }
    return left;
}

/* The worker's credit is spent on the task until its files are known. */
static void await_assets(struct coord *c, struct worker *w, struct task_entry *t)
{
    t->awaits_assets = true;
    c->assets.waiting++;
    t->probe_session = w->session;
    w->credits--;
    w->probing++;
    task_to(c, t, TASK_PROBING);
}

/*
 * The worker lacks a file of the task. ret_given: that decides it. If every worker lacks one, the
 * task fails; if another may have it, the task waits for that one.
 */
static int lacked(struct coord *c, struct worker *w, struct task_entry *t, const struct task *task,
                  int64_t now_ms, bool *ret_given, struct outbox *o, struct err *e)
{
    enum lacked lacked;
    struct err why;
    int rc;

    *ret_given = false;
    TRY(lacks_look(c, t, task, w, &lacked, &why, e));
    if (lacked == LACKED_NOT || (lacked == LACKED_HERE && gang_size_of(t) > 1))
        goto out;
    *ret_given = true;
    if (lacked == LACKED_EVERYWHERE) {
        TRY(task_fail(c, t, NULL, err_name(why.code), why.text, now_ms, o, e));
        goto out;
    }
    lacks_pass(w, &t->needs, now_ms);
    task_refuse(t, w->session);
    t->only_elsewhere = true;
    TRY(task_note_failure(t, err_name(why.code), why.text, e));
out:
    return rc;
}

static int probe(struct coord *c, struct worker *w, struct task_entry *t, int64_t now_ms,
                 struct outbox *o, struct err *e)
{
    struct task task = {0};
    struct out *out;
    struct err torn;
    bool ready, given;
    int rc;

    TRY(sched_describe(t, &task, e));
    TRY(assets_ready(c, &task, now_ms, &ready, o, e));
    if (!ready) {
        await_assets(c, w, t);
        goto out;
    }
    if (chain_is_torn(c, t, &torn)) {
        TRY(task_fail(c, t, NULL, err_name(torn.code), torn.text, now_ms, o, e));
        goto out;
    }
    TRY(lacked(c, w, t, &task, now_ms, &given, o, e));
    if (given)
        goto out;
    TRY(outbox_add(o, OUT_PROBE, &out, e));
    TRY(asset_expected(c, &task, &out->files, e));
    TRY(chain_start_named(t, &task, e));
    out->job = t->job->number;
    out->index = t->index;
    o->scratch.size = 0;
    TRY(job_path(t->job->job, t->index, &o->scratch, e));
    TRY(buf_check(&o->scratch, e));
    TRY(outbox_text(o, buf_text(&o->scratch), &out->path, e));
    o->scratch.size = 0;
    task_to_json(&task, &o->scratch);
    TRY(buf_check(&o->scratch, e));
    TRY(outbox_text(o, buf_text(&o->scratch), &out->task, e));
    t->probe_session = w->session;
    gang_plan(c, w, t, free_tasks(c));
    worker_prepares(w, t);
    w->credits--;
    w->probing++;
    task_to(c, t, TASK_PROBING);
out:
    task_done(&task);
    return rc;
}

/* Its files are known: it is given out like any other, to this worker if nothing has changed. */
static int awaited(struct coord *c, struct task_entry *t, int64_t now_ms, struct outbox *o,
                   struct err *e)
{
    struct task task = {0};
    bool ready;
    int rc;

    TRY(sched_describe(t, &task, e));
    TRY(assets_ready(c, &task, now_ms, &ready, o, e));
    if (ready) {
        coord_task_unawait(c, t);
        task_to(c, t, TASK_READY);
    }
out:
    task_done(&task);
    return rc;
}

int sched_awaited(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; c->assets.waiting && i < c->n_buckets; i++)
        for (struct task_entry *t = c->buckets[i]; t; t = t->chain)
            if (t->awaits_assets)
                TRY(awaited(c, t, now_ms, o, e));
out:
    return rc;
}

/* Tasks that no worker has yet are fewer than the workers: the end of the work. */
static bool is_tail(const struct coord *c)
{
    return free_tasks(c) < c->n_workers;
}

struct paced {
    struct worker *w;
    double pace_ms;
};

/* The fastest first. */
static int by_pace(const void *a, const void *b)
{
    double x = ((const struct paced *)a)->pace_ms, y = ((const struct paced *)b)->pace_ms;

    return (x > y) - (x < y);
}

/* Workers with nothing to do, the fastest first; one of unknown pace counts as the mean of all. */
static size_t idle_by_pace(const struct coord *c, struct paced *ret_idle)
{
    double sum = 0;
    size_t n = 0, known = 0;

    for (size_t i = 0; i < c->n_workers; i++) {
        struct worker *w = c->workers[i];

        if (!worker_takes_leases(w))
            continue;
        sum += w->pace_ms;
        known += w->pace_ms > 0;
        if (w->credits && w->n_tasks == 0 && !w->reserved)
            ret_idle[n++] = (struct paced){w, w->pace_ms};
    }
    for (size_t i = 0; i < n && known; i++)
        if (ret_idle[i].pace_ms <= 0)
            ret_idle[i].pace_ms = sum / (double)known;
    qsort(ret_idle, n, sizeof *ret_idle, by_pace);
    return n;
}

/* In the tail, idle workers choose first, the fastest of them before the others. */
static int tail_schedule(struct coord *c, int64_t now_ms, struct outbox *o, bool *ret_gave,
                         struct err *e)
{
    struct paced *idle = calloc(c->n_workers ? c->n_workers : 1, sizeof *idle);
    struct task_entry *t;
    bool waits;
    size_t n;
    int rc = 0;

    if (!idle)
        return err_set(e, ERR_OOM, "no memory for a list of workers");
    n = idle_by_pace(c, idle);
    for (size_t i = 0; i < n; i++) {
        struct worker *w = idle[i].w;

        if (!w->credits || w->reserved)
            continue;
        TRY(pick_task(c, w, now_ms, &t, &waits, e));
        if (!t && !waits)
            TRY(tail_speculate(c, w, now_ms, o, ret_gave, e));
        if (!t)
            continue;
        TRY(probe(c, w, t, now_ms, o, e));
        *ret_gave = true;
    }
out:
    free(idle);
    return rc;
}

int reactor_schedule(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    bool gave = true;
    int rc = 0;

    for (size_t i = 0; i < c->n_jobs; i++)
        TRY(job_stop_if_due(c, c->jobs[i], now_ms, o, e));
    lacks_expire(c, now_ms);
    TRY(chains_step(c, now_ms, o, e));
    /* One lease each per round, so that a short job spreads over the workers. */
    for (int round = 0; gave && round < ADOPTIONS_MAX; round++) {
        gave = false;
        if (is_tail(c))
            TRY(tail_schedule(c, now_ms, o, &gave, e));
        for (size_t i = 0; i < c->n_workers; i++) {
            struct worker *w = c->workers[i];
            struct task_entry *t;
            bool waits;

            if (!worker_takes_leases(w) || !w->credits || w->reserved)
                continue;
            TRY(pick_task(c, w, now_ms, &t, &waits, e));
            if (!t)
                continue;
            TRY(probe(c, w, t, now_ms, o, e));
            gave = true;
        }
    }
    TRY(chains_step(c, now_ms, o, e)); /* of what queues found */
    TRY(waits_tell(c, now_ms, e));
out:
    return rc;
}

int sched_assets(const struct coord *c, struct task_entry *t, const char *text,
                 struct asset_set *ret_set, struct err *e)
{
    struct task task = {0};
    int rc;

    *ret_set = (struct asset_set){0};
    if (!c->limits.assets)
        return 0;
    TRY(sched_describe(t, &task, e));
    TRY(asset_set_of(c, &task, text, ret_set, e));
out:
    task_done(&task);
    return rc;
}

int sched_lease(struct coord *c, struct worker *w, struct task_entry *t, const char *task,
                int64_t now_ms, struct outbox *o, struct err *e)
{
    struct msg m = {.type = MSG_LEASE, .lease = {.task = task}};
    struct asset_set assets = {0};
    struct run *r;
    int rc;

    TRY(sched_assets(c, t, task, &assets, e));
    TRY(run_add(t, t->attempts + 1, w, now_ms, &r, e));
    t->attempts++;
    c->count.leases++;
    memcpy(r->task_hash, assets.task_hash, sizeof r->task_hash);
    task_to(c, t, TASK_RUNNING);
    TRY(task_persist(o, t, w, e));
    TRY(assets_note(t, &assets, o, e));
    m.lease.assets = assets.rows;
    m.lease.n_assets = assets.n;
    m.lease.keep = chain_goes_on(t);
    m.lease.alone = t->lost.n > 0 || t->tries > 0; /* so that no batch mate is blamed again */
    memcpy(m.lease.ref.job, t->job->hash, sizeof m.lease.ref.job);
    m.lease.ref.index = t->index;
    m.lease.ref.attempt = t->attempts;
    TRY(outbox_send(o, &w->peer, &m, e));
    w->sent_ms = now_ms;
out:
    asset_set_done(&assets);
    return rc;
}

static int probe_blocked(struct coord *c, struct task_entry *t, const struct err *why,
                         int64_t now_ms, struct outbox *o, struct err *e)
{
    struct job_entry *j = t->job;
    int rc = 0;

    if (!j->wait_reason || strcmp(j->wait_reason, why->text) != 0)
        TRY(outbox_log(o, LOG_ERROR, e, "job_waits", "job=%.12s name=%s reason=\"%s\"", j->hash,
                       j->name, why->text));
    TRY(job_wait(j, now_ms + 5000, why->text, e));
    task_to(c, t, TASK_READY);
out:
    return rc;
}

int on_probed(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e)
{
    struct job_entry *j = coord_job(c, event->job);
    struct task_entry *t = j ? coord_task(c, j, event->index) : NULL;
    struct worker *w = t ? coord_session(c, t->probe_session) : NULL;
    bool gave = false, free_path;
    int rc = 0;

    if (!t || t->phase != TASK_PROBING)
        return 0;
    if (w && w->probing > 0)
        w->probing--;
    free_path = event->probe == PROBE_FREE || event->probe == PROBE_STALE;
    if (free_path && w && t->n_runs == 0 && t->gang.n == 0)
        return sched_lease(c, w, t, event->text, now_ms, o, e);
    if (free_path && w && t->n_runs == 0)
        TRY(gang_lease(c, t, event->text, now_ms, o, &gave, e));
    gang_release(c, t, !gave);
    if (gave)
        return job_wait(j, 0, NULL, e);
    if (w)
        w->credits++;
    if (event->probe == PROBE_OURS) {
        TRY(job_wait(j, 0, NULL, e));
        memcpy(event->found->before, t->before.sha256, sizeof event->found->before);
        TRY(task_settle(c, j, event->found, now_ms, o, e));
    } else if (event->probe == PROBE_FOREIGN) {
        TRY(task_fail(c, t, NULL, err_name(ERR_INPUT), event->failure.text, now_ms, o, e));
    } else if (event->probe == PROBE_BLOCKED) {
        TRY(probe_blocked(c, t, &event->failure, now_ms, o, e));
    } else {
        task_to(c, t, t->n_runs ? TASK_RUNNING : TASK_READY);
    }
out:
    return rc;
}
