/*
 * What a gang is worth: the time of a render's steps by one process and by a gang of processes of
 * as many threads each, on this machine; and the speed of the sum between them.
 *
 *     bench_gang --model MODEL [--precision auto] [--size 512] [--steps 4] [--guidance 2]
 *                [--tensor 1] [--threads 1]
 */
#include "engine/engine.h"
#include "engine/gang/gang.h"
#include "proto/clock.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SUM_NUMBERS (4 << 20) /* of the sum that is timed: 16 MiB */
#define SUMS        8

struct bench {
    const char *model;
    enum precision precision;
    int size, steps, guidance, tensor, threads;
};

/* Shared by all processes. */
struct result {
    int64_t first_ms, last_ms; /* after the first and the last step, at rank 0 */
    double decode_s, sum_s;    /* of everything behind the steps; of one sum of SUM_NUMBERS */
    uint64_t bytes[GANG_SIZE_MAX];
    char device_class[256], text[300];
};

static void on_step(void *user, int step, int steps)
{
    struct result *r = user;

    (void)steps;
    if (step == 1)
        r->first_ms = clock_monotonic_ms();
    r->last_ms = clock_monotonic_ms();
}

static int time_sums(struct gang *g, struct result *r, struct err *e)
{
    float *x = calloc(SUM_NUMBERS, sizeof *x);
    int64_t start = clock_monotonic_ms();
    int rc = x == NULL ? err_set(e, ERR_OOM, "no memory for a sum") : 0;

    for (int i = 0; i < SUMS && rc == 0; i++)
        rc = g->all_reduce(g, x, SUM_NUMBERS, GANG_F32, e);
    if (g->rank == 0)
        r->sum_s = (double)(clock_monotonic_ms() - start) / 1000 / SUMS;
    free(x);
    return rc;
}

static int render(const struct bench *b, struct gang *g, int rank, struct result *r, struct err *e)
{
    struct engine_options o = {.model = b->model,
                               .precision = b->precision,
                               .threads = b->threads,
                               .shard = g != NULL ? rank % b->tensor : 0,
                               .shards = g != NULL ? b->tensor : 1};
    struct render what = {.prompt = "a photo of a pizza on a wooden table",
                          .negative_prompt = "blurry",
                          .sampler = SAMPLER_EULER,
                          .steps = b->steps,
                          .width = b->size,
                          .height = b->size,
                          .cfg_scale = 7,
                          .seed = 1,
                          .gang = g,
                          .progress = rank == 0 ? on_step : NULL,
                          .user = r};
    const struct render *all[] = {&what};
    struct image image = {0};
    struct engine *engine = NULL;
    int rc = 0;

    TRY(engine_open(&o, &engine, e));
    TRY(engine_render(engine, all, 1, &image, e));
    if (rank == 0)
        r->decode_s = (double)(clock_monotonic_ms() - r->last_ms) / 1000;
    r->bytes[rank] = engine_weight_bytes(engine);
    if (rank == 0)
        snprintf(r->device_class, sizeof r->device_class, "%s", engine_device_class(engine));
    if (g != NULL)
        TRY(time_sums(g, r, e));
out:
    image_done(&image);
    engine_close(engine);
    return rc;
}

static int member(const struct bench *b, struct gang_offer *offer, int rank, int size,
                  struct result *r)
{
    const struct gang_place place = {.rank = rank,
                                     .size = size,
                                     .offer = rank == 0 ? offer : NULL,
                                     .meeting = gang_offer_text(offer),
                                     .abort_fd = -1};
    struct gang *g = NULL;
    struct err e = {0};
    int rc = size > 1 ? gang_join(&place, &g, &e) : 0;

    if (rc == 0)
        rc = render(b, g, rank, r, &e);
    if (rc != 0)
        snprintf(r->text, sizeof r->text, "%.290s", e.text);
    if (g != NULL)
        g->free(g);
    return rc;
}

