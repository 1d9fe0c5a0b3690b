/*
 * Copies beside work: what overlaps, and that nothing is read before it is there. On the emulated
 * device, whose streams run late, in an order drawn by seed, and tell what was under way.
 */
#include "tests/engine/nets.h"
#include "tests/engine/ops/cuda/fixture.h"
#include "tests/gpusim/control.h"

#include "engine/engine.h"

#include <dlfcn.h>

#define SEEDS 12

static const struct gpusim_control *sim;

/* A layer of three pieces: its stage holds 4 MiB, which are 2,048 rows of IN. */
#define IN  512
#define OUT 5000 /* rows */

static float *rows_of(float value)
{
    float *w = op_floats((int64_t)IN * OUT);

    for (int64_t i = 0; i < (int64_t)IN * OUT; i++)
        w[i] = value * (float)(1 + i / IN % 3);
    return w;
}

/* y = W x of the layer, put and got at once; x is all ones. */
static void product(struct ops *o, const struct linear *l, float *y)
{
    static float ones[IN];
    struct workspace plan, w = {0};
    void *x = NULL, *out = NULL;
    struct err e = {0};

    for (int i = 0; i < IN; i++)
        ones[i] = 1;
    assert_int_equal(o->memory_new(o, IN * o->act_bytes, &x, &e), 0);
    assert_int_equal(o->memory_new(o, OUT * o->act_bytes, &out, &e), 0);
    assert_int_equal(o->put(o, x, ones, IN, &e), 0);
    workspace_plan(&plan, o);
    assert_int_equal(o->linear(o, out, x, l, 1, ACT_NONE, NULL, &e), 0);
    assert_int_equal(workspace_init(&w, o, &plan, &e), 0);
    if (o->linear(o, out, x, l, 1, ACT_NONE, NULL, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(o->get(o, y, out, OUT, &e), 0);
    workspace_done(&w, o);
    o->memory_free(o, x);
    o->memory_free(o, out);
}

/* Rows without deviation become the shifts, which are the last numbers to come. */
static void weights_are_there_before_they_are_used_whatever_stream_is_quick(void **state)
{
    enum { CHANNELS = 4000 };
    static float ones[CHANNELS], shifts[CHANNELS], y[CHANNELS];
    const struct tensor gamma = {ones, DTYPE_F32, 1, {CHANNELS}};
    const struct tensor beta = {shifts, DTYPE_F32, 1, {CHANNELS}};
    struct ops *o = cuda_with(PRECISION_F16);
    struct norm *n = NULL;
    void *memory = NULL;
    struct err e;

    (void)state;
    for (int i = 0; i < CHANNELS; i++) {
        ones[i] = 1;
        shifts[i] = (float)(i % 1000);
    }
    assert_int_equal(o->memory_new(o, CHANNELS * o->act_bytes, &memory, &e), 0);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sim->seed(seed);
        assert_int_equal(o->norm_new(o, &gamma, &beta, &n, &e), 0);
        assert_int_equal(o->put(o, memory, ones, CHANNELS, &e), 0);
        assert_int_equal(o->layer_norm(o, memory, memory, n, 1, CHANNELS, 1e-5f, &e), 0);
        assert_int_equal(o->get(o, y, memory, CHANNELS, &e), 0);
        assert_memory_equal(y, shifts, sizeof y);
        o->norm_free(o, n);
    }
    o->memory_free(o, memory);
    o->free(o);
}

static void the_host_reads_a_piece_of_the_weights_while_the_one_before_is_copied(void **state)
{
    float *numbers = rows_of(1);
    const struct tensor w = {numbers, DTYPE_F32, 2, {OUT, IN}};
    struct ops *o = cuda_with(PRECISION_F16);
    struct linear *l = NULL;
    uint64_t beside = 0;
    struct err e;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sim->seed(seed);
        sim->plan(GPUSIM_FAIL_NONE, 0);
        assert_int_equal(o->linear_new(o, &w, NULL, &l, &e), 0);
        beside += sim->counts().copies_beside_copies;
        o->linear_free(o, l);
    }
    /* At most two of three pieces find one before them; a device that was quick leaves fewer. */
    print_message("  %d of %d\n", (int)beside, 2 * SEEDS);
    assert_in_range(beside, SEEDS / 2, 2 * SEEDS);
    o->free(o);
    free(numbers);
}

/* The stages are shared: numbers that come and go between must not meet the weights. */
static void weights_and_numbers_share_their_way_without_meeting(void **state)
{
    static float y[OUT], x[2][IN];
    float *numbers = rows_of(1 / 64.0f);
    const struct tensor w = {numbers, DTYPE_F32, 2, {OUT, IN}};
    struct ops *o = cuda_with(PRECISION_BF16);
    struct linear *l[2] = {NULL, NULL};
    void *memory = NULL;
    struct err e;

    (void)state;
    assert_int_equal(o->memory_new(o, IN * o->act_bytes, &memory, &e), 0);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sim->seed(seed);
        for (int i = 0; i < IN; i++)
            x[0][i] = (float)(i % 100 + (int)seed);
        assert_int_equal(o->linear_new(o, &w, NULL, &l[0], &e), 0);
        assert_int_equal(o->put(o, memory, x[0], IN, &e), 0);
        assert_int_equal(o->linear_new(o, &w, NULL, &l[1], &e), 0);
        assert_int_equal(o->get(o, x[1], memory, IN, &e), 0);
        assert_memory_equal(x[0], x[1], sizeof x[0]);
        for (int k = 0; k < 2; k++) {
            product(o, l[k], y);
            assert_float_equal(y[OUT - 1], IN / 64.0f * (float)(1 + (OUT - 1) % 3), 0);
            o->linear_free(o, l[k]);
        }
    }
    o->memory_free(o, memory);
    o->free(o);
    free(numbers);
}

