#include "coordinator/sched.h"

#include "coordinator/assets.h"
#include "coordinator/attempts.h"
#include "coordinator/chains.h"
#include "coordinator/gangs.h"
#include "coordinator/tail.h"
#include "coordinator/waits.h"

#define RISK          0.75 /* of the time left, that what is open may take */
#define LACKING_MAX   8    /* tasks that came back and lack a gang: no more are begun meanwhile */
#define ADOPTIONS_MAX 64   /* tries of one worker per call: pictures found need no lease */

/* A connected worker that takes leases. */
static bool works(const struct worker *w)
{
    return !w->lost && !w->leaving;
}

/* It renders such a precision in the class of the task's chain, and its budget is larger than one
 * that was too small; without a budget that cannot be told. */
static bool can_take(const struct task_entry *t, const struct worker *w)
{
    return abilities_suit(&w->abilities, &t->needs) && chain_suits(t, w) &&
           (t->memory_over == 0 || w->memory_bytes == 0 || w->memory_bytes > t->memory_over);
}

bool sched_could_have(const struct task_entry *t, const struct worker *w)
{
    return works(w) && can_take(t, w);
}

bool sched_elsewhere(const struct coord *c, const struct task_entry *t, uint64_t session)
{
    size_t size = gang_size_of(t);

    if (size > 1)
        return gang_elsewhere(c, t, size, session);
    for (size_t i = 0; i < c->n_workers; i++)
        if (works(c->workers[i]) && c->workers[i]->session != session &&
            can_take(t, c->workers[i]) && !task_refused_by(t, c->workers[i]->session))
            return true;
    return false;
}

/*
 * Whether a worker other than w that is not barred from it could take such a task. t: that very
 * one, or NULL. One that has failed it counts only if w has, too: it waits for others itself.
 */
