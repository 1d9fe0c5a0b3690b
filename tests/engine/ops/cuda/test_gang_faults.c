/*
 * Calls of CUDA and NCCL that fail in one member of a gang, each once: that member tells which, the
 * other one ends too, and nobody has a wrong picture; then both make the next one together, in the
 * same processes. On the emulated device, which can be asked to fail.
 */
#include "engine/checkpoint/model.h"
#include "engine/gang/gang.h"
#include "engine/pipeline/pipeline.h"
#include "tests/engine/models.h"
#include "tests/engine/nets.h"
#include "tests/engine/ops/cuda/faults.h"
#include "tests/engine/small_render.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMBERS     2
#define SIDE        32
#define N_BYTES     (SIDE * SIDE * 3)
#define HANGS_S     60     /* what still runs then hangs */
#define PATIENCE_MS 600000 /* the gang's own, with a member of whom nothing is heard */

/* What a member saw, in memory that all processes share. */
struct seen {
    int rc; /* of the picture with the failure */
    bool told, same, again, clean;
    struct gpusim_counts counts; /* when that picture was done */
    char call[64];               /* that was made to fail; "": none was */
    char text[300];
};

static struct shared {
    struct seen of[MEMBERS];
    bool is_known;
    uint8_t want[N_BYTES];
} * shared;

/* One member's model, loaded before the members' processes are made. */
struct member {
    struct ops *ops;
    struct model *model;
    struct pipeline pipeline;
    struct workspace workspace;
};

struct team {
    const char *name;
    int tensor;
    struct member members[MEMBERS];
};

/* A failure, and whose. */
struct blow {
    enum gpusim_fault fault;
    uint64_t nth;
    int member;
    bool again; /* another picture follows */
};

/* Steps: called, captured, replayed. Who shares layers has no guidance, which is half the work. */
static struct render render_by(struct gang *g, const struct member *m)
{
    struct render r = small_render(3, SIDE, SIDE);

    r.gang = g;
    if (m->ops->shard.size > 1)
        r.cfg_scale = 1;
    return r;
}

static int plan_member(struct member *p, struct gang *g, struct workspace *ret_plan, struct err *e)
{
    const struct render *all[1];
    const struct batch b = {all, 1};
    struct render r = render_by(g, p);

    all[0] = &r;
    return pipeline_plan(&p->pipeline, &b, ret_plan, e);
}

static int render_member(struct member *p, struct gang *g, struct image *ret_image, struct err *e)
{
    const struct render *all[1];
    const struct batch b = {all, 1};
    struct render r = render_by(g, p);
    struct workspace plan;
    int rc = 0;

    all[0] = &r;
    TRY(plan_member(p, g, &plan, e));
    TRY(workspace_init(&p->workspace, p->ops, &plan, e));
    TRY(pipeline_run(&p->pipeline, &b, NULL, ret_image, e));
out:
    return rc;
}

/*
 * Planned once, so that not every process tries its shapes again; who has a whole model also keeps
 * the states of texts from a picture alone, which are two thirds of the work.
 */
static void open_member(struct team *t, int rank)
{
    struct gang nobody = {.rank = rank, .size = MEMBERS}; /* a plan asks for no more */
    struct member *p = &t->members[rank];
    struct image image = {0};
    struct workspace plan;

    assert_ok(ops_cuda_new(0, PRECISION_F16, &p->ops, e));
    p->ops->shard = (struct shard){.rank = rank % t->tensor, .size = t->tensor};
    assert_ok(open_model(GOLDEN_DIR "/models/sd1", p->ops, &p->model, e));
    p->pipeline.model = p->model;
    if (t->tensor == 1)
        assert_ok(render_member(p, NULL, &image, e));
    image_done(&image);
    assert_ok(plan_member(p, &nobody, &plan, e));
}

static void close_member(struct member *p)
{
    workspace_done(&p->workspace, p->ops);
    pipeline_done(&p->pipeline);
    model_close(p->model);
    p->ops->free(p->ops);
    *p = (struct member){0};
}

