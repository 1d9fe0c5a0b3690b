#include "coordinator/requests.h"

#include "coordinator/assets.h"
#include "coordinator/attempts.h"
#include "coordinator/chains.h"
#include "coordinator/controls.h"

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

static int answer_asked(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                        struct err *e)
{
    if (j->client.size == 0) /* who asked did so of a coordinator before this one */
        return 0;
    if (j->asked == MSG_RETRY)
        return send_job(c, &j->client, j->request, j, now_ms, o, e);
    return submitted(j, o, e);
}

int job_reopen(const struct coord *c, struct job_entry *j, enum reopen what, struct outbox *o,
               struct err *e)
{
    bool files = what == REOPEN_MISSING && c->limits.assets; /* did they change? */
    struct out *out;
    int rc;

    j->reopening = true;
    j->reopen = what;
    TRY(outbox_add(o, files ? OUT_ASSETS : OUT_REOPEN, &out, e));
    out->job = j->number;
    out->reopen = what;
out:
    return rc;
}

int job_reopen_for(struct job_entry *j, const struct peer *peer, uint64_t request,
                   enum msg_type asked, int64_t now_ms, struct outbox *o, struct err *e)
{
    bool same = j->client.size == peer->size && memcmp(j->client.id, peer->id, peer->size) == 0;
    struct err why;
    int rc = 0;

    if (j->client.size && !same) {
        err_set(&why, ERR_CONFLICT, "job '%s' was asked for by another client meanwhile", j->name);
        TRY(send_error(o, &j->client, j->request, &why, e));
    }
    if (!same)
        j->asked_ms = now_ms;
    j->client = *peer;
    j->request = request;
    j->asked = asked;
    j->known = true;
out:
    return rc;
}

/* A job that is here already: one that runs is left alone, one that is over is looked at again. */
static int resubmit(const struct coord *c, struct job_entry *j, const struct peer *peer,
                    const struct msg_submit *m, int64_t now_ms, struct outbox *o, struct err *e)
{
    bool runs = j->phase == JOB_RUNNING || j->phase == JOB_FINISHING;
    struct err why;
    int rc = 0;

    if (j->phase == JOB_OPENING) {
        err_set(&why, ERR_CONFLICT, "job '%s' is being submitted by another client", j->name);
        return send_error(o, peer, m->request, &why, e);
    }
    if (m->force && runs) {
        err_set(&why, ERR_CONFLICT, "job '%s' is not over: cancel it before --force", j->name);
        return send_error(o, peer, m->request, &why, e);
    }
    if (j->reopening) {
        TRY(job_reopen_for(j, peer, m->request, MSG_SUBMIT, now_ms, o, e));
        if (m->force && j->reopen != REOPEN_ALL)
            TRY(job_reopen(c, j, REOPEN_ALL, o, e));
        goto out;
    }
    j->client = *peer;
    j->request = m->request;
    j->asked = MSG_SUBMIT;
    j->asked_ms = now_ms;
    j->known = true;
    if (m->priority && m->priority != j->priority) {
        j->priority = m->priority;
        TRY(job_persist(o, j, e));
    }
    if (runs)
        return submitted(j, o, e);
    TRY(job_reopen(c, j, m->force ? REOPEN_ALL : REOPEN_MISSING, o, e));
out:
    return rc;
}

static int open_folder(struct job_entry *j, struct outbox *o, struct err *e)
{
    struct out *out;
    int rc = outbox_add(o, OUT_OPEN, &out, e);

    if (rc == 0)
        out->job = j->number;
    return rc;
}

