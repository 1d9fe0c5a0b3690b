#include "tests/jobs/bundle.h"

#include <time.h>

static const char stickers[] =
    "[{'name':'thing','columns':['thing'],'rows':[['red apple'],['sailboat'],['pizza']]},"
    "{'name':'ground','columns':['ground'],'rows':[['red'],['sky blue']]},"
    "{'name':'cfg_scale','columns':['cfg_scale'],'range':{'first':4,'step':2,'count':3}},"
    "{'name':'steps','columns':['steps'],'rows':[[15],[20],[25]]},"
    "{'name':'seed','columns':['seed'],'range':{'first':1,'step':1,'count':100}}]";

static struct job *sticker_job(void)
{
    return bundle_job((struct spec){.axes = stickers,
                                    .combine = "[[0],[1],[2,3],[4]]",
                                    .exclude = "[{'thing':['pizza'],'ground':['red']}]",
                                    .fixed = "'prompt':'a ${thing} on a ${ground} background'",
                                    .path = "{job}/{thing}/{ground}-{cfg_scale}-{seed}.png",
                                    .sheet = "{'x':'ground','y':'thing'}"});
}

static void assert_prompt(const struct job *job, uint64_t index, const char *prompt)
{
    struct task t = {0};

    assert_int_equal(job_task(job, index, &t, NULL), 0);
    assert_string_equal(t.prompt, prompt);
    assert_int_equal(task_check(&t, NULL), 0);
    task_done(&t);
}

static void a_task_follows_from_its_index(void **state)
{
    struct job *job = sticker_job();
    uint64_t index = ((1 * 2 + 1) * 3 + 2) * 100 + 41; /* sailboat, sky blue, 8 with 25, 42 */
    struct buf path = {0}, value = {0};
    struct task t = {0};

    (void)state;
    assert_int_equal(job_span(job), 3 * 2 * 3 * 100);
    assert_int_equal(job_task(job, index, &t, NULL), 0);
    assert_string_equal(t.prompt, "a sailboat on a sky blue background");
    assert_true(t.cfg_scale == 8);
    assert_int_equal(t.steps, 25);
    assert_int_equal(t.seed, 42);
    assert_int_equal(t.width, 128);
    assert_string_equal(t.model, "sticker-128");
    assert_int_equal(task_check(&t, NULL), 0);
    assert_int_equal(job_path(job, index, &path, NULL), 0);
    assert_string_equal(buf_text(&path), "stickers/sailboat/sky blue-8-42.png");
    assert_int_equal(job_axis_count(job), 5);
    assert_string_equal(job_axis_name(job, 3), "steps");
    assert_int_equal(job_axis_length(job, 4), 100);
    assert_int_equal(job_axis_at(job, 3, index), 2);
    job_axis_value(job, 3, 2, &value);
    assert_string_equal(buf_text(&value), "25");
    task_done(&t);
    buf_done(&path);
    buf_done(&value);
    job_free(job);
}

static void indices_beyond_the_span_are_refused(void **state)
{
    struct job *job = sticker_job();
    struct buf path = {0};
    struct task t = {0};

    (void)state;
    assert_int_equal(job_task(job, job_span(job), &t, NULL), ERR_ARG);
    assert_int_equal(job_path(job, job_span(job), &path, NULL), ERR_ARG);
    job_free(job);
}

static void the_hash_is_of_the_bundles_bytes(void **state)
{
    struct job *job = sticker_job();
    char hex[HASH_HEX_SIZE];
    const char *bundle;
    size_t size;

    (void)state;
    bundle = job_bundle(job, &size);
    assert_int_equal(hash_bytes(bundle, size, hex, NULL), 0);
    assert_string_equal(job_hash(job), hex);
    assert_string_equal(job_name(job), "stickers");
    job_free(job);
}

static void only_canonical_json_is_a_bundle(void **state)
{
    json_t *root = bundle_value(&(struct spec){0});
    char *text = json_dumps(root, JSON_INDENT(1));
    struct job *job = NULL;
    struct err e;

    (void)state;
    assert_int_equal(job_load(text, strlen(text), &job, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "canonical"));
    assert_null(job);
    free(text);
    json_decref(root);
}

static void a_range_of_a_hundred_million_loads_at_once(void **state)
{
    clock_t start = clock();
    struct job *job = bundle_job((struct spec){
        .axes =
            "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':100000000}}]",
        .exclude = "[{'seed':[77,99999999]}]",
        .path = "{job}/{seed}.png"});

    (void)state;
    assert_int_equal(job_count(job), 99999998);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 0.5);
    job_free(job);
}

