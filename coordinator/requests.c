#include "coordinator/requests.h"

#include "coordinator/attempts.h"

int send_error(struct outbox *o, const struct peer *peer, uint64_t request, const struct err *why,
               struct err *e)
{
    struct msg m = {.type = MSG_ERROR,
                    .error = {.request = request, .code = err_name(why->code), .text = why->text}};

    return outbox_send(o, peer, &m, e);
}

static int submitted(struct job_entry *j, struct outbox *o, struct err *e)
{
    struct msg m = {.type = MSG_SUBMITTED};

    m.submitted.request = j->request;
    memcpy(m.submitted.job, j->hash, sizeof m.submitted.job);
    m.submitted.known = j->known;
    m.submitted.tasks = j->tasks;
    return outbox_send(o, &j->client, &m, e);
}

/* A job that is here already: one that runs is left alone, one that is over is looked at again. */
static int resubmit(struct job_entry *j, const struct peer *peer, uint64_t request,
                    struct outbox *o, struct err *e)
{
    struct out *out;
    struct err why;
    int rc = 0;

    if (j->phase == JOB_OPENING) {
        err_set(&why, ERR_CONFLICT, "job '%s' is being submitted by another client", j->name);
        return send_error(o, peer, request, &why, e);
    }
    j->client = *peer;
    j->request = request;
    j->known = true;
    if (j->phase == JOB_RUNNING || j->phase == JOB_FINISHING)
        return submitted(j, o, e);
    TRY(outbox_add(o, OUT_REOPEN, &out, e));
    out->job = j->number;
out:
    return rc;
}

static int on_submit(struct coord *c, const struct peer *peer, const struct msg_submit *m,
                     int64_t now_ms, struct outbox *o, struct err *e)
{
    struct err why = {0};
    struct job *job = NULL;
    struct job_entry *j;
    struct out *out;
    int rc;

    rc = job_load(m->bundle, m->bundle_size, &job, &why);
    if (rc != 0)
        return send_error(o, peer, m->request, &why, e);
    j = coord_job_by_hash(c, job_hash(job));
    if (j) {
        TRY(resubmit(j, peer, m->request, o, e));
        goto out;
    }
    TRY(coord_job_add(c, c->next_number, job, &j, e));
    job = NULL;
    j->client = *peer;
    j->request = m->request;
    j->submitted_ms = now_ms + c->wall_offset_ms;
    TRY(outbox_add(o, OUT_OPEN, &out, e));
    out->job = j->number;
    out->path = strdup(j->name);
    if (!out->path)
        rc = err_set(e, ERR_OOM, "no memory for a job's name");
    for (size_t i = 0; i < c->n_jobs && rc == 0; i++) {
        /* The plain folder belongs to another job of this state. */
        if (c->jobs[i]->folder && strcmp(c->jobs[i]->folder, j->name) == 0) {
            free(out->path);
            out->path = NULL;
        }
    }
out:
    job_free(job);
    return rc;
}

int on_opened(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e)
{
    struct job_entry *j = coord_job(c, event->job);
    struct out *out;
    int rc = 0;

    if (!j || j->phase != JOB_OPENING)
        return 0;
    if (event->failure.code != 0) {
        TRY(outbox_log(o, LOG_ERROR, e, "job_refused", "job=%.12s name=%s why=%s", j->hash, j->name,
                       event->failure.text));
        TRY(send_error(o, &j->client, j->request, &event->failure, e));
        coord_job_remove(c, j);
        goto out;
    }
    j->folder = strdup(event->text);
    TRY(outbox_add(o, OUT_STORE, &out, e));
    out->row.op = STORE_JOB;
    out->row.job = j->number;
    out->row.bundle = j->job;
    out->row.folder = strdup(event->text);
    out->row.submitted_ms = j->submitted_ms;
    if (!j->folder || !out->row.folder) {
        rc = err_set(e, ERR_OOM, "no memory for a job's folder");
        goto out;
    }
    j->phase = JOB_RUNNING;
    TRY(outbox_log(o, LOG_INFO, e, "job_submitted", "job=%.12s name=%s tasks=%llu", j->hash,
                   j->name, (unsigned long long)j->tasks));
    TRY(submitted(j, o, e));
    TRY(job_finish_if_over(c, j, now_ms, o, e));
out:
    return rc;
}

