/*
 * How long the coordinator's loop stands still while a finished job is opened again: the longest
 * turn and the sum, for a resubmission of which nothing is missing, one of which every hundredth
 * picture is, and --force. No workers and no sockets: the store, the output folder and the batches
 * are real.
 *
 *     bench_reopen --tasks 1000000 [--dir FOLDER]
 */
#include "proto/clock.h"
#include "tests/coordinator/place.h"

#include <time.h>

#define COMMIT_ROWS 10000

struct bench {
    struct place p;
    uint64_t tasks;
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

/* Pictures all have one path, so that one file is there for all of them, or every hundredth another
 * one that is not there. */
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
            MUST(store_begin(b->p.store, e));
        MUST(store_apply(b->p.store, &r, e));
        MUST(index_line(b->job, &r.record, &lines, e));
        if (i % COMMIT_ROWS == COMMIT_ROWS - 1 || i == b->tasks - 1) {
            MUST(store_commit(b->p.store, e));
            MUST(index_append(b->p.output, "b", &lines, e));
            lines.size = 0;
        }
    }
    MUST(store_begin(b->p.store, e));
    MUST(index_mark(b->p.output, b->p.store, 1, "b", NULL, 0, e));
    MUST(store_commit(b->p.store, e));
    buf_done(&lines);
}

/* A finished job as a new coordinator finds it, with or without the files of some pictures. */
static void measure(struct bench *b, const char *what, bool some_missing, bool force)
{
    double longest = 0, begun, turn, all;
    long before;
    int over = 0;
    char path[512];

    place_start(&b->p);
    snprintf(path, sizeof path, "%s/b/there-too.png", buf_text(&b->p.out));
    if (some_missing)
        unlink(path);
    else
        place_file(&b->p, "b/there-too.png");
    forget_peak();
    before = status_kb("VmRSS:");
    begun = now_s();
    b->p.now_ms = clock_monotonic_ms();
    place_hears_client(&b->p, "c");
    place_hears_submit(&b->p, "c", b->job, force);
    b->answered = false;
    for (b->turn = 0; !b->answered; b->turn++) {
        turn = now_s();
        b->p.now_ms = clock_monotonic_ms();
        place_run(&b->p);
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
    place_kill(&b->p);
}

static void make(struct bench *b)
{
    const struct store_row job = {
        .op = STORE_JOB, .job = 1, .bundle = b->job, .folder = (char *)"b"};

    MUST(output_claim(b->p.output, "b", b->job, e));
    place_file(&b->p, "b/there.png");
    place_apply(&b->p, &job, 1);
    record_all(b);
}

/* The job is over, with what it has. */
static void done(struct bench *b)
{
    const struct store_row row = {.op = STORE_STATE, .job = 1, .state = "done", .done = b->tasks};

    place_apply(&b->p, &row, 1);
    place_kill(&b->p);
}

int main(int argc, char **argv)
{
    struct bench b = {.tasks = 1000000, .p = {.user = &b, .send = on_send, .log = on_log}};
    const char *base = "/tmp";
    char dir[256];

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--tasks") == 0)
            b.tasks = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            base = argv[i + 1];
    }
    snprintf(dir, sizeof dir, "%s/bench-reopen-XXXXXX", base);
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    b.job = seeds_job("b", (int)b.tasks);
    place_open(&b.p, strdup(dir));
    make(&b);
    done(&b);
    measure(&b, "nothing is missing", false, false);
    measure(&b, "every hundredth is missing", true, false);
    place_start(&b.p);
    done(&b);
    measure(&b, "--force", false, true);
    place_start(&b.p);
    place_close(&b.p);
    job_free(b.job);
    return 0;
}
