#include "jobs/cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ALLOWED                                                                                    \
    (OPTION_BIT(OPTION_OUT) | OPTION_BIT(OPTION_SET) | OPTION_BIT(OPTION_WORKERS) |                \
     OPTION_BIT(OPTION_JSON))

#define READ(o, e, ...)                                                                            \
    options_read(ALLOWED, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),                 \
                 (char *[]){__VA_ARGS__}, o, e)

static void options_stand_before_and_after_arguments(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(READ(&o, &e, "--json", "job.yaml", "--out", "here"), 0);
    assert_int_equal(o.n_arguments, 1);
    assert_string_equal(o.arguments[0], "job.yaml");
    assert_string_equal(o.value[OPTION_OUT], "here");
    assert_non_null(o.value[OPTION_JSON]);
    assert_null(o.value[OPTION_WORKERS]);
}

static void equals_sign_gives_the_value_too(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(READ(&o, &e, "--out=a=b", "--out="), ERR_ARG);
    assert_non_null(strstr(e.text, "twice"));
    assert_int_equal(READ(&o, &e, "--out=a=b"), 0);
    assert_string_equal(o.value[OPTION_OUT], "a=b");
}

static void sets_add_up_and_need_a_value(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(READ(&o, &e, "--set", "steps=5", "--set=seed=1"), 0);
    assert_int_equal(o.n_sets, 2);
    assert_string_equal(o.sets[1], "seed=1");
    assert_int_equal(READ(&o, &e, "--set", "steps"), ERR_ARG);
    assert_non_null(strstr(e.text, "KEY=VALUE"));
}

static void two_dashes_end_the_options(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(READ(&o, &e, "--", "--json"), 0);
    assert_null(o.value[OPTION_JSON]);
    assert_string_equal(o.arguments[0], "--json");
}

static void misspelt_option_is_refused_with_the_near_one(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(READ(&o, &e, "--wrokers=3"), ERR_ARG);
    assert_non_null(strstr(e.text, "did you mean '--workers'?"));
    assert_int_equal(READ(&o, &e, "--zzzzzzzzzz"), ERR_ARG);
    assert_null(strstr(e.text, "did you mean"));
}

static void option_of_another_command_is_unknown(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(READ(&o, &e, "--verify"), ERR_ARG);
}

static void switch_takes_no_value_and_others_need_one(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(READ(&o, &e, "--json=1"), ERR_ARG);
    assert_int_equal(READ(&o, &e, "--out"), ERR_ARG);
    assert_non_null(strstr(e.text, "needs a value"));
}

static void numbers_keep_their_bounds(void **state)
{
    struct options o;
    struct err e;
    int64_t n = -1;

    (void)state;
    assert_int_equal(READ(&o, &e, "--workers", "64"), 0);
    assert_int_equal(options_number(&o, OPTION_WORKERS, 1, 64, 2, &n, &e), 0);
    assert_int_equal(n, 64);
    assert_int_equal(options_number(&o, OPTION_WORKERS, 1, 63, 2, &n, &e), ERR_ARG);
    assert_non_null(strstr(e.text, "from 1 to 63"));
    assert_int_equal(READ(&o, &e, "--workers", "4x"), 0);
    assert_int_equal(options_number(&o, OPTION_WORKERS, 1, 64, 2, &n, &e), ERR_ARG);
    assert_int_equal(READ(&o, &e, "job.yaml"), 0);
    assert_int_equal(options_number(&o, OPTION_WORKERS, 1, 64, 2, &n, &e), 0);
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_and_after_arguments),
        cmocka_unit_test(equals_sign_gives_the_value_too),
        cmocka_unit_test(sets_add_up_and_need_a_value),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(misspelt_option_is_refused_with_the_near_one),
        cmocka_unit_test(option_of_another_command_is_unknown),
        cmocka_unit_test(switch_takes_no_value_and_others_need_one),
        cmocka_unit_test(numbers_keep_their_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
