/* Gangs of real processes: engine/gang/gang.h over sockets. */
#include "engine/gang/gang.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000 /* only a failing test waits this long */
#define N_MAX       3000017

/* What a member does; the result is its process' exit code, an ERR_* made positive. */
typedef int (*part_fn)(struct gang *g, int argument);

struct crew {
    struct gang_offer *offer;
    int size, stop; /* stop: eventfd, the abort descriptor of all */
    pid_t pids[GANG_SIZE_MAX];
};

static void open_crew(struct crew *c, enum gang_kind kind, int size)
{
    struct err e = {0};

    *c = (struct crew){.size = size, .stop = eventfd(0, EFD_CLOEXEC)};
    if (gang_offer_new(kind, kind == GANG_TCP ? "127.0.0.2" : NULL, &c->offer, &e) != 0)
        fail_msg("%s", e.text);
}

static void start(struct crew *c, int rank, int patience_ms, part_fn part, int argument)
{
    struct gang_place p = {.rank = rank,
                           .size = c->size,
                           .offer = rank == 0 ? c->offer : NULL,
                           .meeting = gang_offer_text(c->offer),
                           .address = rank % 2 == 1 ? "127.0.0.3" : NULL, /* of TCP alone */
                           .abort_fd = c->stop,
                           .patience_ms = patience_ms};
    struct gang *g = NULL;
    struct err e = {0};
    int rc;

    c->pids[rank] = fork();
    assert_true(c->pids[rank] >= 0);
    if (c->pids[rank] > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rc = gang_join(&p, &g, &e);
    if (rc == 0)
        rc = part(g, argument);
    if (g != NULL)
        g->free(g);
    _exit(-rc);
}

/* The exit code; negative: the signal that ended it. */
static int finish(struct crew *c, int rank)
{
    int status = 0;

    assert_int_equal(waitpid(c->pids[rank], &status, 0), c->pids[rank]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void close_crew(struct crew *c)
{
    gang_offer_free(c->offer);
    close(c->stop);
}

static void all_do(enum gang_kind kind, int size, part_fn part, int argument)
{
    struct crew c;

    open_crew(&c, kind, size);
    for (int i = 0; i < size; i++)
        start(&c, i, PATIENCE_MS, part, argument);
    for (int i = 0; i < size; i++)
        assert_int_equal(finish(&c, i), 0);
    close_crew(&c);
}

static int wrong(bool condition)
{
    return condition ? ERR_OUTPUT : 0;
}

/* Numbers whose sum depends on the order in which they are added. */
static float number_of(int rank, int64_t i)
{
    static const float large[4] = {1e8f, 1.25f, -1e8f, 3.5f};

    return large[(rank + i) % 4] + (float)(i % 1001) * 0.01f;
}

static int sums_floats(struct gang *g, int n)
{
    float *x = malloc(((size_t)n + 1) * sizeof *x);
    int rc = 0;

    for (int i = 0; i < n; i++)
        x[i] = number_of(g->rank, i);
    TRY(g->all_reduce(g, x, n, GANG_F32, NULL));
    for (int i = 0; i < n && rc == 0; i++) {
        float want = number_of(0, i);

        for (int k = 1; k < g->size; k++)
            want += number_of(k, i);
        rc = wrong(memcmp(&x[i], &want, sizeof want) != 0);
    }
out:
    free(x);
    return rc;
}

static void sums_are_taken_in_rank_order(void **state)
{
    static const int sizes[] = {2, 3, 4, 8}, counts[] = {0, 1, 3, 1000};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
            all_do(GANG_UNIX, sizes[i], sums_floats, counts[k]);
}

static void sums_larger_than_a_chunk(void **state)
{
    (void)state;
    all_do(GANG_UNIX, 4, sums_floats, N_MAX);
}

/* Members have three addresses: 127.0.0.2 leads, others are at .3 or say none. */
static void tcp_does_the_same(void **state)
{
    struct gang_offer *offer = NULL;

    (void)state;
    assert_int_equal(gang_offer_new(GANG_TCP, "127.0.0.2", &offer, NULL), 0);
    assert_memory_equal(gang_offer_text(offer), "tcp:127.0.0.2:", 14);
    gang_offer_free(offer);
    all_do(GANG_TCP, 2, sums_floats, 1000);
    all_do(GANG_TCP, 4, sums_floats, 400000);
}

/* 1 + 2^-8 is between two bf16 numbers: two such parts are 2 + 2^-7, which is one. */
static int sums_bf16(struct gang *g, int argument)
{
    uint16_t x[3] = {0x3f80, 0x3b80, 0x3f81}; /* 1, 2^-8, 1 + 2^-7 */
    int rc = 0;

    (void)argument;
    if (g->rank == 1)
        x[1] = 0x3f80;
    TRY(g->all_reduce(g, x, 3, GANG_BF16, NULL));
    /* 2; 1 + 2^-8 is half way and goes to the even 1; 2 + 2^-6 */
    rc = wrong(x[0] != 0x4000 || x[1] != 0x3f80 || x[2] != 0x4001);
out:
    return rc;
}

/* In rank order 2^25 + 1 - 2^25 + 1 is 1; 1 + 2^-8 + 2^-8, rounded once, is 1 + 2^-7. */
static int sums_bf16_of_four(struct gang *g, int argument)
{
    static const float parts[2][4] = {{0x1p25f, 1, -0x1p25f, 1}, {1, 0x1p-8f, 0x1p-8f, 0}};
    uint16_t x[8], want[8];
    int rc = 0;

    (void)argument;
    for (int i = 0; i < 8; i++) { /* all are bf16, the sums too: the upper halves of a float */
        float sum = 0, own = parts[i / 4][(g->rank + i) % 4];
        uint32_t bits;

        for (int k = 0; k < 4; k++)
            sum += parts[i / 4][(k + i) % 4];
        memcpy(&bits, &sum, sizeof bits);
        want[i] = (uint16_t)(bits >> 16);
        memcpy(&bits, &own, sizeof bits);
        x[i] = (uint16_t)(bits >> 16);
    }
    TRY(g->all_reduce(g, x, 8, GANG_BF16, NULL));
    rc = wrong(memcmp(x, want, sizeof x) != 0);
out:
    return rc;
}

static void bf16_is_summed_in_float_and_rounded_once(void **state)
{
    (void)state;
    all_do(GANG_UNIX, 2, sums_bf16, 0);
    all_do(GANG_UNIX, 4, sums_bf16_of_four, 0);
}

static int gathers(struct gang *g, int argument)
{
    int64_t counts[GANG_SIZE_MAX], at = 0;
    float all[10000] = {0};
    int rc = 0;

    for (int i = 0; i < g->size; i++) { /* every third brings nothing */
        counts[i] = i % 3 == 2 ? 0 : argument + i;
        for (int k = 0; i == g->rank && k < counts[i]; k++)
            all[at + k] = (float)(100 * i + k % 7);
        at += counts[i];
    }
    TRY(g->all_gather(g, all, counts, NULL));
    at = 0;
    for (int i = 0; i < g->size; at += counts[i++])
        for (int k = 0; k < counts[i] && rc == 0; k++)
            rc = wrong(all[at + k] != (float)(100 * i + k % 7));
out:
    return rc;
}

static void uneven_parts_are_gathered(void **state)
{
    (void)state;
    all_do(GANG_UNIX, 2, gathers, 1);
    all_do(GANG_UNIX, 4, gathers, 2500);
}

static int broadcasts(struct gang *g, int root)
{
    char text[6] = "empty";
    int rc = 0;

    if (g->rank == root)
        memcpy(text, "hello", 6);
    TRY(g->broadcast(g, text, sizeof text, root, NULL));
    rc = wrong(strcmp(text, "hello") != 0);
out:
    return rc;
}

static void the_root_tells_all(void **state)
{
    (void)state;
    all_do(GANG_UNIX, 2, broadcasts, 1);
    all_do(GANG_UNIX, 4, broadcasts, 2);
}

/* Neighbours in a row swap edges of different lengths. */
static int swaps(struct gang *g, int argument)
{
    struct gang_transfer t[2];
    char mine[200], before[200] = {0}, after[200] = {0};
    int n = 0, rc = 0;

    (void)argument;
    memset(mine, 'a' + g->rank, sizeof mine);
    if (g->rank > 0)
        t[n++] = (struct gang_transfer){g->rank - 1, mine, 100, before, 50};
    if (g->rank < g->size - 1)
        t[n++] = (struct gang_transfer){g->rank + 1, mine, 50, after, 100};
    TRY(g->exchange(g, t, n, NULL));
    rc = wrong((g->rank > 0 && (before[49] != 'a' + g->rank - 1 || before[50] != 0)) ||
               (g->rank < g->size - 1 && after[99] != 'a' + g->rank + 1));
out:
    return rc;
}

static void neighbours_exchange(void **state)
{
    (void)state;
    all_do(GANG_UNIX, 2, swaps, 0);
    all_do(GANG_UNIX, 4, swaps, 0);
}

/* Two by two: sums within a half, then across. */
static int parts(struct gang *g, int argument)
{
    struct gang *row = NULL, *column = NULL;
    float x[2] = {(float)(1 << g->rank), 1};
    int rc = 0;

    (void)argument;
    TRY(g->split(g, g->rank / 2, &row, NULL));
    TRY(g->split(g, g->rank % 2, &column, NULL));
    TRY(wrong(row->size != 2 || row->rank != g->rank % 2 || column->rank != g->rank / 2));
    TRY(g->check(g, NULL)); /* nobody can be done and gone before all have come here */
    TRY(row->all_reduce(row, x, 2, GANG_F32, NULL));
    TRY(wrong(x[0] != (g->rank < 2 ? 3 : 12) || x[1] != 2));
    TRY(column->all_reduce(column, x, 2, GANG_F32, NULL));
    TRY(wrong(x[0] != 15 || x[1] != 4));
out:
    if (row != NULL)
        row->free(row);
    if (column != NULL)
        column->free(column);
    return rc;
}

static void parts_of_a_gang_are_gangs(void **state)
{
    (void)state;
    all_do(GANG_UNIX, 4, parts, 0);
}

/* Sums without end; a byte says that the first one is done. */
static int sums_for_ever(struct gang *g, int tell)
{
    float *x = calloc(N_MAX, sizeof *x);
    int rc = 0;

    TRY(g->all_reduce(g, x, N_MAX, GANG_F32, NULL));
    TRY(wrong(write(tell, "", 1) != 1));
    while (rc == 0)
        rc = g->all_reduce(g, x, N_MAX, GANG_F32, NULL);
    if (rc == ERR_LOST && g->check(g, NULL) != ERR_LOST)
        rc = ERR_OUTPUT;
out:
    free(x);
    return rc;
}

static void a_killed_member_hangs_nobody(void **state)
{
    (void)state;
    for (int size = 2; size <= 4; size += 2) {
        struct crew c;
        int tell[2];
        char byte;

        assert_int_equal(pipe(tell), 0);
        open_crew(&c, GANG_UNIX, size);
        for (int i = 0; i < size; i++)
            start(&c, i, PATIENCE_MS, sums_for_ever, tell[1]);
        for (int i = 0; i < size; i++)
            assert_int_equal(read(tell[0], &byte, 1), 1);
        kill(c.pids[1], SIGKILL);
        assert_int_equal(finish(&c, 1), -SIGKILL);
        for (int i = 0; i < size; i++)
            if (i != 1)
                assert_int_equal(finish(&c, i), -ERR_LOST);
        close_crew(&c);
        close(tell[0]);
        close(tell[1]);
    }
}

static void told_to_stop_they_stop(void **state)
{
    const uint64_t one = 1;
    struct crew c;
    int tell[2];
    char byte;

    (void)state;
    assert_int_equal(pipe(tell), 0);
    open_crew(&c, GANG_UNIX, 2);
    for (int i = 0; i < 2; i++)
        start(&c, i, PATIENCE_MS, sums_for_ever, tell[1]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(read(tell[0], &byte, 1), 1);
    assert_int_equal(write(c.stop, &one, sizeof one), sizeof one);
    for (int i = 0; i < 2; i++) {
        int code = finish(&c, i);

        assert_true(code == -ERR_CANCELLED || code == -ERR_LOST);
    }
    close_crew(&c);
    close(tell[0]);
    close(tell[1]);
}

static void stopped_while_others_are_missing(void **state)
{
    const uint64_t one = 1;
    struct crew c;

    (void)state;
    open_crew(&c, GANG_UNIX, 3);
    start(&c, 0, PATIENCE_MS, sums_floats, 1);
    start(&c, 2, PATIENCE_MS, sums_floats, 1);
    assert_int_equal(write(c.stop, &one, sizeof one), sizeof one);
    assert_int_equal(finish(&c, 0), -ERR_CANCELLED);
    assert_true(finish(&c, 2) > 0);
    close_crew(&c);
}

static int waits_for_nothing(struct gang *g, int argument)
{
    char byte;

    (void)argument;
    if (g->rank == 1) { /* says nothing until the other has gone */
        while (g->check(g, NULL) == 0)
            sched_yield();
        return 0;
    }
    return g->broadcast(g, &byte, 1, 1, NULL);
}

static void patience_ends(void **state)
{
    struct crew c;

    (void)state;
    open_crew(&c, GANG_UNIX, 2);
    start(&c, 0, 30, sums_floats, 1);
    assert_int_equal(finish(&c, 0), -ERR_LOST);
    close_crew(&c);
    open_crew(&c, GANG_UNIX, 2);
    start(&c, 0, 3000, waits_for_nothing, 0);
    start(&c, 1, PATIENCE_MS, waits_for_nothing, 0);
    assert_int_equal(finish(&c, 0), -ERR_LOST);
    assert_int_equal(finish(&c, 1), 0);
    close_crew(&c);
}

static int differs(struct gang *g, int argument)
{
    float x[2] = {0};
    int64_t counts[2] = {1, 1};

    (void)argument;
    return g->rank == 0 ? g->all_reduce(g, x, 2, GANG_F32, NULL)
                        : g->all_gather(g, x, counts, NULL);
}

static void members_at_different_operations_notice(void **state)
{
    struct crew c;

    (void)state;
    open_crew(&c, GANG_UNIX, 2);
    for (int i = 0; i < 2; i++)
        start(&c, i, PATIENCE_MS, differs, 0);
    for (int i = 0; i < 2; i++) {
        int code = finish(&c, i); /* the first to notice leaves */

        assert_true(code == -ERR_INTERNAL || code == -ERR_LOST);
    }
    close_crew(&c);
}

/* Who does not know the token, or says a rank that cannot be, is not let in. */
static void strangers_are_not_let_in(void **state)
{
    struct gang_place p = {.rank = 1, .size = 3, .abort_fd = -1, .patience_ms = PATIENCE_MS};
    struct crew c;
    char text[GANG_TEXT_MAX];
    struct gang *g;

    (void)state;
    open_crew(&c, GANG_TCP, 2);
    start(&c, 0, PATIENCE_MS, sums_floats, 10);
    snprintf(text, sizeof text, "%s", gang_offer_text(c.offer));
    p.meeting = text;
    assert_int_equal(gang_join(&p, &g, NULL), ERR_LOST); /* another gang's size */
    p.size = 2;
    text[strlen(text) - 1] ^= 1;
    assert_int_equal(gang_join(&p, &g, NULL), ERR_LOST); /* another token */
    start(&c, 1, PATIENCE_MS, sums_floats, 10);
    assert_int_equal(finish(&c, 1), 0);
    assert_int_equal(finish(&c, 0), 0);
    close_crew(&c);
}

/* Connections to a meeting place: "tcp:ADDRESS:PORT/TOKEN" or "unix:ID". */
static int stranger_at(const char *meeting)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in tcp = {.sin_family = AF_INET};
    char ip[20] = "";
    unsigned port = 0;
    int fd, n;

    if (strncmp(meeting, "unix:", 5) == 0) {
        n = snprintf(local.sun_path + 1, sizeof local.sun_path - 1, "litho-gang-%s", meeting + 5);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fd, (struct sockaddr *)&local,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) != 0)
            assert_int_equal(errno, EAGAIN); /* as many as wait there are there already */
        return fd;
    }
    assert_int_equal(sscanf(meeting, "tcp:%15[0-9.]:%u", ip, &port), 2);
    inet_pton(AF_INET, ip, &tcp.sin_addr);
    tcp.sin_port = htons((uint16_t)port);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&tcp, sizeof tcp), 0);
    return fd;
}

