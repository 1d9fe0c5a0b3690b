#include "tests/jobs/manifest_case.h"

#include "jobs/style.h"

#define BASE "litho: 1\nmodel: m\nprompt: a ${thing}\nstyles_file: list.csv\n"

static const char file[] = "\xef\xbb\xbfname,prompt,negative_prompt\r\n"
                           "photo,photo of {prompt},drawing\r\n"
                           "# --- light ---\r\n"
                           "dark, dark sky ,\r\n"
                           "twice,\"{prompt}, {prompt} again\",\"{prompt}\"\r\n"
                           "long,\"first line,\nsecond \"\"line\"\"\",\"a, b\"\r\n"
                           "empty\r\n"
                           "\"one, two\",names may hold commas\r\n"
                           "dark,dark night,\r\n"
                           "inch,3\" nails,\r\n";

/* What merge_prompts of AUTOMATIC1111's modules/styles.py gives for these. */
static void texts_are_merged_as_the_web_ui_does(void **state)
{
    static const char *const cases[][3] = {
        {"photo of {prompt}", "a cat", "photo of a cat"},
        {"{prompt}{prompt}", " a ", " a  a "},
        {"dark", "a cat", "a cat, dark"},
        {" dark\n", "\t a cat ", "a cat, dark"},
        {"", "  a cat ", "a cat"},
        {"dark", " ", "dark"},
        {"", "", ""},
        {"\xc2\xa0x\xe3\x80\x80", "\xe2\x80\x83y", "y, x"},
        {"{prompt", "a", "a, {prompt"},
        {"x", "{prompt}", "{prompt}, x"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct style style = {.texts = {cases[i][0], "n"}};
        const struct style_set set = {.items = &style, .n = 1};
        struct buf text = {0};

        style_apply(&set, false, cases[i][1], &text);
        assert_string_equal(buf_text(&text), cases[i][2]);
        assert_true(style_longest(&set, false, strlen(cases[i][1])) >= text.size);
        buf_done(&text);
    }
}

static void prompt_is(const struct outcome *out, uint64_t index, const char *prompt,
                      const char *negative)
{
    struct job *job = NULL;
    struct task t = {0};

    assert_int_equal(job_load(out->bundle.data, out->bundle.size, &job, NULL), 0);
    assert_int_equal(job_task(job, index, &t, NULL), 0);
    assert_string_equal(t.prompt, prompt);
    assert_string_equal(t.negative_prompt, negative);
    task_done(&t);
    job_free(job);
}

static void styles_follow_the_variables(void **state)
{
    struct outcome out;

    (void)state;
    write_file("list.csv", file);
    out = accepted(BASE "negative_prompt: blurry\nstyles: [photo, dark]\naxes: {thing: [cat, dog]}"
                        "\n",
                   "");
    part_is(&out, "fixed.styles", "\"photo, dark\"");
    part_is(&out, "styles",
            "{\"photo, dark\":[[\"photo of {prompt}\",\"drawing\"],[\"dark night\",\"\"]]}");
    prompt_is(&out, 1, "photo of a dog, dark night", "blurry, drawing");
    outcome_done(&out);
    out = accepted(BASE "styles: \"long\"\naxes: {thing: ['{prompt}']}\n", "");
    prompt_is(&out, 0, "a {prompt}, first line,\nsecond \"line\"", "a, b");
    outcome_done(&out);
    out = accepted(BASE "styles: twice, inch\naxes: {thing: [x]}\n", "");
    prompt_is(&out, 0, "a x, a x again, 3\" nails", "");
    outcome_done(&out);
}

static void an_axis_tries_styles(void **state)
{
    struct outcome out;

    (void)state;
    write_file("list.csv", file);
    out = accepted(BASE "defaults: {styles: inch}\n"
                        "axes: {thing: [x], styles: [None, photo, 'photo,dark', 'one, two']}\n"
                        "output: {path: '{styles}.png'}\n",
                   "");
    part_is(&out, "axes.1.rows", "[[\"None\"],[\"photo\"],[\"photo, dark\"],[\"one, two\"]]");
    part_is(&out, "fixed.styles", "");
    prompt_is(&out, 0, "a x", "");
    prompt_is(&out, 2, "photo of a x, dark night", "drawing");
    prompt_is(&out, 3, "a x, names may hold commas", "");
    outcome_done(&out);
}

static void manifests_without_styles_keep_their_bytes(void **state)
{
    struct outcome out;

    (void)state;
    write_file("list.csv", file);
    out = accepted(BASE "axes: {thing: [x]}\nstyles: None\n", "");
    part_is(&out, "styles", "");
    part_is(&out, "fixed.styles", "");
    outcome_done(&out);
}

static void mistakes_of_styles_are_told(void **state)
{
    (void)state;
    write_file("list.csv", file);
    refused(BASE "styles: [phto, dark]\naxes: {thing: [x], styles: [drak]}\n",
            "job.yaml:6:29: no style 'drak' in styles_file, did you mean 'dark'?\n");
    refused(BASE "styles: [phto, dark]\naxes: {thing: [x]}\n",
            "job.yaml:5:10: no style 'phto' in styles_file, did you mean 'photo'?\n");
    refused("litho: 1\nmodel: m\nprompt: a\nstyles: photo\n",
            "job.yaml:4:9: style 'photo': give styles_file, the path of a styles.csv\n");
    refused("litho: 1\nmodel: m\nprompt: a\nstyles: {photo: x}\n",
            "job.yaml:4:9: 'styles' is a list of names; the file they are in is styles_file\n");
    write_file("list.csv", "a,b\nx,y\n");
    refused(BASE "styles: x\naxes: {thing: [x]}\n",
            "job.yaml:4:14: 'list.csv' is no file of styles: its first row must be "
            "name,prompt,negative_prompt\n");
    write_file("list.csv", "name,prompt\nx,\"y\n");
    refused(BASE "styles: x\naxes: {thing: [x]}\n",
            "list.csv:2:3: the quote that starts here is never closed\n");
}

static void styles_cannot_make_prompts_too_long(void **state)
{
    struct buf text = {0};
    struct outcome out;

    (void)state;
    buf_puts(&text, "name,prompt\nx,\"");
    for (int i = 0; i < 5000; i++)
        buf_puts(&text, "{prompt}");
    buf_puts(&text, "\"\n");
    write_file("list.csv", buf_text(&text));
    out = read_text(BASE "styles: x\naxes: {thing: [x, yyyyy]}\n");
    assert_int_equal(out.rc, ERR_INPUT);
    assert_string_equal(out.d.items[0].text, "job.yaml:3:9: prompt: could become more than 32768 "
                                             "bytes long with styles 'x'");
    outcome_done(&out);
    out = accepted(BASE "styles: x\naxes: {thing: [yyyy]}\n", "");
    outcome_done(&out);
    buf_done(&text);
}

static void hostile_bundles_of_styles_are_refused(void **state)
{
    static const char *const bad[] = {"[]",
                                      "{}",
                                      "{\"a\":1}",
                                      "{\"a\":[[]]}",
                                      "{\"a\":[[\"x\"]]}",
                                      "{\"a\":[[\"x\",1]]}",
                                      "{\"a\":[[\"x\",\"y\",\"z\"]]}",
                                      "{\"a\":{\"0\":[\"x\",\"y\"]}}"};
    struct styles styles = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *value = json_loads(bad[i], 0, NULL);

        assert_int_equal(styles_read(value, &styles, NULL), ERR_INPUT);
        assert_int_equal(styles.n, 0);
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_merged_as_the_web_ui_does),
        cmocka_unit_test(styles_follow_the_variables),
        cmocka_unit_test(an_axis_tries_styles),
        cmocka_unit_test(manifests_without_styles_keep_their_bytes),
        cmocka_unit_test(mistakes_of_styles_are_told),
        cmocka_unit_test(styles_cannot_make_prompts_too_long),
        cmocka_unit_test(hostile_bundles_of_styles_are_refused),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
