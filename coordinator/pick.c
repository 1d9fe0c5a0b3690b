#include "coordinator/pick.h"

#include "coordinator/chains.h"
#include "coordinator/gangs.h"
#include "coordinator/sched.h"
#include "coordinator/turns.h"

#define LACKING_MAX     8  /* tasks that came back and lack a gang: no more are begun meanwhile */
#define PICK_JOBS_TRIED 16 /* jobs that one worker is offered tasks of, at a time */

bool worker_takes_leases(const struct worker *w)
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

bool pick_could_have(const struct task_entry *t, const struct worker *w)
{
    return worker_takes_leases(w) && can_take(t, w);
}

bool pick_elsewhere(const struct coord *c, const struct task_entry *t, uint64_t session)
{
    size_t size = gang_size_of(t);

    if (size > 1)
        return gang_elsewhere(c, t, size, session);
    for (size_t i = 0; i < c->n_workers; i++)
        if (worker_takes_leases(c->workers[i]) && c->workers[i]->session != session &&
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

        if (v != w && worker_takes_leases(v) && abilities_suit(&v->abilities, n) &&
            !worker_is_barred(v, n) &&
            (!t || (can_take(t, v) && (failed_too || !task_refused_by(t, v->session)))))
            return true;
    }
    return false;
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
    return !t->only_elsewhere && !pick_elsewhere(c, t, w->session);
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
    if (!home || home == w || gang_size_of(t) > 1 || !worker_takes_leases(home) || !home->credits ||
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

int pick_task(struct coord *c, struct worker *w, int64_t now_ms, struct task_entry **ret_task,
              bool *ret_waits, struct err *e)
{
    uint64_t tried[PICK_JOBS_TRIED];
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
    for (size_t n = 0; n < PICK_JOBS_TRIED && !*ret_task && !*ret_waits; n++) {
        TRY(turns_next(c, w, now_ms, tried, n, &j, e));
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