static void reals_of_a_range_print_as_people_write_them(void **state)
{
    static const char *const expected[] = {"-0.3", "-0.2", "-0.1", "0", "0.1", "0.2", "0.3"};
    struct job *job = bundle_job(
        (struct spec){.axes = "[{'name':'a','columns':['a'],'range':{'first':-0.3,'step':0.1,"
                              "'count':7}},{'name':'b','columns':['cfg_scale'],'range':{'first':0,"
                              "'step':0.3333333333333333,'count':4}}]"});
    struct buf text = {0};

    (void)state;
    for (uint64_t i = 0; i < 7; i++) {
        job_axis_value(job, 0, i, &text);
        assert_string_equal(buf_text(&text), expected[i]);
        buf_done(&text);
    }
    job_axis_value(job, 1, 1, &text);
    assert_string_equal(buf_text(&text), "0.333333333333");
    buf_done(&text);
    job_axis_value(job, 1, 3, &text);
    assert_string_equal(buf_text(&text), "1");
    buf_done(&text);
    job_free(job);
}

static void falling_ranges_and_large_numbers_are_exact(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'a','columns':['a'],'range':{'first':3,'step':-2,'count':4}},"
                "{'name':'seed','columns':['seed'],'range':{'first':9007199254740990,'step':1,"
                "'count':2}}]"});
    struct buf text = {0};
    struct task t = {0};

    (void)state;
    job_axis_value(job, 0, 3, &text);
    assert_string_equal(buf_text(&text), "-3");
    assert_int_equal(job_task(job, 1, &t, NULL), 0);
    assert_true(t.seed == TASK_SEED_MAX);
    task_done(&t);
    buf_done(&text);
    job_free(job);
}

static void wrong_ranges_are_refused(void **state)
{
    static const struct {
        const char *column, *range, *message;
    } cases[] = {
        {"n", "{'first':1,'step':0,'count':2}", "step of its range is 0"},
        {"n", "{'first':1,'step':1,'count':0}", "count of at least 1"},
        {"n", "{'first':1,'step':1}", "count of at least 1"},
        {"n", "{'first':1,'step':1,'count':1.5}", "count of at least 1"},
        {"n", "{'first':1,'step':1e-13,'count':2}", "more digits"},
        {"n", "{'first':1e300,'step':1e299,'count':9}", "more digits"},
        {"n", "{'first':1e308,'step':1e308,'count':9}", "more digits"},
        {"n", "{'first':9007199254740992,'step':1,'count':2}", "2^53"},
        {"seed", "{'first':0,'step':0.5,'count':3}", "whole numbers"},
        {"steps", "{'first':999,'step':1,'count':3}", "from 1 to 1000"},
        {"steps", "{'first':3,'step':-1,'count':4}", "from 1 to 1000"},
        {"width", "{'first':64,'step':4,'count':3}", "multiples of 8"},
        {"model", "{'first':1,'step':1,'count':3}", "no ranges"},
        {"cfg_scale", "{'first':998,'step':1.5,'count':3}", "0 to 1000"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf axes = {0};

        buf_printf(&axes, "[{'name':'a','columns':['%s'],'range':%s}]", cases[i].column,
                   cases[i].range);
        bundle_refused((struct spec){.axes = buf_text(&axes)}, cases[i].message);
        buf_done(&axes);
    }
}

static void prompts_take_variables_and_parameters(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'thing','columns':['thing'],'rows':[['a ${b} c']]},"
                "{'name':'steps','columns':['steps'],'rows':[[7]]}]",
        .fixed = "'prompt':'${thing}, $5, $$, $${x}, $$${thing}, ${steps} of ${cfg_scale} at "
                 "${size}','negative_prompt':'no ${thing}$'"});
    struct task t = {0};

    (void)state;
    assert_int_equal(job_task(job, 0, &t, NULL), 0);
    assert_string_equal(t.prompt, "a ${b} c, $5, $$, ${x}, $${thing}, 7 of 5 at 128x128");
    assert_string_equal(t.negative_prompt, "no a ${b} c$");
    task_done(&t);
    job_free(job);
}

static void a_prompt_can_be_an_axis(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'prompt','columns':['prompt'],'rows':[['one ${n}'],['plain']]},"
                "{'name':'n','columns':['n'],'rows':[['x'],['y']]}]"});

    (void)state;
    assert_prompt(job, 0, "one x");
    assert_prompt(job, 1, "one y");
    assert_prompt(job, 3, "plain");
    job_free(job);
    bundle_refused((struct spec){.axes = "[{'name':'prompt','columns':['prompt'],'rows':[['fine'],"
                                         "['bad ${m}']]}]"},
                   "'${m}'");
}

