#include "tests/jobs/manifest_case.h"

#define BASE "litho: 1\nmodel: m\nprompt: a cat\n"

static void fixed_is(const char *yaml, const char *key, const char *json)
{
    struct buf text = {0}, path = {0};
    struct outcome out;

    buf_printf(&text, BASE "%s", yaml);
    buf_printf(&path, "fixed.%s", key);
    out = read_text(buf_text(&text));
    for (size_t i = 0; i < out.d.n; i++)
        if (!out.d.items[i].warning)
            print_message("%s\n", out.d.items[i].text);
    assert_int_equal(out.rc, 0);
    part_is(&out, buf_text(&path), json);
    outcome_done(&out);
    buf_done(&text);
    buf_done(&path);
}

static void sides_of_outpaint_are_parameters(void **state)
{
    struct outcome out;

    (void)state;
    write_file("list.txt", "x");
    out = accepted(BASE "init_image: list.txt\noutpaint: {left: 64, top: 32}\n", "");
    part_is(&out, "fixed.outpaint_left", "64");
    part_is(&out, "fixed.outpaint_top", "32");
    part_is(&out, "fixed.outpaint_right", "");
    outcome_done(&out);
    out = accepted("litho: 1\nmodel: m\nprompt: a\ndefaults: {init_image: list.txt, outpaint: "
                   "{bottom: 8}}\n",
                   "");
    part_is(&out, "fixed.outpaint_bottom", "8");
    outcome_done(&out);
    refused(BASE "outpaint: {lfet: 8, right: 9}\n",
            "job.yaml:4:12: unknown key 'lfet' in 'outpaint', did you mean 'left'?\n"
            "job.yaml:4:28: outpaint_right '9' must be a multiple of 8 from 0 to 8192\n");
    refused(BASE "outpaint: 64\n", "job.yaml:4:11: 'outpaint' is a mapping of sides to pixels: "
                                   "{left: 64, right: 64}\n");
    refused(BASE "outpaint: {left: 8}\noutpaint_left: 16\n",
            "job.yaml:4:18: 'outpaint_left' is given twice, also at job.yaml:5:16\n");
    refused(BASE "outpaint: {top: 8}\n",
            "job.yaml:4:17: outpaint_left: there is no init_image that could be extended: give "
            "init_image\n");
}

static void the_command_line_reaches_inside_mappings(void **state)
{
    static const char *const sets[] = {"outpaint.left=16", "outpaint_top=24", "styles=None",
                                       "init_image=list.txt", NULL};
    struct outcome out;

    (void)state;
    write_file("list.txt", "x");
    out = read_with(BASE "outpaint: {left: 64, top: 32, right: 8}\n", sets);
    for (size_t i = 0; i < out.d.n; i++)
        print_message("%s\n", out.d.items[i].text);
    assert_int_equal(out.rc, 0);
    part_is(&out, "fixed.outpaint_left", "16");
    part_is(&out, "fixed.outpaint_top", "24");
    part_is(&out, "fixed.outpaint_right", "8");
    outcome_done(&out);
}

static void a_model_file_may_name_its_configuration(void **state)
{
    struct outcome out =
        accepted("litho: 1\nmodel: {file: sd.safetensors, config: sd15}\nprompt: a\n", "");

    (void)state;
    part_is(&out, "fixed.model", "\"sd.safetensors\"");
    part_is(&out, "fixed.model_config", "\"sd15\"");
    outcome_done(&out);
    refused("litho: 1\nmodel: {config: sd15}\nprompt: a\n",
            "job.yaml:2:8: 'model' is a name, a path, or {file: x.safetensors, config: FOLDER}: "
            "'file' is missing\n");
    refused("litho: 1\nmodel: {file: sd15.ckpt}\nprompt: a\n",
            "job.yaml:2:15: model 'sd15.ckpt' is a pickle, a file that runs code when it is read; "
            "convert it to .safetensors, with AUTOMATIC1111's checkpoint merger or diffusers' "
            "save_pretrained\n");
}