/* More than are heard at a time, silent, or with half a greeting, or with rubbish. */
static void crowd(enum gang_kind kind, int size)
{
    char rubbish[400];
    struct crew c;
    int fds[60];

    memset(rubbish, 'r', sizeof rubbish);
    open_crew(&c, kind, size);
    for (int i = 0; i < 10; i++)
        fds[i] = stranger_at(gang_offer_text(c.offer));
    start(&c, 0, PATIENCE_MS, sums_floats, 10);
    for (int i = 10; i < 60; i++) {
        fds[i] = stranger_at(gang_offer_text(c.offer));
        (void)!send(fds[i], rubbish,
                    i % 3 == 0   ? 20
                    : i % 3 == 1 ? sizeof rubbish
                                 : 0,
                    MSG_NOSIGNAL);
    }
    for (int i = 1; i < size; i++)
        start(&c, i, PATIENCE_MS, sums_floats, 10);
    for (int i = 0; i < size; i++)
        assert_int_equal(finish(&c, i), 0);
    for (int i = 0; i < 60; i++)
        close(fds[i]);
    close_crew(&c);
}

static void strangers_at_the_door_keep_no_member_out(void **state)
{
    (void)state;
    crowd(GANG_TCP, 4);
    crowd(GANG_UNIX, 4);
}

