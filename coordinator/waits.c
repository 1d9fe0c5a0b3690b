#include "coordinator/waits.h"

#include "coordinator/chains.h"
#include "coordinator/gangs.h"

/* As bits: precisions of the job's tasks that nobody is at. 0: not known, or there are none. */
static unsigned waiting(const struct coord *c, const struct job_entry *j)
{
    unsigned precisions = queue_precisions(&j->queue);

    if (j->queue.described < j->queue.groups.n)
        return 0;
    for (const struct task_entry *t = c->ready_first; t; t = t->next) {
        if (t->job != j)
            continue;
        if (!t->needs.model_key)
            return 0;
        precisions |= 1u << t->needs.precision;
    }
    return precisions;
}

static int tell_gang(const struct coord *c, struct job_entry *j, int64_t now_ms, struct err *e)
{
    char text[160];

    if (gang_size(j) == 1 || j->wait_reason || gang_possible(c, gang_size(j), waiting(c, j)))
        return 0;
    snprintf(text, sizeof text,
             "a gang of %zu needs as many workers of one device class on one host, or with "
             "--gang-address",
             gang_size(j));
    return job_wait(j, now_ms, text, e);
}

/* As bits: precisions that some connected worker renders. */
static unsigned rendered(const struct coord *c)
{
    const unsigned all = (1u << PRECISION_COUNT) - 1;
    unsigned there = 0;

    for (size_t i = 0; i < c->n_workers && there != all; i++)
        for (int p = 0; p < PRECISION_COUNT && !c->workers[i]->lost && !c->workers[i]->leaving; p++)
            if (abilities_render(&c->workers[i]->abilities, (enum precision)p))
                there |= 1u << p;
    return there;
}

/* As bits: precisions that the job's tasks ask for, of which none is rendered and all wait. 0:
 * something is done for the job, nothing is left, or it is not known. */
static unsigned asked_for(const struct coord *c, const struct job_entry *j, unsigned there)
{
    uint64_t busy = 0;
    unsigned asked;

    if (j->paused || j->queue.described < j->queue.groups.n)
        return 0;
    asked = queue_precisions(&j->queue);
    if (asked & there) /* as with nearly all jobs that wait */
        return 0;
    for (uint64_t i = 0; i < j->queue.groups.n; i++)
        busy += j->queue.lots[i].in_flight;
    for (const struct task_entry *t = c->ready_first; t; t = t->next) {
        if (t->job != j)
            continue;
        if (!t->needs.model_key)
            return 0; /* the next look at it will tell */
        asked |= 1u << t->needs.precision;
        busy--;
    }
    return busy || (asked & there) ? 0 : asked;
}

static void list(struct buf *text, unsigned precisions)
{
    for (int i = 0; i < PRECISION_COUNT; i++)
        if (precisions >> i & 1)
            buf_printf(text, "%s%s", buf_text(text)[text->size - 1] == ' ' ? "" : ", ",
                       precision_name((enum precision)i));
}

static bool told(const struct job_entry *j)
{
    return j->wait_reason &&
           strncmp(j->wait_reason, MSG_NOBODY_RENDERS, strlen(MSG_NOBODY_RENDERS)) == 0;
}

static int tell_precision(const struct coord *c, struct job_entry *j, unsigned there,
                          int64_t now_ms, struct err *e)
{
    unsigned asked;
    struct buf text = {0};
    int rc = 0;

    if (j->wait_reason && !told(j))
        return 0;
    asked = there ? asked_for(c, j, there) : 0;
    if (!asked)
        return told(j) ? job_wait(j, 0, NULL, e) : 0;
    if (told(j))
        return 0;
    buf_puts(&text, MSG_NOBODY_RENDERS "precision ");
    list(&text, asked);
    buf_puts(&text, "; they render ");
    list(&text, there);
    TRY(buf_check(&text, e));
    rc = job_wait(j, now_ms, buf_text(&text), e);
out:
    buf_done(&text);
    return rc;
}

static bool anybody_suits(const struct coord *c, const struct task_entry *t)
{
    for (size_t i = 0; i < c->n_workers; i++)
        if (!c->workers[i]->lost && !c->workers[i]->leaving && chain_suits(t, c->workers[i]))
            return true;
    return false;
}

/* All that is left are frames of chains whose device class nobody has. */
static int tell_class(const struct coord *c, struct job_entry *j, int64_t now_ms, struct err *e)
{
    const char *device_class = NULL;
    char text[400];

    if (j->frames == 1 || j->wait_reason || j->paused || j->queue.left > 0)
        return 0;
    for (const struct task_entry *t = c->ready_first; t; t = t->next) {
        if (t->job != j || !chain_is_open(t))
            continue;
        if (!t->before.device_class || !t->needs.model_key || anybody_suits(c, t))
            return 0;
        device_class = t->before.device_class;
    }
    if (!device_class)
        return 0;
    snprintf(text, sizeof text,
             MSG_NOBODY_RENDERS
             "in the device class '%.200s', which began the chains: all frames of "
             "a chain are of one class",
             device_class);
    return job_wait(j, now_ms, text, e);
}

static int tell(const struct coord *c, struct job_entry *j, unsigned there, int64_t now_ms,
                struct err *e)
{
    int rc = 0;

    if (j->phase != JOB_RUNNING)
        return 0;
    if (j->running > 0)
        return told(j) ? job_wait(j, 0, NULL, e) : 0;
    if (gang_size(j) > 1) /* which may be possible for other precisions only */
        TRY(queue_describe(j, e));
    TRY(tell_precision(c, j, there, now_ms, e));
    TRY(tell_gang(c, j, now_ms, e));
    TRY(tell_class(c, j, now_ms, e));
out:
    return rc;
}

int waits_tell(const struct coord *c, int64_t now_ms, struct err *e)
{
    unsigned there = rendered(c);
    int rc = 0;

    for (size_t i = 0; i < c->n_jobs && c->n_workers > 0; i++)
        TRY(tell(c, c->jobs[i], there, now_ms, e));
out:
    return rc;
}
