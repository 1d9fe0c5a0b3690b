#include "tests/jobs/manifest_case.h"

static const char issue[] =
    "litho: 1                       # language version\n"
    "job: stickers\n"
    "model: sticker-128             # name in the model library, or a path\n"
    "defaults: {steps: 20, sampler: dpmpp_2m, scheduler: karras, cfg_scale: 5, size: 128x128, "
    "negative_prompt: blurry}\n"
    "prompt: a ${thing} on a ${ground} background\n"
    "axes:                          # any parameter, or a variable of the prompt\n"
    "  thing: [red apple, sailboat, pizza]\n"
    "  ground: {file: grounds.txt}\n"
    "  cfg_scale: 4-8 (+2)\n"
    "  steps: [15, 20, 25]\n"
    "  seed: 1-100\n"
    "combine: \"thing * ground * (cfg_scale, steps) * seed\"   # * product, ( , ) zip\n"
    "exclude: [{thing: pizza, ground: red}]\n"
    "output: {path: \"{job}/{thing}/{ground}-{cfg_scale}-{seed}.png\", sheet: {x: ground, y: "
    "thing}}\n";

static void the_manifest_of_the_readme_becomes_its_bundle(void **state)
{
    struct outcome out;

    (void)state;
    write_file("grounds.txt", "red\n\nblue \r\n");
    out = accepted(issue, "");
    assert_string_equal(
        buf_text(&out.bundle),
        "{\"axes\":[{\"columns\":[\"thing\"],\"name\":\"thing\",\"rows\":[[\"red "
        "apple\"],[\"sailboat\"],"
        "[\"pizza\"]]},{\"columns\":[\"ground\"],\"name\":\"ground\",\"rows\":[[\"red\"],[\"blue\"]"
        "]},"
        "{\"columns\":[\"cfg_scale\"],\"name\":\"cfg_scale\",\"range\":{\"count\":3,\"first\":4,"
        "\"step\":2}},"
        "{\"columns\":[\"steps\"],\"name\":\"steps\",\"rows\":[[15],[20],[25]]},{\"columns\":["
        "\"seed\"],"
        "\"name\":\"seed\",\"range\":{\"count\":100,\"first\":1,\"step\":1}}],\"combine\":[[0],[1],"
        "[2,3],[4]],"
        "\"exclude\":[{\"ground\":[\"red\"],\"thing\":[\"pizza\"]}],\"fixed\":{\"height\":128,"
        "\"model\":"
        "\"sticker-128\",\"negative_prompt\":\"blurry\",\"precision\":\"auto\",\"prompt\":\"a "
        "${thing} on a "
        "${ground} "
        "background\",\"sampler\":\"dpmpp_2m\",\"scheduler\":\"karras\",\"width\":128},\"job\":"
        "\"stickers\",\"litho\":1,\"output\":{\"path\":\"{job}/{thing}/"
        "{ground}-{cfg_scale}-{seed}.png\","
        "\"sheet\":{\"x\":\"ground\",\"y\":\"thing\"}}}");
    outcome_done(&out);
}

static void what_is_not_given_has_the_documented_default(void **state)
{
    struct outcome out = accepted("litho: 1\nmodel: m\nprompt: a cat\n", "");

    (void)state;
    part_is(
        &out, "fixed",
        "{\"cfg_scale\":7,\"height\":512,\"model\":\"m\",\"negative_prompt\":\"\",\"precision\":"
        "\"auto\","
        "\"prompt\":\"a cat\",\"sampler\":\"dpmpp_2m\",\"scheduler\":\"automatic\",\"seed\":1000,"
        "\"steps\":20,\"width\":512}");
    part_is(&out, "job", "\"job\"");
    part_is(&out, "axes", "[]");
    part_is(&out, "combine", "[]");
    part_is(&out, "output",
            "{\"path\":\"{job}/{index:04}.png\",\"sheet\":{\"x\":null,\"y\":null}}");
    outcome_done(&out);
}

static void scalars_are_never_booleans_or_nulls(void **state)
{
    struct outcome out = accepted(
        HEAD "axes:\n  thing: [no, on, yes, null, ~, 1e3, 007, 0x10, 1_000, .5, 12:30:00 h]\n", "");

    (void)state;
    part_is(&out, "axes.0.rows",
            "[[\"no\"],[\"on\"],[\"yes\"],[\"null\"],[\"~\"],[\"1e3\"],[\"007\"],[\"0x10\"],[\"1_"
            "000\"],[\".5\"],"
            "[\"12:30:00 h\"]]");
    outcome_done(&out);
}

