/* The cpu backend against the reference, and its bytes against everything that must not show. */
#include "engine/ops/cpu/cpu.h"
#include "tests/engine/op_case.h"

static struct ops *cpu_with(enum cpu_level level, int threads)
{
    struct ops *o = NULL;
    struct err e;

    assert_int_equal(cpu_new(level, PRECISION_F32, threads, &o, &e), 0);
    return o;
}

static struct ops *best_with(int threads)
{
    return cpu_with(level_of_machine(), threads);
}

static const struct kernels *kernels_best(void)
{
    struct ops *o = best_with(1);
    const struct kernels *kernels = ((struct cpu *)o)->kernels;

    o->free(o);
    return kernels;
}

/*
 * Relative L2 distance allowed. Float sums of up to 9 * 192 numbers against sums in double; a norm
 * of few, nearly equal numbers magnifies the rounding of their mean; elementwise operations round a
 * handful of times; what only moves or adds numbers is equal.
 */
static double tolerance(enum op op)
{
    switch (op) {
    case LINEAR:
    case CONV:
        return 2e-6;
    case ATTENTION:
        return 1e-6;
    case GROUP_NORM:
        return 5e-6;
    case LAYER_NORM:
    case GEGLU:
    case ACTIVATE:
        return 3e-7;
    default:
        return 0;
    }
}

static void every_op_equals_the_reference_within_its_tolerance(void **state)
{
    struct ops *ref = NULL, *cpu = best_with(2);
    struct err e;

    (void)state;
    assert_int_equal(ops_ref_new(&ref, &e), 0);
    for (int i = 0; i < OP_CASES; i++) {
        int64_t one;
        float *a = op_result(cpu, &op_cases[i], 2, &one),
              *b = op_result(ref, &op_cases[i], 2, &one);
        double distance = op_distance(a, b, 2 * one);

        if (!(distance <= tolerance(op_cases[i].op)))
            fail_msg("case %d of op %d: distance %g", i, op_cases[i].op, distance);
        free(a);
        free(b);
    }
    cpu->free(cpu);
    ref->free(ref);
}

/* The same bytes from two backends, for every case with n samples. */
static void compare_bytes(struct ops *a, struct ops *b, int64_t n, int step)
{
    for (int i = 0; i < OP_CASES; i += step) {
        int64_t one;
        float *x = op_result(a, &op_cases[i], n, &one), *y = op_result(b, &op_cases[i], n, &one);

        if (memcmp(x, y, (size_t)(n * one) * sizeof *x) != 0)
            fail_msg("case %d of op %d: the bytes differ", i, op_cases[i].op);
        free(x);
        free(y);
    }
    a->free(a);
    b->free(b);
}

static void bytes_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 4; threads++)
        compare_bytes(best_with(1), best_with(threads), 2, 1);
}

static void bytes_do_not_depend_on_batch_mates(void **state)
{
    struct ops *o = best_with(2);

    (void)state;
    for (int i = 0; i < OP_CASES; i++) {
        int64_t one;
        float *alone = op_result(o, &op_cases[i], 1, &one);
        float *first = op_result(o, &op_cases[i], 3, &one);
        float *longer = op_result(o, &op_cases[i], 5, &one);

        /* Sample 0 has the same operands in each batch, samples 1 and 2 in the last two. */
        if (memcmp(alone, first, (size_t)one * sizeof *alone) != 0 ||
            memcmp(first, longer, (size_t)(3 * one) * sizeof *first) != 0)
            fail_msg("case %d of op %d: the bytes differ", i, op_cases[i].op);
        free(alone);
        free(first);
        free(longer);
    }
    o->free(o);
}

static void bytes_do_not_depend_on_the_place_in_the_batch(void **state)
{
    struct ops *o = best_with(2);
    int64_t rows = 77, in = 192, out = 80;
    float *x = op_operand(3, rows * in, 1), *y = op_floats(3 * rows * out);
    struct tensor w = {.rank = 2, .shape = {out, in}};
    struct linear *l = NULL;
    float *numbers = op_operand(1, out * in, 7);
    struct err e;

    (void)state;
    memcpy(x + 2 * rows * in, x, (size_t)(rows * in) * sizeof *x);
    w.data = numbers;
    assert_int_equal(o->linear_new(o, &w, NULL, &l, &e), 0);
    assert_int_equal(o->linear(o, op_act(y), op_act(x), l, 3 * rows, ACT_GELU, NULL, &e), 0);
    assert_memory_equal(y, y + 2 * rows * out, (size_t)(rows * out) * sizeof *y);
    o->linear_free(o, l);
    free(x);
    free(y);
    free(numbers);
    o->free(o);
}

static void bytes_do_not_depend_on_the_instruction_set(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (level_of_machine() == LEVEL_PLAIN)
        skip();
    compare_bytes(best_with(2), cpu_with(LEVEL_PLAIN, 2), 1, 1);
    compare_bytes(best_with(1), cpu_with(LEVEL_AVX2, 2), 2, 1);
#else
    skip();
#endif
}

/* Largest relative error of an activation over x, where its result is no tiny number. */
static double worst(const struct kernels *kernels, enum activation act, double (*exact)(double))
{
    double largest = 0;

    for (int i = -2000; i < 2000; i++) {
        float x = (float)i / 200 + 0.001f, y;
        double want = exact((double)x), error;

        kernels->activate(&y, &x, 1, act);
        error = fabs(y - want) / fabs(want);
        largest = error > largest ? error : largest;
    }
    return largest;
}

