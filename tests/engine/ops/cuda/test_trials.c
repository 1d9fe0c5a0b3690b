/*
 * What the backend does where a library's bytes depend on the batch. The emulated libraries can be
 * told to be like that (GPUSIM_FAULTS); a card shows in its counts what it is.
 */
#include "tests/engine/ops/cuda/fixture.h"

static const struct op_case conv = {CONV, {9, 13, 32, 48, 3, 1, 1}, ACT_NONE, true, false};
static const struct op_case linear = {LINEAR, {117, 48, 24}, ACT_NONE, true, true};

static struct ops *cuda_with_fault(const char *fault, enum precision precision)
{
    setenv("GPUSIM_FAULTS", fault, 1);
    return cuda_with(precision);
}

static int unplant(void **state)
{
    (void)state;
    unsetenv("GPUSIM_FAULTS");
    unsetenv("GPUSIM_MEMORY");
    return 0;
}

/* Sample 0 alone and with two others. */
static void assert_alone_as_in_company(struct ops *o, const struct op_case *c)
{
    int64_t one;
    float *alone = op_result(o, c, 1, &one), *three = op_result(o, c, 3, &one);

    assert_memory_equal(alone, three, (size_t)one * sizeof *alone);
    free(alone);
    free(three);
}

/* Three samples with the fault from three without it: distance, 0 if the bytes are equal. */
static double distance_with_fault(const char *fault, const struct op_case *c,
                                  enum precision precision)
{
    struct ops *sound = cuda_with(precision), *faulty;
    int64_t one;
    float *a = op_result(sound, c, 3, &one), *b;
    double distance;

    faulty = cuda_with_fault(fault, precision);
    b = op_result(faulty, c, 3, &one);
    assert_int_equal(faulty->trials.apart, 1);
    distance = op_distance(b, a, 3 * one);
    free(a);
    free(b);
    sound->free(sound);
    faulty->free(faulty);
    return distance;
}

static void a_batch_is_one_call_where_a_trial_shows_the_bytes_of_single_samples(void **state)
{
    struct ops *o = cuda_with(PRECISION_BF16);

    (void)state;
    assert_alone_as_in_company(o, &conv);
    assert_int_equal(o->trials.whole + o->trials.apart, 1);
    if (cuda_is_emulated())
        assert_int_equal(o->trials.whole, 1);
    assert_alone_as_in_company(o, &conv); /* the layer is another, the shape is known */
    o->free(o);
}

/* The types whose sums a trial sees at both ends of rounding. */
static const enum precision coarse_and_fine[] = {PRECISION_F16, PRECISION_F32};

static void a_batch_that_adds_in_another_order_goes_sample_by_sample(void **state)
{
    const double another_order[] = {3e-4, 1e-6};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ops *o = cuda_with_fault("conv-by-batch", coarse_and_fine[i]);

        assert_alone_as_in_company(o, &conv);
        assert_int_equal(o->trials.whole, 0);
        assert_int_equal(o->trials.apart, 1);
        o->free(o);
        unsetenv("GPUSIM_FAULTS");
        assert_true(distance_with_fault("conv-by-batch", &conv, coarse_and_fine[i]) <
                    another_order[i]);
    }
}

static void a_small_map_of_few_channels_shows_another_order_too(void **state)
{
    const struct op_case shapes[] = {{CONV, {2, 2, 64, 64, 3, 1, 1}, ACT_NONE, true, false},
                                     {CONV, {16, 16, 4, 64, 3, 1, 1}, ACT_NONE, true, false},
                                     {CONV, {4, 4, 320, 320, 3, 1, 1}, ACT_NONE, true, false}};

    (void)state;
    for (int i = 0; i < 3 * CUDA_PRECISIONS; i++) {
        struct ops *o;

        setenv("GPUSIM_FAULTS", "conv-by-batch", 1);
        o = cuda_with(cuda_precisions[i % CUDA_PRECISIONS]);
        assert_alone_as_in_company(o, &shapes[i / CUDA_PRECISIONS]);
        assert_int_equal(o->trials.whole, 0);
        o->free(o);
    }
}

