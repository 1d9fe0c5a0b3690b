/*
 * Gangs of processes with a CUDA device each, in float32: another order of sums is roundings of
 * float32 alone, so they are held to one device as gangs of CPUs are (tests/engine/gang/).
 */
#include "tests/engine/gang/crew.h"
#include "tests/engine/gang/rows.h"
#include "tests/engine/ops/cuda/fixture.h"
#include "tests/engine/small_render.h"

#define LATENT (8 * 4 * 4) /* numbers of a picture of 64 x 32 */

static struct crew crew_of(const char *model, int guidance, int tensor)
{
    return (struct crew){.engine = {.model = model,
                                    .backend = BACKEND_CUDA,
                                    .precision = PRECISION_F32,
                                    .device = cuda_is_emulated() ? 0 : 1,
                                    .threads = 1},
                         .render = small_render(2, 64, 32),
                         .guidance = guidance,
                         .tensor = tensor};
}

/* Devices, or the emulated one for all. */
static bool missing(int devices)
{
    struct cuda_device d;

    return !cuda_is_emulated() && ops_cuda_probe(devices - 1, PRECISION_F32, &d, NULL) != 0;
}

struct shape {
    int guidance, tensor;
    bool by_host;
};

/* Sums are rounded in another order, no more: 1e-4 as to the oracle, and a level of the picture. */
static void assert_as(const struct crew *one, const struct shape *s)
{
    struct crew all = crew_of(one->engine.model, s->guidance, s->tensor);
    double error;

    all.by_host = s->by_host;
    crew_render(&all);
    error = relative_l2(all.result->latent, one->result->latent, LATENT);
    print_message("%s by %d x %d%s: %.1e\n", strrchr(one->engine.model, '/') + 1, s->guidance,
                  s->tensor, s->by_host ? " through the host" : "", error);
    assert_true(error < NET_TOLERANCE);
    crew_assert_within_a_level(one, &all);
    if (s->tensor == 1)
        assert_memory_equal(all.result->latent, one->result->latent, LATENT * sizeof(float));
    crew_done(&all);
}

/* Shapes up to one of guidance 0. */
static void assert_all_as_one(const char *model, const struct shape *shapes)
{
    struct crew one = crew_of(model, 1, 1);

    if (missing(4))
        skip();
    crew_render(&one);
    for (const struct shape *s = shapes; s->guidance > 0; s++)
        assert_as(&one, s);
    crew_done(&one);
}

static void two_and_four_are_as_one(void **state)
{
    (void)state;
    assert_all_as_one(
        GOLDEN_DIR "/models/sd1",
        (const struct shape[]){
            {2, 1, false}, {1, 2, false}, {1, 2, true}, {1, 4, false}, {2, 2, false}, {0}});
}

/* SD 2's levels have 1, 1, 1 and 2 heads here: most members hold none. */
static void members_without_heads_are_legal(void **state)
{
    (void)state;
    assert_all_as_one(
        GOLDEN_DIR "/models/sd2",
        (const struct shape[]){{2, 1, false}, {1, 2, false}, {1, 4, false}, {2, 2, false}, {0}});
}

static void two_text_encoders_are_shared_too(void **state)
{
    (void)state;
    assert_all_as_one(
        GOLDEN_DIR "/models/sdxl",
        (const struct shape[]){{2, 1, false}, {1, 2, false}, {1, 4, false}, {2, 2, false}, {0}});
}

static struct ops *open_f32(void)
{
    return cuda_with(PRECISION_F32);
}

static void assert_rows_make_the_whole(const char *model, int size)
{
    struct rows_result *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double error;

    assert_true(r != MAP_FAILED);
    rows_in_processes(1, model, open_f32, r);
    rows_in_processes(size, model, open_f32, r);
    error = relative_l2(r->rows, r->whole, ROWS_PICTURE);
    print_message("%s by rows of %d: %.1e; %.2f of the memory\n", model, size, error,
                  (double)r->rows_bytes / (double)r->whole_bytes);
    assert_true(error < 1e-5);
    assert_true(r->rows_bytes < r->whole_bytes);
    munmap(r, sizeof *r);
}

static void pictures_are_decoded_by_rows(void **state)
{
    (void)state;
    if (!cuda_is_emulated())
        skip(); /* every member opens the first device */
    assert_rows_make_the_whole("sd1", 2);
    assert_rows_make_the_whole("sdxl", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_and_four_are_as_one),
        cmocka_unit_test(members_without_heads_are_legal),
        cmocka_unit_test(two_text_encoders_are_shared_too),
        cmocka_unit_test(pictures_are_decoded_by_rows),
    };
    int missing_all = cuda_missing();

    return missing_all ? missing_all : cmocka_run_group_tests(tests, NULL, NULL);
}
