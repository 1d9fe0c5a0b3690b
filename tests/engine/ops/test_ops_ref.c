/* The reference against numbers worked out by hand: the other backends are compared with it. */
#include "tests/engine/op_case.h"

static struct ops *o;
static struct arena arena;

static int make_backend(void **state)
{
    (void)state;
    if (ops_ref_new(&o, NULL) != 0 || arena_init(&arena, 1 << 16, NULL) != 0)
        return -1;
    o->arena = &arena;
    return 0;
}

static int free_backend(void **state)
{
    (void)state;
    o->free(o);
    arena_done(&arena);
    return 0;
}

static void a_linear_layer_multiplies_adds_bias_activates_and_adds_the_residual(void **state)
{
    float numbers[6] = {1, 2, 3, -1, 0, 1}, shift[2] = {10, -20}, x[6] = {1, 1, 1, 0, 2, 0};
    float residual[4] = {0, 1, 0, 1}, y[4];
    struct tensor w = {.data = numbers, .rank = 2, .shape = {2, 3}};
    struct tensor bias = {.data = shift, .rank = 1, .shape = {2}};
    struct linear *l = NULL;

    (void)state;
    assert_int_equal(o->linear_new(o, &w, &bias, &l, NULL), 0);
    assert_int_equal(o->linear(o, op_act(y), op_act(x), l, 2, ACT_NONE, op_act(residual), NULL), 0);
    assert_memory_equal(y, ((float[]){16, -19, 14, -19}), sizeof y);
    assert_int_equal(o->linear(o, op_act(y), op_act(x), l, 2, ACT_SILU, op_act(residual), NULL), 0);
    assert_true(fabsf(y[0] - 16 / (1 + expf(-16))) < 1e-5f && fabsf(y[1] - 1) < 1e-5f);
    o->linear_free(o, l);
}

/* Two channels that differ, so that a mix-up of axes shows. */
static void a_convolution_reads_rows_columns_and_channels_in_their_order(void **state)
{
    float numbers[12] = {0}, x[12], y[12];
    struct tensor w = {.data = numbers, .rank = 4, .shape = {1, 2, 2, 3}};
    struct conv *c = NULL;

    (void)state;
    numbers[(0 * 2 + 0) * 3 + 2] = 1;   /* channel 0, row 0, column 2 */
    numbers[(1 * 2 + 1) * 3 + 0] = 100; /* channel 1, row 1, column 0 */
    for (int i = 0; i < 12; i++)
        x[i] = (float)i; /* [1, 2, 3, 2]: pixel p holds 2p and 2p + 1 */
    assert_int_equal(o->conv_new(o, &w, NULL, &c, NULL), 0);
    assert_int_equal(
        o->conv2d(o, op_act(y), op_act(x), c, 1, 2, 3, 1, (int[]){0, 1, 1, 1}, NULL, NULL, NULL),
        0);
    /* y(r, c) = x0(r, c + 1) + 100 x1(r + 1, c - 1) */
    assert_memory_equal(y, ((float[]){2, 4 + 700, 900, 8, 10, 0}), 6 * sizeof *y);
    o->conv_free(o, c);
}

static void stride_and_uneven_padding_shift_the_kernel_as_documented(void **state)
{
    float numbers[9] = {1, 0, 0, 0, 0, 0, 0, 0, 0}, x[16], y[4], shift[1] = {1000};
    struct tensor w = {.data = numbers, .rank = 4, .shape = {1, 1, 3, 3}};
    struct conv *c = NULL;

    (void)state;
    for (int i = 0; i < 16; i++)
        x[i] = (float)i;
    assert_int_equal(o->conv_new(o, &w, NULL, &c, NULL), 0);
    assert_int_equal(
        o->conv2d(o, op_act(y), op_act(x), c, 1, 4, 4, 2, (int[]){0, 1, 0, 1}, NULL, NULL, NULL),
        0);
    assert_memory_equal(y, ((float[]){0, 2, 8, 10}), sizeof y);
    assert_int_equal(o->conv2d(o, op_act(y), op_act(x), c, 1, 4, 4, 2, (int[]){1, 1, 1, 1},
                               op_act(shift), op_act(x), NULL),
                     0);
    assert_memory_equal(y, ((float[]){1000, 1001, 1002, 1008}), sizeof y);
    o->conv_free(o, c);
}

static void group_norm_takes_each_group_of_channels_over_all_pixels(void **state)
{
    float x[8] = {1, 3, 10, 30, 5, 7, 10, 30}, one[4] = {1, 1, 1, 2}, zero[4] = {0, 0, 5, 0}, y[8];
    struct norm *norm = op_norm(o, one, zero, 4);

    (void)state;
    assert_int_equal(o->group_norm(o, op_act(y), op_act(x), norm, 1, 2, 4, 2, 0, ACT_NONE, NULL),
                     0);
    o->norm_free(o, norm);
    assert_true(fabsf(y[0] + 3 / sqrtf(5)) < 1e-6f && fabsf(y[5] - 3 / sqrtf(5)) < 1e-6f);
    assert_true(fabsf(y[2] - 4) < 1e-6f && fabsf(y[3] - 2) < 1e-6f);
}

