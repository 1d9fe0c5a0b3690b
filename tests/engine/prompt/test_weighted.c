/* Emphasis as AUTOMATIC1111 reads it: its results on the recorded prompts, and its oddities. */
#include "tests/engine/prompt/prompt_case.h"

static struct weighted parse(const char *prompt)
{
    struct prompt_text t = {0};
    struct weighted a = {0};

    assert_read(prompt_text_init(&t, prompt, f));
    assert_read(weighted_parse(&t, &a, f));
    prompt_text_done(&t);
    return a;
}

/* Pieces as texts and weights, ending with NULL. */
static void check(const char *prompt, ...)
{
    struct weighted a = parse(prompt);
    const char *text;
    va_list args;
    size_t i = 0;

    va_start(args, prompt);
    while ((text = va_arg(args, const char *)) != NULL) {
        double weight = va_arg(args, double);

        assert_true(i < a.n);
        assert_int_equal(a.pieces[i].size, strlen(text));
        assert_memory_equal(buf_text(&a.text) + a.pieces[i].begin, text, strlen(text));
        assert_true(a.pieces[i].weight == weight);
        i++;
    }
    va_end(args);
    assert_int_equal(i, a.n);
    weighted_done(&a);
}

static struct prompt_fault refused(const char *prompt)
{
    struct prompt_fault fault = {0};
    struct prompt_text t = {0};
    struct weighted a;

    assert_read(prompt_text_init(&t, prompt, f));
    assert_int_equal(weighted_parse(&t, &a, &fault), ERR_INPUT);
    prompt_text_done(&t);
    return fault;
}

static void pieces_and_weights_equal_the_web_uis(void **state)
{
    json_t *root = recorded_prompts(), *one;
    size_t i;

    (void)state;
    json_array_foreach(root, i, one)
    {
        const json_t *want = json_object_get(one, "attention");
        struct weighted a = parse(json_text(one, "prompt"));

        assert_int_equal(a.n, json_array_size(want));
        for (size_t k = 0; k < a.n; k++) {
            const json_t *pair = json_array_get(want, k);
            const char *text = json_text_at(pair, 0);

            assert_int_equal(a.pieces[k].size, strlen(text));
            assert_memory_equal(buf_text(&a.text) + a.pieces[k].begin, text, strlen(text));
            assert_true(a.pieces[k].weight == json_real_at(pair, 1)); /* to the last bit */
            assert_int_equal(weighted_is_break(&a, k),
                             strcmp(text, "BREAK") == 0 && json_real_at(pair, 1) == -1);
        }
        weighted_done(&a);
    }
    json_decref(root);
}

static void nested_weights_multiply_in_the_order_in_which_brackets_close(void **state)
{
    (void)state;
    check("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", "a ", 1.0, "house",
          1.0 * 1.3 * 1.1 * 1.1, " ", 1.1, "on", 1.0 * (1 / 1.1) * 1.1, " a ", 1.1, "hill",
          0.5 * 1.1, ", sun, ", 1.1, "sky", 1.1 * 1.1 * 1.1 * 1.1, ".", 1.1, NULL);
    check("(unnecessary)(parens)", "unnecessaryparens", 1.1, NULL);
}

static void backslashes_make_letters_of_brackets_and_vanish_elsewhere(void **state)
{
    (void)state;
    check("\\(literal\\]", "(literal]", 1.0, NULL);
    check("a\\b \\: (c\\):2)", "ab : ", 1.0, "c)", 2.0, NULL);
    check("end\\", "end", 1.0, NULL);
}

static void a_break_inside_brackets_is_a_word(void **state)
{
    struct weighted a = parse("(a BREAK b)");

    (void)state;
    check("(a BREAK b)", "a", 1.1, "BREAK", -1.1, "b", 1.1, NULL);
    assert_false(weighted_is_break(&a, 1));
    weighted_done(&a);
    check("a BREAKS b \xe6\x9d\xb1"
          "BREAK _BREAK",
          "a BREAKS b \xe6\x9d\xb1"
          "BREAK _BREAK",
          1.0, NULL);
    check("BREAK\n\xe3\x80\x80 BREAK", "", 1.0, "BREAK", -1.0, "", 1.0, "BREAK", -1.0, "", 1.0,
          NULL);
}

static void weights_may_have_digits_of_any_script(void **state)
{
    (void)state;
    check("(a:\xd9\xa1.\xd9\xa5)", "a", 1.5, NULL); /* Arabic 1.5 */
    check("(a:\xf0\x9d\x9f\xa8)", "a", 6.0, NULL);  /* a sans-serif bold digit: not a letter */
}

static void a_weight_that_is_no_number_is_refused_where_it_stands(void **state)
{
    struct prompt_fault fault = refused("a (b:1.2.3)");
    char *digits = repeat("9", 400), huge[500];

    (void)state;
    assert_int_equal(fault.at, 5);
    assert_string_equal(fault.text, "the weight '1.2.3' is no number");
    assert_int_equal(refused("(a (\xc3\xa9:.):2)").at, 7);
    snprintf(huge, sizeof huge, "(a:%s)", digits);
    assert_int_equal(refused(huge).at, 3);
    free(digits);
    check("a:1.2.3) b", "a:1.2.3) b", 1.0, NULL); /* no bracket is open: letters */
}

static void brackets_without_end_take_neither_stack_nor_time(void **state)
{
    static const char *const texts[] = {"(", "[", "([", "(a", "[a:", ")", "]", ":", "\\", "(:1"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *text = repeat(texts[i], PROMPT_SIZE_MAX / strlen(texts[i]));
        struct prompt_fault fault = {0};
        struct prompt_text t = {0};
        struct weighted a = {0};
        int rc;

        assert_read(prompt_text_init(&t, text, f));
        rc = weighted_parse(&t, &a, &fault);
        assert_int_equal(rc, strpbrk(texts[i], "([") != NULL ? ERR_INPUT : 0);
        if (rc != 0)
            assert_string_equal(fault.text, "more than 255 brackets are open here");
        weighted_done(&a);
        prompt_text_done(&t);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_and_weights_equal_the_web_uis),
        cmocka_unit_test(nested_weights_multiply_in_the_order_in_which_brackets_close),
        cmocka_unit_test(backslashes_make_letters_of_brackets_and_vanish_elsewhere),
        cmocka_unit_test(a_break_inside_brackets_is_a_word),
        cmocka_unit_test(weights_may_have_digits_of_any_script),
        cmocka_unit_test(a_weight_that_is_no_number_is_refused_where_it_stands),
        cmocka_unit_test(brackets_without_end_take_neither_stack_nor_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