/* The leader's picture is the one known, or becomes it; the other member has none. */
static bool is_wanted(const struct image *image, int rank)
{
    if (rank != 0)
        return image->pixels == NULL;
    if (!shared->is_known) {
        memcpy(shared->want, image->pixels, N_BYTES);
        shared->is_known = true;
    }
    return memcmp(shared->want, image->pixels, N_BYTES) == 0;
}

/* One picture by the gang that meets at `offer`. */
static int take_part(struct team *t, int rank, struct gang_offer *offer, const struct blow *b,
                     bool *ret_same, struct err *e)
{
    const struct gang_place place = {.rank = rank,
                                     .size = MEMBERS,
                                     .offer = rank == 0 ? offer : NULL,
                                     .meeting = gang_offer_text(offer),
                                     .abort_fd = -1,
                                     .patience_ms = PATIENCE_MS};
    struct image image = {0};
    struct gang *g = NULL;
    int rc = 0;

    TRY(gang_join(&place, &g, e));
    sim->plan(b->member == rank ? b->fault : GPUSIM_FAIL_NONE, b->nth);
    TRY(render_member(&t->members[rank], g, &image, e));
    *ret_same = is_wanted(&image, rank);
out:
    if (g != NULL)
        g->free(g);
    image_done(&image);
    return rc;
}

/* In the member's process. */
static void live(struct team *t, int rank, struct gang_offer *const offers[2], const struct blow *b)
{
    const struct blow none = {.member = -1};
    struct seen *s = &shared->of[rank];
    struct err e = {0};
    bool same = false;

    alarm(HANGS_S);
    s->rc = take_part(t, rank, offers[0], b, &s->same, &e);
    s->counts = sim->counts();
    snprintf(s->text, sizeof s->text, "%.299s", e.text);
    if (sim->failed() != NULL) {
        snprintf(s->call, sizeof s->call, "%s", sim->failed());
        s->told = s->rc != 0 && is_told(&e);
    }
    if (b->again)
        s->again = take_part(t, rank, offers[1], &none, &same, &e) == 0 && same;
    for (int i = 0; i < MEMBERS; i++)
        close_member(&t->members[i]);
    s->clean = nothing_is_left();
}

static void run(struct team *t, const struct blow *b)
{
    struct gang_offer *offers[2];
    pid_t pids[MEMBERS];

    memset(shared->of, 0, sizeof shared->of);
    for (int i = 0; i < 2; i++)
        assert_ok(gang_offer_new(GANG_UNIX, NULL, &offers[i], e));
    for (int i = 0; i < MEMBERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGABRT, SIG_DFL); /* not cmocka's, which would go on in the copy */
        live(t, i, offers, b);
        _exit(0);
    }
    for (int i = 0; i < MEMBERS; i++) {
        int status = 0;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        if (status != 0)
            fail_msg("%s, call %d of member %d, '%s': member %d ended with %#x%s", t->name,
                     (int)b->nth, b->member, shared->of[b->member].call, i, (unsigned)status,
                     WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
        gang_offer_free(offers[i]);
    }
}

/* Whom the failure of a call does not concern: an end that cannot be told, and waits for it. */
static bool is_an_end(const char *call)
{
    return begins(call, "cudaStreamSync") || begins(call, "cudaStreamQuery") ||
           begins(call, "ncclCommFinalize");
}

static void check(const struct team *t, const struct blow *b)
{
    static const int codes[] = {[GPUSIM_FAIL_ANY] = ERR_INTERNAL,
                                [GPUSIM_FAIL_MEMORY] = ERR_OOM,
                                [GPUSIM_FAIL_DEVICE] = ERR_DEVICE,
                                [GPUSIM_FAIL_LATER] = ERR_INTERNAL};
    const struct seen *s = &shared->of[b->member], *other = &shared->of[1 - b->member];
    bool right = s->rc == 0 ? is_an_end(s->call) && s->same : s->rc == codes[b->fault] && s->told;
    bool others = other->rc == 0 ? other->same : other->rc == ERR_LOST;
    bool again = !b->again || (s->again && other->again);

    if (!right || !others || !again || !s->clean || !other->clean)
        fail_msg(
            "%s, call %d of member %d, '%s' failed: %d, %s; the other: %d, %s; together again: "
            "%d, %d; clean: %d, %d",
            t->name, (int)b->nth, b->member, s->call, s->rc,
            s->rc != 0 ? s->text
            : s->same  ? "as if nothing were"
                       : "with another picture",
            other->rc, other->rc != 0 ? other->text : "a picture", s->again, other->again, s->clean,
            other->clean);
}

