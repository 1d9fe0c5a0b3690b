/* litho-coordinator: options, signals, wiring, and the loop around the reactor. */
#include "coordinator/batch.h"
#include "coordinator/depot.h"
#include "coordinator/drawing.h"
#include "coordinator/gauges.h"
#include "coordinator/index.h"
#include "coordinator/lobby.h"
#include "coordinator/state_dir.h"
#include "monitoring/http.h"
#include "proto/clock.h"
#include "proto/log.h"
#include "proto/version.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define BATCH_MESSAGES  4096 /* messages of one transaction */
#define BATCH_LARGE     64   /* of them, those of over LARGE_BYTES: pictures, synced one by one */
#define LARGE_BYTES     4096
#define BATCH_BYTES     (128u << 20) /* of frames; a batch ends beyond */
#define TICK_MS         250
#define TICK_LATEST_MS  5000
#define REFUSED_MS      1000 /* between two tries of a commit that the disk refuses */
#define GAUGES_MS       1000
#define DIRECTORIES_MAX 64   /* of --models */
#define PURGE_ROWS      5000 /* of a removed job, at a time */

enum { EXIT_USAGE = 2 };

struct options {
    const char *listen, *state, *out, *metrics;
    const char *directories[DIRECTORIES_MAX]; /* of models */
    size_t n_directories;
    bool empty_results;
    int64_t heartbeat_ms, silence_ms, grace_ms; /* 0: as in coord.h */
};

struct server {
    struct coord coord;
    struct store *store;
    struct output *output;
    struct link *link;
    struct drawing *drawing;
    struct library *library;
    struct depot *depot; /* NULL: no files are looked for */
    struct gauges *gauges;
    struct http *http;
    struct batch batch;
    struct lobby lobby;
    int signals; /* descriptor */
    bool stop;
    int64_t turned_ms, ticked_ms, gauged_ms;
};

static const char usage[] =
    "usage: litho-coordinator --listen ENDPOINT --state DIR --out DIR [options]\n"
    "\n"
    "Takes jobs from `litho submit`, leases their tasks to workers, and collects the pictures.\n"
    "\n"
    "  --listen ENDPOINT      tcp://127.0.0.1:PORT (port 0: any free one) or ipc://PATH\n"
    "  --state DIR            what outlives a restart: database, lock, bound endpoint\n"
    "  --out DIR              where pictures go\n"
    "  --models DIR           where the models are that manifests name; may be given several "
    "times.\n"
    "                         Default: the directories of LITHO_MODELS (colon separated), else\n"
    "                         ./models and those that came with the program. Workers fetch from\n"
    "                         there what they lack\n"
    "  --metrics ADDR:PORT    serve /metrics and /healthz there, loopback only\n"
    "  --empty-results        for measuring: take results without pictures, into a state folder "
    "of\n"
    "                         its own that no other coordinator opens\n"
    "  --heartbeat MS         peers send something at least this often (default 2000)\n"
    "  --silence MS           a peer silent for this long is gone (default 15000)\n"
    "  --grace MS             after a start, how long workers have to claim what they hold\n"
    "                         (default 6000)\n"
    "  --log-level LEVEL      debug, info (default), warn or error\n"
    "  --help, --version\n"
    "\n"
    "Exit codes: 0 stopped by a signal, 1 failure, 2 wrong options.\n";

static int on_send(void *user, const struct peer *peer, const struct buf *frame, struct err *e)
{
    struct server *s = user;

    return link_send(s->link, peer, frame->data, frame->size, e);
}

static void on_log(void *user, enum log_level level, const char *event, const char *text)
{
    (void)user;
    log_line(level, event, "%s", text);
}

