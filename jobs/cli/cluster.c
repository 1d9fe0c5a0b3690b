#include "jobs/cli/cluster.h"

#include "jobs/cli/child.h"
#include "jobs/cli/interrupts.h"
#include "proto/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUICK_DEATHS_MAX  3
#define STOP_PATIENCE_MS  20000
#define STOP_LOOK_MS      10
#define LOG_LINES         5
#define TEMP_DIR_MAX      80 /* bytes: an ipc path must fit sockaddr_un */
#define WORKER_NAME_BYTES 24

struct slot {
    struct child child;
    char name[WORKER_NAME_BYTES];
    int quick_deaths; /* in a row, without a task */
};

struct cluster {
    struct cluster_options o;
    char folder[TEMP_DIR_MAX + 16]; /* temporary; "" before it exists */
    char endpoint[TEMP_DIR_MAX + 32];
    struct child coordinator;
    struct slot *slots; /* [o.workers] */
    bool workers_wanted;
    int restarts;
};

static int folder_make(struct cluster *c, struct err *e)
{
    const char *base = getenv("TMPDIR");

    if (base == NULL || base[0] != '/' || strlen(base) > TEMP_DIR_MAX)
        base = "/tmp";
    snprintf(c->folder, sizeof(c->folder), "%s/litho-XXXXXX", base);
    if (mkdtemp(c->folder) == NULL) {
        int rc = err_errno(e, c->folder);
        c->folder[0] = '\0';
        return err_set(e, rc, "%s (the folder for temporary files; TMPDIR names another)", e->text);
    }
    snprintf(c->endpoint, sizeof(c->endpoint), "ipc://%s/socket", c->folder);
    return 0;
}

static int log_path(const struct cluster *c, const char *name, struct buf *ret_path, struct err *e)
{
    buf_printf(ret_path, "%s/%s.log", c->o.logs, name);
    return buf_check(ret_path, e);
}

/* An earlier run's log would only mislead the reader of this one's. */
static int log_begin(const struct cluster *c, const char *name, struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    TRY(log_path(c, name, &path, e));
    if (unlink(path.data) != 0 && errno != ENOENT)
        rc = err_errno(e, path.data);
out:
    buf_done(&path);
    return rc;
}

static int coordinator_start(struct cluster *c, struct err *e)
{
    const char *argv[] = {"litho-coordinator",
                          "--listen",
                          c->endpoint,
                          "--state",
                          c->o.state,
                          "--out",
                          c->o.out,
                          "--grace", /* on a new socket no worker of an earlier run comes back */
                          "1",
                          NULL,
                          NULL,
                          NULL};
    struct buf log = {0};
    int rc = 0;

    if (c->o.models != NULL) {
        argv[9] = "--models";
        argv[10] = c->o.models;
    }
    TRY(log_begin(c, "coordinator", e));
    TRY(log_path(c, "coordinator", &log, e));
    TRY(child_start(&c->coordinator, argv, log.data, e));
out:
    buf_done(&log);
    return rc;
}

static int worker_start(struct cluster *c, struct slot *slot, struct err *e)
{
    char threads[16];
    struct buf log = {0}, hashes = {0};
    const char *argv[] = {"litho-worker", "--connect", c->endpoint, "--name",
                          slot->name,     "--threads", threads,     "--hashes",
                          NULL,           NULL,        NULL,        NULL};
    int rc = 0;

    snprintf(threads, sizeof(threads), "%d", c->o.threads);
    if (c->o.models != NULL) {
        argv[9] = "--models";
        argv[10] = c->o.models;
    }
    buf_printf(&hashes, "%s/hashes", c->o.state);
    TRY(buf_check(&hashes, e));
    argv[8] = buf_text(&hashes);
    TRY(log_path(c, slot->name, &log, e));
    TRY(child_start(&slot->child, argv, log.data, e));
out:
    buf_done(&log);
    buf_done(&hashes);
    return rc;
}

