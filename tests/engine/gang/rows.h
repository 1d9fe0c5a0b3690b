/* The VAE's decoder shared by rows among real processes, and alone, for tests of any backend. */
#ifndef TESTS_ENGINE_GANG_ROWS_H
#define TESTS_ENGINE_GANG_ROWS_H

#include "engine/gang/gang.h"
#include "engine/networks/vae.h"
#include "tests/engine/nets.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS_PATIENCE_MS 60000 /* only a failing test waits this long */
#define ROWS_H           7     /* rows of the latent: they do not divide */
#define ROWS_W           5
#define ROWS_PICTURE     (ROWS_H * 8 * ROWS_W * 8 * 3)

/* In memory that all processes share. */
struct rows_result {
    float whole[ROWS_PICTURE], rows[ROWS_PICTURE];
    size_t whole_bytes, rows_bytes; /* of activations, at the peak; rows: the most of a member */
};

typedef struct ops *(*rows_open_fn)(void);

struct rows_call {
    struct vae *vae;
    struct gang *gang; /* NULL: alone */
    float *y;
    size_t peak;
};

static inline int rows_decode(void *user, struct err *e)
{
    const struct extent s = {1, ROWS_H, ROWS_W};
    struct rows_call *c = user;
    float z[ROWS_H * ROWS_W * 4];

    for (int i = 0; i < ROWS_H * ROWS_W * 4; i++)
        z[i] = sinf((float)i) * 2; /* other numbers in every row */
    return c->gang == NULL ? vae_decode(c->vae, c->y, z, &s, e)
                           : vae_decode_rows(c->vae, c->y, z, &s, c->gang, e);
}

static inline int rows_run(struct rows_call *c, const char *model, rows_open_fn open, struct err *e)
{
    struct ops *o = open();
    struct part p = golden_part(model, "vae");
    struct workspace plan, w = {0};
    uint64_t bytes = 0;
    int rc = 0;

    TRY(vae_open(&p.source, o, 0, &bytes, &c->vae, e));
    workspace_plan(&plan, o);
    TRY(rows_decode(c, e));
    c->peak = plan.acts.peak;
    TRY(workspace_init(&w, o, &plan, e));
    TRY(rows_decode(c, e));
    if (w.acts.peak != plan.acts.peak || w.host.peak > plan.host.peak ||
        (!o->device && w.host.peak < plan.host.peak))
        rc = err_set(e, ERR_INTERNAL, "the plan was another");
out:
    workspace_done(&w, o);
    vae_close(c->vae);
    part_close(&p);
    o->free(o);
    return rc;
}

/* The member dies at its n-th exchange of rows from now. */
static int rows_until_death;
static int (*rows_exchange)(struct gang *g, const struct gang_transfer *transfers, int n,
                            struct err *e);

static inline int rows_dying_exchange(struct gang *g, const struct gang_transfer *transfers, int n,
                                      struct err *e)
{
    if (--rows_until_death == 0)
        raise(SIGKILL);
    return rows_exchange(g, transfers, n, e);
}

static inline void rows_doom(struct gang *g, int exchanges)
{
    rows_until_death = exchanges;
    rows_exchange = g->exchange;
    g->exchange = rows_dying_exchange;
}

/* dies_at: 0, or the exchange at which the last member dies. */
static inline int rows_member(const struct gang_place *place, const char *model, rows_open_fn open,
                              struct rows_result *r, int dies_at)
{
    struct rows_call c = {.y = place->rank == 0 ? r->rows : NULL};
    struct err e = {0};
    int rc = 0;

    TRY(gang_join(place, &c.gang, &e));
    if (dies_at > 0 && place->rank == place->size - 1)
        rows_doom(c.gang, dies_at);
    TRY(rows_run(&c, model, open, &e));
    if (place->rank == 0) /* the first has the most rows */
        r->rows_bytes = c.peak;
out:
    if (rc != 0 && dies_at == 0)
        fprintf(stderr, "member %d: %s\n", place->rank, e.text);
    if (c.gang != NULL)
        c.gang->free(c.gang);
    return -rc;
}

/* size 1: alone. ret_status[size]: as waitpid() has them. */
static inline void rows_statuses(int size, const char *model, rows_open_fn open,
                                 struct rows_result *r, int dies_at, int ret_status[])
{
    struct gang_offer *offer = NULL;
    pid_t pids[GANG_SIZE_MAX];

    assert_ok(gang_offer_new(GANG_UNIX, NULL, &offer, e));
    for (int i = 0; i < size; i++) {
        const struct gang_place place = {.rank = i,
                                         .size = size,
                                         .offer = i == 0 ? offer : NULL,
                                         .meeting = gang_offer_text(offer),
                                         .abort_fd = -1,
                                         .patience_ms = ROWS_PATIENCE_MS};
        struct rows_call alone = {.y = r->whole};

        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (size > 1)
            _exit(rows_member(&place, model, open, r, dies_at));
        if (rows_run(&alone, model, open, NULL) != 0)
            _exit(1);
        r->whole_bytes = alone.peak;
        _exit(0);
    }
    for (int i = 0; i < size; i++)
        assert_int_equal(waitpid(pids[i], &ret_status[i], 0), pids[i]);
    gang_offer_free(offer);
}

static inline void rows_in_processes(int size, const char *model, rows_open_fn open,
                                     struct rows_result *r)
{
    int status[GANG_SIZE_MAX];

    rows_statuses(size, model, open, r, 0, status);
    for (int i = 0; i < size; i++)
        assert_int_equal(status[i], 0);
}

/* The last member dies in the decoder; all others end with ERR_LOST. */
static inline void rows_lose_a_member(int size, const char *model, rows_open_fn open, int dies_at)
{
    struct rows_result *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status[GANG_SIZE_MAX];

    assert_true(r != MAP_FAILED);
    rows_statuses(size, model, open, r, dies_at, status);
    assert_true(WIFSIGNALED(status[size - 1]) && WTERMSIG(status[size - 1]) == SIGKILL);
    for (int i = 0; i < size - 1; i++)
        assert_true(WIFEXITED(status[i]) && WEXITSTATUS(status[i]) == -ERR_LOST);
    munmap(r, sizeof *r);
}

#endif
