/* Results on their way to the disk: attempts.h. */
#include "coordinator/attempts.h"
#include "coordinator/chains.h"

#include <math.h>

#define RETRY_DELAY_MS     2000 /* first pause when the disk refuses; doubles */
#define RETRY_DELAY_MAX_MS 30000
#define SECONDS_MAX        1e9 /* of what a worker says that a render took */

/* No clock measures better, and 0.199 reads better than 0.19889885100000002. */
static double milliseconds(double seconds)
{
    return round(fmin(fmax(seconds, 0), SECONDS_MAX) * 1000) / 1000;
}

static int delivery_new(const struct task_entry *t, const struct worker *w,
                        const struct msg_result *m, struct delivery **ret_delivery, struct err *e)
{
    struct delivery *d = calloc(1, sizeof *d);
    struct buf path = {0}, text = {0};
    struct task task = {0};
    int rc = 0;

    if (!d) {
        rc = err_set(e, ERR_OOM, "no memory for a result");
        goto out;
    }
    d->job = t->job->number;
    d->index = t->index;
    d->attempt = m->ref.attempt;
    d->peer = w->peer;
    d->session = w->session;
    d->png = malloc(m->png_size ? m->png_size : 1);
    d->png_size = m->png_size;
    d->black = m->black;
    TRY(job_path(t->job->job, t->index, &path, e));
    TRY(job_task(t->job->job, t->index, &task, e));
    TRY(chain_start_named(t, &task, e));
    task_size(&task, &d->width, &d->height);
    memcpy(d->record.before, t->before.sha256, sizeof d->record.before);
    task_to_json(&task, &text);
    TRY(record_picture(&d->record, buf_text(&path), w->name, m->device_class, m->precision, e));
    d->path = buf_detach(&path);
    d->task = buf_detach(&text);
    if (!d->png || !d->path || !d->task) {
        rc = err_set(e, ERR_OOM, "no memory for a result of %zu bytes", m->png_size);
        goto out;
    }
    memcpy(d->png, m->png, m->png_size);
    d->record.index = t->index;
    d->record.attempt = m->ref.attempt;
    memcpy(d->record.sha256, m->sha256, HASH_HEX_SIZE);
    d->record.bytes = m->png_size;
    d->record.load_seconds = milliseconds(m->load_seconds);
    d->record.render_seconds = milliseconds(m->render_seconds);
    *ret_delivery = d;
    d = NULL;
out:
    task_done(&task);
    buf_done(&path);
    buf_done(&text);
    delivery_free(d);
    return rc;
}

int on_result(struct coord *c, struct worker *w, const struct msg_result *m, int64_t now_ms,
              struct outbox *o, struct err *e)
{
    struct delivery *d = NULL;
    struct task_entry *t;
    const char *verdict;
    struct run *r;
    struct out *out;
    int rc;

    w->active_ms = now_ms;
    t = task_named(c, &m->ref, &verdict);
    if (!t)
        return attempt_dismiss(c, w, &m->ref, verdict, o, e);
    if (!chain_is_open(t)) /* after a restart, until the store has told: it comes again */
        return 0;
    r = run_numbered(t, m->ref.attempt);
    if (run_is_anothers(c, r, w))
        return attempt_dismiss(c, w, &m->ref, verdict, o, e);
    if (t->phase == TASK_WRITING) { /* answered when the first one is durable */
        if (r && r->session == w->session)
            r->finished = true;
        return 0;
    }
    TRY(delivery_new(t, w, m, &d, e));
    if (r)
        memcpy(d->record.task_hash, r->task_hash, sizeof d->record.task_hash);
    TRY(outbox_add(o, OUT_WRITE, &out, e));
    out->delivery = d;
    d->late = !r;
    if (r)
        run_remove(c, t, r);
    task_to(c, t, TASK_WRITING);
out:
    return rc;
}

/* The disk refused: the picture waits here, and its job with it, while there is room. */
static int delivery_hold(struct coord *c, struct delivery *d, struct job_entry *j,
                         struct task_entry *t, const struct err *why, int64_t now_ms,
                         struct outbox *o, struct err *e)
{
    struct worker *w = coord_session(c, d->session);
    bool news = !j->wait_reason || strcmp(j->wait_reason, why->text) != 0;
    int rc = 0;

