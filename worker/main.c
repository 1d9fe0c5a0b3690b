/* litho-worker: options, signals, and the loop that joins link, session and runner. */
#include "jobs/library.h"
#include "proto/clock.h"
#include "proto/link.h"
#include "proto/log.h"
#include "proto/msg.h"
#include "proto/version.h"
#include "worker/options.h"
#include "worker/plan.h"
#include "worker/probe.h"
#include "worker/runner.h"
#include "worker/session.h"
#include "worker/spill.h"
#include "worker/stock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LINGER_MS   1000   /* for the bye to leave */
#define PATIENCE_MS 3000   /* for a cancelled render to end, before it is left behind */
#define SPIN_COUNT  "1000" /* of a waiting render thread, before it sleeps */

/* A lease that lists files. */
struct gathered {
    struct gathered *next;
    struct attempt_ref ref;
    struct given *given; /* owned; NULL: not all are here */
};

struct worker {
    struct options options;
    struct probe probe;
    char identity[256];
    char host[PROBE_HOST_SIZE];
    struct gang_offer *offer; /* for the next gang that this worker leads; owned, NULL: none */
    struct library *library;
    struct runner *runner;
    struct stock *stock;
    struct gathered *gathered; /* of leases; owned list */
    struct session *session;
    struct link *link;
    int signals; /* signalfd */
    struct buf out, in, spilled;
    struct spill spill;
    int64_t started_ms;
    bool leaving;   /* a signal or the time limit asked for it */
    bool signalled; /* the next signal ends it at once */
    bool lost;      /* a spilled result cannot be read */
    struct attempt_ref lost_ref;
    struct err lost_why;
    bool rendering;      /* the runner's outcome is due */
    bool was_open;       /* as last logged */
    uint32_t reconnects; /* since it was open */
    bool unsent;         /* a message did not fit the connection's queue */
    bool over;
    struct err why; /* it is over; code 0: on request */
};

/* Unique per process, so that two workers of one name do not take each other's connection. */
static void make_identity(struct worker *w)
{
    uint32_t salt = 0;

    if (getrandom(&salt, sizeof salt, GRND_NONBLOCK) != sizeof salt)
        salt = (uint32_t)getpid();
    snprintf(w->identity, sizeof w->identity, "worker/%s/%08x", w->options.name, salt);
}

static int open_signals(struct worker *w, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL); /* before any thread starts: all inherit it */
    w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return w->signals < 0 ? err_errno(e, "signalfd") : 0;
}

/* A new place for the next gang. Without one the worker leads none. */
static void renew_offer(struct worker *w)
{
    struct err e;

    w->offer = NULL;
    if (gang_offer_new(GANG_UNIX, &w->offer, &e) != 0)
        log_warn("no_gang", "text=\"%s\"", e.text);
    session_meeting(w->session, w->offer ? gang_offer_text(w->offer) : "");
}

static int open_worker(struct worker *w, struct err *e)
{
    struct options *o = &w->options;
    struct runner_options runner = {.backend = o->backend, .device = o->device};
    struct session_options session = {.name = o->name,
                                      .device = w->probe.device,
                                      .host = w->host,
                                      .device_class = w->probe.device_class,
                                      .threads = (uint32_t)o->threads,
                                      .capacity = o->credits,
                                      .batch = o->batch,
                                      .batch_pixels = o->batch_pixels,
                                      .keep_bytes = o->keep_bytes,
                                      .spill_bytes = o->spill_bytes};
    int rc = 0;

    w->started_ms = clock_monotonic_ms();
    w->spill.parent = o->spill_folder;
    probe_host(w->host);
    make_identity(w);
    TRY(open_signals(w, e));
    TRY(probe_device(o->backend, o->device, &w->probe, e));
    if (o->memory_bytes == 0)
        o->memory_bytes = w->probe.memory_bytes;
    session.memory_bytes = runner.memory_bytes = o->memory_bytes;
    runner.threads = o->threads;
    TRY(link_connect(o->connect, w->identity, &w->link, e));
    TRY(library_open(o->directories, o->n_directories, &w->library, e));
    runner.library = w->library;
    TRY(stock_open(&(struct stock_options){.library = w->library,
                                           .dir = o->cache_folder,
                                           .budget_bytes = o->cache_bytes,
                                           .own_files = o->own_files},
                   &w->stock, e));
    runner.view = stock_view(w->stock);
    TRY(runner_open(&runner, &w->runner, e));
    TRY(session_new(&session, &w->session, e));
    renew_offer(w);
    log_info("worker_started", "name=%s connect=%s device=\"%s\" class=%s threads=%d", o->name,
             link_endpoint(w->link), w->probe.device, session.device_class, o->threads);
out:
    return rc;
}

