#include "coordinator/empties.h"

#include "coordinator/attempts.h"

int on_empty(struct coord *c, struct worker *w, const struct msg_empty *m, int64_t now_ms,
             struct outbox *o, struct err *e)
{
    struct record record = {.index = m->ref.index, .attempt = m->ref.attempt};
    struct task_entry *t;
    const char *verdict;
    struct run *r;
    int rc = 0;

    w->active_ms = now_ms;
    t = task_named(c, &m->ref, &verdict);
    if (!t)
        return attempt_dismiss(c, w, &m->ref, verdict, o, e);
    r = run_numbered(t, m->ref.attempt);
    if (r)
        run_remove(c, t, r);
    TRY(record_picture(&record, "", w->name, w->device_class, "none", e));
    c->count.accepted++;
    w->done++;
    TRY(task_settle(c, t->job, &record, now_ms, o, e));
    TRY(send_ack(o, &w->peer, m->ref.job, m->ref.index, m->ref.attempt, "accepted", e));
out:
    record_done(&record);
    return rc;
}
