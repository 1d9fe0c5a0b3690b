/* The cpu backend in bf16: against the reference, and its bytes against all that must not show. */
#include "engine/ops/cpu/cpu.h"
#include "tests/engine/op_case.h"

/* Levels that have bf16 on this machine. */
static int levels(enum cpu_level ret_levels[2])
{
    int n = 0;

    for (int i = LEVEL_AVX512_BF16; i <= (int)level_of_machine(); i++)
        ret_levels[n++] = (enum cpu_level)i;
    return n;
}

static struct ops *bf16_with(enum cpu_level level, int threads)
{
    struct ops *o = NULL;
    struct err e;

    assert_int_equal(cpu_new(level, PRECISION_BF16, threads, &o, &e), 0);
    assert_int_equal(o->precision, PRECISION_BF16);
    return o;
}

static float from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Attention rounds its weights too, each by 2^-8 of itself at most, upwards or downwards alike. */
#define ATTENTION_DISTANCE 3e-3

/*
 * What the result may be off by, `scale` the largest number of the reference's: half a unit of
 * bf16's last place (`halves` of them), a little for activations, and what float32 sums in another
 * order may lose.
 */
static bool is_rounded(float result, float reference, float scale, float halves)
{
    int exponent;

    frexpf(reference, &exponent);
    return fabsf(result - reference) <= ldexpf(halves + 0.06f, exponent - 9) + 4e-6f * scale;
}

static void compare(const struct op_case *c, const char *device_class, int i, const float *a,
                    const float *b, int64_t n)
{
    float scale = 0;

    if (c->op == ATTENTION && !(op_distance(a, b, n) <= ATTENTION_DISTANCE))
        fail_msg("%s, case %d: distance %g", device_class, i, op_distance(a, b, n));
    if (c->op == ATTENTION)
        return;
    for (int64_t k = 0; k < n; k++)
        scale = fabsf(b[k]) > scale ? fabsf(b[k]) : scale;
    for (int64_t k = 0; k < n; k++)
        if (!is_rounded(a[k], b[k], scale, 1))
            fail_msg("%s, case %d of op %d: number %lld is %.9g, not %.9g", device_class, i, c->op,
                     (long long)k, (double)a[k], (double)b[k]);
}

static void every_op_is_the_reference_rounded_once(void **state)
{
    struct ops *ref = NULL;
    enum cpu_level level[2];
    int n = levels(level);
    struct err e;

    (void)state;
    assert_int_equal(ops_ref_new(&ref, &e), 0);
    op_operands_are_bf16 = true;
    for (int i = 0; i < OP_CASES * n; i++) {
        const struct op_case *c = &op_cases[i / n];
        struct ops *o = bf16_with(level[i % n], 2);
        int64_t one;
        float *a = op_result(o, c, 2, &one), *b = op_result(ref, c, 2, &one);

        assert_int_equal(o->act_bytes, sizeof(uint16_t));
        compare(c, o->device_class, i / n, a, b, 2 * one);
        free(a);
        free(b);
        o->free(o);
    }
    op_operands_are_bf16 = false;
    ref->free(ref);
    if (n == 0)
        skip();
}

/* y[n, inner] of n rows, `wide` numbers of each before the gate. The caller frees. */
static uint16_t *gated(struct ops *o, struct linear *l, const struct act *x, int64_t n,
                       int64_t inner)
{
    struct workspace plan, w = {0};
    uint16_t *y = malloc((size_t)(n * inner) * sizeof *y);
    struct err e;

    assert_non_null(y);
    workspace_plan(&plan, o);
    assert_int_equal(o->linear_geglu(o, (struct act *)y, x, l, n, &e), 0);
    assert_int_equal(workspace_init(&w, o, &plan, &e), 0);
    assert_int_equal(o->linear_geglu(o, (struct act *)y, x, l, n, &e), 0);
    assert_int_equal(arena_check(&w.acts, &e), 0);
    workspace_done(&w, o);
    return y;
}

