/*
 * The coordinator at scale: simulated workers over real sockets against a real litho-coordinator.
 * A table for people, --json for machines. Tasks are empty: a record each, committed and synced as
 * any other, and no file (PROTOCOL.md, `empty`). Times are of this machine; quote ratios.
 */
#include "coordinator/store.h"
#include "proto/version.h"
#include "tests/bench/cluster_process.h"
#include "tests/bench/fleet.h"

#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS_MAX 64
#define MIB      (1024.0 * 1024)

struct options {
    const char *bin, *dir, *json, *only, *python;
    bool ipc, keep;
    size_t workers;
    uint32_t window;
    uint64_t tasks;
    double seconds;
};

struct row {
    char name[80];
    double value;
    const char *unit, *reach;
};

struct bench {
    struct options o;
    struct row rows[ROWS_MAX];
    size_t n_rows;
    char program[300], folder[256];
    int folders; /* made so far */
};

static const char usage[] =
    "usage: bench_cluster [options]\n"
    "  --only NAMES     of dispatch, eight, busy, memory, submit, restart (default: all)\n"
    "  --python PATH    an interpreter with hyperqueue and distributed, to be measured beside\n"
    "  --workers N      of dispatch (1000)     --window N   leases that each holds (16)\n"
    "  --tasks N        of the large job (10000000)\n"
    "  --seconds S      of each measured run (5)\n"
    "  --ipc            a Unix socket instead of TCP\n"
    "  --bin DIR        of litho-coordinator (beside this program)\n"
    "  --dir DIR        for state folders, on the disk to be measured (TMPDIR or /tmp)\n"
    "  --json FILE      the rows, as JSON\n"
    "  --keep           leave the folders\n";

static void report(struct bench *b, const char *name, double value, const char *unit,
                   const char *reach)
{
    struct row *r = &b->rows[b->n_rows];

    if (b->n_rows == ROWS_MAX)
        return;
    snprintf(r->name, sizeof r->name, "%s", name);
    r->value = value;
    r->unit = unit;
    r->reach = reach;
    b->n_rows++;
    printf("%-52s %12.2f %-8s %s\n", r->name, value, unit, reach);
    fflush(stdout);
}

/* --- jobs --- */

static int bundle(const char *name, uint64_t tasks, struct job **ret_job, struct err *e)
{
    struct buf text = {0};
    int rc;

    buf_printf(&text,
               "{\"axes\":[{\"columns\":[\"seed\"],\"name\":\"seed\",\"range\":{\"count\":%llu,"
               "\"first\":0,\"step\":1}}],\"combine\":[[0]],\"exclude\":[],\"fixed\":{"
               "\"cfg_scale\":5,\"height\":128,\"model\":\"sticker-128\",\"negative_prompt\":\"\","
               "\"precision\":\"f32\",\"prompt\":\"a picture\",\"sampler\":\"dpmpp_2m\","
               "\"scheduler\":\"karras\",\"steps\":20,\"width\":128},\"job\":\"%s\",\"litho\":1,"
               "\"output\":{\"path\":\"{job}/{index}.png\",\"sheet\":null}}",
               (unsigned long long)tasks, name);
    TRY(buf_check(&text, e));
    TRY(job_load(text.data, text.size, ret_job, e));
out:
    buf_done(&text);
    return rc;
}

static int submit_send(struct cluster *c, const char *name, uint64_t tasks, struct err *e)
{
    struct msg m = {.type = MSG_SUBMIT};
    struct job *job = NULL;
    int rc;

    TRY(bundle(name, tasks, &job, e));
    m.submit.request = c->request + 1;
    m.submit.bundle = job_bundle(job, &m.submit.bundle_size);
    TRY(cluster_send(c, &m, &m.submit.request, e));
out:
    job_free(job);
    return rc;
}

static int submit(struct cluster *c, const char *name, uint64_t tasks, struct err *e)
{
    struct msg m = {0};
    int rc;

    TRY(submit_send(c, name, tasks, e));
    TRY(cluster_answer(c, &m, e));
    msg_done(&m);
out:
    return rc;
}

/* --- folders --- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int fresh(struct bench *b, struct cluster *c, struct err *e)
{
    *c = (struct cluster){.program = b->program, .ipc = b->o.ipc, .client.fd = -1};
    snprintf(c->dir, sizeof c->dir, "%.200s/%d", b->folder, b->folders++);
    return mkdir(c->dir, 0700) == 0 ? 0 : err_errno(e, c->dir);
}

static int started(struct bench *b, struct cluster *c, struct err *e)
{
    int rc;

    TRY(fresh(b, c, e));
    TRY(cluster_start(c, e));
    TRY(cluster_client(c, e));
out:
    return rc;
}

/* --- rows --- */

