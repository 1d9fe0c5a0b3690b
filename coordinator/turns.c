#include "coordinator/turns.h"

#include "coordinator/chains.h"

#define RISK 0.75 /* of the time left, that what is open may take */

bool job_takes_leases(const struct job_entry *j, int64_t now_ms)
{
    return j->phase == JOB_RUNNING && !j->paused && !(j->wait_reason && now_ms < j->wait_until_ms);
}

/* Priority, and a step more for every TURNS_AGE_MS without a lease. */
static int64_t urgency(const struct job_entry *j, int64_t now_ms)
{
    return j->priority + (now_ms - j->leased_ms) / TURNS_AGE_MS;
}

/* What the worker has ready is used there as long as others have not waited for too many leases. */
static bool stays(const struct job_entry *j, const struct worker *w, uint64_t least)
{
    if (!w->resident.model_key || j->pass > least + TURNS_SLACK)
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

int turns_next(const struct coord *c, const struct worker *w, int64_t now_ms, const uint64_t *tried,
               size_t n_tried, struct job_entry **ret_job, struct err *e)
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
