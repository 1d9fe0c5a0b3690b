/*
 * Gangs of processes with a CUDA device each, against one device, in f16 and bf16 (in float32:
 * test_gangs_f32.c); recorded or called; and what the death of a member does to them.
 */
#include "tests/engine/gang/crew.h"
#include "tests/engine/gang/rows.h"
#include "tests/engine/ops/cuda/fixture.h"
#include "tests/engine/small_render.h"

#define LATENT (8 * 4 * 4) /* numbers of a picture of 64 x 32 */

static struct crew crew_of(enum backend backend, int guidance, int tensor)
{
    return (struct crew){
        .engine = {.model = GOLDEN_DIR "/models/sd1",
                   .backend = backend,
                   .precision = backend == BACKEND_CUDA ? PRECISION_F16 : PRECISION_F32,
                   .device = cuda_is_emulated() ? 0 : 1,
                   .threads = 1},
        .render = small_render(2, 64, 32),
        .guidance = guidance,
        .tensor = tensor};
}

/* Two devices, or the emulated one for both. */
static bool missing(int devices)
{
    struct cuda_device d;

    return !cuda_is_emulated() && ops_cuda_probe(devices - 1, PRECISION_F16, &d, NULL) != 0;
}

static void guidance_over_two_devices_changes_no_byte(void **state)
{
    struct crew one = crew_of(BACKEND_CUDA, 1, 1), two = crew_of(BACKEND_CUDA, 2, 1);

    (void)state;
    if (missing(2))
        skip();
    crew_render(&one);
    crew_render(&two);
    assert_memory_equal(one.result->latent, two.result->latent, LATENT * sizeof(float));
    assert_memory_equal(one.result->pixels, two.result->pixels, 64 * 32 * 3);
    crew_done(&one);
    crew_done(&two);
}

/* f16 in another order of sums is another set of roundings, as far from float32 as one device's. */
static void assert_near(const struct crew *all)
{
    static float exact[LATENT], one[LATENT];
    static int steps;
    double own, error;

    if (steps != all->render.steps) {
        struct crew in_f32 = crew_of(BACKEND_CPU, 1, 1), alone = crew_of(BACKEND_CUDA, 1, 1);

        in_f32.render.steps = alone.render.steps = steps = all->render.steps;
        crew_render(&in_f32);
        crew_render(&alone);
        memcpy(exact, in_f32.result->latent, sizeof exact);
        memcpy(one, alone.result->latent, sizeof one);
        crew_done(&in_f32);
        crew_done(&alone);
    }
    own = relative_l2(one, exact, LATENT);
    error = relative_l2(all->result->latent, exact, LATENT);
    print_message("f16 is off by %.1e, by %d x %d%s by %.1e\n", own, all->guidance, all->tensor,
                  all->by_host ? " through the host" : "", error);
    assert_true(own < 0.02);
    assert_true(error < 1.5 * own);
}

static void both_over_four_devices(void **state)
{
    struct crew all = crew_of(BACKEND_CUDA, 2, 2);

    (void)state;
    if (missing(4))
        skip();
    crew_render(&all);
    assert_near(&all);
    crew_done(&all);
}

static void without_nccl_sums_go_through_the_host(void **state)
{
    struct crew all = crew_of(BACKEND_CUDA, 1, 2);

    (void)state;
    if (missing(2))
        skip();
    all.by_host = true;
    crew_render(&all);
    assert_near(&all);
    crew_done(&all);
}

/* The first step is called, the second captured, the others are replayed: with NCCL's sums. */
static void assert_recorded_as_called(int tensor)
{
    struct crew recorded = crew_of(BACKEND_CUDA, 1, tensor),
                called = crew_of(BACKEND_CUDA, 1, tensor);

    if (missing(tensor))
        skip();
    recorded.render.steps = called.render.steps = 4;
    called.unrecorded = true;
    crew_render(&recorded);
    crew_render(&called);
    assert_near(&recorded);
    assert_memory_equal(recorded.result->latent, called.result->latent, LATENT * sizeof(float));
    assert_memory_equal(recorded.result->pixels, called.result->pixels, 64 * 32 * 3);
    crew_done(&recorded);
    crew_done(&called);
}

static void layers_over_two_devices_recorded_or_called(void **state)
{
    (void)state;
    assert_recorded_as_called(2);
}

