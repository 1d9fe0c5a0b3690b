#include "tests/jobs/manifest_case.h"

#define X(id, name, label) " " name
#define SAMPLERS           SAMPLER_TABLE(X)
#define SCHEDULERS         SCHEDULER_TABLE(X)

static void all_mistakes_are_told_in_one_go(void **state)
{
    (void)state;
    refused("litho: 1\n"
            "model: m\n"
            "defaults: {smapler: ddim, sampler: DPM++ 2M Fast, cfg: 5, steps: 0}\n"
            "prompt: a ${thng} and ${\n"
            "axes:\n"
            "  thing: [red apple, pizza]\n"
            "  scheduler: [karas]\n"
            "  width: 64-512 (+10)\n"
            "  seed: 5-1\n"
            "exclude: [{thing: pizza, sched: x}]\n"
            "output: {path: '../{thng}.jpg', shet: no}\n",
            "job.yaml:3:12: unknown key 'smapler' in 'defaults', did you mean 'sampler'?\n"
            "job.yaml:3:36: sampler 'DPM++ 2M Fast' must be one of:" SAMPLERS ", "
            "did you mean 'dpmpp_2m'?\n"
            "job.yaml:3:51: unknown key 'cfg' in 'defaults', did you mean 'cfg_scale'?\n"
            "job.yaml:3:66: steps '0' must be a whole number from 1 to 1000\n"
            "job.yaml:4:11: no axis gives '${thng}' a value, did you mean 'thing'?\n"
            "job.yaml:4:23: '${' is never closed; a plain '${' is written '$${'\n"
            "job.yaml:7:15: scheduler 'karas' must be one of:" SCHEDULERS ", did you "
            "mean 'karras'?\n"
            "job.yaml:8:10: width takes multiples of 8: give the range a step of 8 or a multiple\n"
            "job.yaml:9:9: seed: the range is empty; count down with a negative step, as in 5-1 "
            "(-1)\n"
            "job.yaml:10:26: exclude: no axis 'sched'\n"
            "job.yaml:11:16: output.path must end in '.png'\n"
            "job.yaml:11:17: output.path cannot leave the output folder: '..' is not allowed\n"
            "job.yaml:11:20: output.path: '{thng}' is neither index, job, an axis nor a parameter, "
            "did you mean 'thing'?\n"
            "job.yaml:11:33: unknown key 'shet' in 'output', did you mean 'sheet'?\n");
}

static void keys_of_other_programs_are_told_what_they_are_here(void **state)
{
    (void)state;
    refused("litho: 1\nmodel: m\nprompt: a\nckpt: x\nnoise_seed: 5\nbatch_size: 4\nlora: x\n",
            "job.yaml:4:1: unknown key 'ckpt', did you mean 'model'?\n"
            "job.yaml:5:1: unknown key 'noise_seed', did you mean 'seed'?\n"
            "job.yaml:6:1: unknown key 'batch_size'; several pictures of one prompt are an axis, "
            "as in axes: {seed: 1-4}\n"
            "job.yaml:7:1: unknown key 'lora'; a prompt names its LoRAs, as in "
            "<lora:NAME:0.8>\n");
    refused("litho: 1\nmodel: m\nprompt: a\nCFG: 4\nModel_ID: x\nHires_Fix: true\nfps: 12\n",
            "job.yaml:4:1: unknown key 'CFG', did you mean 'cfg_scale'?\n"
            "job.yaml:5:1: unknown key 'Model_ID', did you mean 'model'?\n"
            "job.yaml:6:1: unknown key 'Hires_Fix'; hr_scale alone asks for the second pass\n"
            "job.yaml:7:1: unknown key 'fps'; frames are PNG files; ffmpeg makes a film of them "
            "(jobs/examples/film.yaml)\n");
}

static void a_sampler_of_others_is_refused_and_no_neighbour_offered(void **state)
{
    (void)state;
    refused("litho: 1\nmodel: m\nprompt: a\nsampler: ipndm\n",
            "job.yaml:4:10: sampler 'ipndm' must be one of:" SAMPLERS
            "; 'ipndm' is an algorithm of its own, which Lithograph does not have\n");
    refused("litho: 1\nmodel: m\nprompt: a\nscheduler: ddim_uniform\n",
            "job.yaml:4:12: scheduler 'ddim_uniform' must be one of: automatic uniform karras "
            "exponential polyexponential sgm_uniform simple normal kl_optimal beta "
            "align_your_steps; 'ddim_uniform' is a schedule of its own, which Lithograph does not "
            "have\n");
}