/* Files of leases that are over; all: of every lease. */
static void gathered_drop(struct worker *w, bool all)
{
    for (struct gathered **at = &w->gathered, *g; (g = *at);) {
        if (!all && session_needs_files(w->session, &g->ref)) {
            at = &g->next;
            continue;
        }
        if (!all)
            stock_release(w->stock, &g->ref);
        *at = g->next;
        given_free(g->given);
        free(g);
    }
}

static struct gathered *gathered_of(const struct worker *w, const struct attempt_ref *ref)
{
    struct gathered *g = w->gathered;

    while (g && (g->ref.index != ref->index || g->ref.attempt != ref->attempt ||
                 strcmp(g->ref.job, ref->job) != 0))
        g = g->next;
    return g;
}

static int gather(struct worker *w, const struct session_action *a, struct err *e)
{
    struct gathered *g = calloc(1, sizeof *g);

    if (!g)
        return err_set(e, ERR_OOM, "out of memory for a lease");
    g->ref = a->ref;
    g->next = w->gathered;
    w->gathered = g;
    return stock_gather(w->stock, &a->ref, a->task, a->assets, a->n_assets, e);
}

static void close_worker(struct worker *w)
{
    session_free(w->session);
    runner_close(w->runner);
    gathered_drop(w, true);
    stock_close(w->stock);
    gang_offer_free(w->offer);
    library_close(w->library);
    link_close(w->link, LINGER_MS);
    if (w->signals >= 0)
        close(w->signals);
    buf_done(&w->out);
    buf_done(&w->in);
    buf_done(&w->spilled);
    spill_done(&w->spill);
    options_done(&w->options);
}

static void log_message(const struct msg *m)
{
    if (m->type == MSG_RESULT)
        log_info("result_sent",
                 "job=%.12s index=%llu attempt=%u seconds=%.3f load=%.3f bytes=%zu%s",
                 m->result.ref.job, (unsigned long long)m->result.ref.index, m->result.ref.attempt,
                 m->result.render_seconds, m->result.load_seconds, m->result.png_size,
                 m->result.black ? " black=true" : "");
    else if (m->type == MSG_FAILED)
        log_warn("failure_sent", "job=%.12s index=%llu attempt=%u code=%s text=\"%s\"",
                 m->failed.ref.job, (unsigned long long)m->failed.ref.index, m->failed.ref.attempt,
                 m->failed.code, m->failed.text);
    else
        log_debug("send", "type=%s", msg_type_name(m->type));
}

static void send_message(struct worker *w, const struct msg *m)
{
    struct err e;

    w->out.size = 0;
    if (msg_encode(m, &w->out, &e) != 0) {
        log_error("message_unsent", "text=\"%s\"", e.text); /* our own mistake */
        return;
    }
    log_message(m);
    if (link_send(w->link, NULL, w->out.data, w->out.size, &e) != 0) {
        log_warn("message_unsent", "type=%s text=\"%s\"", msg_type_name(m->type), e.text);
        w->unsent = true;
    }
}

static int reconnect(struct worker *w, const struct err *why, struct err *e)
{
    /* One line for each loss, not one for each try. */
    log_line(w->reconnects++ ? LOG_DEBUG : LOG_WARN, "reconnect", "connect=%s reason=\"%s\"",
             w->options.connect, why->text);
    link_close(w->link, 0);
    w->link = NULL;
    w->unsent = false;
    return link_connect(w->options.connect, w->identity, &w->link, e);
}