/* A byte now and then is no reason to wait longer. */
static void strangers_do_not_lengthen_the_wait(void **state)
{
    struct crew c;
    int fd, status = 0;

    (void)state;
    open_crew(&c, GANG_TCP, 2);
    fd = stranger_at(gang_offer_text(c.offer));
    start(&c, 0, 300, sums_floats, 10);
    while (waitpid(c.pids[0], &status, WNOHANG) == 0) {
        (void)!send(fd, "", 1, MSG_NOSIGNAL);
        close(stranger_at(gang_offer_text(c.offer)));
        poll(NULL, 0, 5);
    }
    assert_int_equal(WEXITSTATUS(status), -ERR_LOST);
    close(fd);
    close_crew(&c);
}

/* A leader that never comes to its full door: who connects can be told to stop. */
static void a_full_door_is_waited_for_and_left_on_request(void **state)
{
    const uint64_t one = 1;
    struct crew c;
    int fds[40];

    (void)state;
    open_crew(&c, GANG_UNIX, 2);
    for (int i = 0; i < 40; i++)
        fds[i] = stranger_at(gang_offer_text(c.offer));
    start(&c, 1, 100, sums_floats, 10);
    assert_int_equal(finish(&c, 1), -ERR_LOST);
    start(&c, 1, PATIENCE_MS, sums_floats, 10);
    assert_int_equal(write(c.stop, &one, sizeof one), sizeof one);
    assert_int_equal(finish(&c, 1), -ERR_CANCELLED);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    close_crew(&c);
}

