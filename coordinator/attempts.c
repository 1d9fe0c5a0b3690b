#include "coordinator/attempts.h"

#include "coordinator/chains.h"
#include "coordinator/gangs.h"
#include "coordinator/history.h"
#include "coordinator/pick.h"
#include "coordinator/policy.h"
#include "coordinator/sched.h"

#define AGAIN_DELAY_MS 500  /* before a task goes to the worker that failed it */
#define REASON_MAX     1000 /* bytes of a failure's text that are kept */

int send_ack(struct outbox *o, const struct peer *peer, const char *hash, uint64_t index,
             uint32_t attempt, const char *verdict, struct err *e)
{
    struct msg m = {.type = MSG_ACK, .ack = {.verdict = verdict}};

    memcpy(m.ack.ref.job, hash, sizeof m.ack.ref.job);
    m.ack.ref.index = index;
    m.ack.ref.attempt = attempt;
    return outbox_send(o, peer, &m, e);
}

int send_revoke(struct coord *c, struct outbox *o, const struct worker *w,
                const struct task_entry *t, uint32_t attempt, struct err *e)
{
    struct msg m = {.type = MSG_REVOKE};

    c->count.revoked++;
    memcpy(m.revoke.ref.job, t->job->hash, sizeof m.revoke.ref.job);
    m.revoke.ref.index = t->index;
    m.revoke.ref.attempt = attempt;
    return outbox_send(o, &w->peer, &m, e);
}

int task_persist(struct outbox *o, const struct task_entry *t, const struct worker *w,
                 struct err *e)
{
    struct out *out;
    int rc;

    TRY(outbox_add(o, OUT_STORE, &out, e));
    out->row.op = STORE_ATTEMPT;
    out->row.job = t->job->number;
    out->row.index = t->index;
    out->row.attempts = t->attempts;
    out->row.tries = t->tries;
    out->row.lost = t->lost;
    for (size_t i = 0; i < t->n_runs; i++)
        if (t->runs[i].attempt == t->attempts)
            memcpy(out->row.task_hash, t->runs[i].task_hash, sizeof out->row.task_hash);
    TRY(outbox_text(o, w ? w->name : "", &out->row.worker, e));
out:
    return rc;
}

int job_persist(struct outbox *o, const struct job_entry *j, struct err *e)
{
    struct out *out;
    int rc;

    TRY(outbox_add(o, OUT_STORE, &out, e));
    out->row.op = STORE_STATE;
    out->row.job = j->number;
    out->row.state = job_phase_name(j->phase);
    out->row.done = j->done;
    out->row.failed = j->failed;
    out->row.finished_ms = j->finished_ms;
    TRY(outbox_text(o, j->sheet, &out->row.sheet, e));
    TRY(outbox_text(o, j->stop_reason, &out->row.reason, e));
    out->row.paused = j->paused;
    out->row.force = j->force;
    out->row.reopening = j->reopening;
    out->row.priority = j->priority;
out:
    return rc;
}

int job_end(const struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
            struct err *e)
{
    j->phase = j->failed ? JOB_FAILED : JOB_DONE;
    j->force = false;
    j->finished_ms = now_ms + c->wall_offset_ms;
    j->sweep = true;
    return outbox_log(o, j->failed ? LOG_WARN : LOG_INFO, e, "job_over",
                      "job=%.12s name=%s done=%llu failed=%llu", j->hash, j->name,
                      (unsigned long long)j->done, (unsigned long long)j->failed);
}

int job_finish_if_over(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                       struct err *e)
{
    struct job_sheet sheet;
    struct out *out;
    int rc = 0;

    if (j->phase != JOB_RUNNING || j->reopening || j->done + j->failed < j->tasks)
        return 0;
    TRY(job_wait(j, 0, NULL, e));
    if (j->done > 0 && job_sheet(j->job, &sheet)) {
        j->phase = JOB_FINISHING;
        TRY(outbox_add(o, OUT_SHEET, &out, e));
        out->job = j->number;
    } else {
        TRY(job_end(c, j, now_ms, o, e));
    }
    TRY(job_persist(o, j, e));
out:
    return rc;
}