/* The job goes on with what is missing; counts and bits are the store's. */
int on_restored(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
                struct err *e)
{
    struct job_entry *j = coord_job(c, event->job);
    struct restored *r = event->restored;
    int rc = 0;

    if (!j || j->phase == JOB_RUNNING || j->phase == JOB_FINISHING)
        return 0;
    if (event->failure.code != 0)
        return send_error(o, &j->client, j->request, &event->failure, e);
    while (j->n_failures) {
        free(j->failures[--j->n_failures].code);
        free(j->failures[j->n_failures].text);
    }
    j->done = r->done;
    j->failed = r->failed;
    if (r->done == j->tasks) { /* nothing is missing: it stays over */
        TRY(submitted(j, o, e));
        goto out;
    }
    job_free(j->job);
    bits_done(&j->settled);
    j->job = r->job;
    r->job = NULL;
    j->settled = r->settled;
    r->settled = (struct bits){0};
    j->sweep = false;
    j->cursor = 0;
    j->finished_ms = 0;
    j->phase = JOB_RUNNING;
    /* Attempt numbers go on; whoever held one was told to stop. */
    for (size_t i = 0; i < r->n_attempts; i++)
        r->attempts[i].given = false;
    TRY(reactor_restore_attempts(c, j, r, now_ms, e));
    TRY(outbox_log(o, LOG_INFO, e, "job_reopened", "job=%.12s name=%s missing=%llu", j->hash,
                   j->name, (unsigned long long)(j->tasks - j->done)));
    TRY(job_persist(o, j, e));
    TRY(submitted(j, o, e));
    TRY(job_finish_if_over(c, j, now_ms, o, e));
out:
    return rc;
}

static double job_rate(const struct job_entry *j, int64_t now_ms)
{
    uint64_t n = j->n_recent < COORD_RECENT ? j->n_recent : COORD_RECENT;
    int64_t oldest;

    if (n < 2 || j->phase != JOB_RUNNING)
        return 0;
    oldest = j->recent_ms[(j->n_recent - n) % COORD_RECENT];
    return now_ms > oldest ? (double)(n - 1) * 1000.0 / (double)(now_ms - oldest) : 0;
}

/* Strings borrow from the entry and from folder, which the caller releases. */
static int summarize(const struct coord *c, const struct job_entry *j, int64_t now_ms,
                     struct job_summary *s, struct buf *folder, struct err *e)
{
    uint64_t settled = j->done + j->failed;
    double rate = job_rate(j, now_ms);

    buf_printf(folder, "%s/%s", c->out_dir, j->folder ? j->folder : "");
    *s = (struct job_summary){
        .name = j->name,
        .state = job_phase_name(j->phase),
        .tasks = j->tasks,
        .running = j->running,
        .done = j->done,
        .failed = j->failed,
        .submitted_ms = (uint64_t)j->submitted_ms,
        .finished_ms = (uint64_t)j->finished_ms,
        .rate = rate,
        .folder = buf_text(folder),
        .sheet = j->sheet ? j->sheet : "",
    };
    memcpy(s->job, j->hash, sizeof s->job);
    if (j->phase == JOB_RUNNING && settled == 0 && j->running == 0)
        s->state = "queued";
    s->pending = j->tasks - settled - j->running;
    s->eta_seconds = s->pending + s->running == 0 ? 0
                     : rate > 0                   ? (double)(s->pending + s->running) / rate
                                                  : -1;
    return buf_check(folder, e);
}

static int on_list(struct coord *c, const struct peer *peer, const struct msg_list *m,
                   int64_t now_ms, struct outbox *o, struct err *e)
{
    struct msg answer = {.type = MSG_JOBS, .jobs = {.request = m->request, .total = c->n_jobs}};
    struct job_summary *rows = calloc(m->limit ? m->limit : 1, sizeof *rows);
    struct buf *folders = calloc(m->limit ? m->limit : 1, sizeof *folders);
    size_t n = 0;
    int rc = 0;

    if (!rows || !folders) {
        rc = err_set(e, ERR_OOM, "no memory for a list of jobs");
        goto out;
    }
    for (uint64_t i = m->offset; i < c->n_jobs && n < m->limit; i++, n++)
        TRY(summarize(c, c->jobs[c->n_jobs - 1 - i], now_ms, &rows[n], &folders[n], e));
    answer.jobs.jobs = rows;
    answer.jobs.n_jobs = n;
    TRY(outbox_send(o, peer, &answer, e));
out:
    for (size_t i = 0; folders && i < m->limit; i++)
        buf_done(&folders[i]);
    free(folders);
    free(rows);
    return rc;
}