static void numbers_are_decimal_however_they_are_written(void **state)
{
    (void)state;
    axis_is("steps: [007, '8', \"9\", +10]", "rows", "[[7],[8],[9],[10]]");
    axis_is("cfg_scale: [1e1, 5.0, .5]", "rows", "[[10],[5],[0.5]]");
    refused(HEAD "axes: {thing: [x], steps: [1e1, 0x10, 5.0]}\n",
            "job.yaml:4:28: steps: whole numbers are expected here, not '1e1'\n"
            "job.yaml:4:34: steps: 'x10' does not belong to a number or range\n"
            "job.yaml:4:39: steps: whole numbers are expected here, not '5.0'\n");
}

static void ranges_stay_formulas(void **state)
{
    (void)state;
    axis_is("seed: 1-100000000", "range", "{\"count\":100000000,\"first\":1,\"step\":1}");
    axis_is("steps: 10-5 (-3)", "range", "{\"count\":2,\"first\":10,\"step\":-3}");
    axis_is("cfg_scale: 4.0-8.0 (+0.5)", "range", "{\"count\":9,\"first\":4,\"step\":0.5}");
    axis_is("steps: 1-10:2", "range", "{\"count\":5,\"first\":1,\"step\":2}");
    axis_is("frame: 1-24", "range", "{\"count\":24,\"first\":1,\"step\":1}");
    axis_is("weight: 0.5-1.5 (+0.25)", "range", "{\"count\":5,\"first\":0.5,\"step\":0.25}");
}

static void lists_of_ranges_become_rows(void **state)
{
    (void)state;
    axis_is("steps: 1-3, 7", "rows", "[[1],[2],[3],[7]]");
    axis_is("steps: [15, 20-30 (+5)]", "rows", "[[15],[20],[25],[30]]");
    axis_is("steps: 1-10 [5]", "rows", "[[1],[3],[5],[7],[10]]");
    axis_is("cfg_scale: 0-1 [6]", "rows", "[[0],[0.2],[0.4],[0.6],[0.8],[1]]");
}

static void quoted_or_listed_text_of_a_variable_is_no_range(void **state)
{
    (void)state;
    axis_is("v: \"1-5\"", "rows", "[[\"1-5\"]]");
    axis_is("v: [1-5, 6]", "rows", "[[\"1-5\"],[\"6\"]]");
    axis_is("v: 2024-01-01", "rows", "[[\"2024-01-01\"]]");
    axis_is("v: just text", "rows", "[[\"just text\"]]");
    axis_is("v: 5", "rows", "[[\"5\"]]");
}

static void csv_columns_are_variables_and_parameters_row_by_row(void **state)
{
    static const char csv[] =
        "\xef\xbb\xbfproduct, steps,seed\r\n\"mug, \"\"big\"\"\",20,\r\n\r\n cap ,30,5\r\n";
    struct outcome out;

    (void)state;
    write_file("list.csv", csv);
    out = accepted("litho: 1\nmodel: m\nprompt: a ${product}\naxes: {item: {csv: list.csv}}\n", "");
    part_is(&out, "axes.0",
            "{\"columns\":[\"product\",\"steps\",\"seed\"],\"name\":\"item\",\"rows\":[[\"mug, "
            "\\\"big\\\"\",20,1000],[\"cap\",30,5]]}");
    part_is(&out, "fixed.steps", "");
    outcome_done(&out);
}

static void csv_of_semicolons_or_tabs_is_read_as_well(void **state)
{
    static const char *const files[] = {"product;steps\r\n\"mug; red\";20\r\ncap, blue ;30\r\n",
                                        "product\tsteps\nmug; red\t20\ncap, blue\t 30\n"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct outcome out;

        write_file("list.csv", files[i]);
        out = accepted("litho: 1\nmodel: m\nprompt: a ${product}\naxes: {item: {csv: list.csv}}\n",
                       "");
        part_is(&out, "axes.0.columns", "[\"product\",\"steps\"]");
        part_is(&out, "axes.0.rows", "[[\"mug; red\",20],[\"cap, blue\",30]]");
        outcome_done(&out);
    }
    write_file("list.csv", "product,a;b\nmug,20;30\n");
    axis_is("item: {csv: list.csv}", "columns", "[\"product\",\"a;b\"]");
}