static void a_trial_without_memory_is_made_again_when_there_is_some(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);
    struct op_run r = {.o = o, .c = &conv, .n = 3};
    struct workspace plan;
    struct err e;
    int64_t one;

    (void)state;
    op_make_operands(&r, &one);
    workspace_plan(&plan, o);
    setenv("GPUSIM_MEMORY", "1", 1);
    assert_int_equal(op_call(&r, &e), 0);
    assert_int_equal(o->trials.whole + o->trials.apart, 0);
    unsetenv("GPUSIM_MEMORY");
    assert_int_equal(op_call(&r, &e), 0);
    assert_int_equal(o->trials.whole, 1);
    o->planning = false;
    o->conv_free(o, r.conv);
    o->memory_free(o, r.x);
    o->memory_free(o, r.y);
    o->memory_free(o, r.z);
    o->memory_free(o, r.v);
    o->free(o);
}

static void rows_are_one_call_where_a_trial_shows_the_bytes_of_small_calls(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);

    (void)state;
    assert_alone_as_in_company(o, &linear);
    assert_int_equal(o->trials.whole + o->trials.apart, 2); /* 117 rows and 351 */
    if (cuda_is_emulated())
        assert_int_equal(o->trials.whole, 2);
    o->free(o);
}

static void an_algorithm_whose_small_calls_differ_is_passed_over(void **state)
{
    const struct op_case row = {LINEAR, {1, 64, 256}, ACT_SILU, true, false};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ops *o = cuda_with_fault("rows-first", coarse_and_fine[i]);
        int64_t one;
        float *alone = op_result(o, &row, 1, &one), *many = op_result(o, &row, 40, &one);

        assert_memory_equal(alone, many, (size_t)one * sizeof *alone);
        assert_int_equal(o->trials.refused, 1);
        assert_int_equal(o->trials.whole, 2);
        free(alone);
        free(many);
        o->free(o);
    }
}

static void many_rows_that_differ_are_computed_in_pieces(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ops *o = cuda_with_fault("rows-many", coarse_and_fine[i]);

        assert_alone_as_in_company(o, &linear); /* in place, with a residual */
        assert_int_equal(o->trials.whole, 1);   /* 117 rows */
        assert_int_equal(o->trials.apart, 1);   /* 351 */
        o->free(o);
        unsetenv("GPUSIM_FAULTS");
        assert_true(distance_with_fault("rows-many", &linear, coarse_and_fine[i]) == 0);
    }
}

static void a_layer_that_no_algorithm_keeps_equal_is_an_error_that_names_it(void **state)
{
    struct ops *o = cuda_with_fault("rows-all", PRECISION_F16);
    float numbers[24 * 48] = {1};
    struct tensor w = {.rank = 2, .shape = {24, 48}};
    struct linear *l = NULL;
    struct err e = {0};

    (void)state;
    w.data = numbers;
    assert_int_equal(o->linear_new(o, &w, NULL, &l, &e), ERR_INTERNAL);
    assert_non_null(strstr(e.text, "a layer of 48 to 24 numbers"));
    assert_null(l);
    assert_int_equal(o->trials.refused, 2);
    o->free(o);
}

#define PLANTED(f) cmocka_unit_test_teardown(f, unplant)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_one_call_where_a_trial_shows_the_bytes_of_single_samples),
        cmocka_unit_test(rows_are_one_call_where_a_trial_shows_the_bytes_of_small_calls),
        PLANTED(a_batch_that_adds_in_another_order_goes_sample_by_sample),
        PLANTED(a_small_map_of_few_channels_shows_another_order_too),
        PLANTED(a_trial_without_memory_is_made_again_when_there_is_some),
        PLANTED(an_algorithm_whose_small_calls_differ_is_passed_over),
        PLANTED(many_rows_that_differ_are_computed_in_pieces),
        PLANTED(a_layer_that_no_algorithm_keeps_equal_is_an_error_that_names_it),
    };
    size_t n = sizeof tests / sizeof *tests;

    if (cuda_missing())
        return 77;
    /* A card's libraries cannot be told to be otherwise. */
    return _cmocka_run_group_tests("trials", tests, cuda_is_emulated() ? n : 2, NULL, NULL);
}