static void spill_result(struct worker *w, const struct session_action *a)
{
    struct err e;
    bool kept = spill_put(&w->spill, &a->ref, a->msg.result.png, a->msg.result.png_size, &e) == 0;

    if (kept)
        log_debug("result_spilled", "index=%llu bytes=%zu", (unsigned long long)a->ref.index,
                  a->msg.result.png_size);
    else
        log_warn("result_not_spilled", "text=\"%s\"", e.text);
    session_spilled(w->session, &a->ref, kept);
}

static void send_spilled(struct worker *w, const struct session_action *a)
{
    struct msg m = a->msg;

    if (spill_get(&w->spill, &a->ref, m.result.png_size, &w->spilled, &w->lost_why) != 0) {
        log_error("spilled_result_lost", "text=\"%s\"", w->lost_why.text);
        w->lost = true;
        w->lost_ref = a->ref;
        return;
    }
    m.result.png = w->spilled.data;
    send_message(w, &m);
}

/* The offer that a gang meets at is used up; one that is not the latest was given up. */
static int start(struct worker *w, const struct session_action *a, struct err *e)
{
    struct runner_gang g = {(int)a->gang.guidance, (int)a->gang.tensor, (int)a->gang.rank,
                            a->gang.meeting, NULL};
    const struct given *given[RUNNER_BATCH_MAX];

    for (size_t i = 0; i < a->n_tasks; i++) {
        const struct gathered *files = gathered_of(w, a->refs[i]);

        given[i] = files ? files->given : NULL;
    }

    log_debug("start", "job=%.12s index=%llu attempt=%u batch=%zu rank=%u", a->ref.job,
              (unsigned long long)a->ref.index, a->ref.attempt, a->n_tasks, a->gang.rank);
    w->rendering = true;
    if (a->gang.guidance == 0)
        return runner_start(w->runner, a->tasks, given, a->n_tasks, NULL, e);
    if (g.rank == 0 && w->offer && strcmp(gang_offer_text(w->offer), g.meeting) == 0) {
        g.offer = w->offer;
        renew_offer(w);
    }
    return runner_start(w->runner, &a->task, given, 1, &g, e);
}

static int perform(struct worker *w, const struct session_action *a, struct err *e)
{
    switch (a->what) {
    case SESSION_SEND:
        if (a->spilled)
            send_spilled(w, a);
        else
            send_message(w, &a->msg);
        return 0;
    case SESSION_SPILL:
        spill_result(w, a);
        return 0;
    case SESSION_UNSPILL:
        spill_drop(&w->spill, &a->ref);
        return 0;
    case SESSION_RECONNECT:
        return reconnect(w, &a->why, e);
    case SESSION_GATHER:
        return gather(w, a, e);
    case SESSION_START:
        return start(w, a, e);
    case SESSION_CANCEL:
        runner_cancel(w->runner);
        return 0;
    case SESSION_END:
        w->over = true;
        w->why = a->why;
        return 0;
    }
    return 0;
}

/* All that the last event led to. */
static int perform_all(struct worker *w, struct err *e)
{
    const struct session_action *a;
    struct cache_counts counts;
    int rc = 0;

    do {
        while ((a = session_next(w->session)))
            TRY(perform(w, a, e));
        if (!w->unsent && !w->lost)
            break;
        if (w->lost)
            TRY(session_spill_lost(w->session, &w->lost_ref, &w->lost_why, clock_monotonic_ms(),
                                   e));
        else
            TRY(session_unsent(w->session, clock_monotonic_ms(), e));
        w->unsent = w->lost && w->unsent;
        w->lost = false;
    } while (!w->over);
    gathered_drop(w, false);
    counts = stock_counts(w->stock);
    session_cache(w->session, &counts);
    if (session_is_open(w->session) != w->was_open) {
        w->was_open = !w->was_open;
        if (w->was_open)
            stock_connected(w->stock);
        w->reconnects = 0;
        log_info(w->was_open ? "connected" : "disconnected", "connect=%s held=%zu",
                 w->options.connect, session_held(w->session));
    }
out:
    return rc;
}