static bool unbarred_elsewhere(const struct coord *c, const struct needs *n,
                               const struct task_entry *t, const struct worker *w)
{
    bool failed_too = t && task_refused_by(t, w->session);

    for (size_t i = 0; i < c->n_workers; i++) {
        const struct worker *v = c->workers[i];

        if (v != w && works(v) && abilities_suit(&v->abilities, n) && !worker_is_barred(v, n) &&
            (!t || (can_take(t, v) && (failed_too || !task_refused_by(t, v->session)))))
            return true;
    }
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

static bool job_takes_leases(const struct job_entry *j, int64_t now_ms)
{
    return j->phase == JOB_RUNNING && !j->paused && !(j->wait_reason && now_ms < j->wait_until_ms);
}

/* Elsewhere first: a worker that failed the task gets it again only if there is no other. */
static bool fits_wherever(const struct coord *c, const struct task_entry *t, const struct worker *w,
                          int64_t now_ms)
{
    if (!job_takes_leases(t->job, now_ms) || t->not_before_ms > now_ms || !chain_is_open(t) ||
        !can_take(t, w))
        return false;
    if (gang_size_of(t) == 1 && /* gangs look at their members themselves */
        worker_is_barred(w, &t->needs) && unbarred_elsewhere(c, &t->needs, t, w))
        return false;
    if (!task_refused_by(t, w->session))
        return true;
    return !t->only_elsewhere && !sched_elsewhere(c, t, w->session);
}

static int needs_known(struct task_entry *t, int64_t now_ms, struct err *e)
{
    struct task task = {0};
    int rc = 0;

    if (!t->needs.model_key && job_takes_leases(t->job, now_ms))
        rc = sched_describe(t, &task, e);
    task_done(&task);
    return rc;
}

static bool is_busy(const struct worker *w)
{
    return w->n_tasks > 0 || w->probing > 0;
}

/* The worker that has the frame before takes the next one, unless another would begin it sooner. */
static bool fits(const struct coord *c, const struct task_entry *t, const struct worker *w,
                 int64_t now_ms)
{
    const struct worker *home = t->before.session ? coord_session(c, t->before.session) : NULL;

    if (!fits_wherever(c, t, w, now_ms))
        return false;
    if (!home || home == w || gang_size_of(t) > 1 || !works(home) || !home->credits ||
        home->reserved || (is_busy(home) && !is_busy(w)))
        return true;
    return !fits_wherever(c, t, home, now_ms);
}

/* The first frame of the job that waits for its turn and is for this worker; NULL: none. */
static int next_frame(const struct coord *c, const struct job_entry *j, const struct worker *w,
                      int64_t now_ms, struct task_entry **ret_task, struct err *e)
{
    int rc = 0;

    *ret_task = NULL;
    if (j->frames == 1)
        return 0;
    for (struct task_entry *t = c->ready_first; t && !*ret_task; t = t->next) {
        if (t->job != j || !chain_takes_turns(t))
            continue;
        TRY(needs_known(t, now_ms, e));
        if (fits(c, t, w, now_ms))
            *ret_task = t;
    }
out:
    return rc;
}

/* Priority, and a step more for every SCHED_AGE_MS without a lease. */
static int64_t urgency(const struct job_entry *j, int64_t now_ms)
{
    return j->priority + (now_ms - j->leased_ms) / SCHED_AGE_MS;
}

/* What the worker has ready is used there as long as others have not waited for too many leases. */
static bool stays(const struct job_entry *j, const struct worker *w, uint64_t least)
{
    if (!w->resident.model_key || j->pass > least + SCHED_SLACK)
        return false;
    for (uint64_t i = 0; i < j->queue.groups.n; i++)
        if (!j->queue.lots[i].over &&
            abilities_same_all(&w->abilities, &w->resident, &j->queue.lots[i].needs))
            return true;
    return false;
}

/*
 * By when the job must be over, if that is in danger: at its rate of late (none: in danger) what is
 * open takes more than RISK of the time left. INT64_MAX: it has no such deadline.
 */
static int64_t endangered_ms(const struct coord *c, const struct job_entry *j, int64_t now_ms)
{
    const struct conduct *conduct = job_conduct(j->job);
    int64_t due_ms = j->submitted_ms + INT64_C(1000) * conduct->deadline_s - c->wall_offset_ms;
    double open = (double)(j->tasks - j->done - j->failed), rate = job_rate(j, now_ms);

    if (!conduct->deadline_s)
        return INT64_MAX;
    return rate > 0 && open / rate * 1000 < RISK * (double)(due_ms - now_ms) ? INT64_MAX : due_ms;
}

/* Whether a comes before b. */
static bool sooner(const struct coord *c, const struct job_entry *a, const struct job_entry *b,
                   const struct worker *w, uint64_t least, int64_t now_ms)
{
    int64_t due_a = endangered_ms(c, a, now_ms), due_b = endangered_ms(c, b, now_ms);

    bool first_a = queue_has_first(a), first_b = queue_has_first(b);
    int64_t urgent_a = urgency(a, now_ms), urgent_b = urgency(b, now_ms);
    bool stays_a, stays_b;

    if (first_a != first_b)
        return first_a;
    if (urgent_a != urgent_b)
        return urgent_a > urgent_b;
    if (due_a != due_b)
        return due_a < due_b;
    stays_a = stays(a, w, least);
    stays_b = stays(b, w, least);
    if (stays_a != stays_b)
        return stays_a;
    return a->pass != b->pass ? a->pass < b->pass : a->number < b->number;
}

/* Some frame of the job waits for its turn; whether this worker's is another question. */
static bool has_frames(const struct coord *c, const struct job_entry *j)
{
    const struct task_entry *t = j->frames > 1 ? c->ready_first : NULL;

    while (t && (t->job != j || !chain_takes_turns(t) || !chain_is_open(t)))
        t = t->next;
    return t != NULL;
}

static bool has_untouched(const struct coord *c, const struct job_entry *j, const struct worker *w,
                          int64_t now_ms)
{
    return job_takes_leases(j, now_ms) &&
           ((j->queue.left > 0 && queue_may_suit(&j->queue, w)) || has_frames(c, j));
}

/* Of a job that was not begun, what its first lot needs stands for the rest (stays()). */
static int first_needs_known(struct job_entry *j, struct err *e)
{
    struct needs needs;

    return j->queue.described ? 0 : queue_needs(j, 0, &needs, e);
}

/* The job whose turn it is, of those numbered differently from `tried`; NULL: none. */
static int next_job(const struct coord *c, const struct worker *w, int64_t now_ms,
                    const uint64_t *tried, size_t n_tried, struct job_entry **ret_job,
                    struct err *e)
{
    struct job_entry *best = NULL;
    uint64_t least = UINT64_MAX;
    int rc = 0;

    for (size_t i = 0; i < c->n_jobs; i++)
        if (has_untouched(c, c->jobs[i], w, now_ms) && c->jobs[i]->pass < least)
            least = c->jobs[i]->pass;
    for (size_t i = 0; i < c->n_jobs; i++) {
        struct job_entry *j = c->jobs[i];
        bool known = false;

        for (size_t k = 0; k < n_tried; k++)
            known |= tried[k] == j->number;
        if (known || !has_untouched(c, j, w, now_ms))
            continue;
        TRY(first_needs_known(j, e));
        if (!best || sooner(c, j, best, w, least, now_ms))
            best = j;
    }
out:
    *ret_job = best;
    return rc;
}

/* The next task of the job that nobody has touched and this worker may have; NULL: none now. */
static int take(struct coord *c, struct job_entry *j, const struct worker *w, int64_t now_ms,
                struct task_entry **ret_task, struct err *e)
{
    uint64_t lot;
    int rc = 0;

    *ret_task = NULL;
    if (queue_has_first(j) && w->blocks.n == 0 && w->lacks.n == 0)
        TRY(queue_take_first(c, j, w, ret_task, e));
    if (!*ret_task)
        TRY(next_frame(c, j, w, now_ms, ret_task, e));
    while (!*ret_task && j->queue.left) {
        uint64_t k;

        TRY(queue_lot(j, w, false, &lot, e));
        if (lot == j->queue.groups.n) {
            TRY(queue_lot(j, w, true, &lot, e));
            if (lot == j->queue.groups.n ||
                unbarred_elsewhere(c, &j->queue.lots[lot].needs, NULL, w))
                break;
        }
        k = j->queue.lots[lot].k;
        TRY(queue_take(c, j, w, lot, ret_task, e));
        if (!*ret_task && !j->queue.lots[lot].over && j->queue.lots[lot].k == k)
            break;
        if (!*ret_task && !j->queue.lots[lot].over)
            break; /* a long run of settled ones: more looks next time */
    }
out:
    return rc;
}

/* A gang is wanted that cannot be formed now. */
static bool lacks_gang(const struct coord *c, struct worker *w, const struct gang_need *g)
{
    struct worker *members[MSG_GANG_MAX];

    return g->n > 1 && !gang_find(c, w, g, members);
}

/* The task for this worker; NULL: the gang that it needs is not there, and whether w waits for it.
 */
static int or_wait(const struct coord *c, struct worker *w, struct task_entry *t,
                   struct task_entry **ret_task, bool *ret_waits, struct err *e)
{
    struct task task = {0};
    struct gang_need g;
    bool lacks;
    int rc = 0;

    if (!t->needs.model_key)
        TRY(sched_describe(t, &task, e));
    g = gang_need_of(t, gang_size_of(t));
    lacks = lacks_gang(c, w, &g);
    *ret_waits = lacks && gang_waits(c, w, &g);
    *ret_task = lacks ? NULL : t;
out:
    task_done(&task);
    return rc;
}

/* ret_waits: nothing, since a gang waits for the worker. */
static int pick(struct coord *c, struct worker *w, int64_t now_ms, struct task_entry **ret_task,
                bool *ret_waits, struct err *e)
{
    uint64_t tried[SCHED_JOBS_TRIED];
    struct task_entry *frame = NULL;
    struct gang_need g;
    struct job_entry *j;
    size_t lacking = 0;
    int rc = 0;

    *ret_task = NULL;
    *ret_waits = false;
    for (struct task_entry *t = c->ready_first; t; t = t->next) {
        if (chain_takes_turns(t))
            continue;
        TRY(needs_known(t, now_ms, e));
        if (!fits(c, t, w, now_ms))
            continue;
        TRY(or_wait(c, w, t, ret_task, ret_waits, e));
        if (*ret_task || *ret_waits)
            return 0;
        lacking++;
    }
    for (size_t n = 0; n < SCHED_JOBS_TRIED && !*ret_task && !*ret_waits; n++) {
        TRY(next_job(c, w, now_ms, tried, n, &j, e));
        if (!j)
            break;
        tried[n] = j->number;
        if (!queue_has_first(j))
            TRY(next_frame(c, j, w, now_ms, &frame, e));
        if (frame) {
            TRY(or_wait(c, w, frame, ret_task, ret_waits, e));
            frame = NULL;
            continue;
        }
        if (gang_size(j) > 1) { /* else the worker might wait for a gang that it is no part of */
            TRY(queue_describe(j, e));
            if (!queue_may_suit(&j->queue, w))
                continue;
        }
        if (gang_size(j) > 1 && lacking >= LACKING_MAX)
            continue;
        g = (struct gang_need){.n = gang_size(j), .precisions = queue_precisions(&j->queue)};
        if (!lacks_gang(c, w, &g))
            TRY(take(c, j, w, now_ms, ret_task, e));
        else
            *ret_waits = gang_waits(c, w, &g);
        if (*ret_task &&
            gang_size(j) >
                1) /* now that the task is known, so are the workers that may not have it */
            TRY(or_wait(c, w, *ret_task, ret_task, ret_waits, e));
    }
    if (*ret_task) {
        (*ret_task)->job->pass++;
        (*ret_task)->job->leased_ms = now_ms;
    }
out:
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

        if (!works(w))
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
        TRY(pick(c, w, now_ms, &t, &waits, e));
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

            if (!works(w) || !w->credits || w->reserved)
                continue;
            TRY(pick(c, w, now_ms, &t, &waits, e));
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