/* The workers are told to drop what they hold of the job. */
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

int job_give_up(struct coord *c, struct job_entry *j, enum job_phase phase, const char *reason,
                int64_t now_ms, struct outbox *o, struct err *e)
{
    int rc;

    TRY(runs_revoke(c, j, o, e));
    coord_job_tasks_remove(c, j);
    TRY(job_wait(j, 0, NULL, e));
    TRY(text_replace(&j->stop_reason, reason, e));
    j->phase = phase;
    j->reopening = false;
    j->finished_ms = now_ms + c->wall_offset_ms;
    j->sweep = true;
    TRY(outbox_log(o, reason ? LOG_WARN : LOG_INFO, e,
                   phase == JOB_CANCELLED ? "job_cancelled" : "job_stopped",
                   "job=%.12s name=%s reason=\"%s\"", j->hash, j->name, reason ? reason : ""));
    TRY(job_persist(o, j, e));
out:
    return rc;
}

int job_stop_if_due(struct coord *c, struct job_entry *j, int64_t now_ms, struct outbox *o,
                    struct err *e)
{
    const struct conduct *conduct = j->job ? job_conduct(j->job) : NULL;
    char reason[200];

    if (j->phase != JOB_RUNNING)
        return 0;
    if (conduct->deadline_s &&
        now_ms + c->wall_offset_ms > j->submitted_ms + INT64_C(1000) * conduct->deadline_s) {
        snprintf(reason, sizeof reason, "%s: %u s after its submission %llu of %llu tasks are open",
                 err_name(ERR_TIMEOUT), conduct->deadline_s,
                 (unsigned long long)(j->tasks - j->done - j->failed),
                 (unsigned long long)j->tasks);
        return job_give_up(c, j, JOB_FAILED, reason, now_ms, o, e);
    }
    if (j->failed > conduct_failures(conduct, j->tasks)) {
        snprintf(reason, sizeof reason,
                 "max_failed: %llu of %llu tasks failed, the manifest bears %llu",
                 (unsigned long long)j->failed, (unsigned long long)j->tasks,
                 (unsigned long long)conduct_failures(conduct, j->tasks));
        return job_give_up(c, j, JOB_FAILED, reason, now_ms, o, e);
    }
    return 0;
}

/* Other attempts of a settled task: nobody needs them any more. */
static int runs_dismiss(struct coord *c, struct task_entry *t, struct outbox *o, struct err *e)
{
    int rc = 0;

    while (t->n_runs) {
        struct run *r = &t->runs[t->n_runs - 1];
        struct worker *w = r->session ? coord_session(c, r->session) : NULL;

        if (w && r->finished)
            TRY(send_ack(o, &w->peer, t->job->hash, t->index, r->attempt, "duplicate", e));
        else if (w)
            TRY(send_revoke(c, o, w, t, r->attempt, e));
        run_remove(c, t, r);
    }
out:
    return rc;
}

int task_settle(struct coord *c, struct job_entry *j, struct record *record, int64_t now_ms,
                struct outbox *o, struct err *e)
{
    struct task_entry *t = coord_task(c, j, record->index);
    uint64_t holder = t ? t->holder : 0;
    struct out *out;
    int rc;

    if (record->failed) {
        j->failed++;
        TRY(job_note_failure(j,
                             &(struct failure_note){.index = record->index,
                                                    .attempts = record->attempt,
                                                    .tasks = 1,
                                                    .code = record->code,
                                                    .text = record->text},
                             e));
    } else {
        j->recent_ms[j->n_recent++ % COORD_RECENT] = now_ms;
        j->done++;
    }
    TRY(job_settle(j, record->index, e));
    if (t) {
        TRY(runs_dismiss(c, t, o, e));
        coord_task_remove(c, t);
    }
    TRY(chain_follow(c, j, record, holder, e));
    record->finished_ms = now_ms + c->wall_offset_ms;
    TRY(outbox_add(o, OUT_STORE, &out, e));
    out->row.op = STORE_RECORD;
    out->row.job = j->number;
    out->row.record = *record;
    *record = (struct record){0};
    TRY(job_finish_if_over(c, j, now_ms, o, e));
out:
    return rc;
}

