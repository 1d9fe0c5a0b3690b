/* Networks in angle brackets and parts joined by AND, as AUTOMATIC1111 reads them. */
#include "tests/engine/prompt/prompt_case.h"

/* "text*weight|text*weight name:te:unet" */
static void check(const char *prompt, const char *want)
{
    struct buf got = {0};
    struct split s;

    assert_read(split_parse(prompt, &s, f));
    for (size_t i = 0; i < s.n_parts; i++)
        buf_printf(&got, "%s%s*%.17g", i > 0 ? "|" : "", s.parts[i].text.text, s.parts[i].weight);
    for (size_t i = 0; i < s.n_loras; i++)
        buf_printf(&got, " %s:%g:%g", s.loras[i].name, s.loras[i].te, s.loras[i].unet);
    assert_string_equal(buf_text(&got), want);
    buf_done(&got);
    split_done(&s);
}

static void refuse(const char *prompt, size_t at, const char *text)
{
    struct prompt_fault fault = {0};
    struct split s;

    assert_int_equal(split_parse(prompt, &s, &fault), ERR_INPUT);
    assert_string_equal(fault.text, text);
    assert_int_equal(fault.at, at);
}

static void parts_and_weights_equal_the_web_uis(void **state)
{
    json_t *root = recorded_prompts(), *one;
    size_t i;

    (void)state;
    json_array_foreach(root, i, one)
    {
        const json_t *want = json_object_get(one, "multicond");
        struct split s;

        if (strchr(json_text(one, "prompt"), '<') != NULL)
            continue; /* recorded before networks are taken out */
        assert_read(split_parse(json_text(one, "prompt"), &s, f));
        assert_int_equal(s.n_parts, json_array_size(want));
        for (size_t k = 0; k < s.n_parts; k++) {
            const json_t *pair = json_array_get(want, k);

            assert_string_equal(s.parts[k].text.text, json_text_at(pair, 0));
            assert_true(s.parts[k].weight == json_real_at(pair, 1));
        }
        split_done(&s);
    }
    json_decref(root);
}

static void and_is_a_word_and_a_weight_stands_at_the_end(void **state)
{
    (void)state;
    check("a AND b", "a*1| b*1");
    check("a ANDb _AND AND_ \xe6\x9d\xb1"
          "AND",
          "a ANDb _AND AND_ \xe6\x9d\xb1"
          "AND*1");
    check("a-AND-b", "a-*1|-b*1");
    check("a : 2. \n", "a*2");
    check("a:1:.5", "a:1*0.5");
    check("a:1e1 AND b:+-1 AND c:. AND d:-.5", "a:1e1*1| b:+-1*1| c:.*1| d*-0.5");
    check("(a:1.2)", "(a:1.2)*1");
    check("a:\xd9\xa1.\xd9\xa5", "a*1.5");
    check("", "*1");
}

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void networks_leave_the_text(void **state)
{
    (void)state;
    check("a<lora:fur:0.5>b", "ab*1 fur:0.5:0.5");
    check("<lora:fur>", "*1 fur:1:1");
    check("<lyco:fur: 2 :0.25>", "*1 fur:2:0.25");
    check("<lora:fur:te=0.5>", "*1 fur:0.5:0.5");
    check("<lora:fur:unet=0.5>", "*1 fur:1:0.5");
    check("<lora:te=0.25:fur:2:3:unet=-1>", "*1 fur:0.25:-1");
    check("<lora:fur:te=0.5:2>", "*1 fur:0.5:0.5");
    check("<lora:a=b=c:2><lora:a=b=c:1e-1>", "*1 a=b=c:2:2 a=b=c:0.1:0.1");
    check("<some:thing:1> <lora:> <lora> < lora:x:1> <lo ra:x>", " <lora:> <lora> < lora:x:1> "
                                                                 "<lo ra:x>*1");
    check("<lora:a<b:2>", "*1 a<b:2:2");
    check("<lora:sha256:" HEX ":2:0.5>", "*1 sha256:" HEX ":2:0.5"); /* one name */
    check("<lora:sha256:" HEX ">", "*1 sha256:" HEX ":1:1");
    check("<lora:sha256:2>", "*1 sha256:2:2");
}

static void what_a_lora_cannot_be_is_refused_where_it_stands(void **state)
{
    (void)state;
    refuse("a <lora:fur:much>", 12, "the LoRA's weight 'much' is no number");
    refuse("a <lora:fur:>", 12, "the LoRA's weight '' is no number");
    refuse("\xc3\xa9<lora:fur:te=1:unet=inf>", 22, "the LoRA's weight 'inf' is no number");
    refuse("<lora:fur:1e999>", 10, "the LoRA's weight '1e999' is no number");
    refuse("x <lora::1>", 2, "a LoRA without a name");
    refuse("x <lora:te=1>", 2, "a LoRA without a name");
    refuse("<lora:a:1:1:4>", 12, "a LoRA of another rank cannot be applied");
    refuse("<lora:a:dyn=4>", 8, "a LoRA of another rank (dyn=) cannot be applied");
    refuse("a <hypernet:x:1>", 2, "hypernetworks cannot be applied");
}

static void what_is_left_out_is_listed(void **state)
{
    struct split s;

    (void)state;
    assert_read(split_parse("a <some:thing> <lora:x:1:1:lbw=ALL>", &s, f));
    assert_int_equal(s.n_ignored, 2);
    assert_string_equal(s.ignored[0].what, "<some:thing>");
    assert_int_equal(s.ignored[0].at, 2);
    assert_string_equal(s.ignored[1].what, "lbw=ALL");
    assert_int_equal(s.ignored[1].at, 27);
    split_done(&s);
}

static void a_negative_prompt_has_neither(void **state)
{
    struct split s;

    (void)state;
    assert_read(split_negative("a AND <lora:x:much> b:2 ", &s, f));
    assert_int_equal(s.n_parts, 1);
    assert_string_equal(s.parts[0].text.text, "a AND <lora:x:much> b:2 ");
    assert_true(s.parts[0].weight == 1);
    assert_int_equal(s.n_loras, 0);
    split_done(&s);
}

static void endless_openings_take_no_time(void **state)
{
    static const char *const texts[] = {"<", "<a:", "<lora:a", "AND", "<a", " AND", ":1", "a "};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *text = repeat(texts[i], PROMPT_SIZE_MAX / strlen(texts[i]));
        struct prompt_fault fault = {0};
        struct split s = {0};
        int rc = split_parse(text, &s, &fault);

        assert_true(rc == 0 || rc == ERR_INPUT);
        split_done(&s);
        text[strlen(text) - 1] = '>';
        rc = split_parse(text, &s, &fault);
        assert_true(rc == 0 || rc == ERR_INPUT);
        split_done(&s);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_and_weights_equal_the_web_uis),
        cmocka_unit_test(and_is_a_word_and_a_weight_stands_at_the_end),
        cmocka_unit_test(networks_leave_the_text),
        cmocka_unit_test(what_a_lora_cannot_be_is_refused_where_it_stands),
        cmocka_unit_test(what_is_left_out_is_listed),
        cmocka_unit_test(a_negative_prompt_has_neither),
        cmocka_unit_test(endless_openings_take_no_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