static void places_that_cannot_be(void **state)
{
    static const struct gang_place bad[] = {
        {.rank = 0, .size = 1},
        {.rank = 2, .size = 2, .meeting = "unix:x"},
        {.rank = 1, .size = GANG_SIZE_MAX + 1, .meeting = "unix:x"},
        {.rank = 0, .size = 2, .meeting = "unix:x"},
        {.rank = 1, .size = 2},
        {.rank = 1, .size = 2, .meeting = "http://x"},
        {.rank = 1, .size = 2, .meeting = "tcp:10.0.0.1:80/x"},
        {.rank = 1, .size = 2, .meeting = "tcp:127.0.0.1:99999/x"},
    };
    struct gang_place p = {
        .rank = 1, .size = 2, .meeting = "unix:nobody/0", .abort_fd = -1, .patience_ms = 30};
    struct gang_offer *offer;
    struct gang *g;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(gang_join(&bad[i], &g, NULL), ERR_ARG);
    assert_int_equal(gang_join(&p, &g, NULL), ERR_LOST);
    if (gang_offer_new(GANG_NCCL, NULL, &offer, NULL) == 0)
        gang_offer_free(offer);
    assert_int_equal(gang_offer_new(GANG_TCP, "10.0.0.1", &offer, NULL), ERR_ARG);
    assert_int_equal(gang_offer_new(GANG_TCP, "localhost", &offer, NULL), ERR_ARG);
}

