/* Jobs and workers as clients see them: requests.h. */
#include "coordinator/requests.h"

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
        .priority = j->priority,
        .reason = j->wait_reason   ? j->wait_reason
                  : j->reopening   ? "its pictures are looked at before it goes on"
                  : j->stop_reason ? j->stop_reason
                                   : j->hashing,
    };
    memcpy(s->job, j->hash, sizeof s->job);
    if (j->phase == JOB_RUNNING && settled == 0 && j->running == 0)
        s->state = "queued";
    if (j->reopening && j->phase != JOB_RUNNING)
        s->state = "waiting";
    else if (j->phase == JOB_RUNNING && j->paused)
        s->state = "paused";
    else if (j->phase == JOB_RUNNING && j->wait_reason)
        s->state = "waiting";
    s->pending = j->tasks - settled - j->running;
    s->eta_seconds = s->pending + s->running == 0 ? 0
                     : rate > 0                   ? (double)(s->pending + s->running) / rate
                                                  : -1;
    return buf_check(folder, e);
}

int on_list(struct coord *c, const struct peer *peer, const struct msg_list *m, int64_t now_ms,
            struct outbox *o, struct err *e)
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
        .fetched = r->started ? 0 : r->fetched,
        .fetch_bytes = r->started ? 0 : r->fetch_bytes,
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
int send_job(struct coord *c, const struct peer *peer, uint64_t request, const struct job_entry *j,
             int64_t now_ms, struct outbox *o, struct err *e)
{
    struct msg m = {.type = MSG_JOB, .job = {.request = request}};
    struct failure failures[COORD_FAILURES_SHOWN];
    struct conduct wish = {.gang = j->gang, .shape = j->gang_shape};
    char gang[CONDUCT_GANG_TEXT];
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
                                         .tasks = j->failures[i].tasks,
                                         .code = j->failures[i].code,
                                         .text = j->failures[i].text};
    conduct_gang_text(&wish, gang);
    m.job.gang = gang;
    m.job.gang_speedup = j->gang_speedup;
    m.job.gang_step_ms = j->gang_step_ms;
    m.job.failures = failures;
    m.job.n_failures = n;
    TRY(outbox_send(o, peer, &m, e));
out:
    buf_done(&folder);
    free(rows);
    return rc;
}

static int worker_row_fill(const struct coord *c, const struct worker *w, int64_t now_ms,
                           struct worker_row *row, struct err *e)
{
    struct running_task *rows = calloc(w->n_tasks ? w->n_tasks : 1, sizeof *rows);
    struct block_row *blocks = calloc(w->blocks.n ? w->blocks.n : 1, sizeof *blocks);
    size_t n_blocks = 0;

    row->running = rows;
    row->blocks = blocks;
    if (!rows || !blocks)
        return err_set(e, ERR_OOM, "no memory for a list of workers");
    for (size_t i = 0; i < w->blocks.n; i++)
        if (block_is_full(&w->blocks.at[i]))
            blocks[n_blocks++] = (struct block_row){.model = w->blocks.at[i].model,
                                                    .code = err_name(w->blocks.at[i].code),
                                                    .pixels = w->blocks.at[i].pixels,
                                                    .tasks = w->blocks.at[i].n};
    *row = (struct worker_row){
        .name = w->name,
        .device = w->device,
        .device_class = w->device_class,
        .software = w->software,
        .state = w->lost      ? "lost"
                 : w->leaving ? "leaving"
                 : w->n_tasks ? "busy"
                              : "idle",
        .done = w->done,
        .failed = w->failed,
        .connected_ms = (uint64_t)(now_ms - w->joined_ms),
        .silent_ms = (uint64_t)(now_ms - w->heard_ms),
        .blocks = blocks,
        .n_blocks = n_blocks,
        .running = rows,
        .n_running = w->n_tasks < MSG_PAGE_MAX ? w->n_tasks : MSG_PAGE_MAX,
    };
    for (size_t i = 0; i < row->n_running; i++) {
        rows[i] = running_row(c, w->tasks[i], run_of(w->tasks[i], w), now_ms);
        memcpy(rows[i].ref.job, w->tasks[i]->job->hash, sizeof rows[i].ref.job);
    }
    return 0;
}

int send_fleet(struct coord *c, const struct peer *peer, uint64_t request, int64_t now_ms,
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
    for (size_t i = 0; rows && i < n; i++) {
        free(rows[i].running);
        free(rows[i].blocks);
    }
    free(rows);
    return rc;
}