int task_fail(struct coord *c, struct task_entry *t, const struct worker *w, const char *code,
              const char *text, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct record record = {.index = t->index, .attempt = t->attempts};
    struct job_entry *j = t->job;
    char reason[REASON_MAX];
    int rc;

    text_cut(reason, sizeof reason, text);
    TRY(record_failure(&record, w ? w->name : "", code, reason, e));
    TRY(outbox_log(o, LOG_WARN, e, "task_failed",
                   "job=%.12s index=%llu attempts=%u code=%s text=\"%s\"", j->hash,
                   (unsigned long long)t->index, t->attempts, code, reason));
    TRY(task_settle(c, j, &record, now_ms, o, e));
out:
    record_done(&record);
    return rc;
}

void task_free_if_idle(struct coord *c, struct task_entry *t)
{
    if (t->n_runs == 0 && t->phase == TASK_RUNNING)
        task_to(c, t, TASK_READY);
}

int task_note_failure(struct task_entry *t, const char *code, const char *text, struct err *e)
{
    char reason[REASON_MAX];

    text_cut(reason, sizeof reason, text);
    free(t->fail_code);
    free(t->fail_text);
    t->fail_code = strdup(code);
    t->fail_text = strdup(reason);
    return t->fail_code && t->fail_text ? 0 : err_set(e, ERR_OOM, "no memory for a failure's text");
}

/* Three tasks of one model that it fails in one way, and the worker is blocked for the model. */
static int blame_worker(struct task_entry *t, struct worker *w, int code, struct outbox *o,
                        struct err *e)
{
    uint64_t pixels = code == ERR_OOM ? t->needs.pixels : 0;
    struct task task = {0};
    bool before, after;
    int rc;

    TRY(sched_describe(t, &task, e));
    before = block_holds(&w->blocks, t->needs.model_key, t->needs.pixels);
    TRY(block_note(&w->blocks, task.model, t->needs.model_key, code, pixels,
                   t->job->number << 40 ^ t->index, e));
    after = block_holds(&w->blocks, t->needs.model_key, t->needs.pixels);
    if (after && !before)
        TRY(outbox_log(o, LOG_WARN, e, "worker_blocked", "name=%s model=%s code=%s", w->name,
                       task.model, err_name(code)));
out:
    task_done(&task);
    return rc;
}

/* Whether no other attempt is to be made. */
static bool is_final(const struct task_entry *t, const struct policy *p, const struct msg_failed *m,
                     bool elsewhere)
{
    if (p->where == POLICY_NOWHERE || !m->retryable)
        return true;
    if (p->where != POLICY_ANYWHERE && !elsewhere)
        return true;
    return p->costs && t->tries >= p->tries;
}

/* A file that nobody has is told as such, with all places; else the worker's words are. */
static int fail_for_good(struct coord *c, struct task_entry *t, struct worker *w,
                         const struct msg_failed *m, const struct policy *p, int64_t now_ms,
                         struct outbox *o, struct err *e)
{
    enum lacked lacked = LACKED_NOT;
    struct task task = {0};
    struct err why;
    int rc;

    if (p->code == ERR_MISSING) {
        TRY(sched_describe(t, &task, e));
        TRY(lacks_look(c, t, &task, w, &lacked, &why, e));
    }
    TRY(task_fail(c, t, w, err_name(p->code), lacked == LACKED_EVERYWHERE ? why.text : m->text,
                  now_ms, o, e));
out:
    task_done(&task);
    return rc;
}

int attempt_failed(struct coord *c, struct task_entry *t, struct worker *w,
                   const struct msg_failed *m, int64_t since_ms, int64_t now_ms, struct outbox *o,
                   struct err *e)
{
    const struct policy *p = policy_of(err_from_name(m->code));
    const char *code = err_name(p->code);
    bool elsewhere, blamed = p->blocks;
    int rc = 0;