static uint64_t count_of(const struct gpusim_counts *c, enum gpusim_fault fault)
{
    return fault == GPUSIM_FAIL_MEMORY  ? c->memory_calls
           : fault == GPUSIM_FAIL_LATER ? c->later_calls
                                        : c->calls;
}

/* A number from the environment, for sweeps that take longer than a test may. */
static int asked_for(const char *name, int usual)
{
    const char *s = getenv(name);

    return s != NULL ? (int)strtol(s, NULL, 10) : usual;
}

/*
 * Every call: LITHO_FAULT_STRIDE=1; of calls FIRST to LAST alone: LITHO_FAULT_CALLS=FIRST-LAST; a
 * picture together after each failure, not each second one: LITHO_FAULT_AGAIN=1.
 */
static void sweep_one(struct team *t, enum gpusim_fault fault, const char *name, int stride,
                      const struct gpusim_counts *whole, int member)
{
    const char *some = getenv("LITHO_FAULT_CALLS");
    unsigned long first, last = count_of(whole, fault);
    int n = 0, each = asked_for("LITHO_FAULT_AGAIN", 2);

    stride = asked_for("LITHO_FAULT_STRIDE", stride);
    first = 1 + (unsigned long)stride / 3;
    if (some != NULL)
        assert_int_equal(sscanf(some, "%lu-%lu", &first, &last), 2);
    for (uint64_t nth = first + (uint64_t)(member * stride / 2); nth <= last;
         nth += (uint64_t)stride, n++) {
        /* A process that lost its device has no other one. */
        const struct blow b = {fault, nth, member,
                               fault != GPUSIM_FAIL_DEVICE &&
                                   (n + member + (int)fault) % each == 0};

        run(t, &b);
        if (shared->of[member].call[0] == 0)
            break;
        check(t, &b);
    }
    print_message("  %s: %d of %d calls of member %d %s\n", t->name, n, (int)count_of(whole, fault),
                  member, name);
    assert_true(n > 0 || some != NULL || count_of(whole, fault) == 0);
}

static void sweep(struct team *t)
{
    static const struct {
        enum gpusim_fault fault;
        const char *name;
        int stride;
    } kinds[] = {{GPUSIM_FAIL_ANY, "fail", 3203},
                 {GPUSIM_FAIL_MEMORY, "find no memory", 101},
                 {GPUSIM_FAIL_DEVICE, "find the device dead", 3203},
                 {GPUSIM_FAIL_LATER, "fail later", 131}};
    struct gpusim_counts whole[MEMBERS];

    shared->is_known = false;
    for (int i = 0; i < MEMBERS; i++)
        open_member(t, i);
    run(t, &(struct blow){.again = true});
    for (int i = 0; i < MEMBERS; i++) {
        const struct seen *s = &shared->of[i];

        if (s->rc != 0 || !s->same || !s->again || !s->clean)
            fail_msg("%s, member %d without a failure: %d, %s; as known %d, again %d, clean %d",
                     t->name, i, s->rc, s->text, s->same, s->again, s->clean);
        whole[i] = s->counts;
    }
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int i = 0; i < MEMBERS; i++)
            sweep_one(t, kinds[k].fault, kinds[k].name, kinds[k].stride, &whole[i], i);
    for (int i = 0; i < MEMBERS; i++)
        close_member(&t->members[i]);
}

static void a_call_that_fails_ends_both_who_share_guidance(void **state)
{
    struct team t = {.name = "guidance", .tensor = 1};

    (void)state;
    sweep(&t);
}

static void a_call_that_fails_ends_both_who_share_layers(void **state)
{
    struct team t = {.name = "layers", .tensor = 2};

    (void)state;
    sweep(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_fails_ends_both_who_share_guidance),
        cmocka_unit_test(a_call_that_fails_ends_both_who_share_layers),
    };
    int missing = find_control();

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