/* y = x' gelu(x''), x' | x'' = numbers W^T + shift, in double. */
static void gate_exactly(double *y, const float *numbers, const float *w, const float *shift, int n,
                         int in, int inner)
{
    for (int i = 0; i < n * inner; i++) {
        const float *x = numbers + i / inner * in;
        double half[2];

        for (int k = 0; k < 2; k++) {
            int column = k * inner + i % inner;

            half[k] = (double)shift[column];
            for (int j = 0; j < in; j++)
                half[k] += (double)x[j] * (double)w[column * in + j];
        }
        y[i] = half[0] * half[1] * 0.5 * erfc(-half[1] / sqrt(2));
    }
}

static void a_gated_layer_is_rounded_once_and_does_not_depend_on_threads_or_rows(void **state)
{
    static const int shapes[][3] = {{45, 64, 96}, {7, 64, 24}, {3, 40, 16}, {130, 320, 64}};
    enum cpu_level level[2];
    int n_levels = levels(level);

    (void)state;
    op_operands_are_bf16 = true;
    for (int i = 0; i < 4 * n_levels; i++) {
        int n = shapes[i / n_levels][0], in = shapes[i / n_levels][1];
        int inner = shapes[i / n_levels][2];
        /* Where panels do not fit, both factors are rounded too. */
        float halves = in % STEP == 0 && inner % PANEL == 0 ? 1 : 4;
        struct ops *o = bf16_with(level[i % n_levels], 1), *two = bf16_with(level[i % n_levels], 2);
        float *numbers = op_operand(1, n * in, 1), *w = op_operand(1, 2 * inner * in, 7);
        float *shift = op_operand(1, 2 * inner, 8);
        struct tensor wt = {.data = w, .rank = 2, .shape = {2 * inner, in}};
        struct tensor bias = {.data = shift, .rank = 1, .shape = {2 * inner}};
        struct act *x = op_put(o, 1, n * in, 1);
        double *want = malloc((size_t)(n * inner) * sizeof *want);
        struct linear *l = NULL;
        uint16_t *y, *others, *fewer;
        struct err e;

        for (int k = 0; k < 2 * inner * in; k++)
            w[k] *= 0.125f;
        assert_int_equal(o->linear_new(o, &wt, &bias, &l, &e), 0);
        assert_non_null(want);
        gate_exactly(want, numbers, w, shift, n, in, inner);
        y = gated(o, l, x, n, inner);
        others = gated(two, l, x, n, inner);
        fewer = gated(two, l, x, n - 2, inner);
        assert_memory_equal(y, others, (size_t)(n * inner) * sizeof *y);
        assert_memory_equal(y, fewer, (size_t)((n - 2) * inner) * sizeof *y);
        for (int k = 0; k < n * inner; k++)
            if (!is_rounded(from_bf16(y[k]), (float)want[k], 2, halves))
                fail_msg("%s, shape %d, number %d: %g, not %g", o->device_class, i / n_levels, k,
                         (double)from_bf16(y[k]), want[k]);
        free(y);
        free(others);
        free(fewer);
        free(want);
        free(numbers);
        free(w);
        free(shift);
        o->memory_free(o, x);
        o->linear_free(o, l);
        o->free(o);
        two->free(two);
    }
    op_operands_are_bf16 = false;
    if (n_levels == 0)
        skip();
}

static void bytes_do_not_depend_on_the_number_of_threads(void **state)
{
    enum cpu_level level[2];
    int n = levels(level);

    (void)state;
    for (int i = 0; i < OP_CASES * n; i++) {
        const struct op_case *c = &op_cases[i / n];
        float *results[4];
        int64_t one;

        for (int threads = 1; threads <= 4; threads++) {
            struct ops *o = bf16_with(level[i % n], threads);

            results[threads - 1] = op_result(o, c, 2, &one);
            o->free(o);
        }
        for (int k = 1; k < 4; k++) {
            if (memcmp(results[0], results[k], (size_t)(2 * one) * sizeof(float)) != 0)
                fail_msg("case %d of op %d: %d threads differ from one", i / n, c->op, k + 1);
            free(results[k]);
        }
        free(results[0]);
    }
    if (n == 0)
        skip();
}