static void truth_values_are_written_as_people_do(void **state)
{
    (void)state;
    fixed_is("rescale_betas_zero_snr: yes\n", "rescale_betas_zero_snr", "true");
    fixed_is("rescale_betas_zero_snr: On\n", "rescale_betas_zero_snr", "true");
    fixed_is("rescale_betas_zero_snr: no\n", "rescale_betas_zero_snr", "");
    axis_is("rescale_betas_zero_snr: [yes, off]", "rows", "[[\"true\"],[\"false\"]]");
    refused(BASE "rescale_betas_zero_snr: maybe\n",
            "job.yaml:4:25: rescale_betas_zero_snr 'maybe' must be true or false\n");
}

static void labels_of_the_web_ui_are_names_too(void **state)
{
    (void)state;
    fixed_is("sampler: Euler a\n", "sampler", "\"euler_a\"");
    fixed_is("sampler: dpm++ 2m sde\n", "sampler", "\"dpmpp_2m_sde\"");
    fixed_is("scheduler: SGM Uniform\n", "scheduler", "\"sgm_uniform\"");
    fixed_is("emphasis: No norm\n", "emphasis", "\"no_norm\"");
    fixed_is("hr_scale: 2\nhr_upscaler: Latent (nearest)\n", "hr_upscaler", "\"latent_nearest\"");
    axis_is("resize_mode: [Crop and resize, fill]", "rows", "[[\"crop\"],[\"fill\"]]");
    refused(BASE "emphasis: orignal\n",
            "job.yaml:4:11: emphasis 'orignal' must be one of: original "
            "no_norm ignore none, did you mean 'original'?\n");
}

static void a_label_may_name_sampler_and_scheduler(void **state)
{
    static const char *const sets[] = {"scheduler=uniform", NULL};
    struct outcome out;

    (void)state;
    fixed_is("sampler: DPM++ 2M Karras\n", "sampler", "\"dpmpp_2m\"");
    fixed_is("sampler: DPM++ 2M Karras\n", "scheduler", "\"karras\"");
    fixed_is("sampler: DPM++ 2M SDE Exponential\n", "scheduler", "\"exponential\"");
    fixed_is("sampler: DPM++ 2M Karras\nscheduler: karras\n", "scheduler", "\"karras\"");
    refused(BASE "sampler: DPM++ 2M Karras\nscheduler: uniform\n",
            "job.yaml:4:10: sampler 'DPM++ 2M Karras' names a scheduler, but 'scheduler' says "
            "'uniform': write 'dpmpp_2m' here\n");
    out = read_with(BASE "sampler: DPM++ 2M Karras\n", sets);
    assert_int_equal(out.rc, 0);
    part_is(&out, "fixed.scheduler", "\"uniform\"");
    outcome_done(&out);
}

static void labels_on_an_axis_bring_their_schedulers(void **state)
{
    struct outcome out = accepted(BASE "axes: {sampler: [DPM++ 2M Karras, Euler a]}\n", "");

    (void)state;
    part_is(&out, "axes.0.columns", "[\"sampler\",\"scheduler\"]");
    part_is(&out, "axes.0.rows", "[[\"dpmpp_2m\",\"karras\"],[\"euler_a\",\"automatic\"]]");
    part_is(&out, "fixed.scheduler", "");
    outcome_done(&out);
    out = accepted(BASE "axes: {sampler: [DPM++ 2M, Euler a]}\n", "");
    part_is(&out, "axes.0.columns", "[\"sampler\"]");
    outcome_done(&out);
    write_file("list.csv", "sampler,steps\nDPM++ SDE Karras,10\neuler,20\n");
    out = accepted(BASE "axes: {x: {csv: list.csv}}\n", "");
    part_is(&out, "axes.0.rows", "[[\"dpmpp_sde\",10,\"karras\"],[\"euler\",20,\"automatic\"]]");
    outcome_done(&out);
    refused(BASE "axes: {sampler: [DPM++ 2M Karras], scheduler: [karras, uniform]}\n",
            "job.yaml:4:18: sampler 'DPM++ 2M Karras' names a scheduler, and an axis gives it too: "
            "write 'dpmpp_2m' here\n");
    refused(BASE "axes: {sampler: [DPM++ 2M Karras, Euler]}\nexclude: [{sampler: DPM++ 2M "
                 "Karras}]\n",
            "job.yaml:5:21: exclude: name sampler and scheduler by themselves: {sampler: dpmpp_2m, "
            "scheduler: karras}\n");
    write_file("list.csv", "sampler,scheduler\nDPM++ SDE Karras,karras\n");
    refused(BASE "axes: {x: {csv: list.csv}}\n",
            "list.csv:1:9: this file's samplers name schedulers already, such as 'DPM++ 2M "
            "Karras'\n");
}