static int on_frames(struct worker *w, struct err *e)
{
    struct err bad;
    struct msg m;
    int got = 0, rc = 0;

    while (!w->over && (got = link_receive(w->link, NULL, &w->in, e)) == 1) {
        if (msg_decode(w->in.data, w->in.size, &m, &bad) != 0) {
            log_warn("frame_refused", "bytes=%zu text=\"%s\"", w->in.size, bad.text);
            continue;
        }
        rc = session_message(w->session, &m, clock_monotonic_ms(), e);
        if (rc == 0 && m.type == MSG_CHUNK)
            rc = stock_chunk(w->stock, &m.chunk, e);
        else if (rc == 0 && m.type == MSG_GONE)
            rc = stock_gone(w->stock, &m.gone, e);
        msg_done(&m);
        if (rc == 0)
            rc = perform_all(w, e);
        if (rc != 0)
            return rc;
    }
    return got < 0 ? got : 0;
}

static int on_reports(struct worker *w, struct err *e)
{
    struct report r;
    int64_t now_ms;
    int rc = 0;

    while (!w->over && runner_take(w->runner, &r)) {
        now_ms = clock_monotonic_ms();
        w->rendering = r.kind == REPORT_PROGRESS || r.more;
        if (r.kind == REPORT_PROGRESS)
            TRY(session_progress(w->session, r.step, r.steps, now_ms, e));
        else if (r.kind == REPORT_FINISHED)
            TRY(session_finished(w->session, &r.picture, now_ms, e));
        else if (r.kind == REPORT_HELPED)
            TRY(session_helped(w->session, now_ms, e));
        else
            TRY(session_failed(w->session, &r.error, now_ms, e));
        TRY(perform_all(w, e));
    }
out:
    return rc;
}

static int on_stock_event(struct worker *w, struct stock_event *s, struct err *e)
{
    const struct msg want = {.type = MSG_WANT, .want = s->want};
    struct gathered *g = s->what == STOCK_WANT ? NULL : gathered_of(w, &s->ref);
    int64_t now_ms = clock_monotonic_ms();

    switch (s->what) {
    case STOCK_WANT:
        if (session_is_open(w->session))
            send_message(w, &want);
        return 0;
    case STOCK_READY:
        if (!g) {
            given_free(s->given);
            return 0;
        }
        given_free(g->given);
        g->given = s->given;
        return session_gathered(w->session, &s->ref, now_ms, e);
    case STOCK_FAILED:
        return session_ungathered(w->session, &s->ref, &s->why, now_ms, e);
    case STOCK_FETCHING:
        return session_fetching(w->session, &s->ref, s->fetched, s->total, e);
    }
    return 0;
}

static int on_stock(struct worker *w, struct err *e)
{
    struct stock_event event;
    int rc = 0;

    while (!w->over && stock_next(w->stock, &event)) {
        TRY(on_stock_event(w, &event, e));
        TRY(perform_all(w, e));
    }
out:
    return rc;
}

static int on_signal(struct worker *w, struct err *e)
{
    struct signalfd_siginfo info;
    int rc = 0;

    if (read(w->signals, &info, sizeof info) != sizeof info)
        return 0;
    log_info("stopping", "signal=%s", strsignal((int)info.ssi_signo));
    if (w->leaving && w->signalled)
        TRY(session_stop(w->session, e));
    else
        TRY(session_leave(w->session, false, clock_monotonic_ms(), e));
    w->leaving = w->signalled = true;
    TRY(perform_all(w, e));
out:
    return rc;
}

/* The time limit is over: what runs is finished, the rest handed back. */
static int on_time(struct worker *w, int64_t now_ms, struct err *e)
{
    const struct options *o = &w->options;
    int rc = 0;

    if (!o->time_limit_s || w->leaving || now_ms - w->started_ms < INT64_C(1000) * o->time_limit_s)
        return 0;
    log_info("stopping", "reason=\"time limit of %u s\"", o->time_limit_s);
    w->leaving = true;
    TRY(session_leave(w->session, true, now_ms, e));
    TRY(perform_all(w, e));
out:
    return rc;
}

