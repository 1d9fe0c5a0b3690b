/*
 * Gangs of processes with a CUDA device each, against one device: guidance split, tensor parallel
 * with NCCL's sums and with sums through the host.
 */
#include "tests/engine/gang/crew.h"
#include "tests/engine/ops/cuda/fixture.h"

#define LATENT (8 * 4 * 4) /* numbers of a picture of 64 x 32 */

static struct crew crew_of(enum backend backend, int guidance, int tensor)
{
    return (struct crew){
        .engine = {.model = GOLDEN_DIR "/models/sd1",
                   .backend = backend,
                   .precision = backend == BACKEND_CUDA ? PRECISION_F16 : PRECISION_F32,
                   .device = cuda_is_emulated() ? 0 : 1,
                   .threads = 1},
        .render = {.prompt = "a red apple",
                   .negative_prompt = "blurry",
                   .sampler = SAMPLER_EULER,
                   .scheduler = SCHEDULER_AUTOMATIC,
                   .steps = 2,
                   .width = 64,
                   .height = 32,
                   .cfg_scale = 5,
                   .seed = 7},
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

/* Partial sums are rounded to f16 once more: of the order of f16's own error to float32. */
static void assert_as_near_as_one(int guidance, int tensor, bool by_host)
{
    struct crew exact = crew_of(BACKEND_CPU, 1, 1), one = crew_of(BACKEND_CUDA, 1, 1),
                all = crew_of(BACKEND_CUDA, guidance, tensor);
    double own, error;

    if (missing(guidance * tensor))
        skip();
    all.by_host = by_host;
    crew_render(&exact);
    crew_render(&one);
    crew_render(&all);
    own = relative_l2(one.result->latent, exact.result->latent, LATENT);
    error = relative_l2(all.result->latent, exact.result->latent, LATENT);
    print_message("f16 is off by %.1e, by %d x %d%s by %.1e\n", own, guidance, tensor,
                  by_host ? " through the host" : "", error);
    assert_true(own < 0.02);
    assert_true(error < 2 * own);
    crew_done(&exact);
    crew_done(&one);
    crew_done(&all);
}

static void layers_over_two_devices(void **state)
{
    (void)state;
    assert_as_near_as_one(1, 2, false);
}

static void both_over_four_devices(void **state)
{
    (void)state;
    assert_as_near_as_one(2, 2, false);
}

static void without_nccl_sums_go_through_the_host(void **state)
{
    (void)state;
    assert_as_near_as_one(1, 2, true);
}

static void die(void *user, int step, int steps)
{
    (void)user;
    (void)steps;
    if (step == 1)
        raise(SIGKILL);
}

static void a_member_killed_in_mid_step_hangs_nobody(void **state)
{
    struct crew c = crew_of(BACKEND_CUDA, 1, 2);

    (void)state;
    if (missing(2))
        skip();
    c.in_step = die;
    c.marked = 1;
    crew_start(&c);
    assert_int_equal(crew_wait(&c, 1), -SIGKILL);
    assert_int_equal(crew_wait(&c, 0), -ERR_LOST);
    crew_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guidance_over_two_devices_changes_no_byte),
        cmocka_unit_test(layers_over_two_devices),
        cmocka_unit_test(both_over_four_devices),
        cmocka_unit_test(without_nccl_sums_go_through_the_host),
        cmocka_unit_test(a_member_killed_in_mid_step_hangs_nobody),
    };
    int missing_all = cuda_missing();

    return missing_all ? missing_all : cmocka_run_group_tests(tests, NULL, NULL);
}