static void wrong_prompts_are_refused(void **state)
{
    struct buf axes = {0};

    (void)state;
    bundle_refused((struct spec){.fixed = "'prompt':'a ${thing}'"}, "'${thing}' is neither");
    bundle_refused((struct spec){.fixed = "'prompt':'a ${thing'"}, "no closing '}'");
    bundle_refused((struct spec){.fixed = "'prompt':'a ${negative_prompt}'"}, "inside a prompt");
    bundle_refused((struct spec){.fixed = "'negative_prompt':'${index}'"}, "negative_prompt");
    buf_puts(&axes, "[{'name':'v','columns':['v'],'rows':[['");
    for (int i = 0; i < 20000; i++)
        buf_putc(&axes, 'x');
    buf_puts(&axes, "']]}]");
    bundle_refused((struct spec){.axes = buf_text(&axes), .fixed = "'prompt':'${v}${v}'"},
                   "more than 32768 bytes");
    buf_done(&axes);
}

static void sizes_set_width_and_height_together(void **state)
{
    struct job *job = bundle_job(
        (struct spec){.axes = "[{'name':'size','columns':['size'],'rows':[['64x96'],['128x128']]}]",
                      .path = "{size}.png"});
    struct buf path = {0};
    struct task t = {0};

    (void)state;
    assert_int_equal(job_task(job, 0, &t, NULL), 0);
    assert_int_equal(t.width, 64);
    assert_int_equal(t.height, 96);
    assert_int_equal(job_path(job, 0, &path, NULL), 0);
    assert_string_equal(buf_text(&path), "64x96.png");
    task_done(&t);
    buf_done(&path);
    job_free(job);
    bundle_refused((struct spec){.axes = "[{'name':'a','columns':['size'],'rows':[['64x64']]},"
                                         "{'name':'b','columns':['width'],'rows':[[64]]}]"},
                   "both size and width");
    bundle_refused((struct spec){.axes = "[{'name':'a','columns':['size'],'rows':[['64x64']]}]",
                                 .fixed = "'width':64"},
                   "sets 'width' already");
}

static void values_of_parameters_are_checked_at_load(void **state)
{
    (void)state;
    bundle_refused((struct spec){.axes = "[{'name':'s','columns':['sampler'],'rows':[['euler'],"
                                         "['eulr']]}]"},
                   "sampler 'eulr' must be one of");
    bundle_refused((struct spec){.axes = "[{'name':'s','columns':['steps'],'rows':[[20],[0]]}]"},
                   "axis 's': steps '0'");
    bundle_refused((struct spec){.fixed = "'steps':2000"}, "steps '2000'");
    bundle_refused((struct spec){.fixed = "'steps':'20'"}, "'steps' must be a number");
    bundle_refused((struct spec){.fixed = "'clip_skap':2"}, "unknown key 'clip_skap'");
    bundle_refused((struct spec){.fixed = "'clip_skip':13"}, "clip_skip '13'");
    bundle_refused((struct spec){.fixed = "'inpaint_full_res':'yes'"}, "must be true or false");
    bundle_refused((struct spec){.axes = "[{'name':'h','columns':['hr_scale'],'range':{'first':0,"
                                         "'step':0.5,'count':9}}]"},
                   "axis 'h': hr_scale '0.5'");
    bundle_refused((struct spec){.axes = "[{'name':'m','columns':['model'],'rows':[['../x']]}]"},
                   "model '../x'");
}

static void ddim_with_karras_must_be_excluded(void **state)
{
    static const char axes[] =
        "[{'name':'a','columns':['sampler'],'rows':[['ddim'],['euler']]},"
        "{'name':'b','columns':['scheduler'],'rows':[['karras'],['uniform']]}]";
    struct job *job;

    (void)state;
    bundle_refused((struct spec){.axes = axes}, "exclude: [{sampler: ddim, scheduler: karras}]");
    bundle_refused((struct spec){.axes = axes, .exclude = "[{'sampler':['euler']}]"},
                   "leave the pair out");
    bundle_refused((struct spec){.fixed = "'sampler':'ddim'"}, "choose scheduler: automatic");
    bundle_refused((struct spec){.axes = "[{'name':'a','columns':['sampler'],'rows':[['euler'],"
                                         "['ddim']]}]"},
                   "exclude: [{sampler: ddim}]");
    job = bundle_job(
        (struct spec){.axes = axes, .exclude = "[{'sampler':['ddim'],'scheduler':['karras']}]"});
    assert_int_equal(job_count(job), 3);
    job_free(job);
    job = bundle_job((struct spec){.axes = axes,
                                   .combine = "[[0,1]]",
                                   .exclude = "[{'sampler':"
                                              "['ddim']}]"});
    assert_int_equal(job_count(job), 1);
    job_free(job);
}

