/*
 * How long the coordinator's loop stands still while a finished job is opened again: the longest
 * turn and the sum, for a resubmission of which nothing is missing, one of which every hundredth
 * picture is, and --force. No workers and no sockets: the store, the output folder and the batches
 * are real.
 *
 *     bench_reopen --tasks 1000000 [--dir FOLDER]
 */
#include "coordinator/batch.h"
#include "coordinator/index.h"
#include "proto/clock.h"
#include "proto/version.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MUST(call)                                                                                 \
    do {                                                                                           \
        struct err e_ = {0}, *e = &e_;                                                             \
        if ((call) != 0) {                                                                         \
            fprintf(stderr, "%s: %s\n", #call, e->text);                                           \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define COMMIT_ROWS 10000

struct bench {
    char dir[256];
    uint64_t tasks;
    struct coord coord;
    struct store *store;
    struct output *output;
    struct batch batch;
    struct job *job;
    bool answered;
    uint64_t turn;
};

static int on_send(void *user, const struct peer *peer, const struct buf *frame, struct err *e)
{
    struct bench *b = user;
    struct msg m;
    int rc = msg_decode(frame->data, frame->size, &m, e);

    (void)peer;
    if (rc != 0)
        return rc;
    b->answered |= m.type == MSG_SUBMITTED || m.type == MSG_ERROR;
    if (m.type == MSG_ERROR)
        fprintf(stderr, "refused: %s\n", m.error.text);
    msg_done(&m);
    return 0;
}

static void on_log(void *user, enum log_level level, const char *event, const char *text)
{
    (void)user;
    if (level != LOG_INFO)
        fprintf(stderr, "%s %s\n", event, text);
}

static int on_draw(void *user, uint64_t job, struct err *e)
{
    (void)user;
    (void)job;
    (void)e;
    return 0;
}

static int restore_one(void *user, struct restored *r, struct err *e)
{
    struct bench *b = user;

    return reactor_restore(&b->coord, r, 0, e);
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A line of /proc/self/status in KB. */
static long status_kb(const char *key)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kb = 0;

    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            kb = strtol(line + strlen(key), NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

/* The peak of memory counts from now on. */
static void forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");

    if (f) {
        fputs("5", f);
        fclose(f);
    }
}

/* A job of seeds whose pictures all have one path, so that one file is there for all of them, or
 * every hundredth one that is not there. */
static struct job *seeds_job(uint64_t tasks)
{
    struct buf text = {0};
    struct job *job = NULL;

    buf_printf(
        &text,
        "{\"axes\":[{\"columns\":[\"seed\"],\"name\":\"seed\",\"range\":{\"count\":%llu,"
        "\"first\":0,\"step\":1}}],\"combine\":[[0]],\"exclude\":[],\"fixed\":{\"cfg_scale\":"
        "1,\"height\":64,\"model\":\"m\",\"negative_prompt\":\"\",\"precision\":\"f32\","
        "\"prompt\":\"a picture of some length, as prompts are\",\"sampler\":\"euler\","
        "\"scheduler\":\"uniform\",\"steps\":1,\"width\":64},\"job\":\"b\",\"litho\":1,"
        "\"output\":{\"path\":\"{job}/{seed}.png\",\"sheet\":null}}",
        (unsigned long long)tasks);
    MUST(job_load(buf_text(&text), text.size, &job, e));
    buf_done(&text);
    return job;
}

static void row(struct bench *b, struct store_row *r)
{
    MUST(store_apply(b->store, r, e));
}

static void record_all(struct bench *b)
{
    struct buf lines = {0};

    for (uint64_t i = 0; i < b->tasks; i++) {
        struct store_row r = {.op = STORE_RECORD, .job = 1};

        r.record =
            (struct record){.index = i,
                            .attempt = 1,
                            .bytes = 12345,
                            .path = (char *)(i % 100 == 7 ? "b/there-too.png" : "b/there.png"),
                            .worker = (char *)"worker-1",
                            .device_class = (char *)"cpu-avx2",
                            .precision = (char *)"f32",
                            .code = (char *)"",
                            .text = (char *)"",
                            .render_seconds = 1.5,
                            .finished_ms = 1700000000000};
        memset(r.record.sha256, 'a', HASH_HEX_SIZE - 1);
        if (i % COMMIT_ROWS == 0)
            MUST(store_begin(b->store, e));
        row(b, &r);
        MUST(index_line(b->job, &r.record, &lines, e));
        if (i % COMMIT_ROWS == COMMIT_ROWS - 1 || i == b->tasks - 1) {
            MUST(store_commit(b->store, e));
            MUST(index_append(b->output, "b", &lines, e));
            lines.size = 0;
        }
    }
    MUST(store_begin(b->store, e));
    MUST(index_mark(b->output, b->store, 1, "b", NULL, 0, e));
    MUST(store_commit(b->store, e));
    buf_done(&lines);
}

static void touch(struct bench *b, const char *name)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/out/b/%s", b->dir, name);
    f = fopen(path, "wb");
    if (f)
        fclose(f);
}

static void open_all(struct bench *b)
{
    char path[300];

    snprintf(path, sizeof path, "%s/state", b->dir);
    MUST(store_open(path, &b->store, e));
    snprintf(path, sizeof path, "%s/out", b->dir);
    MUST(output_open(path, &b->output, e));
    MUST(coord_init(&b->coord, &(struct coord_limits){0}, output_dir(b->output), e));
    MUST(store_restore(b->store, restore_one, b, e));
    b->batch = (struct batch){.coord = &b->coord,
                              .store = b->store,
                              .output = b->output,
                              .user = b,
                              .send = on_send,
                              .log = on_log,
                              .draw = on_draw};
}

static void close_all(struct bench *b)
{
    batch_done(&b->batch);
    coord_done(&b->coord);
    output_close(b->output);
    store_close(b->store);
}

static void say(struct bench *b, const struct msg *m)
{
    struct event event = {.type = EVENT_MESSAGE, .msg = m, .peer = {.size = 1, .id = "c"}};

    MUST(reactor_on(&b->coord, &event, clock_monotonic_ms(), &b->batch.outbox, e));
}

static void hello(struct bench *b)
{
    const struct msg m = {.type = MSG_HELLO,
                          .hello = {.protocol = PROTOCOL_VERSION,
                                    .protocol_min = PROTOCOL_VERSION_MIN,
                                    .role = "client",
                                    .software = "bench"}};

    say(b, &m);
}

static void submit(struct bench *b, bool force)
{
    struct msg m = {.type = MSG_SUBMIT, .submit = {.request = 1, .force = force}};

    m.submit.bundle = job_bundle(b->job, &m.submit.bundle_size);
    say(b, &m);
}

/* A finished job as a new coordinator finds it, with or without the files of some pictures. */
static void measure(struct bench *b, const char *what, bool some_missing, bool force)
{
    double longest = 0, begun, turn, all;
    long before;
    int over = 0;
    char path[512];

    open_all(b);
    snprintf(path, sizeof path, "%s/out/b/there-too.png", b->dir);
    if (some_missing)
        unlink(path);
    else
        touch(b, "there-too.png");
    forget_peak();
    before = status_kb("VmRSS:");
    begun = now_s();
    hello(b);
    submit(b, force);
    b->answered = false;
    for (b->turn = 0; !b->answered; b->turn++) {
        turn = now_s();
        MUST(batch_run(&b->batch, clock_monotonic_ms(), e));
        turn = now_s() - turn;
        over += turn > 0.05;
        if (turn > 0.05 && getenv("BENCH_TURNS"))
            fprintf(stderr, "turn %llu: %.1f ms\n", (unsigned long long)b->turn, 1000 * turn);
        longest = turn > longest ? turn : longest;
    }
    all = now_s() - begun;
    printf("%-28s longest turn %8.1f ms (%d over 50 ms), %llu turns, %.2f s in all, +%ld KB\n",
           what, 1000 * longest, over, (unsigned long long)b->turn, all,
           status_kb("VmHWM:") - before);
    fflush(stdout);
    close_all(b);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st;
    (void)type;
    (void)place;
    return remove(path);
}

static void make(struct bench *b)
{
    struct store_row r = {.op = STORE_JOB, .job = 1, .bundle = b->job, .folder = (char *)"b"};
    struct store_row done = {.op = STORE_STATE, .job = 1, .state = "done", .done = b->tasks};
    char path[512];

    snprintf(path, sizeof path, "%s/out", b->dir);
    open_all(b);
    MUST(output_claim(b->output, "b", b->job, e));
    touch(b, "there.png");
    MUST(store_begin(b->store, e));
    row(b, &r);
    MUST(store_commit(b->store, e));
    record_all(b);
    MUST(store_begin(b->store, e));
    row(b, &done);
    MUST(store_commit(b->store, e));
    close_all(b);
}

/* The job is over once more, with what it has. */
static void done_again(struct bench *b)
{
    struct store_row done = {.op = STORE_STATE, .job = 1, .state = "done", .done = b->tasks};

    open_all(b);
    MUST(store_begin(b->store, e));
    row(b, &done);
    MUST(store_commit(b->store, e));
    close_all(b);
}

int main(int argc, char **argv)
{
    struct bench b = {.tasks = 1000000};
    const char *base = "/tmp";

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--tasks") == 0)
            b.tasks = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            base = argv[i + 1];
    }
    snprintf(b.dir, sizeof b.dir, "%s/bench-reopen-XXXXXX", base);
    if (!mkdtemp(b.dir)) {
        perror(b.dir);
        return 1;
    }
    b.job = seeds_job(b.tasks);
    make(&b);
    measure(&b, "nothing is missing", false, false);
    measure(&b, "every hundredth is missing", true, false);
    done_again(&b);
    measure(&b, "--force", false, true);
    nftw(b.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    job_free(b.job);
    return 0;
}
