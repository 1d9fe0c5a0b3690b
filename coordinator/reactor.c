#include "coordinator/reactor.h"

#include "coordinator/assets.h"
#include "coordinator/attempts.h"
#include "coordinator/chains.h"
#include "coordinator/empties.h"
#include "coordinator/gangs.h"
#include "coordinator/requests.h"
#include "coordinator/sched.h"
#include "proto/version.h"

#define NOISE_LOG_MS   10000  /* strangers' mistakes are logged at most this often */
#define CLIENT_IDLE_MS 600000 /* a silent client is forgotten; it may say hello again */
#define REDRAW_MS      5000   /* between tries of a sheet that the disk refuses */

/* A message nobody should have sent: answered, and logged now and then. */
static int noise(struct coord *c, const struct peer *peer, const struct err *why, int64_t now_ms,
                 struct outbox *o, struct err *e)
{
    const struct worker *w = coord_worker(c, peer);
    int rc;

    c->count.refused++;
    c->noise++;
    if (c->noise_ms == 0 || now_ms - c->noise_ms >= NOISE_LOG_MS) {
        TRY(outbox_log(o, LOG_WARN, e, "message_refused", "from=%s count=%llu why=\"%.500s\"",
                       w ? w->name : "stranger", (unsigned long long)c->noise, why->text));
        c->noise_ms = now_ms;
        c->noise = 0;
    }
    TRY(send_error(o, peer, 0, why, e));
out:
    return rc;
}

/* Usual after a restart: no word in the log. */
static int hello_first(const struct peer *peer, struct outbox *o, struct err *e)
{
    struct err why;

    err_set(&why, ERR_CONFLICT, "%s", MSG_HELLO_FIRST);
    return send_error(o, peer, 0, &why, e);
}

static int refuse(struct coord *c, const struct peer *peer, int code, const char *text,
                  int64_t now_ms, struct outbox *o, struct err *e)
{
    struct err why;

    err_set(&why, code, "%s", text);
    return noise(c, peer, &why, now_ms, o, e);
}

static int welcome(const struct coord *c, const struct peer *peer, const struct msg_hello *hello,
                   struct outbox *o, struct err *e)
{
    struct msg m = {.type = MSG_WELCOME};

    m.welcome.protocol = hello->protocol < PROTOCOL_VERSION ? hello->protocol : PROTOCOL_VERSION;
    m.welcome.software = "litho " LITHO_VERSION;
    m.welcome.heartbeat_ms = (uint32_t)c->limits.heartbeat_ms;
    m.welcome.silence_ms = (uint32_t)c->limits.silence_ms;
    m.welcome.frame_max = MSG_FRAME_MAX;
    return outbox_send(o, peer, &m, e);
}

static int worker_greet(struct coord *c, const struct peer *peer, const struct msg_hello *hello,
                        int64_t now_ms, struct outbox *o, struct err *e)
{
    struct worker *w = coord_worker(c, peer);
    int rc = 0;

    if (!w) {
        TRY(coord_worker_add(c, peer, hello, &w, e));
        w->joined_ms = now_ms;
        w->active_ms = now_ms;
        TRY(outbox_log(o, LOG_INFO, e, "worker_joined",
                       "name=%s class=%s device=\"%s\" software=\"%s\"", w->name, w->device_class,
                       w->device, w->software));
    }
    /* Until it has said what it holds, it gets nothing. */
    w->stated = false;
    w->credits = 0;
    w->heard_ms = now_ms;
    w->sent_ms = now_ms;
    TRY(welcome(c, peer, hello, o, e));
out:
    return rc;
}

static int on_hello(struct coord *c, const struct peer *peer, const struct msg_hello *hello,
                    int64_t now_ms, struct outbox *o, struct err *e)
{
    struct worker *w = coord_worker(c, peer);
    char text[200];
    int rc = 0;

    if (hello->protocol < PROTOCOL_VERSION_MIN || hello->protocol_min > PROTOCOL_VERSION ||
        hello->protocol_min > hello->protocol) {
        snprintf(text, sizeof text,
                 "this coordinator speaks protocol %d to %d, you speak %u to %u: use the same "
                 "version of the software on both sides",
                 PROTOCOL_VERSION_MIN, PROTOCOL_VERSION, hello->protocol_min, hello->protocol);
        return refuse(c, peer, ERR_CONFLICT, text, now_ms, o, e);
    }
    if (strcmp(hello->role, "worker") == 0) {
        if (!hello->name[0] || !hello->device_class[0])
            return refuse(c, peer, ERR_INPUT, "hello of a worker without name or device_class",
                          now_ms, o, e);
        return worker_greet(c, peer, hello, now_ms, o, e);
    }
    if (strcmp(hello->role, "client") != 0)
        return refuse(c, peer, ERR_INPUT, "hello: role must be worker or client", now_ms, o, e);
    if (w)
        TRY(worker_lose(c, w, true, "became a client", now_ms, o, e));
    coord_client_add(c, peer, now_ms);
    TRY(welcome(c, peer, hello, o, e));
out:
    return rc;
}