struct rates {
    double tasks_per_s, busy;
};

/* A fleet at work on one large job, after a second to get going. */
static int run_fleet(struct bench *b, struct cluster *c, size_t workers, uint32_t window,
                     int64_t task_us, struct rates *ret, struct err *e)
{
    struct fleet fleet = {0};
    int64_t begun_us, busy_us, taken_us, span_us = (int64_t)(b->o.seconds * 1e6);
    uint64_t acks;
    int rc;

    TRY(submit(c, "dispatch", b->o.tasks, e));
    TRY(fleet_open(&fleet, c->endpoint, workers, window, task_us, e));
    TRY(fleet_run(&fleet, now_us() + span_us / 4 + 2 * task_us, e));
    acks = fleet.acks;
    busy_us = fleet.busy_us;
    begun_us = now_us();
    TRY(fleet_run(&fleet, begun_us + span_us, e));
    taken_us = now_us() - begun_us;
    ret->tasks_per_s = (double)(fleet.acks - acks) * 1e6 / (double)taken_us;
    ret->busy = (double)(fleet.busy_us - busy_us) / ((double)taken_us * (double)workers);
out:
    fleet_close(&fleet);
    return rc;
}

static int row_dispatch(struct bench *b, struct err *e)
{
    struct cluster c = {.client.fd = -1};
    struct rates rates;
    uint64_t bytes, empty;
    char name[80];
    int rc;

    TRY(started(b, &c, e));
    TRY(cluster_memory(&c, &empty, e));
    TRY(run_fleet(b, &c, b->o.workers, b->o.window, 0, &rates, e));
    snprintf(name, sizeof name, "dispatch, %zu workers, %u leases each", b->o.workers, b->o.window);
    report(b, name, rates.tasks_per_s, "tasks/s", ">= 50000");
    TRY(cluster_memory(&c, &bytes, e));
    report(b, "  memory over empty, under that load", (double)(bytes - empty) / MIB, "MiB", "");
out:
    cluster_stop(&c, true, NULL);
    return rc;
}

/* The script prints "NAME TASKS_PER_SECOND" lines. */
static int others(struct bench *b, double ours, struct err *e)
{
    char command[600], name[32], text[80];
    double rate;
    FILE *pipe;
    int rc = 0;

    snprintf(command, sizeof command, "'%s' '%s/tests/bench/bench_cluster_others.py'", b->o.python,
             SOURCE_DIR);
    pipe = popen(command, "r");
    if (!pipe)
        return err_errno(e, command);
    while (fgets(text, sizeof text, pipe)) {
        if (sscanf(text, "%31s %lf", name, &rate) != 2 ||
            (strcmp(name, "hyperqueue") != 0 && strcmp(name, "dask") != 0))
            continue; /* HyperQueue prints a table of its own */
        snprintf(text, sizeof text, "  %s, 8 workers, empty tasks", name);
        report(b, text, rate, "tasks/s", "");
        snprintf(text, sizeof text, "  times as many as %s", name);
        report(b, text, ours / rate, "", ">= 10");
    }
    if (pclose(pipe) != 0)
        rc = err_set(e, ERR_IO, "%s failed", command);
    return rc;
}

static int row_eight(struct bench *b, struct err *e)
{
    struct cluster c = {.client.fd = -1};
    struct rates rates;
    char name[80];
    int rc;

    TRY(started(b, &c, e));
    TRY(run_fleet(b, &c, 8, b->o.window, 0, &rates, e));
    snprintf(name, sizeof name, "8 workers, %u leases each", b->o.window);
    report(b, name, rates.tasks_per_s, "tasks/s", "");
    TRY(cluster_stop(&c, true, e));
    TRY(started(b, &c, e));
    TRY(run_fleet(b, &c, 8, 2, 0, &rates, e));
    report(b, "8 workers, 2 leases each, as litho-worker", rates.tasks_per_s, "tasks/s", "");
    TRY(cluster_stop(&c, true, e));
    if (b->o.python)
        TRY(others(b, rates.tasks_per_s, e));
out:
    cluster_stop(&c, true, NULL);
    return rc;
}

static int row_busy(struct bench *b, struct err *e)
{
    struct cluster c = {.client.fd = -1};
    struct rates rates;
    int rc;

    TRY(started(b, &c, e));
    TRY(run_fleet(b, &c, 64, 2, 100000, &rates, e));
    report(b, "64 workers, 100 ms tasks, 2 leases each: busy", 100 * rates.busy, "%", ">= 99");
out:
    cluster_stop(&c, true, NULL);
    return rc;
}

