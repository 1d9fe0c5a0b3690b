#include "tests/jobs/manifest_case.h"

#include <time.h>

static void a_wrong_prompt_is_told_at_the_character(void **state)
{
    (void)state;
    refused("litho: 1\nmodel: m\nprompt: caf\xc3\xa9 <lora:fur:x>\n",
            "job.yaml:3:24: prompt: the LoRA's weight 'x' is no number\n");
    refused("litho: 1\nmodel: m\nprompt: \"\\u00e9 <lora:fur:x>\"\n",
            "job.yaml:3:9: prompt: the LoRA's weight 'x' is no number (column 13 of "
            "'\xc3\xa9 <lora:fur:x>')\n");
}

static void what_does_nothing_is_a_warning(void **state)
{
    struct outcome out = read_text("litho: 1\nmodel: m\nprompt: a [b|c] | d\n");

    (void)state;
    assert_int_equal(out.rc, 0);
    assert_int_equal(out.d.n, 1);
    assert_true(out.d.items[0].warning);
    assert_memory_equal(out.d.items[0].text, "job.yaml:3:17: warning: prompt: ", 32);
    outcome_done(&out);
}

static void every_value_of_a_variable_is_tried(void **state)
{
    (void)state;
    refused(HEAD "axes: {thing: [cat, <lora:ink:y>, dog, <lora:fur:x>], seed: 1-3}\n",
            "job.yaml:3:9: prompt: the LoRA's weight 'y' is no number (column 13 of "
            "'a <lora:ink:y>')\n"
            "job.yaml:3:9: prompt: the LoRA's weight 'x' is no number (column 13 of "
            "'a <lora:fur:x>')\n");
    refused("litho: 1\nmodel: m\naxes: {prompt: [cat, <lora::1>]}\n",
            "job.yaml:3:8: prompt: a LoRA without a name (column 1 of '<lora::1>')\n");
}

static void what_is_excluded_may_be_wrong(void **state)
{
    struct outcome out = accepted(HEAD "axes: {thing: [cat, <lora:ink:y>]}\n"
                                       "exclude: [{thing: '<lora:ink:y>'}]\n",
                                  "");

    (void)state;
    outcome_done(&out);
}

static void many_prompts_cost_no_time(void **state)
{
    clock_t start = clock();
    struct outcome out = accepted(HEAD "axes: {thing: 1-100000000, seed: 1-1000}\n", "");

    (void)state;
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 0.5);
    outcome_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_prompt_is_told_at_the_character),
        cmocka_unit_test(what_does_nothing_is_a_warning),
        cmocka_unit_test(every_value_of_a_variable_is_tried),
        cmocka_unit_test(what_is_excluded_may_be_wrong),
        cmocka_unit_test(many_prompts_cost_no_time),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
