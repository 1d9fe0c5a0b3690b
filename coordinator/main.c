/* litho-coordinator: the loop around the reactor. */
#include "coordinator/server.h"
#include "proto/clock.h"
#include "proto/log.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define BATCH_MESSAGES 4096 /* messages of one transaction */
#define BATCH_LARGE    64   /* of them, those of over LARGE_BYTES: pictures, synced one by one */
#define LARGE_BYTES    4096
#define BATCH_BYTES    (128u << 20) /* of frames; a batch ends beyond */
#define TICK_MS        250
#define TICK_LATEST_MS 5000
#define REFUSED_MS     1000 /* between two tries of a commit that the disk refuses */
#define GAUGES_MS      1000
#define PURGE_ROWS     5000 /* of a removed job, at a time */

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
    int64_t begun_ms = clock_monotonic_ms();

    if (rc == 1)
        log_error("store_refused", "why=\"%s\"", e->text);
    while (rc == 1 && !s->stop) {
        snprintf(why, sizeof why, "the coordinator waits until its disk takes writes again: %.800s",
                 e->text);
        TRY(refused_pause(s, why, e));
        rc = batch_finish(&s->batch, e);
        if (rc != 0)
            continue;
        log_info("store_works_again", "%s", "");
        s->turned_ms = clock_monotonic_ms(); /* the lobby let pings go */
        coord_absent(&s->coord, s->turned_ms - begun_ms);
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
        log_warn("not_purged", "why=\"%s\"", why.text);
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

        rc = link_wait(s->link, fds, s->depot ? 3 : 2, batch_waits(&s->batch) ? TICK_MS : 0, e);
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

int main(int argc, char **argv)
{
    struct server_options options = {0};
    struct server server;
    struct err e = {0};
    int code = server_options_parse(argc, argv, &options), rc;

    if (code >= 0)
        return code;
    rc = server_open(&server, &options, &e);
    if (rc == 0)
        rc = server_run(&server, &e);
    if (rc != 0)
        log_error("failed", "code=%s why=\"%s\"", err_name(rc), e.text);
    server_close(&server, &options);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