static int loop(struct worker *w, struct err *e)
{
    struct pollfd fds[3] = {{.fd = runner_fd(w->runner), .events = POLLIN},
                            {.fd = w->signals, .events = POLLIN},
                            {.fd = stock_fd(w->stock), .events = POLLIN}};
    int64_t now_ms;
    int rc = 0;

    while (!w->over) {
        now_ms = clock_monotonic_ms();
        TRY(session_tick(w->session, now_ms, e));
        TRY(perform_all(w, e));
        if (!w->over)
            TRY(on_time(w, now_ms, e));
        if (w->over)
            break;
        if ((rc = link_wait(w->link, fds, 3, session_wait_ms(w->session, now_ms), e)) < 0)
            goto out;
        TRY(on_frames(w, e));
        if (fds[0].revents && !w->over)
            TRY(on_reports(w, e));
        if (fds[2].revents && !w->over)
            TRY(on_stock(w, e));
        if (fds[1].revents && !w->over)
            TRY(on_signal(w, e));
    }
    if (w->why.code != 0)
        rc = err_set(e, w->why.code, "%s", w->why.text);
out:
    return rc;
}

/* The cancelled render ends by itself after a step. A model's loading does not: it is left. */
static void await_runner(struct worker *w, int exit_code)
{
    struct pollfd fds[2] = {{.fd = runner_fd(w->runner), .events = POLLIN},
                            {.fd = w->signals, .events = POLLIN}};
    int64_t deadline = clock_monotonic_ms() + PATIENCE_MS, left;
    struct report r;

    while (w->rendering && (left = deadline - clock_monotonic_ms()) > 0) {
        if (poll(fds, 2, (int)left) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            break;
        while (runner_take(w->runner, &r)) {
            w->rendering = r.kind == REPORT_PROGRESS || r.more;
            if (r.kind == REPORT_FINISHED)
                picture_done(&r.picture);
        }
    }
    if (w->rendering) {
        link_close(w->link, LINGER_MS);
        _exit(exit_code);
    }
}

static int run(struct worker *w)
{
    struct err e = {0};
    int code = 0;

    if (open_worker(w, &e) != 0 || loop(w, &e) != 0) {
        log_error("worker_failed", "code=%s text=\"%s\"", err_name(e.code), e.text);
        code = e.code == ERR_ARG ? 2 : 1;
    }
    if (w->runner) {
        runner_cancel(w->runner);
        await_runner(w, code);
    }
    if (code == 0)
        log_info("worker_ended", "name=%s", w->options.name);
    close_worker(w);
    return code;
}

/*
 * Render threads that wait for each other spin for long by default, which on a machine whose cores
 * are shared makes a render ten times slower. libgomp reads its environment before main: the
 * program starts itself once more, as the same process. Where that fails the pictures are the same.
 */
static void spin_briefly(char **argv)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    if (n <= 0 || getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    path[n] = 0;
    if (setenv("GOMP_SPINCOUNT", SPIN_COUNT, 1) == 0)
        execv(path, argv);
}

int main(int argc, char **argv)
{
    struct worker w = {.signals = -1};
    struct err e;

    spin_briefly(argv);

    if (options_parse(argc, argv, &w.options, &e) != 0) {
        fprintf(stderr, "litho-worker: %s\nTry 'litho-worker --help'.\n", e.text);
        options_done(&w.options);
        return 2;
    }
    if (w.options.help || w.options.version) {
        fputs(w.options.help ? options_help : "litho-worker " LITHO_VERSION "\n", stdout);
        options_done(&w.options);
        return 0;
    }
    if (w.options.plan) {
        int code = plan_tasks(&w.options, stdout, stderr);

        options_done(&w.options);
        return code;
    }
    log_set_level(w.options.log_level);
    return run(&w);
}