    if (c->retry_ms <= now_ms) {
        c->retry_delay_ms = c->retry_delay_ms ? c->retry_delay_ms * 2 : RETRY_DELAY_MS;
        if (c->retry_delay_ms > RETRY_DELAY_MAX_MS)
            c->retry_delay_ms = RETRY_DELAY_MAX_MS;
        c->retry_ms = now_ms + c->retry_delay_ms;
    }
    if (news)
        TRY(outbox_log(o, LOG_ERROR, e, "job_waits", "job=%.12s name=%s reason=\"%s\"", j->hash,
                       j->name, why->text));
    TRY(job_wait(j, c->retry_ms + 1000, why->text, e));
    if (c->stuck_bytes + d->png_size <= c->limits.stuck_bytes) {
        c->stuck_bytes += d->png_size;
        d->next = c->stuck;
        c->stuck = d;
        return 0;
    }
    if (w)
        TRY(send_revoke(c, o, w, t, d->attempt, e));
    t->not_before_ms = c->retry_ms;
    task_to(c, t, t->n_runs ? TASK_RUNNING : TASK_READY);
out:
    delivery_free(d);
    return rc;
}

static int delivery_refused(struct coord *c, struct delivery *d, struct task_entry *t,
                            const struct err *why, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct worker *w = coord_session(c, d->session);
    struct msg_failed failed = {.code = err_name(why->code), .text = why->text, .retryable = true};
    int rc = 0;

    memcpy(failed.ref.job, t->job->hash, sizeof failed.ref.job);
    failed.ref.index = t->index;
    failed.ref.attempt = d->attempt;
    TRY(send_ack(o, &d->peer, t->job->hash, t->index, d->attempt, "unknown", e));
    if (why->code == ERR_CONFLICT) {
        TRY(task_fail(c, t, w, err_name(ERR_INPUT), why->text, now_ms, o, e));
        goto out;
    }
    task_to(c, t, TASK_RUNNING);
    if (w && !d->late)
        TRY(attempt_failed(c, t, w, &failed, 0, now_ms, o, e));
    else
        task_free_if_idle(c, t);
out:
    return rc;
}

static struct task_entry *task_of(const struct coord *c, const struct delivery *d)
{
    struct job_entry *j = coord_job(c, d->job);
    struct task_entry *t = j && j->phase == JOB_RUNNING ? coord_task(c, j, d->index) : NULL;

    return t && t->phase == TASK_WRITING ? t : NULL;
}

bool reactor_wants(const struct coord *c, const struct delivery *d)
{
    return task_of(c, d) != NULL;
}

/* Its job was cancelled or given up while the picture waited; NULL: removed since. */
static int delivery_dismiss(struct coord *c, const struct delivery *d, const struct job_entry *j,
                            struct outbox *o, struct err *e)
{
    c->count.unknown++;
    return j ? send_ack(o, &d->peer, j->hash, d->index, d->attempt, "unknown", e) : 0;
}

int on_written(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
               struct err *e)
{
    struct delivery *d = event->delivery;
    struct job_entry *j = coord_job(c, d->job);
    struct task_entry *t = task_of(c, d);
    struct worker *w = coord_session(c, d->session);
    int rc = 0;

    if (!t) {
        rc = delivery_dismiss(c, d, j, o, e);
        goto out;
    }
    if (event->failure.code == ERR_CANCELLED) { /* of another life of its chain */
        c->count.unknown++;
        TRY(send_ack(o, &d->peer, j->hash, d->index, d->attempt, "unknown", e));
        task_to(c, t, TASK_RUNNING);
        task_free_if_idle(c, t);
        goto out;
    }
    if (event->failure.code == ERR_CONFLICT || event->failure.code == ERR_OUTPUT) {
        TRY(delivery_refused(c, d, t, &event->failure, now_ms, o, e));
        goto out;
    }
    if (event->failure.code != 0)
        return delivery_hold(c, d, j, t, &event->failure, now_ms, o, e);
    if (d->black)
        TRY(outbox_log(o, LOG_WARN, e, "black_picture", "job=%.12s index=%llu path=\"%s\"", j->hash,
                       (unsigned long long)d->index, d->path));
    c->retry_delay_ms = 0;
    TRY(job_wait(j, 0, NULL, e));
    c->count.accepted++;
    if (w) {
        w->done++;
        block_lift(&w->blocks, t->needs.model_key, t->needs.pixels);
        if (d->record.load_seconds > 0)
            speed_learn(&w->loads, t->needs.model_key, d->record.load_seconds * 1000);
    }
    t->holder = d->session;
    TRY(task_settle(c, j, &d->record, now_ms, o, e));
    TRY(send_ack(o, &d->peer, j->hash, d->index, d->attempt, "accepted", e));
out:
    delivery_free(d);
    return rc;
}