static void pictures_are_found_beside_the_manifest(void **state)
{
    struct buf json = {0};
    struct outcome out;
    char *cwd = getcwd(NULL, 0);

    (void)state;
    write_file("list.txt", "x");
    buf_printf(&json, "\"%s/list.txt\"", cwd);
    out = accepted(BASE "init_image: ./x/../list.txt\n", "");
    part_is(&out, "fixed.init_image", buf_text(&json));
    outcome_done(&out);
    out = read_text(BASE "init_image: none.png\nmask: \"\"\n");
    assert_int_equal(out.rc, 0);
    assert_int_equal(out.d.n, 1);
    assert_true(out.d.items[0].warning);
    assert_non_null(strstr(out.d.items[0].text, "job.yaml:4:13: warning: no file '/"));
    part_is(&out, "fixed.mask", "");
    outcome_done(&out);
    buf_done(&json);
    free(cwd);
}

static void an_open_subseed_is_drawn_where_it_matters(void **state)
{
    struct outcome out = accepted(BASE "subseed_strength: 0.5\n", "");

    (void)state;
    part_is(&out, "fixed.seed", "1000");
    part_is(&out, "fixed.subseed", "1001");
    outcome_done(&out);
    out = accepted(BASE "axes: {subseed_strength: 0-1 (+0.5)}\n", "");
    part_is(&out, "fixed.subseed", "1001");
    outcome_done(&out);
    out = accepted(BASE "subseed_strength: 0\n", "");
    part_is(&out, "fixed.subseed", "");
    outcome_done(&out);
    out = accepted(BASE "subseed: -1\n", "");
    part_is(&out, "fixed.subseed", "1001");
    outcome_done(&out);
    out = accepted(BASE "axes: {subseed: [3, -1]}\n", "");
    part_is(&out, "axes.0.rows", "[[3],[1001]]");
    outcome_done(&out);
}

static void empty_cells_of_optional_parameters_are_their_defaults(void **state)
{
    struct outcome out;

    (void)state;
    write_file("list.csv", "denoising_strength,eta,mask,subseed,rng,x\n0.5,0.1,,7,nv,a\n,,,,,b\n");
    out = read_text(BASE "sampler: euler_a\naxes: {p: {csv: list.csv}}\n");
    assert_int_equal(out.rc, 0);
    part_is(&out, "axes.0.rows",
            "[[0.5,0.1,\"\",7,\"nv\",\"a\"],[0.75,\"\",\"\",1001,\"cpu\",\"b\"]]");
    outcome_done(&out);
    axis_is("eta: [\"\", 0]", "rows", "[[\"\"],[0]]");
    out = accepted(BASE "eta: \"\"\n", "");
    part_is(&out, "fixed.eta", "");
    outcome_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sides_of_outpaint_are_parameters),
        cmocka_unit_test(the_command_line_reaches_inside_mappings),
        cmocka_unit_test(a_model_file_may_name_its_configuration),
        cmocka_unit_test(truth_values_are_written_as_people_do),
        cmocka_unit_test(labels_of_the_web_ui_are_names_too),
        cmocka_unit_test(a_label_may_name_sampler_and_scheduler),
        cmocka_unit_test(labels_on_an_axis_bring_their_schedulers),
        cmocka_unit_test(pictures_are_found_beside_the_manifest),
        cmocka_unit_test(an_open_subseed_is_drawn_where_it_matters),
        cmocka_unit_test(empty_cells_of_optional_parameters_are_their_defaults),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