/* By `size` processes; false after a failure, which is printed. */
static bool run(const struct bench *b, int size, struct result *r)
{
    struct gang_offer *offer = NULL;
    pid_t pids[GANG_SIZE_MAX];
    struct err e = {0};
    bool good = gang_offer_new(GANG_UNIX, NULL, &offer, &e) == 0;

    for (int i = 0; i < size && good; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(member(b, offer, i, size, r) != 0);
        }
    }
    for (int i = 0; i < size && good; i++) {
        int status = 1;

        if (pids[i] < 0 || waitpid(pids[i], &status, 0) != pids[i] || status != 0)
            snprintf(e.text, sizeof e.text, "%.290s", r->text);
    }
    gang_offer_free(offer);
    if (e.text[0] != 0)
        fprintf(stderr, "bench_gang: %s\n", e.text);
    return good && e.text[0] == 0;
}

static double step_of(const struct bench *b, const struct result *r)
{
    return (double)(r->last_ms - r->first_ms) / 1000 / (b->steps - 1);
}

static void print(const struct bench *b, const char *who, int size, const struct result *r)
{
    uint64_t most = 0;

    for (int i = 0; i < size; i++)
        most = r->bytes[i] > most ? r->bytes[i] : most;
    printf("%-20s %8.3f s a step, %7.3f s behind the steps, weights %8.1f MiB, class %s\n", who,
           step_of(b, r), r->decode_s, (double)most / 1048576, r->device_class);
}

static int read_options(int argc, char **argv, struct bench *b)
{
    static const struct option options[] = {{"model", 1, NULL, 'm'},    {"precision", 1, NULL, 'p'},
                                            {"size", 1, NULL, 's'},     {"steps", 1, NULL, 'n'},
                                            {"guidance", 1, NULL, 'g'}, {"tensor", 1, NULL, 't'},
                                            {"threads", 1, NULL, 'j'},  {NULL, 0, NULL, 0}};
    int c, precision;

    *b = (struct bench){NULL, PRECISION_AUTO, 512, 4, 2, 1, 1};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        int number = c == 'm' || c == 'p' || c == '?' ? 1 : (int)strtol(optarg, NULL, 10);

        if (number < 1)
            return 2;
        if (c == 'm')
            b->model = optarg;
        else if (c == 'p' && (precision = term_from_name(TERM_PRECISION, optarg)) >= 0)
            b->precision = (enum precision)precision;
        else if (c == 's')
            b->size = number;
        else if (c == 'n')
            b->steps = number;
        else if (c == 'g')
            b->guidance = number;
        else if (c == 't')
            b->tensor = number;
        else if (c == 'j')
            b->threads = number;
        else
            return 2;
    }
    return b->model == NULL || b->steps < 2 || b->guidance * b->tensor < 2 ||
                   b->guidance * b->tensor > GANG_SIZE_MAX
               ? 2
               : 0;
}

int main(int argc, char **argv)
{
    struct result *r =
        mmap(NULL, 2 * sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct bench b;
    char who[64];
    int size;

    if (r == MAP_FAILED || read_options(argc, argv, &b) != 0) {
        fputs("bench_gang --model MODEL [--precision auto] [--size 512] [--steps 4] "
              "[--guidance 2] [--tensor 1] [--threads 1]: steps from 2, members from 2\n",
              stderr);
        return 2;
    }
    size = b.guidance * b.tensor;
    if (!run(&b, 1, &r[0]) || !run(&b, size, &r[1]))
        return 1;
    snprintf(who, sizeof who, "guidance %d, tensor %d", b.guidance, b.tensor);
    print(&b, "one process", 1, &r[0]);
    print(&b, who, size, &r[1]);
    printf("%.2f times as fast a step; a sum of 16 MiB takes %.1f ms\n",
           step_of(&b, &r[0]) / step_of(&b, &r[1]), r[1].sum_s * 1000);
    return 0;
}