static void bytes_do_not_depend_on_batch_mates(void **state)
{
    enum cpu_level level[2];
    int n = levels(level);

    (void)state;
    for (int i = 0; i < OP_CASES * n; i++) {
        const struct op_case *c = &op_cases[i / n];
        struct ops *o = bf16_with(level[i % n], 2);
        int64_t one;
        float *alone = op_result(o, c, 1, &one), *longer = op_result(o, c, 5, &one);
        float *three = op_result(o, c, 3, &one);

        if (memcmp(alone, longer, (size_t)one * sizeof *alone) != 0 ||
            memcmp(three, longer, (size_t)(3 * one) * sizeof *alone) != 0)
            fail_msg("%s, case %d of op %d: the bytes differ", o->device_class, i / n, c->op);
        free(alone);
        free(longer);
        free(three);
        o->free(o);
    }
    if (n == 0)
        skip();
}

static void bytes_do_not_depend_on_what_the_caches_hold(void **state)
{
    enum cpu_level level[2];
    int n = levels(level);

    (void)state;
    for (int i = 0; i < OP_CASES * n; i++) {
        const struct op_case *c = &op_cases[i / n];
        struct ops *large = bf16_with(level[i % n], 2), *small = bf16_with(level[i % n], 2);
        int64_t one;
        float *a, *b;

        ((struct cpu *)small)->stage_bytes = 1; /* cuts depth and rows as small as it can */
        a = op_result(large, c, 2, &one);
        b = op_result(small, c, 2, &one);
        if (memcmp(a, b, (size_t)(2 * one) * sizeof *a) != 0)
            fail_msg("case %d of op %d: the bytes differ", i / n, c->op);
        free(a);
        free(b);
        large->free(large);
        small->free(small);
    }
    if (n == 0)
        skip();
}

/* What one step adds to a sum, as Intel's manual has it for TDPBF16PS and VDPBF16PS. */
static float documented_step(enum cpu_level level, float sum, const uint16_t *a, const uint16_t *b)
{
    float even = 0, odd = 0;

    for (int pair = 0; pair < STEP / 2; pair++) {
        float a0 = from_bf16(a[2 * pair]), b0 = from_bf16(b[pair * 2 * PANEL]);
        float a1 = from_bf16(a[2 * pair + 1]), b1 = from_bf16(b[pair * 2 * PANEL + 1]);

        if (level == LEVEL_AMX) {
            even = fmaf(a0, b0, even);
            odd = fmaf(a1, b1, odd);
        } else {
            sum = fmaf(a0, b0, fmaf(a1, b1, sum));
        }
    }
    return level == LEVEL_AMX ? sum + (even + odd) : sum;
}

#if defined(__x86_64__)
static void sums_are_added_in_the_order_that_the_manual_documents(void **state)
{
    enum cpu_level level[2];
    int n = levels(level);
    float x[TILE * STEP], begin[PANEL], sum[TILE * PANEL];
    uint16_t a[TILE * STEP], b[PANEL_STEP];
    const struct walk w = {.row = STEP, .blocks = 1, .taps = 1, .tap = &(size_t){0}};

    (void)state;
    if (n == 0)
        skip();
    op_fill(x, TILE * STEP, 1);
    bf16_from_f32(a, x, TILE * STEP);
    op_fill(x, PANEL_STEP, 2);
    bf16_from_f32(b, x, PANEL_STEP);
    op_fill(begin, PANEL, 3);
    for (int i = 0; i < n; i++) {
        const struct bf16_kernels *k = level[i] == LEVEL_AMX ? &bf16_amx : &bf16_avx512;

        k->enter();
        k->multiply((float *[]){sum}, PANEL, &w, (const uint16_t *[]){a}, 1,
                    (const uint16_t *[]){b}, 1, (const float *[]){begin});
        k->leave();
        for (int j = 0; j < TILE * PANEL; j++)
            assert_true(sum[j] == documented_step(level[i], begin[j % PANEL], a + j / PANEL * STEP,
                                                  b + j % PANEL * 2));
    }
}

