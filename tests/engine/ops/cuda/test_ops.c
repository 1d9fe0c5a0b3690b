/* The CUDA backend's operations: against the reference, and its bytes against all that must not
 * show. */
#include "tests/engine/ops/cuda/fixture.h"

static enum precision rounding; /* of the reference's operands */

static int put_rounded(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e)
{
    float *to = (float *)y;

    (void)e;
    for (int64_t i = 0; i < n && !o->planning; i++)
        to[i] = isnan(x[i]) ? x[i] : cuda_rounded(x[i], rounding);
    return 0;
}

static double tolerance_f32(enum op op)
{
    switch (op) {
    case ADD:
    case CONCAT:
    case UPSAMPLE:
        return 0;
    case LINEAR:
    case CONV:
        return 2e-6;
    case ATTENTION:
    case GROUP_NORM:
        return 1e-6;
    default:
        return 3e-7;
    }
}

/*
 * Relative L2 distance allowed, from the reference on the same rounded operands. A result of 11
 * bits (f16) or 8 (bf16) is off by 2^-11 or 2^-8 of itself at most, by 2.1e-4 and 1.65e-3 in the
 * mean square: once for what is elementwise, and a third more for few numbers. Weights of products
 * are rounded too, and a convolution's sum is rounded before the bias comes. Attention rounds its
 * weights. What copies is exact.
 *
 * In f32 what is left is the order of sums, 6e-8 for each of their halvings, and the device's
 * functions, off by 2 units in the last place at most: as on a CPU (test_ops_cpu.c). The emulated
 * device is off by 7e-8 in elementwise operations, by 4e-7 in attention. Operands that TF32 rounds
 * to 11 bits would be off as f16's are.
 */
static double tolerance(enum op op, enum precision precision)
{
    double once = precision == PRECISION_F16 ? 2.8e-4 : 2.2e-3;

    if (precision == PRECISION_F32)
        return tolerance_f32(op);
    switch (op) {
    case CONCAT:
    case UPSAMPLE:
        return 0;
    case LINEAR:
    case CONV:
        return 4 * once;
    case ATTENTION:
        return 2 * once;
    default:
        return once;
    }
}

static void every_op_equals_the_reference_within_its_tolerance(void **state)
{
    struct ops *ref = NULL;
    struct err e;
    int wrong = 0;

    (void)state;
    assert_int_equal(ops_ref_new(&ref, &e), 0);
    ref->put = put_rounded;
    for (int p = 0; p < CUDA_PRECISIONS; p++) {
        struct ops *o = cuda_with(cuda_precisions[p]);

        rounding = o->precision;
        for (int i = 0; i < OP_CASES; i++) {
            const struct op_case *c = &op_cases[i];
            int64_t one;
            float *a = op_result(o, c, 2, &one), *b = op_result(ref, c, 2, &one);
            double distance = op_distance(a, b, 2 * one);

            if (!(distance <= tolerance(c->op, cuda_precisions[p]))) {
                print_error("%s, case %d of op %d: distance %g\n", o->device_class, i, c->op,
                            distance);
                wrong++;
            }
            free(a);
            free(b);
        }
        o->free(o);
    }
    ref->free(ref);
    assert_int_equal(wrong, 0);
}

/* On a card this is what shows whether cuBLASLt's algorithms keep to one order (ARCHITECTURE.md,
 * decision 9).
 */
static void bytes_do_not_depend_on_batch_mates(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * OP_CASES; i++) { /* each in f32, and in one of the others */
        struct ops *o = cuda_with(i < OP_CASES ? cuda_precisions[i % 2] : PRECISION_F32);
        const struct op_case *c = &op_cases[i % OP_CASES];
        int64_t one;
        float *alone = op_result(o, c, 1, &one);
        float *three = op_result(o, c, 3, &one);

        if (memcmp(alone, three, (size_t)one * sizeof *alone) != 0)
            fail_msg("%s, case %d of op %d: the bytes differ", o->device_class, i % OP_CASES,
                     c->op);
        free(alone);
        free(three);
        o->free(o);
    }
}

static void weights_are_counted_and_given_back(void **state)
{
    const struct op_case c = {CONV, {4, 4, 3, 8, 3, 1, 1}, ACT_NONE, true, false};

    (void)state;
    for (int p = 0; p < CUDA_PRECISIONS; p++) {
        struct ops *o = cuda_with(cuda_precisions[p]);
        struct op_run r = {.o = o, .c = &c, .n = 1};

        op_make_layer(&r);
        /* 8 outputs of 9 taps of 3 inputs, which take 16 bytes; a float of bias for each. */
        assert_int_equal(o->weight_bytes, 8 * 9 * 16 + 8 * 4);
        o->conv_free(o, r.conv);
        assert_int_equal(o->weight_bytes, 0);
        o->free(o);
    }
}

static void check_numbers_come_back(enum precision precision)
{
    enum { N = (2 << 20) + 7 }; /* more than two pieces */
    struct ops *o = cuda_with(precision);
    float *x = op_floats(N), *y = op_floats(N);
    void *memory = NULL;
    struct err e;

    for (int i = 0; i < N; i++)
        x[i] = cuda_rounded((float)(i % 255 - 127) / 3, precision);
    assert_int_equal(o->memory_new(o, N * o->act_bytes, &memory, &e), 0);
    assert_int_equal(o->put(o, memory, x, N, &e), 0);
    assert_int_equal(o->get(o, y, memory, N, &e), 0);
    assert_memory_equal(x, y, N * sizeof *x);
    o->memory_free(o, memory);
    o->free(o);
    free(x);
    free(y);
}

static void numbers_come_back_as_they_were_put(void **state)
{
    (void)state;
    for (int p = 0; p < CUDA_PRECISIONS; p++)
        check_numbers_come_back(cuda_precisions[p]);
}

