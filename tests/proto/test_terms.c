/* Names that manifest, wire, metadata and engine share. */
#include "proto/terms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void every_name_reads_back(void **state)
{
    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++)
        assert_int_equal(sampler_from_name(sampler_name((enum sampler_id)i)), i);
    for (int i = 0; i < SCHEDULER_COUNT; i++)
        assert_int_equal(scheduler_from_name(scheduler_name((enum scheduler_id)i)), i);
    for (int i = 0; i < PRECISION_COUNT; i++)
        assert_int_equal(precision_from_name(precision_name((enum precision)i)), i);
}

static void labels_are_automatic1111s(void **state)
{
    (void)state;
    assert_string_equal(sampler_label(SAMPLER_DPMPP_2M), "DPM++ 2M");
    assert_string_equal(sampler_label(SAMPLER_EULER_A), "Euler a");
    assert_string_equal(sampler_label(SAMPLER_DDIM), "DDIM");
    assert_string_equal(scheduler_label(SCHEDULER_KARRAS), "Karras");
    assert_string_equal(scheduler_label(SCHEDULER_AUTOMATIC), "Automatic");
}

static void what_is_not_in_the_table_has_no_id_and_no_name(void **state)
{
    (void)state;
    assert_int_equal(sampler_from_name("Euler"), -1); /* names are exact */
    assert_int_equal(scheduler_from_name(""), -1);
    assert_int_equal(precision_from_name("f64"), -1);
    assert_string_equal(sampler_name(SAMPLER_COUNT), "?");
    assert_string_equal(scheduler_label(SCHEDULER_COUNT), "?");
    assert_string_equal(precision_name(PRECISION_COUNT), "?");
}

static void automatic_is_karras_for_dpmpp_2m_alone(void **state)
{
    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++) {
        enum sampler_id id = (enum sampler_id)i;
        assert_int_equal(scheduler_resolve(id, SCHEDULER_AUTOMATIC),
                         id == SAMPLER_DPMPP_2M ? SCHEDULER_KARRAS : SCHEDULER_UNIFORM);
        assert_int_equal(scheduler_resolve(id, SCHEDULER_UNIFORM), SCHEDULER_UNIFORM);
        assert_int_equal(scheduler_resolve(id, SCHEDULER_KARRAS), SCHEDULER_KARRAS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_reads_back),
        cmocka_unit_test(labels_are_automatic1111s),
        cmocka_unit_test(what_is_not_in_the_table_has_no_id_and_no_name),
        cmocka_unit_test(automatic_is_karras_for_dpmpp_2m_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