/* Two pictures, one step each, of the small reference model. */
static struct render picture(int i)
{
    return (struct render){.prompt = "a lighthouse",
                           .negative_prompt = "",
                           .steps = 1,
                           .width = 64,
                           .height = 64,
                           .cfg_scale = 1,
                           .seed = 7 + i};
}

static void a_picture_is_copied_to_the_host_while_the_next_is_decoded(void **state)
{
    struct engine_options o = {.model = GOLDEN_DIR "/models/sd1",
                               .backend = BACKEND_CUDA,
                               .precision = PRECISION_F16,
                               .threads = 1};
    struct render r[3] = {picture(0), picture(1), picture(2)};
    const struct render *all[3] = {&r[0], &r[1], &r[2]};
    struct image alone[3], together[3];
    struct engine *g = NULL;
    uint64_t beside = 0;

    (void)state;
    assert_ok(engine_open(&o, &g, e));
    for (int i = 0; i < 3; i++)
        assert_ok(engine_render(g, &all[i], 1, &alone[i], e));
    for (uint64_t seed = 1; seed <= 3; seed++) {
        sim->seed(seed);
        sim->plan(GPUSIM_FAIL_NONE, 0);
        assert_ok(engine_render(g, all, 3, together, e));
        beside += sim->counts().launches_beside_copies;
        assert_int_equal(sim->counts().pageable_copies, 0);
        for (int i = 0; i < 3; i++) {
            assert_memory_equal(alone[i].pixels, together[i].pixels, 64 * 64 * 3);
            image_done(&together[i]);
        }
    }
    print_message("  %d kernels were queued beside copies\n", (int)beside);
    assert_true(beside >= 30);
    for (int i = 0; i < 3; i++)
        image_done(&alone[i]);
    engine_close(g);
}

/* Larger than both stages; the last piece is small. */
static void pictures_of_any_size_come_whole(void **state)
{
    enum { N = 10000003 };
    struct ops *o = cuda_with(PRECISION_F16);
    float *x = op_floats(N);
    uint8_t *bytes = malloc(N);
    void *memory = NULL;
    bool finite, any;
    struct err e;

    (void)state;
    for (int i = 0; i < N; i++)
        x[i] = (float)(i % 256) / 127.5f - 1;
    assert_non_null(bytes);
    assert_int_equal(o->memory_new(o, N * o->act_bytes, &memory, &e), 0);
    assert_int_equal(o->put(o, memory, x, N, &e), 0);
    assert_int_equal(o->step->bytes(o, bytes, memory, N, &finite, &any, &e), 0);
    assert_int_equal(o->step->settle(o, bytes, &e), 0);
    assert_true(finite && any);
    for (int i = 0; i < N; i++)
        if (abs(bytes[i] - i % 256) > 1)
            fail_msg("byte %d is %d", i, bytes[i]);
    o->memory_free(o, memory);
    o->free(o);
    free(x);
    free(bytes);
}

static void bytes_that_nobody_wants_are_not_written(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);
    uint8_t bytes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    float x[8] = {0};
    void *memory = NULL;
    bool finite, any;
    struct err e;

    (void)state;
    assert_int_equal(o->memory_new(o, 16, &memory, &e), 0);
    assert_int_equal(o->put(o, memory, x, 8, &e), 0);
    assert_int_equal(o->step->bytes(o, bytes, memory, 8, &finite, &any, &e), 0);
    assert_int_equal(o->step->settle(o, NULL, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(o->get(o, x, memory, 8, &e), 0);
    assert_int_equal(bytes[0], 1);
    o->memory_free(o, memory);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_there_before_they_are_used_whatever_stream_is_quick),
        cmocka_unit_test(the_host_reads_a_piece_of_the_weights_while_the_one_before_is_copied),
        cmocka_unit_test(weights_and_numbers_share_their_way_without_meeting),
        cmocka_unit_test(a_picture_is_copied_to_the_host_while_the_next_is_decoded),
        cmocka_unit_test(pictures_of_any_size_come_whole),
        cmocka_unit_test(bytes_that_nobody_wants_are_not_written),
    };
    void *module;

    if (!cuda_is_emulated()) {
        printf("SKIPPED: only the emulated device tells what overlaps\n");
        return 77;
    }
    module = dlopen(getenv("LITHO_CUDA_MODULE"), RTLD_NOW);
    sim = module != NULL ? dlsym(module, "gpusim_control") : NULL;
    return sim == NULL ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