static void layers_over_four_devices_recorded_or_called(void **state)
{
    (void)state;
    assert_recorded_as_called(4);
}

static void die_called(void *user, int step, int steps)
{
    (void)user;
    (void)steps;
    if (step == 1)
        raise(SIGKILL);
}

static void die_recorded(void *user, int step, int steps)
{
    (void)user;
    (void)steps;
    if (step == 3)
        raise(SIGKILL);
}

/* The others have queued sums that never end, by calls or as a graph. */
static void assert_nobody_hangs(int guidance, int tensor, void (*die)(void *, int, int))
{
    struct crew c = crew_of(BACKEND_CUDA, guidance, tensor);

    if (missing(guidance * tensor))
        skip();
    c.render.steps = 6;
    c.in_step = die;
    c.marked = 1;
    crew_start(&c);
    assert_int_equal(crew_wait(&c, 1), -SIGKILL);
    for (int i = 0; i < crew_size(&c); i++)
        if (i != 1)
            assert_int_equal(crew_wait(&c, i), -ERR_LOST);
    assert_non_null(strstr(c.result->text, "went away"));
    crew_done(&c);
}

static void a_member_killed_in_mid_step_hangs_nobody(void **state)
{
    (void)state;
    assert_nobody_hangs(1, 2, die_called);
}

static void nor_one_that_shares_guidance(void **state)
{
    (void)state;
    assert_nobody_hangs(2, 1, die_called);
}

static void a_member_killed_in_a_recorded_step_hangs_nobody(void **state)
{
    (void)state;
    assert_nobody_hangs(2, 2, die_recorded);
}

static struct ops *open_f16(void)
{
    return cuda_with(PRECISION_F16);
}

static struct ops *open_bf16(void)
{
    return cuda_with(PRECISION_BF16);
}

static struct ops *open_f32(void)
{
    return backend_open(BACKEND_FAST);
}

/* A part's convolutions may be another algorithm's: both are off by the roundings of the type. */
static void assert_rows_make_the_whole(const char *model, rows_open_fn open, int size)
{
    const size_t bytes = 2 * sizeof(struct rows_result);
    struct rows_result *r =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double own, error;

    assert_true(r != MAP_FAILED);
    rows_in_processes(1, model, open_f32, &r[1]);
    rows_in_processes(1, model, open, r);
    rows_in_processes(size, model, open, r);
    own = relative_l2(r->whole, r[1].whole, ROWS_PICTURE);
    error = relative_l2(r->rows, r[1].whole, ROWS_PICTURE);
    print_message("%s is off by %.1e, by rows of %d by %.1e; %.2f of the memory\n", model, own,
                  size, error, (double)r->rows_bytes / (double)r->whole_bytes);
    assert_true(own < 0.03);
    assert_true(error < 1.5 * own);
    assert_true(r->rows_bytes < r->whole_bytes);
    munmap(r, bytes);
}

static void pictures_are_decoded_by_rows(void **state)
{
    (void)state;
    if (!cuda_is_emulated())
        skip(); /* every member opens the first device */
    assert_rows_make_the_whole("sd1", open_f16, 2);
    assert_rows_make_the_whole("sdxl", open_bf16, 4);
}

static void a_member_killed_in_the_decoder_hangs_nobody(void **state)
{
    (void)state;
    if (!cuda_is_emulated())
        skip(); /* every member opens the first device */
    rows_lose_a_member(2, "sd1", open_f16, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guidance_over_two_devices_changes_no_byte),
        cmocka_unit_test(both_over_four_devices),
        cmocka_unit_test(without_nccl_sums_go_through_the_host),
        cmocka_unit_test(layers_over_two_devices_recorded_or_called),
        cmocka_unit_test(layers_over_four_devices_recorded_or_called),
        cmocka_unit_test(pictures_are_decoded_by_rows),
        cmocka_unit_test(a_member_killed_in_mid_step_hangs_nobody),
        cmocka_unit_test(nor_one_that_shares_guidance),
        cmocka_unit_test(a_member_killed_in_a_recorded_step_hangs_nobody),
        cmocka_unit_test(a_member_killed_in_the_decoder_hangs_nobody),
    };
    int missing_all = cuda_missing();

    return missing_all ? missing_all : cmocka_run_group_tests(tests, NULL, NULL);
}
