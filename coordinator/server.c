#include "coordinator/server.h"

#include "coordinator/index.h"
#include "coordinator/state_dir.h"
#include "proto/clock.h"
#include "proto/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

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

/* With the moment at which all jobs come back. */
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
            log_warn("index_not_written", "job=%.12s why=\"%s\"", j->hash, why.text);
    }
}

static int signals_open(int *ret_fd, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
        signal(SIGXFSZ, SIG_IGN) == SIG_ERR || /* a file over the limit is a disk that refuses */
        (*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_errno(e, "signals");
    return 0;
}

static int endpoint_publish(const struct server *s, const struct server_options *options,
                            struct err *e)
{
    struct buf line = {0};
    int rc;

    buf_printf(&line, "%s\n", link_endpoint(s->link));
    TRY(buf_check(&line, e));
    TRY(state_file_write(options->state, "endpoint", buf_text(&line), e));
    log_info("listening", "endpoint=%s state=%s out=\"%s\"", link_endpoint(s->link), options->state,
             output_dir(s->output));
out:
    buf_done(&line);
    return rc;
}

static void endpoint_withdraw(const struct server_options *options)
{
    struct buf path = {0};

    buf_printf(&path, "%s/endpoint", options->state);
    unlink(buf_text(&path));
    buf_done(&path);
}

int server_open(struct server *s, const struct server_options *options, struct err *e)
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
    for (size_t i = 0; i < options->n_directories; i++)
        if (access(options->directories[i], R_OK | X_OK) != 0)
            log_warn("no_models_here", "models=\"%s\" why=\"%s\"", options->directories[i],
                     strerror(errno));
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

void server_close(struct server *s, const struct server_options *options)
{
    if (s->link)
        endpoint_withdraw(options);
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