static int on_submit(struct coord *c, const struct peer *peer, const struct msg_submit *m,
                     int64_t now_ms, struct outbox *o, struct err *e)
{
    struct err why = {0};
    struct job *job = NULL;
    struct job_entry *j;
    int rc;

    if (m->priority > CONDUCT_PRIORITY_MAX)
        rc = err_set(&why, ERR_INPUT, "priority %u is over %d", m->priority, CONDUCT_PRIORITY_MAX);
    else
        rc = job_load(m->bundle, m->bundle_size, &job, &why);
    if (rc != 0)
        return send_error(o, peer, m->request, &why, e);
    /* A token stands for what came with it first, seeds drawn since do not count. */
    j = m->token && m->token[0] ? coord_job_by_token(c, m->token) : NULL;
    if (!j)
        j = coord_job_by_hash(c, job_hash(job));
    if (j) {
        TRY(resubmit(c, j, peer, m, now_ms, o, e));
        goto out;
    }
    TRY(coord_job_add(c, c->next_number, job, &j, e));
    job = NULL;
    j->client = *peer;
    j->request = m->request;
    j->asked = MSG_SUBMIT;
    j->force = m->force;
    j->submitted_ms = now_ms + c->wall_offset_ms;
    j->leased_ms = now_ms;
    if (m->priority)
        j->priority = m->priority;
    if (m->token && m->token[0])
        TRY(text_replace(&j->token, m->token, e));
    TRY(open_folder(j, o, e));
out:
    job_free(job);
    return rc;
}

static int refuse(struct coord *c, struct job_entry *j, const struct err *why, struct outbox *o,
                  struct err *e)
{
    int rc = 0;

    TRY(outbox_log(o, LOG_ERROR, e, "job_refused", "job=%.12s name=%s why=\"%s\"", j->hash, j->name,
                   why->text));
    TRY(send_error(o, &j->client, j->request, why, e));
    coord_job_remove(c, j);
out:
    return rc;
}

int on_opened(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
              struct err *e)
{
    struct job_entry *j = coord_job(c, event->job);
    struct err why = event->failure;
    struct out *out;
    int rc = 0;

    if (!j || j->phase != JOB_OPENING)
        return 0;
    if (why.code != 0 || job_set_folder(j->job, event->text, &why) != 0)
        return refuse(c, j, &why, o, e);
    j->folder = strdup(event->text);
    TRY(outbox_add(o, OUT_STORE, &out, e));
    out->row.op = STORE_JOB;
    out->row.job = j->number;
    out->row.bundle = j->job;
    TRY(outbox_text(o, event->text, &out->row.folder, e));
    out->row.submitted_ms = j->submitted_ms;
    out->row.priority = j->priority;
    out->row.force = j->force;
    TRY(outbox_text(o, j->token, &out->row.token, e));
    if (!j->folder) {
        rc = err_set(e, ERR_OOM, "no memory for a job's folder");
        goto out;
    }
    j->phase = JOB_RUNNING;
    assets_doubt_missing(c);
    TRY(outbox_log(o, LOG_INFO, e, "job_submitted", "job=%.12s name=%s tasks=%llu", j->hash,
                   j->name, (unsigned long long)j->tasks));
    TRY(submitted(j, o, e));
    TRY(job_finish_if_over(c, j, now_ms, o, e));
out:
    return rc;
}

/* Counts, bits and failures as the store has them; tasks in flight stay. */
static int restored_take(struct coord *c, struct job_entry *j, struct restored *r, int64_t now_ms,
                         struct err *e)
{
    int rc = 0;

    job_free(j->job);
    bits_done(&j->settled);
    j->job = r->job;
    r->job = NULL;
    job_entry_read(c, j);
    chains_forget_broken(c, j);
    j->settled = r->settled;
    r->settled = (struct bits){0};
    j->sweep = false;
    j->finished_ms = 0;
    if (j->queue.lots)
        queue_rewind(&j->queue);
    else
        TRY(queue_open(&j->queue, j->job, e));
    for (size_t i = 0; i < r->n_failures; i++)
        TRY(job_note_failure(j, &r->failures[i], e));
    /* Attempt numbers go on; whoever held one of a job that was over was told to stop. */
    for (size_t i = 0; i < r->n_attempts; i++)
        r->attempts[i].given = false;
    TRY(reactor_restore_attempts(c, j, r, now_ms, e));
out:
    return rc;
}

