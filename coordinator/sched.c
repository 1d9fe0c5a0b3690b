#include "coordinator/sched.h"

#include "coordinator/attempts.h"

#define ADOPTIONS_MAX 64 /* tries of one worker per call: pictures found need no lease */

bool sched_elsewhere(const struct coord *c, const struct task_entry *t, uint64_t session)
{
    for (size_t i = 0; i < c->n_workers; i++)
        if (!c->workers[i]->lost && c->workers[i]->session != session &&
            !task_refused_by(t, c->workers[i]->session))
            return true;
    return false;
}

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

static bool job_takes_leases(const struct job_entry *j, int64_t now_ms)
{
    return j->phase == JOB_RUNNING && !(j->wait_reason && now_ms < j->wait_until_ms);
}

/* Elsewhere first: a worker that failed the task gets it again only if there is no other. */
static bool fits(const struct coord *c, const struct task_entry *t, const struct worker *w,
                 int64_t now_ms)
{
    if (!job_takes_leases(t->job, now_ms) || t->not_before_ms > now_ms)
        return false;
    if (!task_refused_by(t, w->session))
        return true;
    return !t->only_elsewhere && !sched_elsewhere(c, t, w->session);
}

/* The next task that nobody has touched, as an entry; NULL in ret_task: there is none. */
static int untouched_next(struct coord *c, struct job_entry *j, struct task_entry **ret_task,
                          struct err *e)
{
    uint64_t span = job_span(j->job);

    *ret_task = NULL;
    if (j->cursor < j->settled.floor)
        j->cursor = j->settled.floor;
    for (;;) {
        j->cursor = job_next(j->job, j->cursor);
        if (j->cursor >= span)
            return 0;
        if (!bits_has(&j->settled, j->cursor) && !coord_task(c, j, j->cursor))
            return coord_task_add(c, j, j->cursor++, ret_task, e);
        j->cursor++;
    }
}

static int pick(struct coord *c, const struct worker *w, int64_t now_ms,
                struct task_entry **ret_task, struct err *e)
{
    int rc = 0;

    *ret_task = NULL;
    for (struct task_entry *t = c->ready_first; t; t = t->next) {
        if (fits(c, t, w, now_ms)) {
            *ret_task = t;
            return 0;
        }
    }
    for (size_t i = 0; i < c->n_jobs && rc == 0 && !*ret_task; i++)
        if (job_takes_leases(c->jobs[i], now_ms))
            rc = untouched_next(c, c->jobs[i], ret_task, e);
    return rc;
}

static int probe(struct coord *c, struct worker *w, struct task_entry *t, struct outbox *o,
                 struct err *e)
{
    struct buf path = {0}, text = {0};
    struct task task = {0};
    struct out *out;
    int rc;

    TRY(job_task(t->job->job, t->index, &task, e));
    TRY(job_path(t->job->job, t->index, &path, e));
    task_to_json(&task, &text);
    TRY(outbox_add(o, OUT_PROBE, &out, e));
    out->job = t->job->number;
    out->index = t->index;
    out->path = buf_detach(&path);
    out->task = buf_detach(&text);
    if (!out->path || !out->task) {
        rc = err_set(e, ERR_OOM, "no memory for a lease");
        goto out;
    }
    t->speed_key = speed_key(&task);
    t->step_growth = step_growth(&task);
    t->probe_session = w->session;
    w->credits--;
    task_to(c, t, TASK_PROBING);
out:
    task_done(&task);
    buf_done(&path);
    buf_done(&text);
    return rc;
}

int reactor_schedule(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    bool gave = true;
    int rc = 0;

    /* One lease each per round, so that a short job spreads over the workers. */
    for (int round = 0; gave && round < ADOPTIONS_MAX; round++) {
        gave = false;
        for (size_t i = 0; i < c->n_workers; i++) {
            struct task_entry *t;

            if (c->workers[i]->lost || !c->workers[i]->credits)
                continue;
            TRY(pick(c, c->workers[i], now_ms, &t, e));
            if (!t)
                continue;
            TRY(probe(c, c->workers[i], t, o, e));
            gave = true;
        }
    }
out:
    return rc;
}

static int lease(struct coord *c, struct worker *w, struct task_entry *t, const char *task,
                 int64_t now_ms, struct outbox *o, struct err *e)
{
    struct msg m = {.type = MSG_LEASE, .lease = {.task = task}};
    struct run *r;
    int rc;

    TRY(run_add(t, t->attempts + 1, w, now_ms, &r, e));
    t->attempts++;
    c->count.leases++;
    task_to(c, t, TASK_RUNNING);
    TRY(task_persist(o, t, w, e));
    snprintf(m.lease.ref.job, sizeof m.lease.ref.job, "%s", t->job->hash);
    m.lease.ref.index = t->index;
    m.lease.ref.attempt = t->attempts;
    TRY(outbox_send(o, &w->peer, &m, e));
    w->sent_ms = now_ms;
out:
    return rc;
}

static int probe_blocked(struct coord *c, struct task_entry *t, const struct err *why,
                         int64_t now_ms, struct outbox *o, struct err *e)
{
    struct job_entry *j = t->job;
    int rc = 0;

    if (!j->wait_reason || strcmp(j->wait_reason, why->text) != 0)
        TRY(outbox_log(o, LOG_ERROR, e, "job_waits", "job=%.12s name=%s reason=%s", j->hash,
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
    int rc = 0;

    if (!t || t->phase != TASK_PROBING)
        return 0;
    if (event->probe == PROBE_FREE && w && t->n_runs == 0)
        return lease(c, w, t, event->text, now_ms, o, e);
    if (w)
        w->credits++;
    if (event->probe == PROBE_OURS) {
        TRY(job_wait(j, 0, NULL, e));
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
