/* Prompt editing as AUTOMATIC1111 reads it: its results on the recorded prompts, the examples that
 * its source gives, broken brackets, hires fix. */
#include "tests/engine/prompt/prompt_case.h"

static int base_steps = 10, hires_steps;

/* "5:a|10:b" for texts a up to step 5 and b up to step 10. */
static char *edited(const char *prompt)
{
    struct prompt_text t = {0}, part;
    struct edit *d = NULL;
    struct buf all = {0};

    assert_read(prompt_text_init(&t, prompt, f));
    assert_read(edit_parse(&t, base_steps, hires_steps, &d, f));
    for (size_t i = 0; i < edit_count(d); i++) {
        assert_read(edit_text(d, i, &part, f));
        assert_int_equal(strlen(part.text), part.size);
        buf_printf(&all, "%s%d:%s", i > 0 ? "|" : "", edit_end(d, i), part.text);
        prompt_text_done(&part);
    }
    edit_free(d);
    prompt_text_done(&t);
    return buf_detach(&all);
}

static void check(const char *prompt, const char *want)
{
    char *got = edited(prompt);

    assert_string_equal(got, want);
    free(got);
}

static void texts_by_step_equal_the_web_uis(void **state)
{
    json_t *root = recorded_prompts(), *one, *entry;
    size_t i, k;

    (void)state;
    json_array_foreach(root, i, one)
    {
        struct buf want = {0};

        json_array_foreach(json_object_get(one, "schedule_10"), k, entry)
            buf_printf(&want, "%s%d:%s", k > 0 ? "|" : "", (int)json_real_at(entry, 0),
                       json_text_at(entry, 1));
        check(json_text(one, "prompt"), buf_text(&want));
        buf_done(&want);
    }
    json_decref(root);
}

static void edits_and_alternations_nest(void **state)
{
    (void)state;
    check("a [b:3]", "3:a |10:a b");
    check("a [[[b]]:2]", "2:a |10:a [[b]]");
    check("[(a:2):3]", "3:|10:(a:2)");
    check("a [b : c : 1] d", "1:a b  d|10:a  c  d");
    check("a[b:[c:d:2]:1]e", "1:abe|2:ace|10:ade");
    check("a [{b|d{:.5] c", "10:a [{b|d{:.5] c"); /* a bar and a colon: read as neither */
    base_steps = 4;
    check("[fe|||]male", "1:female|2:male|3:male|4:male");
    check("[a|[b:c:3]|d]", "1:a|2:b|3:d|4:a");
    check("[[a|b]:c:2]", "1:a|2:b|3:c|4:c"); /* one entry for each step once anything alternates */
    base_steps = 10;
}

static void fractions_have_a_dot_and_steps_have_none(void **state)
{
    (void)state;
    check("[a:b:0.99]", "9:a|10:b");
    check("[a:b:1.5]", "10:a");
    check("[a:b:1e0]", "1:a|10:b");
    check("[a:b:-3]", "10:b");
    check("[a:b: +2 ]", "2:a|10:b");
    check("[a:b:2e5]", "10:a");
    check("[a:b:0.05]", "10:b");
}

static void what_cannot_be_read_stays_and_hides_nothing(void **state)
{
    (void)state;
    check("a [unbalanced", "10:a [unbalanced");
    check("((a][:b:c [d:3]", "3:((a][:b:c |10:((a][:b:c d");
    check("[a:b:0.5])", "5:a)|10:b)");
    check("[x:[a:b:0.5]:c] t", "5:[x:a:c] t|10:[x:b:c] t");
    check("([a:b:0.5]", "5:(a|10:(b");
    check("[a:b:c:0.5]", "10:[a:b:c:0.5]");
    check("[a:(b:c:d):0.5]", "10:[a:(b:c:d):0.5]");
    check("[a:b:\xd9\xa3]", "10:[a:b:\xd9\xa3]"); /* an Arabic 3 */
    check("\\[a:b:0.5\\] [c\\]:3]", "3:\\[a:b:0.5\\] |10:\\[a:b:0.5\\] c\\]");
}