/* Memory of a queued job, and the time from submit to the first lease. */
static int row_submit(struct bench *b, struct err *e)
{
    struct cluster c = {.client.fd = -1};
    struct fleet fleet = {0};
    struct msg m = {0};
    uint64_t empty, bytes;
    int64_t begun_us;
    int rc;

    TRY(started(b, &c, e));
    TRY(fleet_open(&fleet, c.endpoint, 1, 2, 1000000000, e));
    fleet.stop_at_lease = true;
    TRY(fleet_run(&fleet, now_us() + 200000, e));
    TRY(cluster_memory(&c, &empty, e));
    begun_us = now_us();
    TRY(submit_send(&c, "large", b->o.tasks, e));
    TRY(fleet_run(&fleet, now_us() + 60000000, e));
    if (!fleet.leases)
        TRY(err_set(e, ERR_TIMEOUT, "no lease came"));
    report(b, "submit of the large job to the first lease",
           (double)(fleet.first_lease_us - begun_us) / 1000, "ms", "<= 50");
    TRY(cluster_answer(&c, &m, e));
    msg_done(&m);
    TRY(cluster_memory(&c, &bytes, e));
    report(b, "memory over empty: the large job queued", ((double)bytes - (double)empty) / MIB,
           "MiB", "<= 16");
out:
    fleet_close(&fleet);
    cluster_stop(&c, true, NULL);
    return rc;
}

