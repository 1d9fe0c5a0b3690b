#include "engine/ops/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

/* Alone, and among as many as processors convert at once: the same float. */
static float from_half(uint16_t bits)
{
    uint16_t many[17];
    struct tensor t = {.data = many, .dtype = DTYPE_F16, .rank = 1, .shape = {17}};
    float value, values[17];

    for (int i = 0; i < 17; i++)
        many[i] = bits;
    tensor_to_f32(&t, values);
    t.shape[0] = 1;
    tensor_to_f32(&t, &value);
    for (int i = 0; i < 17; i++)
        assert_true(memcmp(&values[i], &value, sizeof value) == 0);
    return value;
}

static void halves_become_the_floats_of_ieee_754(void **state)
{
    (void)state;
    assert_true(from_half(0x3c00) == 1.0f);
    assert_true(from_half(0xc500) == -5.0f);
    assert_true(from_half(0x3555) == 0x1.554p-2f);
    assert_true(from_half(0x7bff) == 65504.0f);
    assert_true(from_half(0x0400) == 0x1p-14f);
    assert_true(from_half(0x0001) == 0x1p-24f);
    assert_true(from_half(0x83ff) == -1023 * 0x1p-24f);
    assert_true(from_half(0x8000) == 0 && signbit(from_half(0x8000)));
    assert_true(isinf(from_half(0x7c00)) && isinf(from_half(0xfc00)));
    assert_true(isnan(from_half(0x7e01)));
}

static void every_half_equals_its_definition(void **state)
{
    (void)state;
    for (int bits = 0; bits < 0x7c00; bits++) {
        int exponent = bits >> 10;
        double fraction = exponent ? 1 + (bits & 1023) / 1024.0 : (bits & 1023) / 1024.0;
        float want = (float)ldexp(fraction, exponent ? exponent - 15 : -14);

        assert_true(from_half((uint16_t)bits) == want);
        assert_true(from_half((uint16_t)(bits | 0x8000)) == -want);
    }
}

static void bfloats_are_the_upper_half_of_floats(void **state)
{
    uint16_t bits[3] = {0x3f80, 0xc049, 0x0001};
    struct tensor t = {.data = bits, .dtype = DTYPE_BF16, .rank = 2, .shape = {3, 1}};
    float values[3];

    (void)state;
    tensor_to_f32(&t, values);
    assert_true(values[0] == 1 && values[1] == -3.140625f && values[2] == 0x1p-133f);
}

static void unaligned_numbers_are_read_as_they_are(void **state)
{
    unsigned char bytes[13];
    float want[3] = {1.5f, -2.25f, 3e-30f}, got[3];
    struct tensor t = {.data = bytes + 1, .dtype = DTYPE_F32, .rank = 1, .shape = {3}};

    (void)state;
    memcpy(bytes + 1, want, sizeof want);
    tensor_to_f32(&t, got);
    assert_memory_equal(got, want, sizeof want);
}

static void a_scalar_has_one_number_and_an_empty_side_none(void **state)
{
    struct tensor scalar = {.rank = 0}, empty = {.rank = 3, .shape = {4, 0, 7}};

    (void)state;
    assert_int_equal(tensor_count(&scalar), 1);
    assert_int_equal(tensor_count(&empty), 0);
}

static void shapes_print_as_lists_and_are_cut_when_they_must(void **state)
{
    struct tensor t = {.rank = 4, .shape = {320, 4, 3, 3}}, scalar = {.rank = 0};
    char text[64], little[7];

    (void)state;
    assert_string_equal(tensor_shape_text(&t, text, sizeof text), "[320, 4, 3, 3]");
    assert_string_equal(tensor_shape_text(&scalar, text, sizeof text), "[]");
    assert_string_equal(tensor_shape_text(&t, little, sizeof little), "[320, ");
}

static void dtypes_have_the_names_of_safetensors_and_their_sizes(void **state)
{
    (void)state;
    assert_string_equal(dtype_name(DTYPE_BF16), "BF16");
    assert_string_equal(dtype_name(DTYPE_U8), "U8");
    assert_int_equal(dtype_size(DTYPE_F16), 2);
    assert_int_equal(dtype_size(DTYPE_I64), 8);
    assert_true(dtype_is_float(DTYPE_BF16) && !dtype_is_float(DTYPE_I32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_become_the_floats_of_ieee_754),
        cmocka_unit_test(every_half_equals_its_definition),
        cmocka_unit_test(bfloats_are_the_upper_half_of_floats),
        cmocka_unit_test(unaligned_numbers_are_read_as_they_are),
        cmocka_unit_test(a_scalar_has_one_number_and_an_empty_side_none),
        cmocka_unit_test(shapes_print_as_lists_and_are_cut_when_they_must),
        cmocka_unit_test(dtypes_have_the_names_of_safetensors_and_their_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