static void rounding_is_to_nearest_and_ties_go_to_even(void **state)
{
    const float x[6] = {1.00390625f, 1.01171875f, 1.005f, -1.00390625f, INFINITY, 3.0e-39f};
    const uint16_t want[6] = {0x3f80, 0x3f82, 0x3f81, 0xbf80, 0x7f80, 0};
    uint16_t y[6], spread[2 * STEP], nan;
    enum cpu_level level[2];

    (void)state;
    if (levels(level) == 0)
        skip();
    bf16_from_f32(y, x, 6);
    assert_memory_equal(y, want, sizeof want);
    bf16_spread(spread, STEP, y, 6);
    assert_memory_equal(spread, want, sizeof want);
    for (int i = 6; i < STEP; i++)
        assert_int_equal(spread[i], 0);
    bf16_from_f32(&nan, &(float){NAN}, 1);
    assert_true(isnan(from_bf16(nan)));
}
#endif

static void the_environment_lowers_the_level_and_never_raises_it(void **state)
{
    static const char *const names[LEVEL_COUNT] = {"plain", "avx2", "avx512", "avx512_bf16", "amx"};
    enum cpu_level level;
    struct err e;

    (void)state;
    for (int i = 0; i < LEVEL_COUNT; i++) {
        enum cpu_level machine = level_of_machine();

        setenv("LITHO_CPU", names[i], 1);
        assert_int_equal(level_get(&level, &e), 0);
        assert_int_equal(level, i < (int)machine ? i : (int)machine);
    }
    setenv("LITHO_CPU", "sse", 1);
    assert_int_equal(level_get(&level, &e), ERR_ARG);
    assert_non_null(strstr(e.text, "'sse'"));
    unsetenv("LITHO_CPU");
}

static void without_its_instructions_bf16_is_f32_and_says_so(void **state)
{
    struct ops *o = NULL;
    struct err e;

    (void)state;
    setenv("LITHO_CPU", "avx2", 1);
    assert_int_equal(ops_cpu_new(1, PRECISION_BF16, &o, &e), 0);
    assert_int_equal(o->precision, PRECISION_F32);
    assert_string_equal(o->device_class, "cpu");
    assert_string_equal(ops_cpu_class(PRECISION_BF16), "cpu");
    unsetenv("LITHO_CPU");
    o->free(o);
}

static void auto_takes_bf16_where_it_is_faster(void **state)
{
    (void)state;
    assert_int_equal(level_precision(LEVEL_AMX, PRECISION_AUTO), PRECISION_BF16);
    assert_int_equal(level_precision(LEVEL_AMX, PRECISION_F32), PRECISION_F32);
    assert_int_equal(level_precision(LEVEL_AVX512, PRECISION_AUTO), PRECISION_F32);
    assert_int_equal(level_precision(LEVEL_AVX512_BF16, PRECISION_BF16), PRECISION_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_is_the_reference_rounded_once),
        cmocka_unit_test(a_gated_layer_is_rounded_once_and_does_not_depend_on_threads_or_rows),
        cmocka_unit_test(bytes_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(bytes_do_not_depend_on_batch_mates),
        cmocka_unit_test(bytes_do_not_depend_on_what_the_caches_hold),
#if defined(__x86_64__)
        cmocka_unit_test(sums_are_added_in_the_order_that_the_manual_documents),
        cmocka_unit_test(rounding_is_to_nearest_and_ties_go_to_even),
#endif
        cmocka_unit_test(the_environment_lowers_the_level_and_never_raises_it),
        cmocka_unit_test(without_its_instructions_bf16_is_f32_and_says_so),
        cmocka_unit_test(auto_takes_bf16_where_it_is_faster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