static int on_bye(struct coord *c, const struct peer *peer, int64_t now_ms, struct outbox *o,
                  struct err *e)
{
    struct worker *w = coord_worker(c, peer);
    struct client *client = coord_client(c, peer);

    if (client)
        coord_client_remove(c, client);
    return w ? worker_lose(c, w, false, "bye", now_ms, o, e) : 0;
}

static int on_worker_message(struct coord *c, struct worker *w, const struct msg *m, int64_t now_ms,
                             struct outbox *o, struct err *e)
{
    switch (m->type) {
    case MSG_READY:
        return on_ready(c, w, &m->ready, now_ms, o, e);
    case MSG_PROGRESS:
        return on_progress(c, w, &m->progress, now_ms, o, e);
    case MSG_RESULT:
        return on_result(c, w, &m->result, now_ms, o, e);
    case MSG_EMPTY:
        return on_empty(c, w, &m->empty, now_ms, o, e);
    case MSG_HELPED:
        return on_helped(c, w, &m->helped, now_ms, o, e);
    case MSG_FAILED:
        return on_failed(c, w, &m->failed, now_ms, o, e);
    case MSG_FETCHING:
        return on_fetching(c, w, &m->fetching, now_ms, o, e);
    case MSG_WANT:
        return on_want(c, w, &m->want, now_ms, o, e);
    default:
        return err_set(e, ERR_INTERNAL, "no worker sends '%s'", msg_type_name(m->type));
    }
}

static int on_message(struct coord *c, const struct peer *peer, const struct msg *m, int64_t now_ms,
                      struct outbox *o, struct err *e)
{
    struct msg pong = {.type = MSG_PONG};
    struct worker *w = coord_worker(c, peer);
    struct client *client = coord_client(c, peer);

    if (w)
        w->heard_ms = now_ms;
    if (client)
        client->heard_ms = now_ms;
    if (m->type == MSG_HELLO)
        return on_hello(c, peer, &m->hello, now_ms, o, e);
    if (m->type == MSG_BYE)
        return on_bye(c, peer, now_ms, o, e);
    if (!w && !client)
        return hello_first(peer, o, e);
    switch (m->type) {
    case MSG_PING:
        return outbox_send(o, peer, &pong, e);
    case MSG_PONG:
        return 0;
    case MSG_READY:
    case MSG_PROGRESS:
    case MSG_RESULT:
    case MSG_EMPTY:
    case MSG_HELPED:
    case MSG_FAILED:
    case MSG_FETCHING:
    case MSG_WANT:
        if (m->type == MSG_EMPTY && !c->limits.empties)
            return refuse(c, peer, ERR_INPUT, "this coordinator takes no results without pictures",
                          now_ms, o, e);
        if (!w)
            return refuse(c, peer, ERR_INPUT, "only workers send this", now_ms, o, e);
        return on_worker_message(c, w, m, now_ms, o, e);
    case MSG_SUBMIT:
    case MSG_LIST:
    case MSG_STATUS:
    case MSG_CANCEL:
    case MSG_WORKERS:
    case MSG_RECORDS:
    case MSG_FETCH:
    case MSG_PAUSE:
    case MSG_RESUME:
    case MSG_RETRY:
    case MSG_REMOVE:
    case MSG_DRAIN:
    case MSG_HISTORY:
    case MSG_CHECK:
        return on_request(c, peer, m, now_ms, o, e);
    default:
        return refuse(c, peer, ERR_INPUT, "only coordinators send this", now_ms, o, e);
    }
}