static void what_must_be_there_is_missed(void **state)
{
    (void)state;
    refused("job: x\n", "job.yaml:1:1: 'litho: 1' is missing: the version of the language\n"
                        "job.yaml:1:1: 'model' is missing\n"
                        "job.yaml:1:1: 'prompt' is missing\n");
    refused("", "job.yaml:1:1: the manifest is empty\n");
    refused("- a\n", "job.yaml:1:1: a manifest is a mapping: 'key: value' lines\n");
    refused("litho: 2\nmodel: m\nprompt: a\n",
            "job.yaml:1:8: 'litho' must be 1, the version of the language that this program "
            "reads\n");
}

static void broken_yaml_names_the_place(void **state)
{
    (void)state;
    refused("litho: 1\naxes:\n  a: [x]\n\tb: [y]\n",
            "job.yaml:4:1: a tab; YAML is indented with spaces\n");
    refused("a: [1, 2\nb: 3\n", "job.yaml:2:2: did not find expected ',' or ']', while parsing a "
                                "flow sequence that starts in line 1\n");
    refused("prompt: caf\xe9\n", "job.yaml:1:12: not UTF-8 text; save the file as UTF-8\n");
    refused("litho: 1\n---\nlitho: 1\n",
            "job.yaml:2:1: a second document starts here; a manifest is one document\n");
}

