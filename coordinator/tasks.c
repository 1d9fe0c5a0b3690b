/* Tasks in flight and their runs: coord.h. */
#include "coordinator/coord.h"

static size_t bucket(const struct coord *c, uint64_t number, uint64_t index)
{
    uint64_t x = (index + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ number * UINT64_C(0xc2b2ae3d27d4eb4f);

    return (size_t)((x ^ x >> 29) & (c->n_buckets - 1));
}

struct task_entry *coord_task(const struct coord *c, const struct job_entry *j, uint64_t index)
{
    struct task_entry *t = c->buckets[bucket(c, j->number, index)];

    while (t && (t->job != j || t->index != index))
        t = t->chain;
    return t;
}

static void grow(struct coord *c)
{
    struct task_entry **old = c->buckets, **buckets = calloc(c->n_buckets * 2, sizeof *buckets);
    size_t n_old = c->n_buckets;

    if (!buckets)
        return; /* longer chains until there is memory again */
    c->buckets = buckets;
    c->n_buckets *= 2;
    for (size_t i = 0; i < n_old; i++) {
        while (old[i]) {
            struct task_entry *t = old[i];
            size_t at = bucket(c, t->job->number, t->index);

            old[i] = t->chain;
            t->chain = buckets[at];
            buckets[at] = t;
        }
    }
    free(old);
}

static void ready_append(struct coord *c, struct task_entry *t)
{
    t->next = NULL;
    t->previous = c->ready_last;
    if (c->ready_last)
        c->ready_last->next = t;
    else
        c->ready_first = t;
    c->ready_last = t;
}

static void ready_remove(struct coord *c, struct task_entry *t)
{
    if (t->previous)
        t->previous->next = t->next;
    else
        c->ready_first = t->next;
    if (t->next)
        t->next->previous = t->previous;
    else
        c->ready_last = t->previous;
    t->previous = t->next = NULL;
}

static bool counts_as_running(enum task_phase phase)
{
    return phase == TASK_RUNNING || phase == TASK_WRITING;
}

int coord_task_add(struct coord *c, struct job_entry *j, uint64_t index,
                   struct task_entry **ret_task, struct err *e)
{
    struct task_entry *t = calloc(1, sizeof *t);
    size_t at;

    if (!t)
        return err_set(e, ERR_OOM, "no memory for another task in flight");
    if (c->n_tasks > c->n_buckets / 2) /* a chain of two is two waits for memory */
        grow(c);
    t->job = j;
    t->index = index;
    t->phase = TASK_READY;
    t->later = job_frame(j->job, index) > 0;
    c->n_unlinked += t->later;
    t->runs = &t->one;
    if (j->queue.lots) {
        t->lot = groups_of(&j->queue.groups, index);
        j->queue.lots[t->lot].in_flight++;
    }
    at = bucket(c, j->number, index);
    t->chain = c->buckets[at];
    c->buckets[at] = t;
    c->n_tasks++;
    ready_append(c, t);
    *ret_task = t;
    return 0;
}

bool task_is_unlinked(const struct task_entry *t)
{
    return t->later && (!t->before.known || t->before.failure);
}

void coord_task_unawait(struct coord *c, struct task_entry *t)
{
    struct worker *w = t->awaits_assets ? coord_session(c, t->probe_session) : NULL;

    c->assets.waiting -= t->awaits_assets;
    t->awaits_assets = false;
    if (w) {
        w->credits++;
        w->probing -= w->probing > 0;
    }
}

uint32_t coord_awaited_by(const struct coord *c, const struct worker *w)
{
    uint32_t n = 0;

    for (size_t i = 0; c->assets.waiting && i < c->n_buckets; i++)
        for (const struct task_entry *t = c->buckets[i]; t; t = t->chain)
            n += t->awaits_assets && t->probe_session == w->session;
    return n;
}

void coord_task_remove(struct coord *c, struct task_entry *t)
{
    struct task_entry **link = &c->buckets[bucket(c, t->job->number, t->index)];

    while (t->n_runs)
        run_remove(c, t, &t->runs[t->n_runs - 1]);
    if (t->phase == TASK_READY)
        ready_remove(c, t);
    if (counts_as_running(t->phase))
        t->job->running--;
    coord_task_unawait(c, t);
    while (*link != t)
        link = &(*link)->chain;
    *link = t->chain;
    if (t->job->queue.lots)
        t->job->queue.lots[t->lot].in_flight--;
    c->n_tasks--;
    c->n_unlinked -= task_is_unlinked(t);
    free(t->before.device_class);
    free(t->before.failure);
    if (t->runs != &t->one)
        free(t->runs);
    free(t->fail_code);
    free(t->fail_text);
    free(t);
}

void coord_job_tasks_remove(struct coord *c, const struct job_entry *j)
{
    for (size_t i = 0; i < c->n_buckets; i++) {
        struct task_entry *t = c->buckets[i];

        while (t) {
            struct task_entry *chain = t->chain;

            if (t->job == j)
                coord_task_remove(c, t);
            t = chain;
        }
    }
}

void worker_prepares(struct worker *w, const struct task_entry *t)
{
    w->resident = t->needs;
    w->text = queue_text(t->job, t->index);
}

void task_to(struct coord *c, struct task_entry *t, enum task_phase phase)
{
    if (t->phase == phase)
        return;
    if (t->phase == TASK_READY)
        ready_remove(c, t);
    if (counts_as_running(t->phase))
        t->job->running--;
    t->phase = phase;
    if (phase == TASK_READY)
        ready_append(c, t);
    if (counts_as_running(phase))
        t->job->running++;
}

static bool runs_grow(struct task_entry *t)
{
    struct run *runs = malloc(COORD_RUNS_MAX * sizeof *runs);

    if (!runs)
        return false;
    memcpy(runs, t->runs, t->n_runs * sizeof *runs);
    t->runs = runs;
    return true;
}

int run_add(struct task_entry *t, uint32_t attempt, struct worker *w, int64_t now_ms,
            struct run **ret_run, struct err *e)
{
    struct run *r;

    *ret_run = NULL;
    if (t->n_runs == COORD_RUNS_MAX)
        return 0;
    if (t->n_runs == 1 && t->runs == &t->one && !runs_grow(t))
        return err_set(e, ERR_OOM, "no memory for another attempt");
    if (w && w->n_tasks == w->room) {
        size_t room = w->room ? w->room * 2 : 8;
        struct task_entry **tasks = realloc(w->tasks, room * sizeof *tasks);

        if (!tasks)
            return err_set(e, ERR_OOM, "no memory for a worker's lease");
        w->tasks = tasks;
        w->room = room;
    }
    if (w)
        w->tasks[w->n_tasks++] = t;
    r = &t->runs[t->n_runs++];
    *r = (struct run){.attempt = attempt, .session = w ? w->session : 0, .since_ms = now_ms};
    *ret_run = r;
    return 0;
}

struct run *run_of(struct task_entry *t, const struct worker *w)
{
    for (size_t i = 0; i < t->n_runs; i++)
        if (t->runs[i].session == w->session)
            return &t->runs[i];
    return NULL;
}

struct run *run_numbered(struct task_entry *t, uint32_t attempt)
{
    for (size_t i = 0; i < t->n_runs; i++)
        if (t->runs[i].attempt == attempt)
            return &t->runs[i];
    return NULL;
}

void run_remove(struct coord *c, struct task_entry *t, struct run *r)
{
    struct worker *w = r->session ? coord_session(c, r->session) : NULL;
    size_t at = (size_t)(r - t->runs);

    for (size_t i = 0; w && i < w->n_tasks; i++) {
        if (w->tasks[i] != t)
            continue;
        memmove(w->tasks + i, w->tasks + i + 1, (w->n_tasks - i - 1) * sizeof *w->tasks);
        w->n_tasks--;
        break;
    }
    memmove(t->runs + at, t->runs + at + 1, (t->n_runs - at - 1) * sizeof *t->runs);
    t->n_runs--;
}

bool task_refused_by(const struct task_entry *t, uint64_t session)
{
    uint32_t n = t->n_refused < COORD_REFUSED_MAX ? t->n_refused : COORD_REFUSED_MAX;

    for (uint32_t i = 0; i < n; i++)
        if (t->refused[i] == session)
            return true;
    return false;
}

void task_refuse(struct task_entry *t, uint64_t session)
{
    if (!task_refused_by(t, session))
        t->refused[t->n_refused++ % COORD_REFUSED_MAX] = session;
}