static void a_file_that_cannot_be_read_is_the_only_mistake_told(void **state)
{
    static const char manifest[] = "litho: 1\nmodel: m\nprompt: a ${product}\n"
                                   "axes: {item: {csv: list.csv}}\nexclude: [{product: x}]\n"
                                   "output: {path: '{job}/{sku}.png'}\n";
    static const struct {
        const char *text, *lines;
    } cases[] = {
        {"PK\3\4...", "list.csv:1:1: a workbook, not text; export it as CSV in UTF-8\n"},
        {"\xff\xfes", "list.csv:1:1: text in UTF-16; save the file as UTF-8\n"},
        {"", "list.csv:1:1: the file is empty; its first row names the columns\n"},
        {"sku,product\n", "job.yaml:4:20: the file 'list.csv' holds no values\n"},
        {"sku,product,\nA,x,\n", "list.csv:1:13: the first row has a column without a name here\n"},
        {"sku,product,sku\nA,x,B\n", "list.csv:1:13: two columns are named 'sku'\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("list.csv", cases[i].text);
        refused(manifest, cases[i].lines);
    }
}

static void mistakes_in_files_name_the_file_and_line(void **state)
{
    (void)state;
    write_file("list.csv", "product,steps\nmug,20\ncap,many\nhat\n\"x\"y,1\n");
    refused("litho: 1\nmodel: m\nprompt: a\naxes: {item: {csv: list.csv}}\n",
            "list.csv:4:1: this row has 1 value, but the first row names 2 columns\n"
            "list.csv:5:4: text after a closing quote; inside quotes write a quote twice\n");
    write_file("list.csv", "product,steps\nmug,20\ncap,many\n");
    refused("litho: 1\nmodel: m\nprompt: a\naxes: {item: {csv: list.csv}}\n",
            "list.csv:3:5: steps 'many' must be a whole number from 1 to 1000\n");
    write_file("list.txt", "5\n\n1001\n");
    refused("litho: 1\nmodel: m\nprompt: a\naxes: {steps: {file: list.txt}}\n",
            "list.txt:3:1: steps '1001' must be a whole number from 1 to 1000\n");
    write_file("list.txt", "caf\xe9\n");
    refused("litho: 1\nmodel: m\nprompt: a ${w}\naxes: {w: {file: list.txt}}\n",
            "list.txt:1:4: not UTF-8 text; save the file as UTF-8\n");
}

static void a_missing_file_suggests_a_near_one(void **state)
{
    struct outcome out;

    (void)state;
    write_file("grounds.txt", "red\n");
    out = read_text(HEAD "axes:\n  thing: {file: ground.txt}\n");
    assert_int_equal(out.rc, ERR_INPUT);
    assert_int_equal(out.d.items[0].line, 5);
    assert_int_equal(out.d.items[0].column, 17);
    assert_non_null(strstr(out.d.items[0].text, "ground.txt"));
    assert_non_null(strstr(out.d.items[0].text, "did you mean 'grounds.txt'?"));
    outcome_done(&out);
}

static void seeds_are_drawn_once_each(void **state)
{
    struct outcome out = accepted(HEAD "axes: {thing: [x], seed: [-1, 7, -1]}\n", "");

    (void)state;
    part_is(&out, "axes.1.rows", "[[1000],[7],[1001]]");
    part_is(&out, "fixed.seed", "");
    outcome_done(&out);
    out = accepted(HEAD "seed: -1\naxes: {thing: [x]}\n", "");
    part_is(&out, "fixed.seed", "1000");
    outcome_done(&out);
    out = accepted(HEAD "seed: 12\naxes: {thing: [x]}\n", "");
    part_is(&out, "fixed.seed", "12");
    outcome_done(&out);
}

static void the_system_draws_different_seeds(void **state)
{
    struct manifest_options o = {.path = "job.yaml"};
    struct diagnostics d1, d2;
    struct buf one = {0}, two = {0};
    char hash1[HASH_HEX_SIZE], hash2[HASH_HEX_SIZE];
    static const char text[] = HEAD "axes: {thing: [x], seed: [-1, -1, -1]}\n";

    (void)state;
    write_file("job.yaml", text);
    assert_int_equal(manifest_load(&o, &d1, &one, hash1, NULL), 0);
    assert_int_equal(manifest_load(&o, &d2, &two, hash2, NULL), 0);
    assert_string_not_equal(buf_text(&one), buf_text(&two));
    assert_string_equal(hash1, hash2);
    diagnostics_done(&d1);
    diagnostics_done(&d2);
    buf_done(&one);
    buf_done(&two);
}

static void the_source_hash_follows_everything_but_drawn_seeds(void **state)
{
    struct outcome a, b;

    (void)state;
    a = accepted(HEAD "axes: {thing: [x]}\n", "");
    b = accepted(HEAD "axes: {thing: [x]}\nseed: -1\n", "");
    assert_string_equal(a.source_hash, b.source_hash);
    outcome_done(&b);
    b = accepted(HEAD "axes: {thing: [y]}\n", "");
    assert_string_not_equal(a.source_hash, b.source_hash);
    outcome_done(&a);
    outcome_done(&b);
}

static void comments_and_layout_do_not_change_the_bundle(void **state)
{
    struct outcome a = accepted(HEAD "seed: 1\naxes: {thing: [x, y]}\n", "");
    struct outcome b =
        accepted("# hello\naxes:\n    thing:\n    - x\n    - 'y'\nseed: 1\n" HEAD, "");

    (void)state;
    assert_string_equal(buf_text(&a.bundle), buf_text(&b.bundle));
    outcome_done(&a);
    outcome_done(&b);
}

static void a_relative_model_path_starts_in_the_manifests_folder(void **state)
{
    struct outcome out = read_text("litho: 1\nmodel: ./a/../b\nprompt: x\n");
    struct buf path = {0};

    (void)state;
    buf_printf(&path, "\"%s/b\"", case_folder);
    assert_int_equal(out.rc, 0);
    part_is(&out, "fixed.model", buf_text(&path));
    assert_int_equal(out.d.n, 1);
    assert_true(out.d.items[0].warning);
    assert_non_null(strstr(out.d.items[0].text, "job.yaml:2:8: warning: no model folder"));
    buf_done(&path);
    outcome_done(&out);
}

static void axes_take_the_place_of_fixed_parameters(void **state)
{
    struct outcome out =
        accepted(HEAD "size: 64x128\naxes: {thing: [x], width: [8, 16], model: [a, b]}\n", "");

    (void)state;
    part_is(&out, "fixed.height", "128");
    part_is(&out, "fixed.width", "");
    part_is(&out, "fixed.model", "");
    outcome_done(&out);
    out = accepted(HEAD "axes: {thing: [x], size: [64X64, 128 x 0256]}\n", "");
    part_is(&out, "axes.1.rows", "[[\"64x64\"],[\"128x256\"]]");
    part_is(&out, "fixed.height", "");
    outcome_done(&out);
}

static void blocks_of_text_lose_their_last_line_end(void **state)
{
    struct outcome out = accepted("litho: 1\nmodel: m\nprompt: |\n  a cat\n  and a dog\n", "");

    (void)state;
    part_is(&out, "fixed.prompt", "\"a cat\\nand a dog\"");
    outcome_done(&out);
}

static void aliases_repeat_what_an_anchor_names(void **state)
{
    struct outcome out = accepted(
        HEAD "axes:\n  thing: &colours [red, blue]\n  other: *colours\ncombine: (thing, other)\n",
        "job.yaml:6:3: warning: no prompt holds ${other}: each picture will be made once for every "
        "value of this axis\n");

    (void)state;
    part_is(&out, "axes.1.rows", "[[\"red\"],[\"blue\"]]");
    outcome_done(&out);
}

static void a_path_from_the_home_folder_begins_with_a_tilde(void **state)
{
    struct outcome out;

    (void)state;
    setenv("HOME", "/h/me", 1);
    out = accepted("litho: 1\nmodel: ~/m/x\nprompt: a\n",
                   "job.yaml:2:8: warning: no model folder '/h/me/m/x' on this machine\n");
    part_is(&out, "fixed.model", "\"/h/me/m/x\"");
    outcome_done(&out);
    out = accepted("litho: 1\nmodel: /~/x\nprompt: a\n",
                   "job.yaml:2:8: warning: no model folder '/~/x' on this machine\n");
    outcome_done(&out);
    unsetenv("HOME");
    out = read_text("litho: 1\nmodel: ~/m/x\nprompt: a\n");
    assert_int_equal(out.rc, 0);
    assert_non_null(strstr(out.d.items[0].text, "/~/m/x' on this machine"));
    outcome_done(&out);
}

static void choices_by_chance_are_told_to_be_plain_text(void **state)
{
    struct outcome out = accepted(
        "litho: 1\nmodel: m\nprompt: a {red|blue} fox\nnegative_prompt: \"{x} ${seed} [a|b]\"\n",
        "job.yaml:3:9: warning: '{red|blue}' is no choice here but plain text: several values are "
        "an axis, and [a|b] changes with each step\n");

    (void)state;
    outcome_done(&out);
}

static void the_default_sheet_shows_the_first_two_axes(void **state)
{
    struct outcome out =
        accepted(HEAD "axes: {one: [x], thing: [a, b], steps: [1, 2], seed: 1-3}\n", "");

    (void)state;
    part_is(&out, "output.sheet", "{\"x\":\"steps\",\"y\":\"thing\"}");
    outcome_done(&out);
    out = accepted(HEAD "axes: {thing: [a, b], steps: [1, 2], seed: 1-3}\n"
                        "combine: (thing, steps) * seed\n",
                   "");
    part_is(&out, "output.sheet", "{\"x\":\"seed\",\"y\":\"thing\"}");
    outcome_done(&out);
    out = accepted(HEAD "frames: 2\naxes: {thing: [a, b], steps: [5, 6]}\n"
                        "combine: thing * (steps, frame)\n",
                   "");
    part_is(&out, "output.sheet", "{\"x\":\"frame\",\"y\":\"thing\"}");
    outcome_done(&out);
    out = accepted(HEAD "axes: {thing: [a, b]}\noutput: {sheet: off}\n", "");
    part_is(&out, "output.sheet", "null");
    outcome_done(&out);
    out = accepted(HEAD "axes: {thing: [a, b], seed: 1-3}\noutput: {sheet: {y: seed}}\n", "");
    part_is(&out, "output.sheet", "{\"x\":null,\"y\":\"seed\"}");
    outcome_done(&out);
}

static void a_manifest_without_a_job_is_named_after_its_file(void **state)
{
    static const char text[] = "litho: 1\nmodel: m\nprompt: a\n";
    struct manifest_options o = {.path = "./grounds.txt"};
    struct diagnostics d;
    struct buf bundle = {0};

    (void)state;
    write_file("grounds.txt", text);
    assert_int_equal(manifest_load(&o, &d, &bundle, NULL, NULL), 0);
    assert_non_null(strstr(buf_text(&bundle), "\"job\":\"grounds\""));
    diagnostics_done(&d);
    buf_done(&bundle);
}

static void a_hundred_million_tasks_are_read_at_once(void **state)
{
    struct outcome out =
        accepted(HEAD "axes: {thing: [a, b, c, d], seed: 1-25000000, sampler: [ddim, euler]}\n"
                      "exclude: [{thing: [a, b], seed: 1-1000}, {sampler: ddim, thing: c}]\n"
                      "output: {path: '{job}/{thing}/{sampler}-{seed}.png'}\n",
                 "");
    struct job *job;

    (void)state;
    assert_int_equal(job_load(out.bundle.data, out.bundle.size, &job, NULL), 0);
    assert_true(job_span(job) == 200000000);
    assert_true(job_count(job) == 200000000 - 4000 - 25000000);
    assert_true(out.bundle.size < 20000);
    job_free(job);
    outcome_done(&out);
}

static void how_the_job_is_treated_is_read(void **state)
{
    struct outcome out = accepted("litho: 1\nmodel: m\nprompt: x\nseed: 1\npriority: 70\n"
                                  "first: 8\nmax_failed: 1%\ndeadline: 2h\n",
                                  "");

    (void)state;
    part_is(&out, "conduct",
            "{\"deadline_seconds\":7200,\"first\":8,\"max_failed\":\"1%\",\"priority\":70}");
    outcome_done(&out);
    out = accepted("litho: 1\nmodel: m\nprompt: x\nseed: 1\n", "");
    assert_null(json_object_get(out.json, "conduct"));
    outcome_done(&out);
    out = read_text("litho: 1\nmodel: m\nprompt: x\nseed: 1\npriority: 0\nfirst: some\n"
                    "max_failed: few\ndeadline: soon\n");
    assert_int_equal(out.rc, ERR_INPUT);
    assert_int_equal(out.d.n_errors, 4);
    outcome_done(&out);
}

static void gang_is(const char *written, const char *kept)
{
    struct outcome out;
    char text[200];

    snprintf(text, sizeof text, "litho: 1\nmodel: m\nprompt: x\nseed: 1\ngang: %s\n", written);
    out = accepted(text, "");
    if (kept != NULL)
        part_is(&out, "conduct", kept);
    else
        assert_null(json_object_get(out.json, "conduct"));
    outcome_done(&out);
}

static void gang_refused(const char *written, const char *mistake)
{
    char text[200], expected[300];

    snprintf(text, sizeof text, "litho: 1\nmodel: m\nprompt: x\nseed: 1\ngang: %s\n", written);
    snprintf(expected, sizeof expected, "job.yaml:5:%s\n", mistake);
    refused(text, expected);
}

static void gangs_are_read_by_number_or_by_their_parts(void **state)
{
    (void)state;
    gang_is("none", NULL);
    gang_is("auto", "{\"gang\":\"auto\"}");
    gang_is("2", "{\"gang\":{\"guidance\":2,\"tensor\":1}}");
    gang_is("4", "{\"gang\":{\"guidance\":2,\"tensor\":2}}");
    gang_is("{tensor: 8}", "{\"gang\":{\"guidance\":1,\"tensor\":8}}");
    gang_is("{guidance: 2, tensor: 4}", "{\"gang\":{\"guidance\":2,\"tensor\":4}}");
    gang_refused("3", "7: gang: '3' is not none, auto, 2, 4, 8 or 16");
    gang_refused("[2]", "7: gang: a list is no shape");
    gang_refused("{guidance: 3}", "7: gang: guidance has 1 or 2 parts, not 3");
    gang_refused("{tensor: 3}", "7: gang: tensor has 1, 2, 4 or 8 parts, not 3");
    gang_refused("{tensor: 1}", "7: gang: one member is none; write 'none'");
    gang_refused("{tensor: two}", "16: gang: tensor is a whole number from 1 to 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manifest_of_the_readme_becomes_its_bundle),
        cmocka_unit_test(what_is_not_given_has_the_documented_default),
        cmocka_unit_test(scalars_are_never_booleans_or_nulls),
        cmocka_unit_test(numbers_are_decimal_however_they_are_written),
        cmocka_unit_test(ranges_stay_formulas),
        cmocka_unit_test(lists_of_ranges_become_rows),
        cmocka_unit_test(quoted_or_listed_text_of_a_variable_is_no_range),
        cmocka_unit_test(csv_columns_are_variables_and_parameters_row_by_row),
        cmocka_unit_test(csv_of_semicolons_or_tabs_is_read_as_well),
        cmocka_unit_test(a_file_that_cannot_be_read_is_the_only_mistake_told),
        cmocka_unit_test(mistakes_in_files_name_the_file_and_line),
        cmocka_unit_test(a_missing_file_suggests_a_near_one),
        cmocka_unit_test(seeds_are_drawn_once_each),
        cmocka_unit_test(the_system_draws_different_seeds),
        cmocka_unit_test(the_source_hash_follows_everything_but_drawn_seeds),
        cmocka_unit_test(comments_and_layout_do_not_change_the_bundle),
        cmocka_unit_test(a_relative_model_path_starts_in_the_manifests_folder),
        cmocka_unit_test(axes_take_the_place_of_fixed_parameters),
        cmocka_unit_test(blocks_of_text_lose_their_last_line_end),
        cmocka_unit_test(aliases_repeat_what_an_anchor_names),
        cmocka_unit_test(a_path_from_the_home_folder_begins_with_a_tilde),
        cmocka_unit_test(choices_by_chance_are_told_to_be_plain_text),
        cmocka_unit_test(the_default_sheet_shows_the_first_two_axes),
        cmocka_unit_test(a_manifest_without_a_job_is_named_after_its_file),
        cmocka_unit_test(a_hundred_million_tasks_are_read_at_once),
        cmocka_unit_test(how_the_job_is_treated_is_read),
        cmocka_unit_test(gangs_are_read_by_number_or_by_their_parts),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
