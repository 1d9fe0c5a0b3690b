/* Guidance split over two processes: the picture of one device, to the bit. */
#include "tests/engine/gang/crew.h"
#include "tests/engine/small_render.h"

static struct crew crew_of(const char *model, int guidance)
{
    return (struct crew){.engine = {.model = model, .threads = 1},
                         .render = small_render(3, 64, 48),
                         .guidance = guidance,
                         .tensor = 1};
}

/* The same render alone and by two. */
static void assert_equal_to_one(void (*change)(struct crew *c), const char *model)
{
    struct crew one = crew_of(model, 1), two = crew_of(model, 2);
    size_t n;

    if (change != NULL) {
        change(&one);
        change(&two);
    }
    crew_render(&one);
    crew_render(&two);
    n = (size_t)one.result->width * (size_t)one.result->height * 3;
    assert_true(n > 0);
    assert_int_equal(two.result->width, one.result->width);
    assert_memory_equal(one.result->pixels, two.result->pixels, n);
    crew_done(&one);
    crew_done(&two);
}

static void two_give_the_bytes_of_one(void **state)
{
    (void)state;
    assert_equal_to_one(NULL, GOLDEN_DIR "/models/sd1");
    assert_equal_to_one(NULL, GOLDEN_DIR "/models/sdxl");
}

static void in_bf16(struct crew *c)
{
    c->engine.precision = PRECISION_BF16;
}

static void in_bf16_too(void **state)
{
    (void)state;
    assert_equal_to_one(in_bf16, GOLDEN_DIR "/models/sd1");
}

static void of_three_branches(struct crew *c)
{
    c->render.prompt = "a red apple AND a castle at night :0.5";
    c->render.sampler = SAMPLER_EULER_A; /* noise in every step */
    c->render.guidance_rescale = 0.5;
}

static void three_branches_are_shared_unevenly(void **state)
{
    (void)state;
    assert_equal_to_one(of_three_branches, GOLDEN_DIR "/models/sd1");
}

static void unguided(struct crew *c)
{
    c->render.cfg_scale = 1;
}

static void one_branch_is_computed_by_both(void **state)
{
    (void)state;
    assert_equal_to_one(unguided, GOLDEN_DIR "/models/sd1");
}

static void with_second_pass(struct crew *c)
{
    c->render.steps = 2;
    c->render.hires.scale = 1.5;
    c->render.hires.upscaler = UPSCALER_LANCZOS; /* through the picture and back */
    c->render.denoising_strength = 0.7;
    c->render.sampler = SAMPLER_HEUN; /* two calls a step */
}

static void second_passes_too(void **state)
{
    (void)state;
    assert_equal_to_one(with_second_pass, GOLDEN_DIR "/models/sd1");
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
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct crew c = crew_of(GOLDEN_DIR "/models/sd1", 2);

        c.in_step = die;
        c.marked = killed;
        crew_start(&c);
        assert_int_equal(crew_wait(&c, killed), -SIGKILL);
        assert_int_equal(crew_wait(&c, 1 - killed), -ERR_LOST);
        assert_non_null(strstr(c.result->text, "went away"));
        crew_done(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_give_the_bytes_of_one),
        cmocka_unit_test(in_bf16_too),
        cmocka_unit_test(three_branches_are_shared_unevenly),
        cmocka_unit_test(one_branch_is_computed_by_both),
        cmocka_unit_test(second_passes_too),
        cmocka_unit_test(a_member_killed_in_mid_step_hangs_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