/* Records of all but the last tasks, as a coordinator would have left them. */
static int fill(struct bench *b, const struct cluster *c, uint64_t done, struct err *e)
{
    struct store *store = NULL;
    struct store_row row = {.op = STORE_RECORD, .job = 1};
    char state[300];
    int rc;

    (void)b;
    snprintf(state, sizeof state, "%s/state", c->dir);
    TRY(store_open(state, &store, e));
    TRY(record_picture(&row.record, "", "sim-1", "simulated", "none", e));
    row.record.attempt = 1;
    row.record.finished_ms = 1700000000000;
    for (uint64_t i = 0; i < done; i++) {
        if (i % 100000 == 0)
            TRY(store_begin(store, e));
        row.record.index = i;
        TRY(store_apply(store, &row, e));
        if (i % 100000 == 99999 || i + 1 == done)
            TRY(store_commit(store, e));
    }
out:
    record_done(&row.record);
    store_close(store);
    return rc;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median and worst of many answers, in ms. */
static int ask(struct bench *b, struct cluster *c, const char *what, struct msg *m,
               uint64_t *request, struct err *e)
{
    enum { TIMES = 101 };
    double ms[TIMES];
    struct msg answer;
    char name[80];
    int rc = 0;

    for (int i = 0; i < TIMES; i++) {
        int64_t begun_us = now_us();

        *request = c->request + 1;
        TRY(cluster_send(c, m, request, e));
        TRY(cluster_answer(c, &answer, e));
        msg_done(&answer);
        ms[i] = (double)(now_us() - begun_us) / 1000;
    }
    qsort(ms, TIMES, sizeof *ms, compare);
    snprintf(name, sizeof name, "%s: median", what);
    report(b, name, ms[TIMES / 2], "ms", "<= 10");
    snprintf(name, sizeof name, "%s: worst of %d", what, TIMES);
    report(b, name, ms[TIMES - 1], "ms", "");
out:
    return rc;
}

static int questions(struct bench *b, struct cluster *c, struct err *e)
{
    struct msg status = {.type = MSG_STATUS, .status = {.job = "large"}};
    struct msg list = {.type = MSG_LIST, .list = {.limit = 1000}};
    struct msg page = {.type = MSG_RECORDS,
                       .records = {.job = "large", .from = b->o.tasks / 2, .limit = 1000}};
    int rc;

    TRY(ask(b, c, "status", &status, &status.status.request, e));
    TRY(ask(b, c, "list of jobs", &list, &list.list.request, e));
    TRY(ask(b, c, "page of 1000 records", &page, &page.records.request, e));
out:
    return rc;
}

static int first_lease(struct bench *b, struct cluster *c, struct err *e)
{
    struct fleet fleet = {0};
    int64_t begun_us = now_us();
    int rc;

    TRY(cluster_start(c, e));
    TRY(fleet_open(&fleet, c->endpoint, 1, 2, 1000000000, e));
    fleet.stop_at_lease = true;
    TRY(fleet_run(&fleet, now_us() + 60000000, e));
    if (!fleet.leases)
        TRY(err_set(e, ERR_TIMEOUT, "no lease came"));
    report(b, "restart with the large job done to the first lease",
           (double)(fleet.first_lease_us - begun_us) / 1e6, "s", "<= 2");
out:
    fleet_close(&fleet);
    return rc;
}

static int row_restart(struct bench *b, struct err *e)
{
    struct cluster c = {.client.fd = -1};
    struct fleet fleet = {0};
    uint64_t empty, bytes, left = b->o.tasks / 10;
    int64_t begun_us;
    int rc;

    TRY(started(b, &c, e));
    TRY(cluster_memory(&c, &empty, e));
    TRY(submit(&c, "large", b->o.tasks + left, e));
    TRY(cluster_stop(&c, false, e));
    begun_us = now_us();
    TRY(fill(b, &c, b->o.tasks, e));
    printf("(records of the large job written in %.1f s)\n", (double)(now_us() - begun_us) / 1e6);
    TRY(first_lease(b, &c, e));
    TRY(cluster_client(&c, e));
    TRY(questions(b, &c, e));
    TRY(cluster_memory(&c, &bytes, e));
    report(b, "memory over empty: the large job done, restarted",
           ((double)bytes - (double)empty) / MIB, "MiB", "<= 64");
    TRY(fleet_open(&fleet, c.endpoint, 64, b->o.window, 0, e));
    TRY(fleet_run(&fleet, now_us() + (int64_t)(b->o.seconds * 1e6), e));
    TRY(cluster_memory(&c, &bytes, e));
    report(b, "memory over empty: some more done by 64 workers",
           ((double)bytes - (double)empty) / MIB, "MiB", "<= 64");
out:
    fleet_close(&fleet);
    cluster_stop(&c, true, NULL);
    return rc;
}

static int write_json(const struct bench *b, struct err *e)
{
    FILE *file = fopen(b->o.json, "w");

    if (!file)
        return err_errno(e, b->o.json);
    fprintf(file, "{\"version\": \"%s\", \"rows\": [", LITHO_VERSION);
    for (size_t i = 0; i < b->n_rows; i++)
        fprintf(file,
                "%s\n  {\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"reach\": \"%s\"}",
                i ? "," : "", b->rows[i].name + strspn(b->rows[i].name, " "), b->rows[i].value,
                b->rows[i].unit, b->rows[i].reach);
    fprintf(file, "\n]}\n");
    return fclose(file) == 0 ? 0 : err_errno(e, b->o.json);
}

static int run(struct bench *b, struct err *e)
{
    static const struct {
        const char *name;
        int (*f)(struct bench *b, struct err *e);
    } all[] = {{"dispatch", row_dispatch},
               {"eight", row_eight},
               {"busy", row_busy},
               {"submit", row_submit},
               {"restart", row_restart}};
    const char *tmp = getenv("TMPDIR");
    int rc = 0;

    snprintf(b->program, sizeof b->program, "%.250s/litho-coordinator", b->o.bin);
    snprintf(b->folder, sizeof b->folder, "%.200s/litho-bench-XXXXXX",
             b->o.dir ? b->o.dir
             : tmp    ? tmp
                      : "/tmp");
    if (!mkdtemp(b->folder))
        return err_errno(e, b->folder);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!b->o.only || strstr(b->o.only, all[i].name))
            TRY(all[i].f(b, e));
    if (b->o.json)
        TRY(write_json(b, e));
out:
    if (!b->o.keep)
        nftw(b->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"only", 1, NULL, 'o'},   {"python", 1, NULL, 'p'}, {"workers", 1, NULL, 'w'},
        {"window", 1, NULL, 'W'}, {"tasks", 1, NULL, 't'},  {"seconds", 1, NULL, 's'},
        {"ipc", 0, NULL, 'i'},    {"bin", 1, NULL, 'b'},    {"dir", 1, NULL, 'd'},
        {"json", 1, NULL, 'j'},   {"keep", 0, NULL, 'k'},   {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'o':
            o->only = optarg;
            break;
        case 'p':
            o->python = optarg;
            break;
        case 'w':
            o->workers = strtoul(optarg, NULL, 10);
            break;
        case 'W':
            o->window = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 't':
            o->tasks = strtoull(optarg, NULL, 10);
            break;
        case 's':
            o->seconds = strtod(optarg, NULL);
            break;
        case 'i':
            o->ipc = true;
            break;
        case 'b':
            o->bin = optarg;
            break;
        case 'd':
            o->dir = optarg;
            break;
        case 'j':
            o->json = optarg;
            break;
        case 'k':
            o->keep = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && o->workers && o->window && o->window <= FLEET_WINDOW_MAX && o->tasks &&
           o->seconds > 0;
}

int main(int argc, char **argv)
{
    struct bench b = {.o = {.bin = BINARY_DIR "/bin",
                            .workers = 1000,
                            .window = 16,
                            .tasks = 10000000,
                            .seconds = 5}};
    struct err e = {0};

    if (!parse(argc, argv, &b.o)) {
        fputs(usage, stderr);
        return 2;
    }
    if (run(&b, &e) != 0) {
        fprintf(stderr, "bench_cluster: %s\n", e.text);
        return 1;
    }
    return 0;
}