    TRY(task_note_failure(t, code, m->text, e));
    TRY(history_note(c, t, m->ref.attempt, w->name, code, m->text, since_ms, now_ms, o, e));
    if (p->costs) {
        t->tries++;
        task_refuse(t, w->session);
        w->failed++;
        c->count.failed++;
    }
    if (p->code == ERR_MISSING)
        TRY(lacks_note(c, t, w, m->text, since_ms, now_ms, &blamed, e));
    if (blamed)
        TRY(blame_worker(t, w, p->code, o, e));
    if (p->where == POLICY_LARGER && w->memory_bytes > t->memory_over)
        t->memory_over = w->memory_bytes;
    t->only_elsewhere = p->where == POLICY_ELSEWHERE || p->where == POLICY_LARGER;
    elsewhere = pick_elsewhere(c, t, w->session);
    if (p->code == ERR_OOM && !elsewhere && gang_grow(c, t)) {
        elsewhere = true;
    } else if (is_final(t, p, m, elsewhere)) {
        TRY(fail_for_good(c, t, w, m, p, now_ms, o, e));
        goto out;
    }
    t->not_before_ms = elsewhere ? 0 : now_ms + AGAIN_DELAY_MS * (t->tries ? t->tries : 1);
    task_free_if_idle(c, t);
    TRY(task_persist(o, t, NULL, e));
    TRY(outbox_log(o, LOG_INFO, e, "attempt_failed",
                   "job=%.12s index=%llu attempt=%u worker=%s code=%s text=\"%.300s\"",
                   t->job->hash, (unsigned long long)t->index, m->ref.attempt, w->name, code,
                   m->text));
out:
    return rc;
}

bool attempt_has_failed(const struct task_entry *t, uint32_t attempt)
{
    for (size_t i = 0; i < COORD_REFUSED_MAX; i++)
        if (t->failed[i] == attempt)
            return true;
    return false;
}

void attempt_note_over(struct task_entry *t, uint32_t attempt)
{
    t->over[t->n_over++ % COORD_REFUSED_MAX] = attempt;
}

bool attempt_is_over(const struct task_entry *t, uint32_t attempt)
{
    for (size_t i = 0; i < COORD_REFUSED_MAX; i++)
        if (t->over[i] == attempt)
            return true;
    return false;
}

bool run_is_anothers(const struct coord *c, const struct run *r, const struct worker *w)
{
    const struct worker *holder = r && r->session ? coord_session(c, r->session) : NULL;

    return holder && strcmp(holder->name, w->name) != 0;
}

struct task_entry *task_named(struct coord *c, const struct attempt_ref *ref,
                              const char **ret_verdict)
{
    struct job_entry *j = coord_job_by_hash(c, ref->job);
    struct task_entry *t;

    *ret_verdict = "unknown";
    if (!j || j->phase == JOB_CANCELLED || j->phase == JOB_OPENING)
        return NULL;
    if (!j->job || j->phase != JOB_RUNNING) {
        *ret_verdict = "duplicate";
        return NULL;
    }
    if (ref->index >= job_span(j->job) || job_excluded(j->job, ref->index))
        return NULL;
    if (bits_has(&j->settled, ref->index)) {
        *ret_verdict = "duplicate";
        return NULL;
    }
    t = coord_task(c, j, ref->index);
    if (!t || ref->attempt < 1 || ref->attempt > t->attempts)
        return NULL;
    return t;
}

int attempt_dismiss(struct coord *c, const struct worker *w, const struct attempt_ref *ref,
                    const char *verdict, struct outbox *o, struct err *e)
{
    if (strcmp(verdict, "duplicate") == 0)
        c->count.duplicates++;
    else
        c->count.unknown++;
    return send_ack(o, &w->peer, ref->job, ref->index, ref->attempt, verdict, e);
}

int on_failed(struct coord *c, struct worker *w, const struct msg_failed *m, int64_t now_ms,
              struct outbox *o, struct err *e)
{
    struct task_entry *t;
    const char *verdict;
    int64_t since_ms;
    uint32_t gang;
    struct run *r;
    int rc = 0;