static double exact_silu(double x)
{
    return x / (1 + exp(-x));
}

static double exact_gelu(double x)
{
    return 0.5 * x * erfc(-x * 0.70710678118654752440);
}

static void activations_are_right_to_one_millionth_even_in_the_tail(void **state)
{
    (void)state;
    assert_true(worst(kernels_best(), ACT_SILU, exact_silu) < 5e-7);
    assert_true(worst(kernels_best(), ACT_GELU, exact_gelu) < 1e-6);
}

static void a_nan_stays_a_nan_through_every_activation(void **state)
{
    float x[3] = {NAN, 1, NAN}, y[3];

    (void)state;
    for (int act = ACT_NONE; act <= ACT_QUICK_GELU; act++) {
        kernels_best()->activate(y, x, 3, (enum activation)act);
        assert_true(isnan(y[0]) && !isnan(y[1]) && isnan(y[2]));
    }
}

static void large_inputs_give_the_limits_of_the_activations(void **state)
{
    float x[4] = {1e4f, -1e4f, 100, -100}, y[4];

    (void)state;
    for (int act = ACT_SILU; act <= ACT_QUICK_GELU; act++) {
        kernels_best()->activate(y, x, 4, (enum activation)act);
        assert_true(y[0] == 1e4f && y[2] == 100);
        assert_true(fabsf(y[1]) < 1e-30f && fabsf(y[3]) < 1e-30f);
    }
}

static void attention_holds_for_scores_of_any_size(void **state)
{
    struct ops *o = best_with(1);
    struct arena arena;
    float q[2] = {300, -300}, k[600], v[600], y[2];
    struct err e;

    (void)state;
    for (int i = 0; i < 600; i++) {
        k[i] = (float)i;
        v[i] = (float)i;
    }
    assert_int_equal(arena_init(&arena, 1 << 20, &e), 0);
    o->arena = &arena;
    assert_int_equal(
        o->attention(o, op_act(y), op_act(q), op_act(k), op_act(v), 1, 2, 600, 1, 1, 1, false, &e),
        0);
    assert_true(y[0] == 599 && fabsf(y[1]) < 1e-30f);
    arena_done(&arena);
    o->free(o);
}

static void the_device_class_is_one_for_all_instruction_sets_and_threads(void **state)
{
    struct ops *plain = cpu_with(LEVEL_PLAIN, 3), *best = best_with(1);

    (void)state;
    assert_string_equal(plain->device_class, ops_cpu_class(PRECISION_F32));
    assert_string_equal(best->device_class, ops_cpu_class(PRECISION_F32));
    plain->free(plain);
    best->free(best);
}

static void wrong_arguments_are_refused(void **state)
{
    struct ops *o = NULL;
    struct tensor w = {.rank = 2, .shape = {2, 0}}, bias = {.rank = 1, .shape = {3}};
    struct linear *l = NULL;
    struct norm *norm;
    struct arena arena;
    float x[16] = {0};
    struct err e;

    (void)state;
    assert_int_equal(ops_cpu_new(0, PRECISION_F32, &o, &e), ERR_ARG);
    o = best_with(1);
    assert_int_equal(o->linear_new(o, &w, NULL, &l, &e), ERR_ARG);
    w = (struct tensor){.data = x, .rank = 2, .shape = {2, 2}};
    assert_int_equal(o->linear_new(o, &w, &bias, &l, &e), ERR_ARG);
    w.dtype = DTYPE_I64;
    assert_int_equal(o->linear_new(o, &w, NULL, &l, &e), ERR_ARG);
    assert_int_equal(arena_init(&arena, 1 << 12, &e), 0);
    o->arena = &arena;
    norm = op_norm(o, x, x, 8);
    assert_int_equal(o->group_norm(o, op_act(x), op_act(x), norm, 1, 2, 8, 3, 1e-5f, ACT_NONE, &e),
                     ERR_ARG);
    o->norm_free(o, norm);
    arena_done(&arena);
    o->free(o);
}

static void an_arena_that_was_not_planned_is_an_error_not_a_crash(void **state)
{
    struct ops *o = best_with(1);
    struct arena arena;
    float x[64] = {0};
    struct err e;

    (void)state;
    assert_int_equal(arena_init(&arena, 64, &e), 0);
    o->arena = &arena;
    assert_int_equal(
        o->attention(o, op_act(x), op_act(x), op_act(x), op_act(x), 1, 4, 4, 1, 16, 1, false, &e),
        ERR_INTERNAL);
    arena_done(&arena);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_equals_the_reference_within_its_tolerance),
        cmocka_unit_test(bytes_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(bytes_do_not_depend_on_batch_mates),
        cmocka_unit_test(bytes_do_not_depend_on_the_place_in_the_batch),
        cmocka_unit_test(bytes_do_not_depend_on_the_instruction_set),
        cmocka_unit_test(activations_are_right_to_one_millionth_even_in_the_tail),
        cmocka_unit_test(a_nan_stays_a_nan_through_every_activation),
        cmocka_unit_test(large_inputs_give_the_limits_of_the_activations),
        cmocka_unit_test(attention_holds_for_scores_of_any_size),
        cmocka_unit_test(the_device_class_is_one_for_all_instruction_sets_and_threads),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(an_arena_that_was_not_planned_is_an_error_not_a_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