static void a_bar_or_backslash_out_of_place_leaves_all_as_it_is(void **state)
{
    static const char *const texts[] = {"a | [b:c:3]", "[a|b] (c|d)", "[a|b:c] [d:3]",
                                        "[d:3] \\",    "[d:3] \\\n",  "[d:3] [a|b"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct prompt_text t = {0};
        struct edit *d = NULL;
        struct buf want = {0};
        size_t at = 0;

        buf_printf(&want, "10:%s", texts[i]);
        check(texts[i], buf_text(&want));
        buf_done(&want);
        assert_read(prompt_text_init(&t, texts[i], f));
        assert_read(edit_parse(&t, 10, 0, &d, f));
        assert_true(edit_left_out(d, &at));
        assert_true(texts[i][at] == '|' || texts[i][at] == '\\');
        edit_free(d);
        prompt_text_done(&t);
    }
}

static void the_second_pass_goes_on_where_the_first_ended(void **state)
{
    (void)state;
    hires_steps = 10;
    check("a [b:.5] c", "10:a b c");
    check("a [b:1.5] c", "5:a  c|10:a b c");
    check("[a:b:13]", "3:a|10:b");
    check("[a:b:10]", "10:b");
    check("[a:b:30]", "10:a");
    hires_steps = 2;
    check("[a|b]", "1:a|2:b");
    hires_steps = 0;
}

static void texts_know_where_they_stood(void **state)
{
    struct prompt_text t = {0}, part;
    struct edit *d = NULL;

    (void)state;
    assert_read(prompt_text_init(&t, "\xc3\xa9 [to:when:3]!", f));
    assert_read(edit_parse(&t, 10, 0, &d, f));
    assert_read(edit_text(d, 1, &part, f));
    assert_string_equal(part.text, "\xc3\xa9 when!");
    assert_int_equal(prompt_text_origin(&part, 3), 7);
    assert_int_equal(prompt_text_origin(&part, 7), 14);
    assert_int_equal(prompt_text_origin(&part, 8), 15);
    assert_int_equal(prompt_column(t.text, 7), 7); /* e acute is one character of two bytes */
    prompt_text_done(&part);
    edit_free(d);
    prompt_text_done(&t);
}

static void a_step_beyond_all_numbers_is_refused_where_it_stands(void **state)
{
    struct prompt_fault fault = {0};
    struct prompt_text t = {0};
    struct edit *d = NULL;

    (void)state;
    assert_read(prompt_text_init(&t, "x [a:b:1e999]", f));
    assert_int_equal(edit_parse(&t, 10, 0, &d, &fault), ERR_INPUT);
    assert_int_equal(fault.at, 7);
    prompt_text_done(&t);
}

static void deep_and_broken_brackets_take_neither_stack_nor_time(void **state)
{
    static const char *const texts[] = {"[",      "(",      "[a|",       "[a:",     "([", "[]",
                                        "[a|b|c", "[a:0.5", "[a:b:0.5]", "[[a|b]:", "|",  "[|"};

    (void)state;
    base_steps = 3;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *text = repeat(texts[i], PROMPT_SIZE_MAX / strlen(texts[i]));

        free(edited(text));
        free(text);
    }
    for (size_t i = 0; i < 2; i++) { /* balanced, 16384 deep */
        char *open = repeat(i == 0 ? "[a:" : "[a|", 16383);
        char *close = repeat(i == 0 ? ":2]" : "]", i == 0 ? 5460 : 16383);
        struct buf all = {0};

        buf_puts(&all, i == 0 ? open + 3 * 10923 : open);
        buf_puts(&all, close);
        free(edited(buf_text(&all)));
        buf_done(&all);
        free(open);
        free(close);
    }
    base_steps = 10;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_by_step_equal_the_web_uis),
        cmocka_unit_test(edits_and_alternations_nest),
        cmocka_unit_test(fractions_have_a_dot_and_steps_have_none),
        cmocka_unit_test(what_cannot_be_read_stays_and_hides_nothing),
        cmocka_unit_test(a_bar_or_backslash_out_of_place_leaves_all_as_it_is),
        cmocka_unit_test(the_second_pass_goes_on_where_the_first_ended),
        cmocka_unit_test(texts_know_where_they_stood),
        cmocka_unit_test(a_step_beyond_all_numbers_is_refused_where_it_stands),
        cmocka_unit_test(deep_and_broken_brackets_take_neither_stack_nor_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