/* A firewall lets some ports through: whoever listens takes the first that is free. */
static void doors_open_at_the_ports_given(void **state)
{
    struct gang_offer *offers[3] = {NULL};
    struct err why = {0};

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(gang_offer_new(GANG_TCP, "127.5.6.7:47310-47311", &offers[i], &why), 0);
    assert_memory_equal(gang_offer_text(offers[0]), "tcp:127.5.6.7:47310/", 20);
    assert_memory_equal(gang_offer_text(offers[1]), "tcp:127.5.6.7:47311/", 20);
    assert_int_equal(gang_offer_new(GANG_TCP, "127.5.6.7:47310-47311", &offers[2], &why), ERR_IO);
    assert_non_null(strstr(why.text, "all ports of 127.5.6.7:47310-47311 are in use"));
    gang_offer_free(offers[0]);
    assert_int_equal(gang_offer_new(GANG_TCP, "127.5.6.7:47310-47311", &offers[2], &why), 0);
    assert_memory_equal(gang_offer_text(offers[2]), "tcp:127.5.6.7:47310/", 20);
    gang_offer_free(offers[1]);
    gang_offer_free(offers[2]);
}

static void ports_that_cannot_be_are_refused(void **state)
{
    static const char *const bad[] = {"127.0.0.2:",
                                      "127.0.0.2:0-9",
                                      "127.0.0.2:65535-65536",
                                      "127.0.0.2:9-8",
                                      "127.0.0.2:70000",
                                      "127.0.0.2:5000-",
                                      "127.0.0.2:-5000",
                                      "127.0.0.2: 1-2",
                                      "127.0.0.2:5000-5001x",
                                      "127.0.0.2:5000-5001-5002"};
    struct err why = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(gang_address_check(bad[i], &why), ERR_ARG);
        assert_non_null(strstr(why.text, "within 1 to 65535"));
    }
    assert_int_equal(gang_address_check("127.0.0.2:5000", &why), ERR_ARG);
    assert_non_null(strstr(why.text, "such as 5000-5001"));
    assert_int_equal(gang_address_check("127.0.0.2:65535", &why), ERR_ARG);
    assert_non_null(strstr(why.text, "such as 65534-65535"));
    assert_int_equal(gang_address_check("127.0.0.2:1-65535", &why), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_taken_in_rank_order),
        cmocka_unit_test(sums_larger_than_a_chunk),
        cmocka_unit_test(tcp_does_the_same),
        cmocka_unit_test(bf16_is_summed_in_float_and_rounded_once),
        cmocka_unit_test(uneven_parts_are_gathered),
        cmocka_unit_test(the_root_tells_all),
        cmocka_unit_test(neighbours_exchange),
        cmocka_unit_test(parts_of_a_gang_are_gangs),
        cmocka_unit_test(a_killed_member_hangs_nobody),
        cmocka_unit_test(told_to_stop_they_stop),
        cmocka_unit_test(stopped_while_others_are_missing),
        cmocka_unit_test(patience_ends),
        cmocka_unit_test(members_at_different_operations_notice),
        cmocka_unit_test(strangers_are_not_let_in),
        cmocka_unit_test(strangers_at_the_door_keep_no_member_out),
        cmocka_unit_test(strangers_do_not_lengthen_the_wait),
        cmocka_unit_test(a_full_door_is_waited_for_and_left_on_request),
        cmocka_unit_test(places_that_cannot_be),
        cmocka_unit_test(doors_open_at_the_ports_given),
        cmocka_unit_test(ports_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
