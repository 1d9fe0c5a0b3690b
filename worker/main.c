/* litho-worker: opening its parts, the loop that waits for them, the end. */
#include "proto/clock.h"
#include "proto/log.h"
#include "proto/version.h"
#include "worker/actions.h"
#include "worker/events.h"
#include "worker/plan.h"

#include <errno.h>
#include <linux/close_range.h>
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
#define STARTED     "LITHO_WORKER_STARTED_MS" /* tells the next process: monotonic ms */
#define EXIT_DEVICE 3

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
    signal(SIGXFSZ, SIG_IGN);           /* a file over the limit is a disk that refuses */
    sigprocmask(SIG_BLOCK, &set, NULL); /* before any thread starts: all inherit it */
    w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return w->signals < 0 ? err_errno(e, "signalfd") : 0;
}

/* When the first of the processes that followed each other by start_again() began. */
static int64_t started_ms(void)
{
    const char *text = getenv(STARTED);
    int64_t now_ms = clock_monotonic_ms(), then_ms = text ? strtoll(text, NULL, 10) : now_ms;

    return then_ms > 0 && then_ms < now_ms ? then_ms : now_ms;
}

/* What the device offers, in the words of hello. */
static void state_precisions(struct worker *w, struct session_options *session)
{
    for (size_t i = 0; i < w->probe.n_offers; i++) {
        const struct engine_offer *o = &w->probe.offers[i];

        w->precisions[i] = (struct hello_precision){
            .asked = precision_name(o->asked),
            .computed = o->computed == PRECISION_AUTO ? "" : precision_name(o->computed),
            .device_class = o->device_class};
    }
    session->precisions = w->precisions;
    session->n_precisions = w->probe.n_offers;
}

static int open_worker(struct worker *w, struct err *e)
{
    struct options *o = &w->options;
    struct runner_options runner = {
        .backend = o->backend, .device = o->device, .gang_address = o->gang_address};
    struct session_options session = {.name = o->name,
                                      .device = w->probe.device,
                                      .host = w->host,
                                      .gang_address = o->gang_address,
                                      .device_class = w->probe.device_class,
                                      .threads = (uint32_t)o->threads,
                                      .capacity = o->credits,
                                      .batch = o->batch,
                                      .batch_pixels = o->batch_pixels,
                                      .keep_bytes = o->keep_bytes,
                                      .spill_bytes = o->spill_bytes};
    int rc = 0;

    w->started_ms = started_ms();
    w->spill.parent = o->spill_folder;
    probe_host(w->host);
    make_identity(w);
    TRY(open_signals(w, e));
    TRY(probe_device(o->backend, o->device, &w->probe, e));
    state_precisions(w, &session);
    if (o->memory_bytes == 0)
        o->memory_bytes = w->probe.memory_bytes;
    session.memory_bytes = runner.memory_bytes = o->memory_bytes;
    runner.threads = o->threads;
    TRY(link_connect(o->connect, w->identity, &w->link, e));
    for (size_t i = 0; i < o->n_directories; i++)
        if (access(o->directories[i], R_OK | X_OK) != 0)
            log_warn("no_models_here", "models=\"%s\" why=\"%s\"", o->directories[i],
                     strerror(errno));
    TRY(library_open(o->directories, o->n_directories, &w->library, e));
    TRY(hash_memo_new(o->hashes, &w->hashes, e));
    runner.library = w->library;
    runner.hashes = w->hashes;
    TRY(stock_open(&(struct stock_options){.library = w->library,
                                           .hashes = w->hashes,
                                           .dir = o->cache_folder,
                                           .dir_chosen = o->cache_chosen,
                                           .budget_bytes = o->cache_bytes,
                                           .own_files = o->own_files},
                   &w->stock, e));
    runner.view = stock_view(w->stock);
    TRY(runner_open(&runner, &w->runner, e));
    TRY(session_new(&session, &w->session, e));
    rc = actions_offer_meeting(w, e);
    if (rc != 0 && o->gang_address)
        goto out;
    if (rc != 0)
        log_warn("no_gang", "text=\"%s\"", e->text);
    rc = 0;
    log_info("worker_started", "name=%s connect=%s device=\"%s\" class=%s threads=%d", o->name,
             link_endpoint(w->link), w->probe.device, session.device_class, o->threads);
out:
    return rc;
}

static void close_worker(struct worker *w)
{
    session_free(w->session);
    runner_close(w->runner);
    actions_drop_files(w);
    stock_close(w->stock);
    gang_offer_free(w->offer);
    library_close(w->library);
    hash_memo_free(w->hashes);
    link_close(w->link, LINGER_MS);
    if (w->signals >= 0)
        close(w->signals);
    buf_done(&w->out);
    buf_done(&w->in);
    buf_done(&w->spilled);
    spill_done(&w->spill);
    options_done(&w->options);
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
        TRY(actions_perform(w, e));
        if (!w->over)
            TRY(events_time(w, now_ms, e));
        if (w->over)
            break;
        if ((rc = link_wait(w->link, fds, 3, session_wait_ms(w->session, now_ms), e)) < 0)
            goto out;
        TRY(events_frames(w, e));
        if (fds[0].revents && !w->over)
            TRY(events_reports(w, e));
        if (fds[2].revents && !w->over)
            TRY(events_stock(w, e));
        if (fds[1].revents && !w->over)
            TRY(events_signal(w, e));
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
    if (code == 0 && w->device_lost && !w->leaving)
        code = EXIT_DEVICE;
    if (w->runner) {
        runner_cancel(w->runner);
        await_runner(w, code);
    }
    if (code == 0)
        log_info("worker_ended", "name=%s hashed_bytes=%llu", w->options.name,
                 (unsigned long long)hash_memo_read_bytes(w->hashes));
    close_worker(w);
    return code;
}

/* This program in the place of this process, with nothing of it left open. Returns if it fails. */
static void run_program(char **argv)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    if (n <= 0)
        return;
    path[n] = 0;
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* a driver's files would keep its memory */
    execv(path, argv);
}

/*
 * A lost device is another process's to use again. One that comes to lose it at once would go on so
 * for ever, and take each task's tries: only a worker that has finished a picture tries again.
 */
static int start_again(const struct worker *w, char **argv)
{
    char text[32];

    if (!w->finished) {
        log_error("device_lost", "text=\"it was lost before a picture was finished: exit code %d\"",
                  EXIT_DEVICE);
        return EXIT_DEVICE;
    }
    log_warn("device_lost", "text=\"starting again\"");
    snprintf(text, sizeof text, "%lld", (long long)w->started_ms);
    if (setenv(STARTED, text, 1) == 0)
        run_program(argv);
    log_error("device_lost", "text=\"cannot start again: %s\"", strerror(errno));
    return EXIT_DEVICE;
}

/*
 * Render threads that wait for each other spin for long by default, which on a machine whose cores
 * are shared makes a render ten times slower. libgomp reads its environment before main: the
 * program starts itself once more, as the same process. Where that fails the pictures are the same.
 */
static void spin_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    if (setenv("GOMP_SPINCOUNT", SPIN_COUNT, 1) == 0)
        run_program(argv);
}

int main(int argc, char **argv)
{
    struct worker w = {.signals = -1};
    struct err e;
    int code;

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
    if (w.options.list_devices) {
        probe_list(stdout);
        options_done(&w.options);
        return 0;
    }
    if (w.options.plan) {
        code = plan_tasks(&w.options, stdout, stderr);
        options_done(&w.options);
        return code;
    }
    log_set_level(w.options.log_level);
    code = run(&w);
    return code == EXIT_DEVICE ? start_again(&w, argv) : code;
}