int reopen_tick(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                struct err *e)
{
    int rc = 0;

    if (!j->reopening || j->client.size == 0 || now_ms - j->asked_ms < REOPEN_ANSWER_MS)
        return 0;
    TRY(answer_asked(c, j, now_ms, o, e));
    j->client.size = 0;
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

    if (!j || j->phase == JOB_OPENING)
        return 0;
    j->reopening = false;
    if (event->failure.code != 0 && j->client.size == 0)
        return outbox_log(o, LOG_ERROR, e, "not_reopened", "job=%.12s why=%s", j->hash,
                          event->failure.text);
    if (event->failure.code != 0)
        return send_error(o, &j->client, j->request, &event->failure, e);
    if (j->phase == JOB_FINISHING)
        return answer_asked(c, j, now_ms, o, e);
    job_forget_failures(j);
    j->done = r->done;
    j->failed = r->failed;
    j->force = r->force;
    if (j->phase != JOB_RUNNING && r->done == j->tasks) { /* nothing is missing: it stays over */
        TRY(answer_asked(c, j, now_ms, o, e));
        goto out;
    }
    TRY(restored_take(c, j, r, now_ms, e));
    if (j->phase != JOB_RUNNING)
        j->leased_ms = now_ms;
    j->phase = JOB_RUNNING;
    assets_doubt_missing(c);
    TRY(text_replace(&j->stop_reason, NULL, e));
    if (!j->priority)
        j->priority = job_conduct(j->job)->priority;
    TRY(outbox_log(o, LOG_INFO, e, "job_reopened", "job=%.12s name=%s missing=%llu", j->hash,
                   j->name, (unsigned long long)(j->tasks - j->done)));
    TRY(job_persist(o, j, e));
    TRY(answer_asked(c, j, now_ms, o, e));
    TRY(job_finish_if_over(c, j, now_ms, o, e));
out:
    return rc;
}

/* What a request about one job names, and its number. */
struct about {
    const char *job;
    uint64_t request, index, from;
    uint32_t limit;
};

static struct about about_of(const struct msg *m)
{
    switch (m->type) {
    case MSG_STATUS:
        return (struct about){.job = m->status.job, .request = m->status.request};
    case MSG_RETRY:
        return (struct about){.job = m->retry.job, .request = m->retry.request};
    case MSG_RECORDS:
        return (struct about){m->records.job, m->records.request, 0, m->records.from,
                              m->records.limit};
    case MSG_CHECK:
        return (struct about){m->check.job, m->check.request, 0, m->check.from, m->check.limit};
    case MSG_FETCH:
        return (struct about){m->fetch.job, m->fetch.request, m->fetch.index, 0, 0};
    case MSG_HISTORY:
        return (struct about){m->history.job, m->history.request, m->history.index, 0, 0};
    default: /* cancel, pause, resume and remove are of one shape */
        return (struct about){.job = m->cancel.job, .request = m->cancel.request};
    }
}

static int answer_later(const struct peer *peer, enum msg_type type, const struct about *a,
                        const struct job_entry *j, struct outbox *o, struct err *e)
{
    struct out *out;
    int rc;

    TRY(outbox_add(o, OUT_ANSWER, &out, e));
    out->peer = *peer;
    out->answer = type;
    out->job = j->number;
    out->request = a->request;
    out->index = a->index;
    out->from = a->from;
    out->limit = a->limit;
out:
    return rc;
}

/* A request about one job. */
static int on_job_request(struct coord *c, const struct peer *peer, const struct msg *m,
                          int64_t now_ms, struct outbox *o, struct err *e)
{
    struct about a = about_of(m);
    struct job_entry *j;
    struct err why;

    if (coord_job_find(c, a.job, &j, &why) != 0)
        return send_error(o, peer, a.request, &why, e);
    switch (m->type) {
    case MSG_STATUS:
        return send_job(c, peer, a.request, j, now_ms, o, e);
    case MSG_CANCEL:
        return on_cancel(c, peer, a.request, j, now_ms, o, e);
    case MSG_PAUSE:
    case MSG_RESUME:
        return on_pause(c, peer, a.request, j, m->type == MSG_PAUSE, now_ms, o, e);
    case MSG_RETRY:
        return on_retry(c, peer, &m->retry, j, now_ms, o, e);
    case MSG_REMOVE:
        return on_remove(c, peer, a.request, j, now_ms, o, e);
    default:
        return answer_later(peer, m->type, &a, j, o, e);
    }
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
        return send_fleet(c, peer, m->workers.request, now_ms, o, e);
    case MSG_DRAIN:
        return on_drain(c, peer, &m->drain, now_ms, o, e);
    default:
        return on_job_request(c, peer, m, now_ms, o, e);
    }
}