static struct running_task running_row(const struct coord *c, const struct task_entry *t,
                                       const struct run *r, int64_t now_ms)
{
    const struct worker *w = r->session ? coord_session(c, r->session) : NULL;

    return (struct running_task){
        .ref = {.index = t->index, .attempt = r->attempt},
        .worker = w ? w->name : "",
        .step = r->step,
        .steps = r->steps,
        .since_ms = (uint64_t)(now_ms - r->since_ms),
    };
}

static size_t running_rows(const struct coord *c, const struct job_entry *j, int64_t now_ms,
                           struct running_task *rows)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_buckets; i++) {
        for (const struct task_entry *t = c->buckets[i]; t; t = t->chain) {
            if (t->job != j)
                continue;
            for (size_t k = 0; k < t->n_runs && n < MSG_PAGE_MAX; k++)
                rows[n++] = running_row(c, t, &t->runs[k], now_ms);
        }
    }
    return n;
}

/*
 * One job. What keeps it waiting shows as its first failure, code "io", attempts 0: the tasks are
 * still pending.
 */
static int send_job(struct coord *c, const struct peer *peer, uint64_t request,
                    const struct job_entry *j, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct msg m = {.type = MSG_JOB, .job = {.request = request}};
    struct failure failures[COORD_FAILURES_SHOWN];
    struct running_task *rows = calloc(MSG_PAGE_MAX, sizeof *rows);
    struct buf folder = {0};
    size_t n = 0;
    int rc = 0;

    if (!rows) {
        rc = err_set(e, ERR_OOM, "no memory for a job's status");
        goto out;
    }
    TRY(summarize(c, j, now_ms, &m.job.summary, &folder, e));
    m.job.running = rows;
    m.job.n_running = running_rows(c, j, now_ms, rows);
    if (j->wait_reason)
        failures[n++] = (struct failure){.code = err_name(ERR_IO), .text = j->wait_reason};
    for (size_t i = 0; i < j->n_failures && n < COORD_FAILURES_SHOWN; i++)
        failures[n++] = (struct failure){.index = j->failures[i].index,
                                         .attempts = j->failures[i].attempts,
                                         .code = j->failures[i].code,
                                         .text = j->failures[i].text};
    m.job.failures = failures;
    m.job.n_failures = n;
    TRY(outbox_send(o, peer, &m, e));
out:
    buf_done(&folder);
    free(rows);
    return rc;
}

static int runs_revoke(struct coord *c, const struct job_entry *j, struct outbox *o, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < c->n_buckets; i++) {
        for (struct task_entry *t = c->buckets[i]; t; t = t->chain) {
            for (size_t k = 0; t->job == j && k < t->n_runs; k++) {
                struct worker *w = coord_session(c, t->runs[k].session);

                if (w)
                    TRY(send_revoke(c, o, w, t, t->runs[k].attempt, e));
            }
        }
    }
out:
    return rc;
}

/* A job that is over stays as it is. */
static int on_cancel(struct coord *c, const struct peer *peer, uint64_t request,
                     struct job_entry *j, int64_t now_ms, struct outbox *o, struct err *e)
{
    int rc = 0;

    if (j->phase == JOB_RUNNING || j->phase == JOB_FINISHING) {
        TRY(runs_revoke(c, j, o, e));
        coord_job_tasks_remove(c, j);
        TRY(job_wait(j, 0, NULL, e));
        j->phase = JOB_CANCELLED;
        j->finished_ms = now_ms + c->wall_offset_ms;
        j->sweep = true;
        TRY(outbox_log(o, LOG_INFO, e, "job_cancelled", "job=%.12s name=%s", j->hash, j->name));
        TRY(job_persist(o, j, e));
    }
    TRY(send_job(c, peer, request, j, now_ms, o, e));
out:
    return rc;
}

static int worker_row_fill(const struct coord *c, const struct worker *w, int64_t now_ms,
                           struct worker_row *row, struct err *e)
{
    struct running_task *rows = calloc(w->n_tasks ? w->n_tasks : 1, sizeof *rows);

