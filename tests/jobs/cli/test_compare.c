#include "jobs/cli/compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void equal_pictures_have_no_difference(void **state)
{
    const uint8_t a[] = {0, 128, 255};
    struct comparison c = compare_pixels(a, a, 3);

    (void)state;
    assert_int_equal(c.max_difference, 0);
    assert_int_equal(c.n_different, 0);
    assert_true(isinf(c.psnr_db));
}

static void one_changed_value_is_seen(void **state)
{
    const uint8_t a[] = {0, 128, 255}, b[] = {0, 125, 255};
    struct comparison c = compare_pixels(a, b, 3);

    (void)state;
    assert_int_equal(c.max_difference, 3);
    assert_int_equal(c.n_different, 1);
    assert_true(fabs(c.psnr_db - 43.36) < 0.01); /* 10 log10(255^2 * 3 / 9) */
}

static void opposite_pictures_are_zero_decibels_apart(void **state)
{
    const uint8_t a[] = {0, 255}, b[] = {255, 0};
    struct comparison c = compare_pixels(a, b, 2);

    (void)state;
    assert_int_equal(c.max_difference, 255);
    assert_true(fabs(c.psnr_db) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_pictures_have_no_difference),
        cmocka_unit_test(one_changed_value_is_seen),
        cmocka_unit_test(opposite_pictures_are_zero_decibels_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