static int by_index(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The sheet's cells whose task failed. failed: room for JOB_SHEET_CELLS. */
static int failed_cells(struct server *s, const struct job_entry *j, uint64_t *failed,
                        size_t *ret_n, struct err *e)
{
    struct job_sheet sheet;
    int rc = 0;

    *ret_n = 0;
    if (j->failed == 0 || !job_sheet(j->job, &sheet))
        return 0;
    for (uint32_t i = 0; i < sheet.columns * sheet.rows && i < JOB_SHEET_CELLS; i++) {
        uint64_t index = job_sheet_index(j->job, &sheet, i % sheet.columns, i / sheet.columns);
        struct record record = {0};

        if (index >= job_span(j->job))
            continue;
        TRY(store_record(s->store, j->number, index, &record, e));
        if (record.failed)
            failed[(*ret_n)++] = index;
        record_done(&record);
    }
    qsort(failed, *ret_n, sizeof *failed, by_index);
out:
    return rc;
}

static int on_draw(void *user, uint64_t job, struct err *e)
{
    struct server *s = user;
    const struct job_entry *j = coord_job(&s->coord, job);
    uint64_t failed[JOB_SHEET_CELLS];
    size_t n;
    int rc = 0;

    if (!j)
        return 0;
    TRY(failed_cells(s, j, failed, &n, e));
    TRY(drawing_start(s->drawing, j, output_dir(s->output), failed, n, e));
out:
    return rc;
}

static int on_asset_asked(void *user, enum asset_role role, const char *name, struct err *e)
{
    struct server *s = user;

    return depot_ask(s->depot, role, name, e);
}

static int on_chunk_asked(void *user, const struct peer *peer, const struct msg_want *want,
                          struct err *e)
{
    struct server *s = user;

    return depot_send(s->depot, peer, want, e);
}

static void on_recorded(void *user, const struct record *record)
{
    struct server *s = user;

    gauges_record(s->gauges, record);
}

struct restoring {
    struct server *server;
    int64_t now_ms;
};

static int restore_job(void *user, struct restored *r, struct err *e)
{
    struct restoring *restoring = user;

    if (r->job)
        log_info("job_restored", "job=%.12s name=%s done=%llu failed=%llu tasks=%llu", r->hash,
                 r->name, (unsigned long long)r->done, (unsigned long long)r->failed,
                 (unsigned long long)r->tasks);
    return reactor_restore(&restoring->server->coord, r, restoring->now_ms, e);
}

/* Each job's index.jsonl must agree with the store. It is derived: a failure only warns. */
static void check_indices(struct server *s)
{
    struct err why;

    for (size_t i = 0; i < s->coord.n_jobs; i++) {
        const struct job_entry *j = s->coord.jobs[i];

        if (index_restart(s->output, s->store, j->number, j->folder, &why) != 0)
            log_warn("index_not_written", "job=%.12s why=%s", j->hash, why.text);
    }
}

static int signals_open(int *ret_fd, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
        (*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_errno(e, "signals");
    return 0;
}

static int endpoint_publish(const struct server *s, const struct options *options, struct err *e)
{
    struct buf line = {0};
    int rc;

    buf_printf(&line, "%s\n", link_endpoint(s->link));
    TRY(buf_check(&line, e));
    TRY(state_file_write(options->state, "endpoint", buf_text(&line), e));
    log_info("listening", "endpoint=%s state=%s out=%s", link_endpoint(s->link), options->state,
             output_dir(s->output));
out:
    buf_done(&line);
    return rc;
}

static void endpoint_withdraw(const struct options *options)
{
    struct buf path = {0};

    buf_printf(&path, "%s/endpoint", options->state);
    unlink(buf_text(&path));
    buf_done(&path);
}

static int server_open(struct server *s, const struct options *options, struct err *e)
{
    struct restoring restoring = {.server = s, .now_ms = clock_monotonic_ms()};
    const char *network;
    int rc;

    *s = (struct server){.signals = -1};
    TRY(signals_open(&s->signals, e));
    TRY(store_open(options->state, &s->store, e));
    TRY(store_claim(s->store, options->empty_results, e));
    endpoint_withdraw(options);
    if ((network = store_network(options->state)))
        log_warn("state_on_network",
                 "state=%s type=%s: locks and syncs may not hold there; use a local disk",
                 options->state, network);
    TRY(output_open(options->out, &s->output, e));
    TRY(coord_init(&s->coord,
                   &(struct coord_limits){.assets = !options->empty_results,
                                          .empties = options->empty_results,
                                          .heartbeat_ms = options->heartbeat_ms,
                                          .silence_ms = options->silence_ms,
                                          .grace_ms = options->grace_ms},
                   output_dir(s->output), e));
    TRY(library_open(options->directories, options->n_directories, &s->library, e));
    if (!options->empty_results)
        TRY(depot_open(options->state, s->library, &s->depot, e));
    TRY(drawing_open(&s->drawing, e));
    TRY(gauges_new(&s->gauges, e));
    TRY(store_restore(s->store, restore_job, &restoring, e));
    if (!options->empty_results) /* which have no lines there */
        check_indices(s);
    s->batch = (struct batch){
        .coord = &s->coord,
        .store = s->store,
        .output = s->output,
        .user = s,
        .send = on_send,
        .log = on_log,
        .draw = on_draw,
        .asset = on_asset_asked,
        .chunk = on_chunk_asked,
        .recorded = on_recorded,
    };
    if (options->metrics) {
        TRY(http_open(options->metrics, &s->http, e));
        log_info("metrics", "endpoint=http://%s/metrics", http_address(s->http));
    }
    TRY(link_listen(options->listen, &s->link, e));
    TRY(endpoint_publish(s, options, e));
out:
    return rc;
}

static void server_close(struct server *s)
{
    http_close(s->http);
    drawing_close(s->drawing);
    depot_close(s->depot);
    library_close(s->library);
    link_close(s->link, 500);
    batch_done(&s->batch);
    lobby_done(&s->lobby);
    coord_done(&s->coord);
    gauges_free(s->gauges);
    output_close(s->output);
    store_close(s->store);
    if (s->signals >= 0)
        close(s->signals);
}

static int receive_one(struct server *s, struct buf *frame, int64_t now_ms, bool *ret_any,
                       struct err *e)
{
    struct event event = {.type = EVENT_MESSAGE};
    struct msg m = {0};
    int got = 1, rc;

    if (!lobby_next(&s->lobby, &event.peer, frame))
        got = link_receive(s->link, &event.peer, frame, e);
    *ret_any = got == 1;
    if (got != 1)
        return got;
    if (msg_decode(frame->data, frame->size, &m, &event.failure) != 0)
        event.type = EVENT_GARBAGE;
    else
        event.msg = &m;
    rc = reactor_on(&s->coord, &event, now_ms, &s->batch.outbox, e);
    msg_done(&m);
    return rc;
}

/* ret_drained: no message waits any more. */
static int receive(struct server *s, int64_t now_ms, bool *ret_drained, struct err *e)
{
    struct buf frame = {0};
    size_t bytes = 0;
    bool any = true;
    int large = 0, rc = 0;

    for (int n = 0; any && n < BATCH_MESSAGES && large < BATCH_LARGE && bytes < BATCH_BYTES; n++) {
        TRY(receive_one(s, &frame, now_ms, &any, e));
        bytes += any ? frame.size : 0;
        large += any && frame.size > LARGE_BYTES;
    }
    *ret_drained = !any;
out:
    buf_done(&frame);
    return rc;
}

static void signals_read(struct server *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        log_info("stopping", "signal=%s", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        s->stop = true;
    }
}

/* Until the next try of the commit: clients are told, workers' messages kept. */
static int refused_pause(struct server *s, const char *why, struct err *e)
{
    int64_t until_ms = clock_monotonic_ms() + REFUSED_MS, left_ms;
    int rc = 0;

    while (!s->stop && rc == 0 && (left_ms = until_ms - clock_monotonic_ms()) > 0) {
        struct pollfd fd = {.fd = s->signals, .events = POLLIN};

        if (lobby_full(&s->lobby)) {
            poll(&fd, 1, (int)left_ms);
        } else if ((rc = link_wait(s->link, &fd, 1, (int)left_ms, e)) >= 0) {
            rc = lobby_serve(&s->lobby, s->link, why, e);
        }
        signals_read(s);
    }
    return rc;
}

/* The disk refuses the commit: nothing else happens until it takes it, or we are told to stop. */
static int commit_insist(struct server *s, int rc, struct err *e)
{
    char why[ERR_TEXT_MAX];

    if (rc == 1)
        log_error("store_refused", "why=%s", e->text);
    while (rc == 1 && !s->stop) {
        snprintf(why, sizeof why, "the coordinator waits until its disk takes writes again: %.800s",
                 e->text);
        TRY(refused_pause(s, why, e));
        rc = batch_finish(&s->batch, e);
        if (rc == 0)
            log_info("store_works_again", "%s", "");
    }
out:
    return rc;
}

static int drawn(struct server *s, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_DRAWN};
    struct drawn result;
    int rc = 0;

    while (rc == 0 && drawing_next(s->drawing, &result)) {
        event.job = result.job;
        event.failure = result.failure;
        event.text = result.path;
        rc = reactor_on(&s->coord, &event, now_ms, &s->batch.outbox, e);
    }
    return rc;
}

/* What the depot found: answers to the reactor, parts of files straight to workers. */
static int depot_read(struct server *s, int64_t now_ms, struct err *e)
{
    struct event event = {.type = EVENT_ASSET};
    struct depot_progress progress;
    struct depot_result r;
    struct err why;
    int rc = 0;

    if (!s->depot)
        return 0;
    progress = depot_progress(s->depot);
    s->coord.hash_done = progress.done;
    s->coord.hash_total = progress.total;
    s->coord.assets.hashed_bytes = progress.hashed_bytes;
    while (rc == 0 && depot_next(s->depot, &r)) {
        event.asset = &r.answer;
        if (!r.is_frame)
            rc = reactor_on(&s->coord, &event, now_ms, &s->batch.outbox, e);
        else if (link_send(s->link, &r.peer, r.frame.data, r.frame.size, &why) == 0)
            s->coord.assets.sent_bytes += r.chunk_bytes; /* else it is wanted again */
        asset_answer_done(&r.answer);
        buf_done(&r.frame);
    }
    return rc;
}

/* Rows of removed jobs go while nothing else waits. A disk that refuses is asked again later. */
static void purge(struct server *s)
{
    struct err why;
    bool more;

    if (store_purge(s->store, PURGE_ROWS, &more, &why) != 0)
        log_warn("not_purged", "why=%s", why.text);
}

static int turn(struct server *s, struct err *e)
{
    int64_t now_ms, begun_ms;
    bool drained;
    int rc;

    now_ms = clock_monotonic_ms();
    s->coord.wall_offset_ms = clock_wall_ms() - now_ms;
    if (s->turned_ms && now_ms - s->turned_ms > TICK_LATEST_MS) {
        log_warn("absent", "ms=%lld why=\"stopped, or a slow disk\"",
                 (long long)(now_ms - s->turned_ms));
        coord_absent(&s->coord, now_ms - s->turned_ms);
    }
    s->turned_ms = now_ms;
    TRY(receive(s, now_ms, &drained, e));
    TRY(drawn(s, now_ms, e));
    TRY(depot_read(s, now_ms, e));
    TRY(batch_gone(&s->batch, now_ms, e));
    /* Only once all waiting messages are read may silence count against a peer; but time passes
     * under any load. */
    if (now_ms - s->ticked_ms >= (drained ? TICK_MS : TICK_LATEST_MS)) {
        TRY(reactor_on(&s->coord, &(struct event){.type = EVENT_TICK}, now_ms, &s->batch.outbox,
                       e));
        s->ticked_ms = now_ms;
    }
    begun_ms = clock_monotonic_ms();
    TRY(commit_insist(s, batch_run(&s->batch, now_ms, e), e));
    gauges_batch(s->gauges, clock_monotonic_ms() - begun_ms, s->batch.commit_ms);
    if (drained)
        purge(s);
    if (s->http && now_ms - s->gauged_ms >= GAUGES_MS) {
        TRY(gauges_publish(s->gauges, &s->coord, now_ms, s->http, e));
        s->gauged_ms = now_ms;
    }
out:
    return rc;
}

static int server_run(struct server *s, struct err *e)
{
    int rc = 0;

    while (!s->stop) {
        struct pollfd fds[3] = {{.fd = s->signals, .events = POLLIN},
                                {.fd = drawing_fd(s->drawing), .events = POLLIN},
                                {.events = POLLIN}};

        if (s->depot)
            fds[2].fd = depot_fd(s->depot);

        rc = link_wait(s->link, fds, s->depot ? 3 : 2, TICK_MS, e);
        if (rc < 0)
            return rc;
        if (fds[0].revents)
            signals_read(s);
        rc = turn(s, e);
        if (rc == 1)
            return err_set(e, ERR_IO, "stopped while the state folder refused a commit: %s",
                           e->text);
        if (rc != 0)
            return rc;
    }
    return rc;
}

static int wrong_usage(const char *text)
{
    fprintf(stderr, "litho-coordinator: %s\n%s", text, usage);
    return EXIT_USAGE;
}

static bool set_level(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            log_set_level((enum log_level)i);
            return true;
        }
    }
    return false;
}