static int heartbeat(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct msg ping = {.type = MSG_PING};
    int rc = 0;

    for (size_t i = 0; i < c->n_workers; i++) {
        struct worker *w = c->workers[i];

        if (w->lost || now_ms - w->sent_ms < c->limits.heartbeat_ms)
            continue;
        TRY(outbox_send(o, &w->peer, &ping, e));
        w->sent_ms = now_ms;
    }
out:
    return rc;
}

static int drawing_retry(struct job_entry *j, int64_t now_ms, struct outbox *o, struct err *e)
{
    struct out *out;
    int rc = 0;

    if (j->phase != JOB_FINISHING || !j->wait_reason || now_ms < j->wait_until_ms)
        return 0;
    TRY(outbox_add(o, OUT_SHEET, &out, e));
    out->job = j->number;
    j->wait_until_ms = INT64_MAX; /* until it is drawn or refused again */
out:
    return rc;
}

static void hashing_note(struct coord *c, struct job_entry *j)
{
    const char *name = c->assets.waiting ? assets_hashing(c, j) : NULL;

    j->hashing[0] = 0;
    if (name && c->hash_total)
        snprintf(j->hashing, sizeof j->hashing, "hashing '%.200s': %.0f of %.0f MB of files read",
                 name, (double)c->hash_done / 1e6, (double)c->hash_total / 1e6);
}

static int on_tick(struct coord *c, int64_t now_ms, struct outbox *o, struct err *e)
{
    int rc;

    for (size_t i = c->n_clients; i-- > 0;)
        if (now_ms - c->clients[i].heard_ms > CLIENT_IDLE_MS)
            coord_client_remove(c, &c->clients[i]);
    for (size_t i = 0; i < c->n_jobs; i++) {
        struct job_entry *j = c->jobs[i];

        if (j->sweep) {
            job_free(j->job);
            j->job = NULL;
            bits_done(&j->settled);
            queue_done(&j->queue);
            j->sweep = false;
        }
        hashing_note(c, j);
        TRY(reopen_tick(c, j, now_ms, o, e));
        TRY(job_finish_if_over(c, j, now_ms, o, e));
        TRY(drawing_retry(j, now_ms, o, e));
    }
    TRY(attempts_tick(c, now_ms, o, e));
    TRY(heartbeat(c, now_ms, o, e));
out:
    return rc;
}

static int on_unreachable(struct coord *c, const struct peer *peer, int64_t now_ms,
                          struct outbox *o, struct err *e)
{
    struct worker *w = coord_worker(c, peer);
    struct client *client = coord_client(c, peer);

    if (client)
        coord_client_remove(c, client);
    return w ? worker_lose(c, w, true, "unreachable", now_ms, o, e) : 0;
}

/* The disk has no room for the sheet: the job stays finishing and says why. */
static int drawing_waits(struct job_entry *j, const struct err *why, int64_t now_ms,
                         struct outbox *o, struct err *e)
{
    int rc = 0;

    if (!j->wait_reason || strcmp(j->wait_reason, why->text) != 0)
        TRY(outbox_log(o, LOG_ERROR, e, "job_waits", "job=%.12s name=%s reason=\"%s\"", j->hash,
                       j->name, why->text));
    TRY(job_wait(j, now_ms + REDRAW_MS, why->text, e));
out:
    return rc;
}

static int on_drawn(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
                    struct err *e)
{
    struct job_entry *j = coord_job(c, event->job);
    int rc = 0;

    if (!j || j->phase != JOB_FINISHING)
        return 0;
    if (event->failure.code == ERR_IO)
        return drawing_waits(j, &event->failure, now_ms, o, e);
    if (event->failure.code != 0) {
        TRY(outbox_log(o, LOG_WARN, e, "no_sheet", "job=%.12s name=%s why=\"%s\"", j->hash, j->name,
                       event->failure.text));
    } else if (event->text[0]) {
        free(j->sheet);
        j->sheet = strdup(event->text);
        if (!j->sheet) {
            rc = err_set(e, ERR_OOM, "no memory for a path");
            goto out;
        }
    }
    TRY(job_wait(j, 0, NULL, e));
    TRY(job_end(c, j, now_ms, o, e));
    TRY(job_persist(o, j, e));
out:
    return rc;
}

