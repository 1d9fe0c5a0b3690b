#include "jobs/combine.h"
#include "jobs/numbers.h"
#include "jobs/suggest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* All values of a number list, or its problem as "offset: text". */
static void list_is(const char *text, bool integer, const char *expected)
{
    struct number_problem problem;
    struct numbers numbers = {0};
    struct buf said = {0};

    assert_int_equal(numbers_parse(text, integer, &numbers, &problem, NULL), 0);
    if (problem.text[0])
        buf_printf(&said, "%zu: %s", problem.offset, problem.text);
    for (size_t i = 0; i < numbers.n; i++)
        for (uint64_t k = 0; k < numbers.items[i].count && k < 100; k++) {
            buf_puts(&said, said.size ? " " : "");
            buf_number(&said, number_at(&numbers.items[i], k));
        }
    assert_string_equal(buf_text(&said), expected);
    numbers_done(&numbers);
    buf_done(&said);
}

static void whole_ranges_read_as_automatic1111_writes_them(void **state)
{
    (void)state;
    list_is("1-5", true, "1 2 3 4 5");
    list_is(" 1 - 5 (+2) ", true, "1 3 5");
    list_is("10-5 (-3)", true, "10 7");
    list_is("5-1 (-1)", true, "5 4 3 2 1");
    list_is("-3--1", true, "-3 -2 -1");
    list_is("1-10 [5]", true, "1 3 5 7 10");
    list_is("1-4 [1]", true, "1");
    list_is("5-1 [3]", true, "5 3 1");
    list_is("1-3, 7,9-8 (-1)", true, "1 2 3 7 9 8");
}

/* numpy: int(x) for x in linspace(0, 3, 148); its value 49 is 0.9999999999999999, so 0. */
static void spread_numbers_are_cut_where_numpy_cuts_them(void **state)
{
    struct number_problem problem;
    struct numbers numbers;

    (void)state;
    assert_int_equal(numbers_parse("0-3 [148]", true, &numbers, &problem, NULL), 0);
    assert_string_equal(problem.text, "");
    assert_true(number_at(&numbers.items[0], 49) == (double)(long)(49.0 * (3.0 / 147.0)));
    assert_true(number_at(&numbers.items[0], 147) == 3);
    numbers_done(&numbers);
}

static void real_ranges_reach_their_end_and_never_pass_it(void **state)
{
    (void)state;
    list_is("4-8", false, "4 5 6 7 8");
    list_is("4.0-8.0 (+0.5)", false, "4 4.5 5 5.5 6 6.5 7 7.5 8");
    list_is("0-1 (+0.1)", false, "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1");
    list_is("0-0.7 (+0.1)", false, "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7");
    list_is("1-2 (+0.4)", false, "1 1.4 1.8");
    list_is("1-0 (-0.25)", false, "1 0.75 0.5 0.25 0");
    list_is("0.0-1.0 [6]", false, "0 0.2 0.4 0.6 0.8 1");
    list_is("1e1, 2.5e-1", false, "10 0.25");
}

static void openjd_ranges_have_a_step_behind_a_colon(void **state)
{
    (void)state;
    list_is("1-10:2", true, "1 3 5 7 9");
    list_is("10-1:-4", true, "10 6 2");
    list_is("1-3:5", true, "1");
}

static void mistakes_in_lists_have_a_place(void **state)
{
    (void)state;
    list_is("", true, "0: a number is expected here");
    list_is("1-", true, "2: a number is expected here");
    list_is("3, x", true, "3: a number is expected here");
    list_is("1-5 (+0)", true, "0: a step of 0 never reaches the end");
    list_is("5-1", true, "0: the range is empty; count down with a negative step, as in 5-1 (-1)");
    list_is("1-5 (-2)", true, "0: the range is empty: its step leads away from its end");
    list_is("1-5 (+2", true, "7: ')' is expected here");
    list_is("1-5 [0]", true, "5: [n] is a number of values from 1 to 1000000");
    list_is("1-5 steps", true, "4: 'steps' does not belong to a number or range");
    list_is("1.5", true, "0: whole numbers are expected here, not '1.5'");
    list_is("99999999999999999999", true, "0: '99999999999999999999' is too large");
    list_is("nan", false, "0: a number is expected here");
}

static void a_long_range_is_counted_not_walked(void **state)
{
    struct number_problem problem;
    struct numbers numbers;

    (void)state;
    assert_int_equal(numbers_parse("0-9007199254740990", true, &numbers, &problem, NULL), 0);
    assert_int_not_equal(problem.text[0], 0);
    assert_int_equal(numbers_parse("1-4503599627370496", true, &numbers, &problem, NULL), 0);
    assert_string_equal(problem.text, "");
    assert_true(numbers.count == 4503599627370496);
    assert_true(number_at(&numbers.items[0], 4503599627370495) == 4503599627370496.0);
    numbers_done(&numbers);
}

static void distances_count_swaps_as_one(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("smapler", "sampler"), 1);
    assert_int_equal(suggest_distance("", "abc"), 3);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(suggest_distance("Steps", "steps"), 0);
}

static void far_words_are_not_suggested(void **state)
{
    static const char *const words[] = {"steps", "sampler", "seed"};

    (void)state;
    assert_string_equal(suggest_nearest("stpes", words, 3), "steps");
    assert_string_equal(suggest_nearest("sead", words, 3), "seed");
    assert_null(suggest_nearest("colour", words, 3));
    assert_null(suggest_nearest("x", words, 3));
    assert_null(suggest_nearest(
        "stepsstepsstepsstepsstepsstepsstepsstepsstepsstepsstepsstepsstepss", words, 3));
}

static void parentheses_group_or_zip(void **state)
{
    static const char *const names[] = {"a", "b c", "d", "e"};
    struct node text = {.text = "((d)) * (a, (b c)) * (e)"};
    struct diagnostics d = {0};
    struct combine c;

    (void)state;
    assert_true(combine_parse(&text, names, 4, &d, &c));
    assert_int_equal(c.n, 3);
    assert_int_equal(c.factors[0].axes[0], 2);
    assert_int_equal(c.factors[1].n, 2);
    assert_int_equal(c.factors[1].axes[0], 0);
    assert_int_equal(c.factors[1].axes[1], 1);
    assert_int_equal(c.factors[2].axes[0], 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_ranges_read_as_automatic1111_writes_them),
        cmocka_unit_test(spread_numbers_are_cut_where_numpy_cuts_them),
        cmocka_unit_test(real_ranges_reach_their_end_and_never_pass_it),
        cmocka_unit_test(openjd_ranges_have_a_step_behind_a_colon),
        cmocka_unit_test(mistakes_in_lists_have_a_place),
        cmocka_unit_test(a_long_range_is_counted_not_walked),
        cmocka_unit_test(distances_count_swaps_as_one),
        cmocka_unit_test(far_words_are_not_suggested),
        cmocka_unit_test(parentheses_group_or_zip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
