#include "coordinator/tail.h"

#include "coordinator/assets.h"
#include "coordinator/attempts.h"
#include "coordinator/chains.h"
#include "coordinator/sched.h"

#define LOAD_UNKNOWN_MS 20000 /* opening a model that nobody has opened yet */

/* One step of the task on that worker; 0: nothing was learned. */
static double step_ms(const struct worker *w, const struct task_entry *t)
{
    double known = speed_ms(&w->speeds, t->speed_key);

    return known > 0 ? known : w->pace_ms * (double)t->needs.pixels / 1e6;
}

/* The whole task on a worker that does nothing else; 0: unknown. */
static double whole_ms(const struct worker *w, const struct task_entry *t)
{
    double load = 0;

    if (!abilities_same_model(&w->abilities, &w->resident, &t->needs)) {
        load = speed_ms(&w->loads, t->needs.model_key);
        load = load > 0 ? load : LOAD_UNKNOWN_MS;
    }
    return step_ms(w, t) > 0 ? load + step_ms(w, t) * t->steps : 0;
}

/* What worker v needs until it has done its at-th task; 0: unknown. What it has begun steps
 * together; what waits will go in batches too. */
static double left_ms(const struct worker *v, size_t at, int64_t now_ms)
{
    double begun = 0, waiting = 0;

    for (size_t i = 0; i <= at; i++) {
        struct task_entry *t = v->tasks[i];
        const struct run *r = run_of(t, v);
        double step = step_ms(v, t), part = step * t->steps;

        if (step <= 0)
            return 0;
        if (!r->started) {
            waiting += part;
            continue;
        }
        part =
            step * (r->steps > r->step ? r->steps - r->step : 0) - (double)(now_ms - v->active_ms);
        begun = part > begun ? part : begun;
    }
    return begun + waiting / v->batch;
}

static bool may_try(const struct task_entry *t, const struct worker *w)
{
    return t->phase == TASK_RUNNING && t->n_runs == 1 && t->job->phase == JOB_RUNNING &&
           !t->job->paused && !t->job->wait_reason && t->steps > 0 && chain_is_open(t) &&
           chain_suits(t, w) && !task_refused_by(t, w->session) &&
           abilities_suit(&w->abilities, &t->needs) && !worker_is_barred(w, &t->needs) &&
           (t->memory_over == 0 || w->memory_bytes == 0 || w->memory_bytes > t->memory_over);
}

/* The task whose end would come sooner by the most. */
static struct task_entry *best_gain(const struct coord *c, const struct worker *w, int64_t now_ms)
{
    struct task_entry *best = NULL;
    double best_gain = TAIL_LEAST_MS;

    for (size_t i = 0; i < c->n_workers; i++) {
        const struct worker *v = c->workers[i];

        for (size_t k = 0; v != w && !v->lost && k < v->n_tasks; k++) {
            double left, own;

            if (!may_try(v->tasks[k], w))
                continue;
            left = left_ms(v, k, now_ms);
            own = whole_ms(w, v->tasks[k]);
            if (own <= 0 || left < TAIL_GAIN * own || left - own <= best_gain)
                continue;
            best = v->tasks[k];
            best_gain = left - own;
        }
    }
    return best;
}

int tail_speculate(struct coord *c, struct worker *w, int64_t now_ms, struct outbox *o,
                   bool *ret_gave, struct err *e)
{
    struct task_entry *t = best_gain(c, w, now_ms);
    struct task task = {0};
    struct buf text = {0};
    bool ready;
    int rc = 0;

    if (!t)
        return 0;
    TRY(sched_describe(t, &task, e));
    TRY(assets_ready(c, &task, now_ms, &ready, o, e));
    if (!ready || chain_is_torn(c, t, NULL))
        goto out; /* its files are looked at first: the next round finds them */
    TRY(chain_start_named(t, &task, e));
    task_to_json(&task, &text);
    TRY(buf_check(&text, e));
    w->credits--;
    worker_prepares(w, t);
    c->count.seconds++;
    TRY(outbox_log(o, LOG_INFO, e, "second_attempt", "job=%.12s index=%llu worker=%s", t->job->hash,
                   (unsigned long long)t->index, w->name));
    TRY(sched_lease(c, w, t, buf_text(&text), now_ms, o, e));
    *ret_gave = true;
out:
    task_done(&task);
    buf_done(&text);
    return rc;
}
