/* The VAE's decoder shared by rows among processes, against one device. */
#include "engine/gang/gang.h"
#include "engine/networks/vae.h"
#include "tests/engine/nets.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* only a failing test waits this long */
#define H           7     /* rows of the latent: they do not divide */
#define W           5
#define PICTURE     (H * 8 * W * 8 * 3)

/* In memory that all processes share. */
struct result {
    float whole[PICTURE], rows[PICTURE];
    size_t whole_bytes, rows_bytes; /* of activations, at the peak; rows: the most of a member */
};

struct call {
    struct vae *vae;
    struct gang *gang; /* NULL: alone */
    float *y;
    size_t peak;
};

static int decode(void *user, struct err *e)
{
    const struct extent s = {1, H, W};
    struct call *c = user;
    float z[H * W * 4];

    for (int i = 0; i < H * W * 4; i++)
        z[i] = sinf((float)i) * 2; /* other numbers in every row */
    return c->gang == NULL ? vae_decode(c->vae, c->y, z, &s, e)
                           : vae_decode_rows(c->vae, c->y, z, &s, c->gang, e);
}

static int run(struct call *c, const char *model, int backend, struct err *e)
{
    struct ops *o = backend_open(backend);
    struct part p = golden_part(model, "vae");
    struct workspace plan, w = {0};
    uint64_t bytes = 0;
    int rc = 0;

    TRY(vae_open(&p.source, o, 0, &bytes, &c->vae, e));
    workspace_plan(&plan, o);
    TRY(decode(c, e));
    c->peak = plan.acts.peak;
    TRY(workspace_init(&w, o, &plan, e));
    TRY(decode(c, e));
    if (w.acts.peak != plan.acts.peak || w.host.peak != plan.host.peak)
        rc = err_set(e, ERR_INTERNAL, "the plan was another");
out:
    workspace_done(&w, o);
    vae_close(c->vae);
    part_close(&p);
    o->free(o);
    return rc;
}

static int member(const struct gang_place *place, const char *model, int backend, struct result *r)
{
    struct call c = {.y = place->rank == 0 ? r->rows : NULL};
    struct err e = {0};
    int rc = 0;

    TRY(gang_join(place, &c.gang, &e));
    TRY(run(&c, model, backend, &e));
    if (place->rank == 0) /* the first has the most rows */
        r->rows_bytes = c.peak;
out:
    if (rc != 0)
        fprintf(stderr, "member %d: %s\n", place->rank, e.text);
    if (c.gang != NULL)
        c.gang->free(c.gang);
    return -rc;
}

/* size 1: alone. */
static void in_processes(int size, const char *model, int backend, struct result *r)
{
    struct gang_offer *offer = NULL;
    pid_t pids[GANG_SIZE_MAX];

    assert_ok(gang_offer_new(GANG_UNIX, &offer, e));
    for (int i = 0; i < size; i++) {
        const struct gang_place place = {.rank = i,
                                         .size = size,
                                         .offer = i == 0 ? offer : NULL,
                                         .meeting = gang_offer_text(offer),
                                         .abort_fd = -1,
                                         .patience_ms = PATIENCE_MS};
        struct call alone = {.y = r->whole};

        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (size > 1)
            _exit(member(&place, model, backend, r));
        if (run(&alone, model, backend, NULL) != 0)
            _exit(1);
        r->whole_bytes = alone.peak;
        _exit(0);
    }
    for (int i = 0; i < size; i++) {
        int status = -1;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    gang_offer_free(offer);
}

static void check(const char *model, int backend, int size)
{
    struct result *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double error;

    assert_true(r != MAP_FAILED);
    in_processes(1, model, backend, r);
    in_processes(size, model, backend, r);
    error = relative_l2(r->rows, r->whole, PICTURE);
    print_message("%s, %s, by %d: %.1e; %.2f of the memory\n", model, backend ? "cpu" : "ref", size,
                  error, (double)r->rows_bytes / (double)r->whole_bytes);
    assert_true(error < 1e-5);
    assert_true(r->rows_bytes < r->whole_bytes);
    munmap(r, sizeof *r);
}

static void rows_of_two_three_and_four_make_the_picture_of_one(void **state)
{
    (void)state;
    check("sd1", BACKEND_FAST, 2);
    check("sd1", BACKEND_FAST, 3);
    check("sdxl", BACKEND_FAST, 4);
}

static void the_oracle_agrees(void **state)
{
    (void)state;
    check("sd1", 0, 2);
}

static void a_member_may_have_one_row(void **state)
{
    (void)state;
    check("sd1", BACKEND_FAST, H);
}

static void rows_are_dealt_without_gap(void **state)
{
    (void)state;
    for (int size = 1; size <= 8; size++)
        for (int64_t h = size; h < 20; h++) {
            int64_t at = 0;

            for (int i = 0; i < size; i++) {
                struct range r = vae_rows_of(h, i, size);

                assert_int_equal(r.begin, at);
                assert_true(r.n > 0);
                at += r.n;
            }
            assert_int_equal(at, h);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_two_three_and_four_make_the_picture_of_one),
        cmocka_unit_test(the_oracle_agrees),
        cmocka_unit_test(a_member_may_have_one_row),
        cmocka_unit_test(rows_are_dealt_without_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