int cluster_start(const struct cluster_options *o, struct cluster **ret_cluster, struct err *e)
{
    struct cluster *c = calloc(1, sizeof(*c));
    int rc = 0;

    if (c == NULL || (c->slots = calloc((size_t)o->workers, sizeof(*c->slots))) == NULL)
        TRY(err_set(e, ERR_OOM, "cluster: out of memory"));
    c->o = *o;
    for (int i = 0; i < o->workers; i++)
        snprintf(c->slots[i].name, sizeof(c->slots[i].name), "worker-%d", i + 1);
    TRY(folder_make(c, e));
    TRY(coordinator_start(c, e));
    *ret_cluster = c;
    c = NULL;
out:
    cluster_free(c);
    return rc;
}

int cluster_start_workers(struct cluster *c, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < c->o.workers; i++) {
        TRY(log_begin(c, c->slots[i].name, e));
        TRY(worker_start(c, &c->slots[i], e));
    }
    c->workers_wanted = true;
out:
    return rc;
}

const char *cluster_endpoint(const struct cluster *c)
{
    return c->endpoint;
}

static int lost(struct child *child, const char *what, const char *times, struct err *e)
{
    struct buf how = {0}, tail = {0};
    int rc;

    child_how_ended(child, &how);
    child_log_tail(child, LOG_LINES, &tail);
    rc = err_set(e, ERR_LOST, "%s stopped%s (%s); the end of %s:\n%s", what, times, buf_text(&how),
                 child->log, buf_text(&tail));
    buf_done(&how);
    buf_done(&tail);
    return rc;
}

static int slot_check(struct cluster *c, struct slot *slot, struct err *e)
{
    if (!child_ended(&slot->child))
        return 0;
    if (++slot->quick_deaths >= QUICK_DEATHS_MAX)
        return lost(&slot->child, slot->name, " three times before it took a task", e);
    c->restarts++;
    return worker_start(c, slot, e);
}

int cluster_check(void *cluster, struct err *e)
{
    struct cluster *c = cluster;
    int rc = 0;

    if (interrupts_count() > 0)
        return err_set(e, ERR_CANCELLED, "stopped");
    if (child_ended(&c->coordinator))
        return lost(&c->coordinator, "the coordinator", "", e);
    for (int i = 0; c->workers_wanted && i < c->o.workers && rc == 0; i++)
        rc = slot_check(c, &c->slots[i], e);
    return rc;
}

void cluster_worker_works(struct cluster *c, const char *name)
{
    for (int i = 0; i < c->o.workers; i++)
        if (strcmp(c->slots[i].name, name) == 0)
            c->slots[i].quick_deaths = 0;
}

int cluster_restarts(const struct cluster *c)
{
    return c->restarts;
}

/*
 * Waits until all have ended; kills them on a second interrupt or when patience is over. urge:
 * asked again at each look, which has a worker leave at once.
 */
static void reap(struct child **children, int n, bool urge)
{
    int64_t deadline = clock_monotonic_ms() + STOP_PATIENCE_MS;
    bool killed = false;

    for (;;) {
        int running = 0;
        for (int i = 0; i < n; i++) {
            running += !child_ended(children[i]);
            if (urge)
                child_signal(children[i], SIGTERM);
        }
        if (running == 0)
            return;
        if (!killed && (interrupts_count() > 1 || clock_monotonic_ms() > deadline)) {
            for (int i = 0; i < n; i++)
                child_signal(children[i], SIGKILL);
            killed = true;
        }
        poll(NULL, 0, STOP_LOOK_MS);
    }
}

void cluster_stop(struct cluster *c)
{
    struct child *children[CLUSTER_WORKERS_MAX];
    struct child *coordinator[] = {&c->coordinator};

    c->workers_wanted = false;
    for (int i = 0; i < c->o.workers; i++) {
        children[i] = &c->slots[i].child;
        child_signal(children[i], SIGTERM);
    }
    /* Without a coordinator nobody acknowledges what they still hold. */
    reap(children, c->o.workers, child_ended(&c->coordinator));
    child_signal(&c->coordinator, SIGTERM);
    reap(coordinator, 1, false);
}

void cluster_free(struct cluster *c)
{
    char socket[TEMP_DIR_MAX + 32];

    if (c == NULL)
        return;
    for (int i = 0; c->slots != NULL && i < c->o.workers; i++)
        child_done(&c->slots[i].child);
    child_done(&c->coordinator);
    if (c->folder[0] != '\0') {
        snprintf(socket, sizeof(socket), "%s/socket", c->folder);
        unlink(socket);
        rmdir(c->folder);
    }
    free(c->slots);
    free(c);
}