static void memory_that_is_not_there_is_class_oom(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);
    void *memory = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(o->memory_new(o, (size_t)1 << 60, &memory, &e), ERR_OOM);
    assert_non_null(strstr(e.text, "cudaMalloc"));
    assert_non_null(strstr(e.text, "cudaErrorMemoryAllocation, 2"));
    /* and the backend goes on */
    assert_int_equal(o->memory_new(o, 64, &memory, &e), 0);
    assert_int_equal(o->activate(o, memory, memory, 8, ACT_SILU, &e), 0);
    o->memory_free(o, memory);
    o->free(o);
}

static void a_head_that_is_too_wide_is_an_error(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);
    struct err e = {0};

    (void)state;
    assert_int_equal(o->attention(o, NULL, NULL, NULL, NULL, 1, 1, 1, 1, 513, 1, false, &e),
                     ERR_ARG);
    assert_non_null(strstr(e.text, "513"));
    o->free(o);
}

static void a_device_that_is_not_there_is_an_error(void **state)
{
    struct ops *o = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(ops_cuda_new(999, PRECISION_F16, &o, &e), ERR_ARG);
    assert_non_null(strstr(e.text, "cuda:999"));
}

/* --- recordings --- */

struct step {
    struct ops *o;
    struct act *x, *y;
    int calls; /* of the ops themselves */
};

/* y = silu(x) + x, recorded; the key is `name`. */
static void step(struct step *s, int name)
{
    struct err e = {0};
    bool done;

    if (s->o->record(s->o, &name, sizeof name, &done, &e) != 0)
        fail_msg("%s", e.text);
    if (done)
        return;
    s->calls++;
    assert_int_equal(s->o->activate(s->o, s->y, s->x, 64, ACT_SILU, &e), 0);
    assert_int_equal(s->o->add(s->o, s->y, s->y, s->x, 64, &e), 0);
    if (s->o->record_end(s->o, false, &e) != 0)
        fail_msg("%s", e.text);
}

static void what_is_recorded_runs_without_its_calls_on_the_numbers_of_then(void **state)
{
    struct step s = {.o = cuda_with(PRECISION_F16)};
    float in[64], out[64];
    void *x = NULL, *y = NULL, *other = NULL;
    struct err e;

    (void)state;
    assert_int_equal(s.o->memory_new(s.o, 128, &x, &e), 0);
    assert_int_equal(s.o->memory_new(s.o, 128, &y, &e), 0);
    s.x = x;
    s.y = y;
    for (int run = 0; run < 5; run++) {
        for (int i = 0; i < 64; i++)
            in[i] = (float)(run + i % 3);
        assert_int_equal(s.o->put(s.o, s.x, in, 64, &e), 0);
        step(&s, 1);
        assert_int_equal(s.o->get(s.o, out, s.y, 64, &e), 0);
        for (int i = 0; i < 64; i++)
            assert_float_equal(out[i], in[i] + in[i] / (1 + expf(-in[i])), 0.02);
        assert_int_equal(s.calls, run < 2 ? run + 1 : 2);
    }
    step(&s, 2);
    assert_int_equal(s.calls, 3); /* another key */
    step(&s, 1);
    assert_int_equal(s.calls, 3);
    assert_int_equal(s.o->memory_new(s.o, 64, &other, &e), 0);
    step(&s, 1);
    assert_int_equal(s.calls, 4); /* memory came: addresses may mean something else */
    s.o->memory_free(s.o, other);
    s.o->memory_free(s.o, x);
    s.o->memory_free(s.o, y);
    s.o->free(s.o);
}

static void a_recording_that_fails_leaves_a_backend_that_works(void **state)
{
    struct step s = {.o = cuda_with(PRECISION_F16)};
    float in[64] = {1}, out[64];
    void *x = NULL, *y = NULL;
    struct err e;
    bool done;
    int name = 1;

    (void)state;
    assert_int_equal(s.o->memory_new(s.o, 128, &x, &e), 0);
    assert_int_equal(s.o->memory_new(s.o, 128, &y, &e), 0);
    s.x = x;
    s.y = y;
    assert_int_equal(s.o->put(s.o, s.x, in, 64, &e), 0);
    step(&s, name);
    assert_int_equal(s.o->record(s.o, &name, sizeof name, &done, &e), 0); /* now it captures */
    assert_false(done);
    assert_int_equal(s.o->activate(s.o, s.y, s.x, 64, ACT_SILU, &e), 0);
    assert_int_equal(s.o->record_end(s.o, true, &e), 0);
    for (int run = 0; run < 3; run++)
        step(&s, name);
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.o->get(s.o, out, s.y, 64, &e), 0);
    assert_float_equal(out[0], 1.731f, 0.01);
    s.o->memory_free(s.o, x);
    s.o->memory_free(s.o, y);
    s.o->free(s.o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_as_they_were_put),
        cmocka_unit_test(memory_that_is_not_there_is_class_oom),
        cmocka_unit_test(what_is_recorded_runs_without_its_calls_on_the_numbers_of_then),
        cmocka_unit_test(a_recording_that_fails_leaves_a_backend_that_works),
        cmocka_unit_test(weights_are_counted_and_given_back),
        cmocka_unit_test(a_head_that_is_too_wide_is_an_error),
        cmocka_unit_test(a_device_that_is_not_there_is_an_error),
        cmocka_unit_test(every_op_equals_the_reference_within_its_tolerance),
        cmocka_unit_test(bytes_do_not_depend_on_batch_mates),
    };

    cmocka_set_test_filter(getenv("TEST_FILTER")); /* of barriers.py; NULL: all */
    return cuda_missing() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