int reactor_on(struct coord *c, const struct event *event, int64_t now_ms, struct outbox *o,
               struct err *e)
{
    switch (event->type) {
    case EVENT_MESSAGE:
        return on_message(c, &event->peer, event->msg, now_ms, o, e);
    case EVENT_GARBAGE:
        return noise(c, &event->peer, &event->failure, now_ms, o, e);
    case EVENT_UNREACHABLE:
        return on_unreachable(c, &event->peer, now_ms, o, e);
    case EVENT_TICK:
        return on_tick(c, now_ms, o, e);
    case EVENT_OPENED:
        return on_opened(c, event, now_ms, o, e);
    case EVENT_PROBED:
        return on_probed(c, event, now_ms, o, e);
    case EVENT_WRITTEN:
        return on_written(c, event, now_ms, o, e);
    case EVENT_BEFORE:
        return on_before(c, event, now_ms, o, e);
    case EVENT_RESTORED:
        return on_restored(c, event, now_ms, o, e);
    case EVENT_ASSET:
        return on_asset(c, event, now_ms, o, e);
    case EVENT_ASSETS:
        return on_job_assets(c, event, now_ms, o, e);
    case EVENT_DRAWN:
        return on_drawn(c, event, now_ms, o, e);
    }
    return err_set(e, ERR_INTERNAL, "event %d", (int)event->type);
}

static int restore_fields(struct job_entry *j, const struct restored *r, struct err *e)
{
    int rc = 0;

    j->folder = strdup(r->folder);
    j->sheet = r->sheet && r->sheet[0] ? strdup(r->sheet) : NULL;
    if (!j->folder || (r->sheet && r->sheet[0] && !j->sheet))
        return err_set(e, ERR_OOM, "no memory for a job");
    if (r->token && r->token[0])
        TRY(text_replace(&j->token, r->token, e));
    if (r->reason && r->reason[0])
        TRY(text_replace(&j->stop_reason, r->reason, e));
    if (r->priority)
        j->priority = r->priority;
    j->paused = r->paused;
    j->force = r->force;
    j->reopening = r->reopening;
    j->reopen = r->reopen;
    j->tasks = r->tasks;
    j->done = r->done;
    j->failed = r->failed;
    j->submitted_ms = r->submitted_ms;
    j->finished_ms = r->finished_ms;
    for (size_t i = 0; i < r->n_failures; i++)
        TRY(job_note_failure(j, &r->failures[i], e));
out:
    return rc;
}

int reactor_restore_attempts(struct coord *c, struct job_entry *j, const struct restored *r,
                             int64_t now_ms, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < r->n_attempts; i++) {
        const struct restored_attempt *a = &r->attempts[i];
        struct task_entry *t;
        struct run *run;

        if (a->index >= job_span(j->job) || job_excluded(j->job, a->index) ||
            bits_has(&j->settled, a->index) || coord_task(c, j, a->index))
            continue;
        TRY(coord_task_add(c, j, a->index, &t, e));
        t->attempts = a->attempts;
        t->tries = a->tries;
        memcpy(t->failed, a->failed, sizeof t->failed);
        t->n_failed = a->n_failed;
        t->lost = a->lost;
        if (!a->given)
            continue;
        TRY(run_add(t, a->attempts, NULL, now_ms, &run, e));
        run->until_ms = now_ms + c->limits.grace_ms;
        memcpy(run->task_hash, a->task_hash, sizeof run->task_hash);
        task_to(c, t, TASK_RUNNING);
    }
out:
    return rc;
}

int reactor_restore(struct coord *c, struct restored *r, int64_t now_ms, struct err *e)
{
    struct job_entry *j;
    int rc;

    if (r->job) {
        TRY(coord_job_add(c, r->number, r->job, &j, e));
        r->job = NULL;
        j->settled = r->settled;
        r->settled = (struct bits){0};
        j->phase = JOB_RUNNING;
    } else {
        TRY(coord_job_add_settled(c, r->number, r->hash, r->name, &j, e));
        j->phase = strcmp(r->state, job_phase_name(JOB_DONE)) == 0        ? JOB_DONE
                   : strcmp(r->state, job_phase_name(JOB_CANCELLED)) == 0 ? JOB_CANCELLED
                                                                          : JOB_FAILED;
    }
    TRY(restore_fields(j, r, e));
    j->leased_ms = now_ms;
    if (j->job)
        TRY(reactor_restore_attempts(c, j, r, now_ms, e));
out:
    return rc;
}
