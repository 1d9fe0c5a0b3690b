#include "coordinator/controls.h"

#include "coordinator/attempts.h"
#include "coordinator/requests.h"

int on_cancel(struct coord *c, const struct peer *peer, uint64_t request, struct job_entry *j,
              int64_t now_ms, struct outbox *o, struct err *e)
{
    int rc = 0;

    if (j->phase == JOB_RUNNING || j->phase == JOB_FINISHING)
        TRY(job_give_up(c, j, JOB_CANCELLED, NULL, now_ms, o, e));
    TRY(send_job(c, peer, request, j, now_ms, o, e));
out:
    return rc;
}

int on_pause(struct coord *c, const struct peer *peer, uint64_t request, struct job_entry *j,
             bool paused, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct err why;
    int rc = 0;

    if (j->phase != JOB_RUNNING) {
        err_set(&why, ERR_CONFLICT, "job '%s' is %s: only one that is not over can be %s", j->name,
                job_phase_name(j->phase), paused ? "paused" : "resumed");
        return send_error(o, peer, request, &why, e);
    }
    if (j->paused != paused) {
        j->paused = paused;
        j->leased_ms = now_ms;
        TRY(job_persist(o, j, e));
        TRY(outbox_log(o, LOG_INFO, e, paused ? "job_paused" : "job_resumed", "job=%.12s name=%s",
                       j->hash, j->name));
    }
    TRY(send_job(c, peer, request, j, now_ms, o, e));
out:
    return rc;
}

int on_retry(struct coord *c, const struct peer *peer, const struct msg_retry *m,
             struct job_entry *j, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct err why;

    if (j->phase == JOB_OPENING) {
        err_set(&why, ERR_CONFLICT, "job '%s' is being submitted", j->name);
        return send_error(o, peer, m->request, &why, e);
    }
    if (j->phase == JOB_FINISHING || (j->phase == JOB_RUNNING && j->failed == 0))
        return send_job(c, peer, m->request, j, now_ms, o, e);
    if (j->reopening)
        return job_reopen_for(j, peer, m->request, MSG_RETRY, now_ms, o, e);
    j->client = *peer;
    j->request = m->request;
    j->asked = MSG_RETRY;
    j->asked_ms = now_ms;
    /* Pictures of a running job are being written: only failures are looked at. */
    return job_reopen(c, j, m->failed || j->phase == JOB_RUNNING ? REOPEN_FAILED : REOPEN_MISSING,
                      o, e);
}

int on_remove(struct coord *c, const struct peer *peer, uint64_t request, struct job_entry *j,
              int64_t now_ms, struct outbox *o, struct err *e)
{
    struct out *out;
    struct err why;
    int rc;

    if (j->phase == JOB_OPENING || j->phase == JOB_RUNNING || j->phase == JOB_FINISHING) {
        err_set(&why, ERR_CONFLICT, "job '%s' is not over: cancel it first", j->name);
        return send_error(o, peer, request, &why, e);
    }
    TRY(send_job(c, peer, request, j, now_ms, o, e));
    TRY(outbox_log(o, LOG_INFO, e, "job_removed", "job=%.12s name=%s", j->hash, j->name));
    TRY(outbox_add(o, OUT_STORE, &out, e));
    out->row.op = STORE_REMOVE;
    out->row.job = j->number;
    coord_job_remove(c, j);
out:
    return rc;
}

int send_leave(struct outbox *o, struct worker *w, struct err *e)
{
    struct msg leave = {.type = MSG_LEAVE};

    return outbox_send(o, &w->peer, &leave, e);
}

int on_drain(struct coord *c, const struct peer *peer, const struct msg_drain *m, int64_t now_ms,
             struct outbox *o, struct err *e)
{
    struct err why;
    bool found = false;
    int rc = 0;

    for (size_t i = 0; i < c->n_workers; i++) {
        struct worker *w = c->workers[i];

        if (w->lost || strcmp(w->name, m->worker) != 0)
            continue;
        found = true;
        w->leaving = true;
        w->credits = 0;
        TRY(send_leave(o, w, e));
        TRY(outbox_log(o, LOG_INFO, e, "worker_drained", "name=%s leases=%zu", w->name,
                       w->n_tasks));
    }
    if (found)
        return send_fleet(c, peer, m->request, now_ms, o, e);
    err_set(&why, ERR_MISSING, "no worker '%.100s' is connected", m->worker);
    rc = send_error(o, peer, m->request, &why, e);
out:
    return rc;
}