    w->active_ms = now_ms;
    t = task_named(c, &m->ref, &verdict);
    if (!t)
        return attempt_dismiss(c, w, &m->ref, verdict, o, e);
    TRY(send_ack(o, &w->peer, m->ref.job, m->ref.index, m->ref.attempt, "accepted", e));
    r = run_numbered(t, m->ref.attempt);
    if (!r || (r->session && r->session != w->session))
        goto out; /* a revoked attempt: its failure says nothing new */
    since_ms = r->since_ms;
    gang = r->gang;
    run_remove(c, t, r);
    if (err_from_name(m->code) != ERR_LOST) /* else it tells of another member's end */
        TRY(gang_dissolve(c, t, gang, o, e));
    t->failed[t->n_failed++ % COORD_REFUSED_MAX] = m->ref.attempt;
    if (t->phase == TASK_RUNNING)
        TRY(attempt_failed(c, t, w, m, since_ms, now_ms, o, e));
out:
    return rc;
}

/* One step of the task took so long. */
static size_t n_at_work(const struct worker *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->n_tasks; i++)
        n += run_of(w->tasks[i], w)->started;
    return n;
}

/* A batch's step says nothing of one picture's, which gangs are measured against. */
static void pace_learn(struct worker *w, const struct task_entry *t, double ms)
{
    double pace = t->needs.pixels ? ms * 1e6 / (double)t->needs.pixels : 0;

    speed_learn(&w->speeds, t->speed_key, ms);
    if (n_at_work(w) == 1)
        gang_learn_alone(t, w, ms);
    if (pace > 0)
        w->pace_ms += (w->pace_ms > 0 ? 0.2 : 1) * (pace - w->pace_ms);
}

/* Not known to us, or another worker's: it is to stop. NULL then. */
static struct run *run_told(struct coord *c, struct worker *w, const struct attempt_ref *ref,
                            struct task_entry **ret_task, struct outbox *o, int *ret_rc,
                            struct err *e)
{
    struct msg revoke = {.type = MSG_REVOKE, .revoke = {.ref = *ref}};
    const char *verdict;
    struct run *r;

    *ret_rc = 0;
    *ret_task = task_named(c, ref, &verdict);
    r = *ret_task ? run_numbered(*ret_task, ref->attempt) : NULL;
    if (r && r->session == w->session)
        return r;
    c->count.revoked++;
    *ret_rc = outbox_send(o, &w->peer, &revoke, e);
    return NULL;
}

/* The attempt's files come in: as good as a step, if more of them are here than before. */
int on_fetching(struct coord *c, struct worker *w, const struct msg_fetching *m, int64_t now_ms,
                struct outbox *o, struct err *e)
{
    struct task_entry *t;
    int rc;
    struct run *r = run_told(c, w, &m->ref, &t, o, &rc, e);

    if (!r || r->started)
        return rc;
    if (m->fetched > r->fetched)
        w->active_ms = now_ms;
    r->fetched = m->fetched;
    r->fetch_bytes = m->total;
    return 0;
}

int on_progress(struct coord *c, struct worker *w, const struct msg_progress *m, int64_t now_ms,
                struct outbox *o, struct err *e)
{
    struct task_entry *t;
    int rc;
    struct run *r = run_told(c, w, &m->ref, &t, o, &rc, e);

    if (!r)
        return rc;
    if (m->steps > 2 * TASK_STEPS_MAX || m->step > m->steps || (r->started && m->step <= r->step))
        return 0;
    if (r->started && r->gang)
        gang_learn(t, r, w, (double)(now_ms - w->active_ms) / (m->step - r->step));
    else if (r->started && t == task_at_work(w)) /* its mates step at the same time */
        pace_learn(w, t, (double)(now_ms - w->active_ms) / (m->step - r->step));
    r->started = true;
    r->step = m->step;
    r->steps = m->steps;
    w->active_ms = now_ms;
    return 0;
}
