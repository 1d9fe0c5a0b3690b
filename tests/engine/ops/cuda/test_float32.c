/*
 * Products of float32 numbers are of these numbers: cuDNN's engines of tensor cores would round
 * them to TF32, others to f16, and the environment can ask cuBLAS for products of bf16. The
 * emulated libraries offer all of that, and put it first.
 */
#include "tests/engine/nets.h"
#include "tests/engine/ops/cuda/fixture.h"

static const struct op_case same = {CONV, {9, 13, 32, 48, 3, 1, 1}, ACT_NONE, true, false};
static const struct op_case half = {CONV, {9, 13, 32, 48, 3, 2, 1}, ACT_NONE, true, false};
static const struct op_case linear = {LINEAR, {117, 48, 24}, ACT_NONE, true, true};

/* Against the oracle. TF32 alone would be off by 2^-11. */
static void assert_not_rounded(const struct op_case *c)
{
    struct ops *oracle = backend_open(0), *o = cuda_with(PRECISION_F32);
    int64_t one;
    float *exact = op_result(oracle, c, 2, &one), *y = op_result(o, c, 2, &one);
    double error = op_distance(y, exact, 2 * one);

    print_message("off by %.1e\n", error);
    assert_true(error < 1e-6);
    free(exact);
    free(y);
    oracle->free(oracle);
    o->free(o);
}

static void layers_do_not_round(void **state)
{
    (void)state;
    assert_not_rounded(&linear);
}

static void convolutions_do_not_round(void **state)
{
    (void)state;
    assert_not_rounded(&same);
}

/* The emulated heuristics have none for this one, but for their fallbacks. */
static void engines_that_do_not_round_are_looked_for_behind_the_fast_ones(void **state)
{
    (void)state;
    assert_not_rounded(&half);
}

static void an_emulation_that_the_environment_asks_for_changes_no_byte(void **state)
{
    float *y[2];
    int64_t one;

    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        struct ops *o;

        if (asked) /* before there is a handle */
            setenv("CUBLAS_EMULATE_SINGLE_PRECISION", "1", 1);
        o = cuda_with(PRECISION_F32);
        y[asked] = op_result(o, &linear, 3, &one);
        o->free(o);
    }
    unsetenv("CUBLAS_EMULATE_SINGLE_PRECISION");
    assert_memory_equal(y[0], y[1], 3 * (size_t)one * sizeof *y[0]);
    free(y[0]);
    free(y[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_do_not_round),
        cmocka_unit_test(convolutions_do_not_round),
        cmocka_unit_test(engines_that_do_not_round_are_looked_for_behind_the_fast_ones),
        cmocka_unit_test(an_emulation_that_the_environment_asks_for_changes_no_byte),
    };
    int missing = cuda_missing();

    return missing ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