    if (!rows)
        return err_set(e, ERR_OOM, "no memory for a list of workers");
    *row = (struct worker_row){
        .name = w->name,
        .device = w->device,
        .device_class = w->device_class,
        .software = w->software,
        .state = w->lost      ? "lost"
                 : w->n_tasks ? "busy"
                              : "idle",
        .done = w->done,
        .failed = w->failed,
        .connected_ms = (uint64_t)(now_ms - w->joined_ms),
        .silent_ms = (uint64_t)(now_ms - w->heard_ms),
        .running = rows,
        .n_running = w->n_tasks < MSG_PAGE_MAX ? w->n_tasks : MSG_PAGE_MAX,
    };
    for (size_t i = 0; i < row->n_running; i++) {
        rows[i] = running_row(c, w->tasks[i], run_of(w->tasks[i], w), now_ms);
        memcpy(rows[i].ref.job, w->tasks[i]->job->hash, sizeof rows[i].ref.job);
    }
    return 0;
}

static int on_workers(struct coord *c, const struct peer *peer, uint64_t request, int64_t now_ms,
                      struct outbox *o, struct err *e)
{
    size_t n = c->n_workers < MSG_FLEET_MAX ? c->n_workers : MSG_FLEET_MAX;
    struct msg m = {.type = MSG_FLEET, .fleet = {.request = request, .n_workers = n}};
    struct worker_row *rows = calloc(n ? n : 1, sizeof *rows);
    int rc = 0;

    if (!rows) {
        rc = err_set(e, ERR_OOM, "no memory for a list of workers");
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        TRY(worker_row_fill(c, c->workers[i], now_ms, &rows[i], e));
    m.fleet.workers = rows;
    TRY(outbox_send(o, peer, &m, e));
out:
    for (size_t i = 0; rows && i < n; i++)
        free(rows[i].running);
    free(rows);
    return rc;
}

static int answer_later(const struct peer *peer, const struct msg *m, const struct job_entry *j,
                        struct outbox *o, struct err *e)
{
    struct out *out;
    int rc;

    TRY(outbox_add(o, OUT_ANSWER, &out, e));
    out->peer = *peer;
    out->answer = m->type;
    out->job = j->number;
    out->request = m->type == MSG_FETCH ? m->fetch.request : m->records.request;
    out->index = m->type == MSG_FETCH ? m->fetch.index : 0;
    out->from = m->type == MSG_FETCH ? 0 : m->records.from;
    out->limit = m->type == MSG_FETCH ? 0 : m->records.limit;
out:
    return rc;
}

/* A request about one job. */
static int on_job_request(struct coord *c, const struct peer *peer, const struct msg *m,
                          int64_t now_ms, struct outbox *o, struct err *e)
{
    const char *typed = m->type == MSG_STATUS    ? m->status.job
                        : m->type == MSG_CANCEL  ? m->cancel.job
                        : m->type == MSG_RECORDS ? m->records.job
                                                 : m->fetch.job;
    uint64_t request = m->type == MSG_STATUS    ? m->status.request
                       : m->type == MSG_CANCEL  ? m->cancel.request
                       : m->type == MSG_RECORDS ? m->records.request
                                                : m->fetch.request;
    struct job_entry *j;
    struct err why;

    if (coord_job_find(c, typed, &j, &why) != 0)
        return send_error(o, peer, request, &why, e);
    if (m->type == MSG_STATUS)
        return send_job(c, peer, request, j, now_ms, o, e);
    if (m->type == MSG_CANCEL)
        return on_cancel(c, peer, request, j, now_ms, o, e);
    return answer_later(peer, m, j, o, e);
}

int on_request(struct coord *c, const struct peer *peer, const struct msg *m, int64_t now_ms,
               struct outbox *o, struct err *e)
{
    switch (m->type) {
    case MSG_SUBMIT:
        return on_submit(c, peer, &m->submit, now_ms, o, e);
    case MSG_LIST:
        return on_list(c, peer, &m->list, now_ms, o, e);
    case MSG_WORKERS:
        return on_workers(c, peer, m->workers.request, now_ms, o, e);
    default:
        return on_job_request(c, peer, m, now_ms, o, e);
    }
}