/* Milliseconds as the wire may state them. */
static bool set_ms(const char *text, int64_t *ret_ms)
{
    char *end;

    errno = 0;
    *ret_ms = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && *ret_ms >= 1 && *ret_ms <= 3600000;
}

static bool times_fit(const struct options *o)
{
    int64_t heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : 2000;
    int64_t silence_ms = o->silence_ms ? o->silence_ms : 15000;

    return silence_ms >= 2 * heartbeat_ms;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"listen", required_argument, NULL, 'l'},
        {"state", required_argument, NULL, 's'},
        {"out", required_argument, NULL, 'o'},
        {"metrics", required_argument, NULL, 'm'},
        {"models", required_argument, NULL, 'M'},
        {"heartbeat", required_argument, NULL, 'b'},
        {"silence", required_argument, NULL, 'q'},
        {"grace", required_argument, NULL, 'g'},
        {"log-level", required_argument, NULL, 'L'},
        {"help", no_argument, NULL, 'h'},
        {"empty-results", no_argument, NULL, 'E'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'l':
            o->listen = optarg;
            break;
        case 's':
            o->state = optarg;
            break;
        case 'o':
            o->out = optarg;
            break;
        case 'm':
            o->metrics = optarg;
            break;
        case 'M':
            if (o->n_directories == DIRECTORIES_MAX)
                return wrong_usage("--models: too many directories");
            o->directories[o->n_directories++] = optarg;
            break;
        case 'E':
            o->empty_results = true;
            break;
        case 'b':
        case 'q':
        case 'g':
            if (!set_ms(optarg, c == 'b'   ? &o->heartbeat_ms
                                : c == 'q' ? &o->silence_ms
                                           : &o->grace_ms))
                return wrong_usage("--heartbeat, --silence and --grace take 1 to 3600000 (ms)");
            break;
        case 'L':
            if (!set_level(optarg))
                return wrong_usage("--log-level must be debug, info, warn or error");
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'V':
            puts("litho-coordinator " LITHO_VERSION);
            return 0;
        default:
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc)
        return wrong_usage("takes no arguments beside options");
    if (!o->listen || !o->state || !o->out)
        return wrong_usage("--listen, --state and --out are needed");
    if (!times_fit(o))
        return wrong_usage("--silence must be at least twice --heartbeat");
    return -1;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct server server;
    struct err e = {0};
    int code = parse(argc, argv, &options), rc;

    if (code >= 0)
        return code;
    rc = server_open(&server, &options, &e);
    if (rc == 0)
        rc = server_run(&server, &e);
    if (rc != 0)
        log_error("failed", "code=%s why=%s", err_name(rc), e.text);
    if (server.link)
        endpoint_withdraw(&options);
    server_close(&server);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