static void layer_norm_takes_each_row(void **state)
{
    float x[4] = {1, 3, 0, 8}, gamma[2] = {1, 2}, beta[2] = {0, 1}, y[4];
    struct norm *norm = op_norm(o, gamma, beta, 2);

    (void)state;
    assert_int_equal(o->layer_norm(o, op_act(y), op_act(x), norm, 2, 2, 0, NULL), 0);
    o->norm_free(o, norm);
    assert_memory_equal(y, ((float[]){-1, 3, -1, 3}), sizeof y);
}

static void attention_weighs_values_by_softmax_per_head(void **state)
{
    /* Two heads of one number; head 1's keys are equal, so it averages. */
    float q[2] = {1, 1}, k[4] = {0, 5, 1, 5}, v[4] = {10, 1, 20, 3}, y[2];
    float w = 1 / (1 + expf(1));

    (void)state;
    assert_int_equal(
        o->attention(o, op_act(y), op_act(q), op_act(k), op_act(v), 1, 1, 2, 2, 1, 1, false, NULL),
        0);
    assert_true(fabsf(y[0] - (10 * w + 20 * (1 - w))) < 1e-5f && y[1] == 2);
}

static void a_causal_query_sees_no_later_key(void **state)
{
    float q[3] = {0, 0, 0}, v[3] = {3, 5, 10}, y[3];

    (void)state;
    assert_int_equal(
        o->attention(o, op_act(y), op_act(q), op_act(q), op_act(v), 1, 3, 3, 1, 1, 1, true, NULL),
        0);
    assert_memory_equal(y, ((float[]){3, 4, 6}), sizeof y);
}

static void activations_take_their_known_values(void **state)
{
    float x[3] = {0, 1, -2}, y[3];

    (void)state;
    assert_int_equal(o->activate(o, op_act(y), op_act(x), 3, ACT_SILU, NULL), 0);
    assert_true(y[0] == 0 && fabsf(y[1] - 0.731058579f) < 1e-6f);
    assert_int_equal(o->activate(o, op_act(y), op_act(x), 3, ACT_GELU, NULL), 0);
    assert_true(fabsf(y[1] - 0.841344746f) < 1e-6f && fabsf(y[2] + 0.045500264f) < 1e-6f);
    assert_int_equal(o->activate(o, op_act(y), op_act(x), 3, ACT_QUICK_GELU, NULL), 0);
    assert_true(fabsf(y[1] - 0.845795766f) < 1e-6f);
}

static void geglu_gates_the_first_half_by_the_second(void **state)
{
    float x[8] = {2, 3, 1, 0, 4, 5, 0, -2}, y[4];

    (void)state;
    assert_int_equal(o->geglu(o, op_act(y), op_act(x), 2, 2, NULL), 0);
    assert_true(fabsf(y[0] - 2 * 0.841344746f) < 1e-6f && y[1] == 0);
    assert_true(y[2] == 0 && fabsf(y[3] + 5 * 0.045500264f) < 1e-6f);
}

static void concat_joins_channels_and_upsample_repeats_pixels(void **state)
{
    float a[2] = {1, 2}, b[4] = {3, 4, 5, 6}, y[12];

    (void)state;
    assert_int_equal(o->concat(o, op_act(y), op_act(a), op_act(b), 2, 1, 2, NULL), 0);
    assert_memory_equal(y, ((float[]){1, 3, 4, 2, 5, 6}), 6 * sizeof *y);
    assert_int_equal(o->upsample(o, op_act(y), op_act(b), 1, 2, 2, 1, 4, 3, NULL), 0);
    assert_memory_equal(y, ((float[]){3, 3, 4, 3, 3, 4, 5, 5, 6, 5, 5, 6}), sizeof y);
}

static void a_kernel_larger_than_the_padded_picture_is_refused(void **state)
{
    float numbers[9] = {0}, x[4] = {0}, y[4];
    struct tensor w = {.data = numbers, .rank = 4, .shape = {1, 1, 3, 3}};
    struct conv *c = NULL;
    struct err e;

    (void)state;
    assert_int_equal(o->conv_new(o, &w, NULL, &c, NULL), 0);
    assert_int_equal(
        o->conv2d(o, op_act(y), op_act(x), c, 1, 2, 2, 1, (int[]){0, 0, 0, 0}, NULL, NULL, &e),
        ERR_ARG);
    o->conv_free(o, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_linear_layer_multiplies_adds_bias_activates_and_adds_the_residual),
        cmocka_unit_test(a_convolution_reads_rows_columns_and_channels_in_their_order),
        cmocka_unit_test(stride_and_uneven_padding_shift_the_kernel_as_documented),
        cmocka_unit_test(group_norm_takes_each_group_of_channels_over_all_pixels),
        cmocka_unit_test(layer_norm_takes_each_row),
        cmocka_unit_test(attention_weighs_values_by_softmax_per_head),
        cmocka_unit_test(a_causal_query_sees_no_later_key),
        cmocka_unit_test(activations_take_their_known_values),
        cmocka_unit_test(geglu_gates_the_first_half_by_the_second),
        cmocka_unit_test(concat_joins_channels_and_upsample_repeats_pixels),
        cmocka_unit_test(a_kernel_larger_than_the_padded_picture_is_refused),
    };

    return cmocka_run_group_tests(tests, make_backend, free_backend);
}