static void text_that_yaml_takes_for_something_else_is_told_to_need_quotes(void **state)
{
    static const struct {
        const char *text, *end;
    } cases[] = {
        {"prompt: [cat:dog:0.5] on teal\n", "if this is text and no list or mapping, put quotes"},
        {"output: {path: {job}/{seed}.png}\n", "if this is text and no list or mapping, put"},
        {"prompt:\n  - [a|b] on teal\n", "if this is text and no list or mapping, put quotes"},
        {"prompt: a: b\n", "text with ': ' in it needs quotes around it"},
        {"prompt: %a\n", "text that begins with '%' needs quotes around it"},
        {"prompt: @a\n", "text that begins with '@' needs quotes around it"},
        {"prompt: 'it's blurry'\n", "inside single quotes a quote is written twice"},
        {"axes:\n  c: [#ff0000, #00ff00]\n", "'#' begins a comment: text that begins with it"},
        {"axes:\n  seed: 1-3\n   steps: [1, 2]\n", "is the line indented as those around it are?"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome out = read_text(cases[i].text);

        assert_int_equal(out.rc, ERR_INPUT);
        assert_int_equal(out.d.n, 1);
        if (!strstr(out.d.items[0].text, cases[i].end))
            fail_msg("'%s' lacks '%s'", out.d.items[0].text, cases[i].end);
        outcome_done(&out);
    }
}

static void hostile_yaml_is_refused_without_growing(void **state)
{
    struct buf deep = {0};
    struct outcome out;

    (void)state;
    refused("a: &a [*a]\n", "job.yaml:1:8: an alias inside the node that it stands for\n");
    refused("a: *b\n", "job.yaml:1:4: alias '*b' has no anchor before it\n");
    refused("a: \"x\\0y\"\n", "job.yaml:1:4: text cannot hold a NUL character\n");
    refused("a: b\n<<: {c: d}\n",
            "job.yaml:2:1: merge keys (<<) are not part of the language; repeat the keys\n");
    for (int i = 0; i < 100000; i++)
        buf_putc(&deep, '[');
    out = read_text(buf_text(&deep));
    assert_int_equal(out.rc, ERR_INPUT);
    assert_string_equal(out.d.items[0].text, "job.yaml:1:33: nested too deeply");
    outcome_done(&out);
    buf_done(&deep);
    /* Nine levels of nine aliases each: 9^9 values, were they copied. */
    buf_puts(&deep, "a0: &a0 [x]\n");
    for (int i = 1; i <= 9; i++)
        buf_printf(&deep, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i,
                   i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    out = read_text(buf_text(&deep));
    assert_int_equal(out.rc, ERR_INPUT);
    outcome_done(&out);
    buf_done(&deep);
}

static void a_key_given_twice_is_a_mistake(void **state)
{
    (void)state;
    refused("litho: 1\nmodel: m\nprompt: a\nsteps: 5\nsteps: 6\n",
            "job.yaml:5:1: key 'steps' is here twice, first in line 4\n");
    refused("litho: 1\nmodel: m\nprompt: a\nsteps: 5\ndefaults: {steps: 6}\n",
            "job.yaml:5:19: 'steps' is given twice, also at job.yaml:4:8\n");
    refused("litho: 1\nmodel: m\nprompt: a\nsize: 64x64\nwidth: 64\n",
            "job.yaml:5:8: 'width' and 'size' are both given\n");
}

static void axes_need_values_of_one_kind(void **state)
{
    (void)state;
    refused(HEAD "axes:\n  thing: []\n", "job.yaml:5:10: axis 'thing' is empty: it needs at least "
                                         "one value\n");
    refused(HEAD "axes:\n  thing:\n",
            "job.yaml:5:3: axis 'thing' is empty: it needs at least one value\n");
    refused(HEAD "axes:\n  thing: [a, [b], {c: d}, ]\n",
            "job.yaml:5:14: axis 'thing': a value is text or a number, not a list\n"
            "job.yaml:5:19: axis 'thing': a value is text or a number, not a mapping\n");
    refused(HEAD "axes:\n  thing: [a]\n  index: [1]\n",
            "job.yaml:6:3: axis 'index': this name is taken by output.path\n");
    refused(HEAD "axes:\n  thing: [a]\n  size: [64x64]\n  width: [64]\n",
            "job.yaml:7:3: axes 'size' and 'width' both set the size\n");
    write_file("list.csv", "thing,b\nx,y\n");
    refused(HEAD "axes:\n  thing: [a]\n  more: {csv: list.csv}\n",
            "list.csv:1:1: 'thing' is set by two axes, first at job.yaml:5:3\n");
    refused("litho: 1\nmodel: m\nprompt: [a, b]\n",
            "job.yaml:3:9: 'prompt' takes one value here; to try several, put it under 'axes'; "
            "a text that begins with '[' needs quotes around it\n");
}

static void combine_names_each_axis_once(void **state)
{
    static const char axes[] = HEAD "axes: {thing: [a, b, c], steps: [1, 2], seed: 1-3}\n";
    static const struct {
        const char *combine, *lines;
    } cases[] = {
        {"thing", "job.yaml:5:10: combine: every axis must occur once; missing: 'steps', 'seed'\n"},
        {"thing * steps * sed", "job.yaml:5:26: combine: no axis 'sed', did you mean 'seed'?\n"},
        {"(thing, steps) * seed",
         "job.yaml:5:10: combine: zipped axes need equally many values, but 'thing' has 3 and "
         "'steps' has 2\n"},
        {"thing * thing * steps * seed", "job.yaml:5:18: combine: axis 'thing' is here twice\n"},
        {"(thing, steps", "job.yaml:5:23: combine: ')', '*' or ',' is expected at the end\n"},
        {"thing steps", "job.yaml:5:10: combine: no axis 'thing steps'\n"},
        {"(thing * seed, steps)",
         "job.yaml:5:11: combine: a product cannot be part of a zip; zip single axes: (a, b)\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf text = {0};

        buf_printf(&text, "%scombine: %s\n", axes, cases[i].combine);
        refused(buf_text(&text), cases[i].lines);
        buf_done(&text);
    }
}

static void rules_that_exclude_nothing_or_all_are_told(void **state)
{
    struct outcome out =
        accepted(HEAD "axes: {thing: [pizza, boat]}\nexclude: [{thing: piza}]\n",
                 "job.yaml:5:19: warning: 'thing' never is 'piza', so this excludes nothing, did "
                 "you mean 'pizza'?\n");

    (void)state;
    outcome_done(&out);
    out = read_text(HEAD "axes: {thing: [pizza]}\nexclude: [{thing: pizza}]\n");
    assert_int_equal(out.rc, ERR_INPUT);
    assert_int_equal(out.d.n, 1);
    assert_int_equal(out.d.items[0].line, 5);
    outcome_done(&out);
}

static void paths_that_collide_are_refused_at_the_template(void **state)
{
    struct outcome out =
        read_text(HEAD "axes: {thing: [a, b], seed: 1-3}\noutput: {path: '{thing}.png'}\n");

    (void)state;
    assert_int_equal(out.rc, ERR_INPUT);
    assert_int_equal(out.d.n, 1);
    assert_int_equal(out.d.items[0].line, 5);
    assert_int_equal(out.d.items[0].column, 16);
    assert_non_null(strstr(out.d.items[0].text, "seed"));
    outcome_done(&out);
}

static void an_unused_variable_is_a_warning(void **state)
{
    struct outcome out = accepted(
        HEAD "axes: {thing: [a], other: [x, y]}\n",
        "job.yaml:4:20: warning: no prompt holds ${other}: each picture will be made once for "
        "every value of this axis\n");

    (void)state;
    outcome_done(&out);
}

static void ddim_with_karras_is_told_at_the_scheduler(void **state)
{
    struct outcome out =
        read_text("litho: 1\nmodel: m\nprompt: a\nsampler: ddim\nscheduler: karras\n");

    (void)state;
    assert_int_equal(out.rc, ERR_INPUT);
    assert_int_equal(out.d.items[0].line, 5);
    outcome_done(&out);
}

static void overrides_set_a_parameter_where_it_is(void **state)
{
    static const char *const sets[] = {"steps=5",
                                       "cfg_scale=3",
                                       "axes.thing=[cat, dog]",
                                       "output.path=x/{index}.png",
                                       "seed=9",
                                       "output.sheet=false",
                                       NULL};
    struct outcome out = read_with(HEAD "defaults: {steps: 20}\n"
                                        "axes: {thing: [x], cfg_scale: [1, 2]}\n",
                                   sets);

    (void)state;
    assert_int_equal(out.rc, 0);
    part_is(&out, "fixed.steps", "5");
    part_is(&out, "fixed.seed", "9");
    part_is(&out, "axes.0.rows", "[[\"cat\"],[\"dog\"]]");
    part_is(&out, "axes.1.rows", "[[3]]");
    part_is(&out, "output", "{\"path\":\"x/{index}.png\",\"sheet\":null}");
    outcome_done(&out);
}

static void mistakes_in_overrides_name_the_override(void **state)
{
    static const char *const sets[] = {"stepz=5",   "steps=many", "nonsense",
                                       "prompt=[a", "job.x=1",    NULL};
    struct outcome out = read_with("litho: 1\njob: j\nmodel: m\nprompt: a\n", sets);
    struct buf said = {0};

    (void)state;
    told(&out, &said);
    assert_int_equal(out.rc, ERR_INPUT);
    assert_string_equal(
        buf_text(&said),
        "--set job.x=1: 'job' is not a mapping, so nothing can be set inside\n"
        "--set nonsense: write key=value, such as steps=5 or output.path=x/{index}.png\n"
        "--set prompt=[a: did not find expected ',' or ']', while parsing a flow sequence that "
        "starts in line 1\n"
        "--set steps=many: steps 'many' must be a whole number from 1 to 1000\n"
        "--set stepz=5: unknown key 'stepz', did you mean 'steps'?\n");
    buf_done(&said);
    outcome_done(&out);
}

static void a_hundred_mistakes_are_listed_and_all_are_counted(void **state)
{
    struct buf text = {0};
    struct outcome out;

    (void)state;
    buf_puts(&text, HEAD "axes:\n  thing: [x]\n  steps:\n");
    for (int i = 0; i < 150; i++)
        buf_printf(&text, "  - wrong%d\n", i);
    out = read_text(buf_text(&text));
    assert_int_equal(out.rc, ERR_INPUT);
    assert_int_equal(out.d.n, MANIFEST_MISTAKES_MAX + 1);
    assert_int_equal(out.d.n_errors, 150);
    assert_string_equal(out.e.text, "job.yaml: 150 mistakes");
    outcome_done(&out);
    buf_done(&text);
}

static void an_unreadable_manifest_is_no_mistake_in_it(void **state)
{
    struct manifest_options o = {.path = "nowhere.yaml"};
    struct diagnostics d;
    struct buf bundle = {0};
    struct err e;

    (void)state;
    assert_int_equal(manifest_load(&o, &d, &bundle, NULL, &e), ERR_MISSING);
    assert_int_equal(d.n, 0);
    assert_non_null(strstr(e.text, "nowhere.yaml"));
    diagnostics_done(&d);
    buf_done(&bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_mistakes_are_told_in_one_go),
        cmocka_unit_test(keys_of_other_programs_are_told_what_they_are_here),
        cmocka_unit_test(a_sampler_of_others_is_refused_and_no_neighbour_offered),
        cmocka_unit_test(what_must_be_there_is_missed),
        cmocka_unit_test(broken_yaml_names_the_place),
        cmocka_unit_test(text_that_yaml_takes_for_something_else_is_told_to_need_quotes),
        cmocka_unit_test(hostile_yaml_is_refused_without_growing),
        cmocka_unit_test(a_key_given_twice_is_a_mistake),
        cmocka_unit_test(axes_need_values_of_one_kind),
        cmocka_unit_test(combine_names_each_axis_once),
        cmocka_unit_test(rules_that_exclude_nothing_or_all_are_told),
        cmocka_unit_test(paths_that_collide_are_refused_at_the_template),
        cmocka_unit_test(an_unused_variable_is_a_warning),
        cmocka_unit_test(ddim_with_karras_is_told_at_the_scheduler),
        cmocka_unit_test(overrides_set_a_parameter_where_it_is),
        cmocka_unit_test(mistakes_in_overrides_name_the_override),
        cmocka_unit_test(a_hundred_mistakes_are_listed_and_all_are_counted),
        cmocka_unit_test(an_unreadable_manifest_is_no_mistake_in_it),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
