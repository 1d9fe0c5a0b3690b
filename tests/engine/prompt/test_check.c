/* What manifests are told about a prompt before anything is rendered. */
#include "tests/engine/prompt/prompt_case.h"

/* "12! text" for what cannot be rendered, "12 text" for what does nothing, then LoRAs' names. */
static void check(const char *prompt, struct prompt_rules rules, const char *want)
{
    struct prompt_report r;
    struct buf got = {0};

    assert_int_equal(prompt_check(prompt, &rules, &r, NULL), 0);
    for (size_t i = 0; i < r.n_notes; i++)
        buf_printf(&got, "%d%s %s|", r.notes[i].column, r.notes[i].fatal ? "!" : "",
                   r.notes[i].text);
    for (size_t i = 0; i < r.n_loras; i++)
        buf_printf(&got, "%s,", r.loras[i].name);
    assert_string_equal(buf_text(&got), want);
    buf_done(&got);
    prompt_report_done(&r);
}

static void a_good_prompt_has_no_notes_but_its_loras(void **state)
{
    (void)state;
    check("a [b|c] (d:1.2) AND e <lora:fur:1> <lora:ink> <lora:fur:1>", (struct prompt_rules){0},
          "fur,ink,");
    check("", (struct prompt_rules){0}, "");
}

static void mistakes_have_columns_in_characters(void **state)
{
    (void)state;
    check("\xc3\xa9 (a:1.2.3)", (struct prompt_rules){0}, "6! the weight '1.2.3' is no number|");
    check("a <lora:b:c>", (struct prompt_rules){0}, "11! the LoRA's weight 'c' is no number|");
    check("<lora:x> a AND [b:c:1e999]", (struct prompt_rules){0},
          "21! the step of this edit is too large to be a number|x,");
    check("\xff", (struct prompt_rules){0}, "1! this is no UTF-8|");
}

static void what_does_nothing_is_said(void **state)
{
    (void)state;
    check("a <foo:bar> b", (struct prompt_rules){0},
          "3 '<foo:bar>' means nothing here and is left out|");
    check("[a:b:3], c | d", (struct prompt_rules){0},
          "12 because of this character nothing in this text is edited or alternates|");
    check("c | d", (struct prompt_rules){0}, ""); /* nothing was meant to be edited */
    check("a wallpaper in 16:9", (struct prompt_rules){0},
          "18 what follows is no text, but the weight of the whole prompt|");
    check("a :2 AND b :3", (struct prompt_rules){0}, "");
}

static void rules_of_negative_prompts_and_literal_brackets_are_followed(void **state)
{
    (void)state;
    check("a <lora:b:c>", (struct prompt_rules){.negative = true}, "");
    check("(a:1.2.3)", (struct prompt_rules){.negative = true},
          "4! the weight '1.2.3' is no number|");
    check("(a:1.2.3)", (struct prompt_rules){.emphasis = EMPHASIS_NONE}, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_prompt_has_no_notes_but_its_loras),
        cmocka_unit_test(mistakes_have_columns_in_characters),
        cmocka_unit_test(what_does_nothing_is_said),
        cmocka_unit_test(rules_of_negative_prompts_and_literal_brackets_are_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