static void wrong_axes_are_refused(void **state)
{
    static const struct {
        const char *axes, *combine, *message;
    } cases[] = {
        {"[{'name':'a','columns':['a'],'rows':[]}]", NULL, "'a' is empty"},
        {"[{'name':'a','columns':[],'rows':[['x']]}]", NULL, "columns"},
        {"[{'name':'a','columns':['a'],'rows':[['x','y']]}]", NULL, "each row holds 1"},
        {"[{'name':'a','columns':['a'],'rows':[[null]]}]", NULL, "text or a number"},
        {"[{'name':'a','columns':['a']}]", NULL, "either rows or a range"},
        {"[{'name':'a','columns':['index'],'rows':[['x']]}]", NULL, "column name 'index'"},
        {"[{'name':'a','columns':['a}'],'rows':[['x']]}]", NULL, "column name"},
        {"[{'name':'','columns':['a'],'rows':[['x']]}]", NULL, "axis name"},
        {"[{'name':'a','columns':['v'],'rows':[['x']]},{'name':'b','columns':['v'],'rows':[['x']]}"
         "]",
         NULL, "two columns are named 'v'"},
        {"[{'name':'a','columns':['v'],'rows':[['x']]},{'name':'a','columns':['w'],'rows':[['x']]}"
         "]",
         NULL, "two axes are named 'a'"},
        {"[{'name':'a','columns':['a'],'rows':[['x']]},{'name':'b','columns':['b'],'rows':[['x'],"
         "['y']]}]",
         "[[0,1]]", "'a' has 1, 'b' has 2"},
        {"[{'name':'a','columns':['a'],'rows':[['x']]}]", "[]", "leaves out axis 'a'"},
        {"[{'name':'a','columns':['a'],'rows':[['x']]}]", "[[0,0]]", "once"},
        {"[{'name':'a','columns':['a'],'rows':[['x']]}]", "[[1]]", "once"},
        {"[{'name':'a','columns':['a'],'rows':[['x']]}]", "[[-1]]", "once"},
        {"[{'name':'a','columns':['a'],'rows':[['x']]}]", "[[]]", "list of lists"},
        {"[{'name':'a','columns':['a'],'range':{'first':0,'step':1,'count':4000000000}},"
         "{'name':'b','columns':['b'],'range':{'first':0,'step':1,'count':4000000000}}]",
         NULL, "more than 2^53"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bundle_refused((struct spec){.axes = cases[i].axes, .combine = cases[i].combine},
                       cases[i].message);
}

static void wrong_job_names_are_refused(void **state)
{
    static const char *const bad[] = {"", ".x", "a/b", "a b", "-a", "a.", "caf\xc3\xa9"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        bundle_refused((struct spec){.job = bad[i]}, "must be a name");
    job_free(bundle_job((struct spec){.job = "summer-sale_2.1"}));
}

static void the_sheet_spans_two_axes(void **state)
{
    struct job *job = sticker_job();
    struct job_sheet sheet = {0};

    (void)state;
    assert_true(job_sheet(job, &sheet));
    assert_int_equal(sheet.x_axis, 1);
    assert_int_equal(sheet.y_axis, 0);
    assert_int_equal(sheet.columns, 2);
    assert_int_equal(sheet.rows, 3);
    assert_int_equal(job_sheet_index(job, &sheet, 1, 1), 900);
    assert_int_equal(job_sheet_index(job, &sheet, 0, 2), job_span(job)); /* pizza on red */
    job_free(job);
}

static void a_sheet_is_cut_to_four_hundred_cells(void **state)
{
    static const struct {
        int x, y;
        uint32_t columns, rows;
    } cases[] = {{20, 20, 20, 20},  {21, 20, 20, 20}, {1000, 1000, 20, 20}, {5, 1000, 5, 80},
                 {1000, 3, 133, 3}, {400, 1, 400, 1}, {10, 10, 10, 10}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job_sheet sheet = {0};
        struct buf axes = {0};
        struct job *job;

        buf_printf(&axes,
                   "[{'name':'a','columns':['a'],'range':{'first':0,'step':1,'count':%d}},"
                   "{'name':'b','columns':['b'],'range':{'first':0,'step':1,'count':%d}}]",
                   cases[i].x, cases[i].y);
        job = bundle_job((struct spec){.axes = buf_text(&axes), .sheet = "{'x':'a','y':'b'}"});
        assert_true(job_sheet(job, &sheet));
        assert_int_equal(sheet.columns, cases[i].columns);
        assert_int_equal(sheet.rows, cases[i].rows);
        job_free(job);
        buf_done(&axes);
    }
}

static void wrong_sheets_are_refused(void **state)
{
    struct job_sheet sheet;
    struct job *job = bundle_job((struct spec){0});

    (void)state;
    assert_false(job_sheet(job, &sheet));
    job_free(job);
    bundle_refused((struct spec){.axes = stickers, .sheet = "{'x':'grnd'}"}, "'grnd'");
    bundle_refused((struct spec){.axes = stickers,
                                 .combine = "[[0],[1],[2,3],[4]]",
                                 .sheet = "{'x':'steps','y':'cfg_scale'}"},
                   "not zipped");
    bundle_refused((struct spec){.axes = stickers, .sheet = "{'x':'steps','y':'steps'}"},
                   "not zipped");
    bundle_refused((struct spec){.axes = stickers, .sheet = "{'z':'steps'}"}, "unknown key 'z'");
}

static void models_are_listed_once(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'m','columns':['model','n'],'rows':[['b','1'],['a','2'],['b','3']]}]"});
    const char *models[1];

    (void)state;
    assert_int_equal(job_models(job, models, 1), 2);
    assert_string_equal(models[0], "a");
    job_free(job);
    job = bundle_job((struct spec){0});
    assert_int_equal(job_models(job, models, 1), 1);
    assert_string_equal(models[0], "sticker-128");
    job_free(job);
}

static void hostile_bytes_are_refused(void **state)
{
    static const char *const texts[] = {
        "", "{", "[]", "{}", "1", "null", "\"\\u0000\"", "{\"litho\":1}", "{\"litho\":2}"};
    struct job *job = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(job_load(texts[i], strlen(texts[i]), &job, NULL), ERR_INPUT);
    assert_null(job);
}

/* Every truncation and every single changed byte of a good bundle is refused or loads whole. */
static void damaged_bundles_never_crash(void **state)
{
    struct job *job = sticker_job(), *damaged = NULL;
    const char *bundle;
    char *copy;
    size_t size;

    (void)state;
    bundle = job_bundle(job, &size);
    copy = malloc(size);
    for (size_t i = 0; i < size; i++) {
        memcpy(copy, bundle, size);
        assert_int_equal(job_load(copy, i, &damaged, NULL), ERR_INPUT);
        copy[i] = copy[i] == '1' ? '9' : '1';
        if (job_load(copy, size, &damaged, NULL) == 0) {
            struct task t;

            assert_int_equal(job_task(damaged, job_next(damaged, 0), &t, NULL), 0);
            assert_int_equal(task_check(&t, NULL), 0);
            task_done(&t);
            job_free(damaged);
            damaged = NULL;
        }
    }
    free(copy);
    job_free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_follows_from_its_index),
        cmocka_unit_test(indices_beyond_the_span_are_refused),
        cmocka_unit_test(the_hash_is_of_the_bundles_bytes),
        cmocka_unit_test(only_canonical_json_is_a_bundle),
        cmocka_unit_test(a_range_of_a_hundred_million_loads_at_once),
        cmocka_unit_test(reals_of_a_range_print_as_people_write_them),
        cmocka_unit_test(falling_ranges_and_large_numbers_are_exact),
        cmocka_unit_test(wrong_ranges_are_refused),
        cmocka_unit_test(prompts_take_variables_and_parameters),
        cmocka_unit_test(a_prompt_can_be_an_axis),
        cmocka_unit_test(wrong_prompts_are_refused),
        cmocka_unit_test(sizes_set_width_and_height_together),
        cmocka_unit_test(values_of_parameters_are_checked_at_load),
        cmocka_unit_test(ddim_with_karras_must_be_excluded),
        cmocka_unit_test(wrong_axes_are_refused),
        cmocka_unit_test(wrong_job_names_are_refused),
        cmocka_unit_test(the_sheet_spans_two_axes),
        cmocka_unit_test(a_sheet_is_cut_to_four_hundred_cells),
        cmocka_unit_test(wrong_sheets_are_refused),
        cmocka_unit_test(models_are_listed_once),
        cmocka_unit_test(hostile_bytes_are_refused),
        cmocka_unit_test(damaged_bundles_never_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
