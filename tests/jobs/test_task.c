#include "jobs/param.h"
#include "jobs/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char good[] =
    "{\"cfg_scale\":5,\"height\":128,\"model\":\"sticker-128\",\"negative_prompt\":\"\","
    "\"precision\":\"f32\",\"prompt\":\"a \\\"caf\xc3\xa9\\\"\\n\",\"sampler\":\"dpmpp_2m\","
    "\"scheduler\":\"karras\",\"seed\":9007199254740991,\"steps\":20,\"width\":192}";

/* The good text with one piece replaced. */
static int read_with(const char *from, const char *to, struct task *ret_t, struct err *e)
{
    struct buf text = {0};
    const char *at = strstr(good, from);
    int rc;

    assert_non_null(at);
    buf_append(&text, good, (size_t)(at - good));
    buf_puts(&text, to);
    buf_puts(&text, at + strlen(from));
    rc = task_from_json(buf_text(&text), text.size, ret_t, e);
    buf_done(&text);
    return rc;
}

static void refused(const char *from, const char *to, const char *message)
{
    struct task t = {0};
    struct err e = {0};

    assert_int_equal(read_with(from, to, &t, &e), ERR_INPUT);
    if (!strstr(e.text, message))
        fail_msg("'%s' does not hold '%s'", e.text, message);
    assert_null(t.model); /* not touched on failure */
}

static void canonical_json_reads_back_to_the_same_bytes(void **state)
{
    struct task t = {0};
    struct buf text = {0};

    (void)state;
    assert_int_equal(task_from_json(good, strlen(good), &t, NULL), 0);
    assert_string_equal(t.prompt, "a \"caf\xc3\xa9\"\n");
    assert_int_equal(t.sampler, SAMPLER_DPMPP_2M);
    assert_int_equal(t.scheduler, SCHEDULER_KARRAS);
    assert_int_equal(t.seed, TASK_SEED_MAX);
    assert_int_equal(t.width, 192);
    assert_int_equal(t.height, 128);
    task_to_json(&t, &text);
    assert_string_equal(buf_text(&text), good);
    buf_done(&text);
    task_done(&t);
}

static void fractions_keep_their_shortest_text(void **state)
{
    struct task t = {0};
    struct buf text = {0};

    (void)state;
    assert_int_equal(read_with("\"cfg_scale\":5", "\"cfg_scale\":7.5", &t, NULL), 0);
    task_to_json(&t, &text);
    assert_non_null(strstr(buf_text(&text), "\"cfg_scale\":7.5,"));
    buf_done(&text);
    task_done(&t);
}

static void unknown_keys_are_refused(void **state)
{
    (void)state;
    refused("\"steps\":20", "\"steps\":20,\"stepz\":1", "unknown key 'stepz'");
    refused("\"steps\":20", "\"steps\":20,\"size\":\"64x64\"", "unknown key 'size'");
}

static void names_of_no_file_are_refused(void **state)
{
    (void)state;
    refused("\"model\"", "\"loras\":{},\"model\"", "task: 'loras' must map 1 to 256 names");
    refused("\"model\"", "\"embeddings\":{\"a\":\"b\"},\"model\"",
            "task: embedding 'b' must be the path");
}

static void missing_keys_are_named(void **state)
{
    (void)state;
    refused("\"steps\":20,", "", "'steps' must be given");
    refused("\"model\":\"sticker-128\",", "", "'model' must be given");
}

static void wrong_types_are_refused(void **state)
{
    (void)state;
    refused("\"steps\":20", "\"steps\":\"20\"", "'steps' must be a number");
    refused("\"prompt\":\"", "\"prompt\":1,\"x\":\"", "");
    refused("\"sampler\":\"dpmpp_2m\"", "\"sampler\":3", "'sampler' must be text");
}

#define X(id, name, label) " " name
static void bounds_are_checked_and_named(void **state)
{
    (void)state;
    refused("\"steps\":20", "\"steps\":0", "whole number from 1 to 1000");
    refused("\"steps\":20", "\"steps\":1001", "whole number from 1 to 1000");
    refused("\"steps\":20", "\"steps\":2.5", "whole number from 1 to 1000");
    refused("\"width\":192", "\"width\":100", "multiple of 8");
    refused("\"width\":192", "\"width\":0", "multiple of 8");
    refused("\"height\":128", "\"height\":8200", "multiple of 8");
    refused("\"cfg_scale\":5", "\"cfg_scale\":-1", "0 to 1000");
    refused("\"cfg_scale\":5", "\"cfg_scale\":1000.5", "0 to 1000");
    refused("\"seed\":9007199254740991", "\"seed\":9007199254740992", "seed");
    refused("\"seed\":9007199254740991", "\"seed\":-1", "seed");
    refused("dpmpp_2m", "dpmpp_9m", "one of:" SAMPLER_TABLE(X));
    refused("\"karras\"", "\"\"", "one of:" SCHEDULER_TABLE(X));
    refused("\"f32\"", "\"f64\"", "f32");
}
#undef X

static void model_names_cannot_climb_out_of_the_library(void **state)
{
    (void)state;
    refused("sticker-128", "", "model");
    refused("sticker-128", "../secret", "model");
    refused("sticker-128", "a/b", "model");
    refused("sticker-128", "..", "model");
    refused("sticker-128", "a\\nb", "model");
}

static void absolute_model_paths_are_taken(void **state)
{
    struct task t = {0};

    (void)state;
    assert_int_equal(read_with("sticker-128", "/srv/models/one", &t, NULL), 0);
    assert_string_equal(t.model, "/srv/models/one");
    task_done(&t);
}

static void prompts_longer_than_the_limit_are_refused(void **state)
{
    struct task t = {0}, copy;
    struct err e;
    char *prompt = malloc(TASK_PROMPT_MAX + 2);

    (void)state;
    assert_int_equal(task_from_json(good, strlen(good), &t, NULL), 0);
    memset(prompt, 'x', TASK_PROMPT_MAX + 1);
    prompt[TASK_PROMPT_MAX] = 0;
    copy = t;
    copy.prompt = prompt;
    assert_int_equal(task_check(&copy, &e), 0);
    prompt[TASK_PROMPT_MAX] = 'x';
    prompt[TASK_PROMPT_MAX + 1] = 0;
    assert_int_equal(task_check(&copy, &e), ERR_INPUT);
    free(prompt);
    task_done(&t);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    struct task t = {0}, copy;
    char bad[] = "caf\xe9";

    (void)state;
    assert_int_equal(task_from_json(good, strlen(good), &t, NULL), 0);
    copy = t;
    copy.prompt = bad;
    assert_int_equal(task_check(&copy, NULL), ERR_INPUT);
    task_done(&t);
}

static void ddim_with_karras_is_refused(void **state)
{
    struct task t = {0};

    (void)state;
    refused("dpmpp_2m", "ddim", "sampler 'ddim' cannot use scheduler 'karras'");
    assert_int_equal(read_with("\"dpmpp_2m\",\"scheduler\":\"karras\"",
                               "\"ddim\",\"scheduler\":\"automatic\"", &t, NULL),
                     0);
    task_done(&t);
}

static void what_is_at_its_default_is_left_out(void **state)
{
    struct task t = {0};
    struct buf text = {0};

    (void)state;
    assert_int_equal(read_with("\"cfg_scale\":5",
                               "\"cfg_scale\":5,\"clip_skip\":1,\"denoising_strength\":0.75,"
                               "\"emphasis\":\"original\",\"init_image\":\"\","
                               "\"inpaint_full_res\":false,\"mask\":\"\"",
                               &t, NULL),
                     0);
    task_to_json(&t, &text);
    assert_string_equal(buf_text(&text), good);
    buf_done(&text);
    task_done(&t);
}

static void every_field_is_written_and_read_back(void **state)
{
    static const char full[] =
        "{\"cfg_scale\":5,\"clip_skip\":2,\"denoising_strength\":0.5,"
        "\"embeddings\":{\"glow\":\"/e/g.safetensors\"},\"emphasis\":\"no_norm\","
        "\"eta\":0,\"guidance_rescale\":0.7,\"height\":128,\"init_image\":\"/p/a.png\","
        "\"inpaint_full_res\":true,\"inpaint_full_res_padding\":16,\"inpainting_fill\":\"fill\","
        "\"inpainting_mask_invert\":true,"
        "\"loras\":{\"ink\":\"/l/i.safetensors\",\"oil\":\"/l/o.safetensors\"},\"mask\":\"/p/"
        "m.png\",\"mask_blur\":2.5,"
        "\"model\":\"m.safetensors\",\"model_config\":\"/c\",\"negative_prompt\":\"\","
        "\"outpaint_bottom\":32,\"outpaint_left\":8,\"outpaint_right\":16,\"outpaint_top\":24,"
        "\"precision\":\"f32\",\"prompt\":\"x\",\"rescale_betas_zero_snr\":true,"
        "\"resize_mode\":\"crop\",\"rng\":\"nv\",\"s_noise\":1.01,\"sampler\":\"euler_a\","
        "\"scheduler\":\"karras\",\"seed\":1,\"seed_resize_from_h\":64,"
        "\"seed_resize_from_w\":96,\"steps\":20,\"subseed\":9007199254740991,"
        "\"subseed_strength\":0.25,\"vae\":\"v\",\"vae_tile\":512,\"width\":192}";
    struct task t = {0}, copy = {0};
    struct buf text = {0};
    struct err e = {0};

    (void)state;
    if (task_from_json(full, strlen(full), &t, &e) != 0)
        fail_msg("%s", e.text);
    assert_true(t.eta.set && t.eta.value == 0);
    assert_int_equal(t.inpainting_fill, FILL_FILL);
    assert_string_equal(t.mask, "/p/m.png");
    assert_int_equal(task_copy(&t, &copy, NULL), 0);
    task_done(&t);
    assert_int_equal(task_check(&copy, &e), 0);
    task_to_json(&copy, &text);
    assert_string_equal(buf_text(&text), full);
    buf_done(&text);
    task_done(&copy);
}

/* The writer builds no tree: its order of keys is held against one that does. */
static void tasks_are_canonical_json_whatever_they_hold(void **state)
{
    struct task t = {0};

    (void)state;
    assert_int_equal(task_from_json(good, strlen(good), &t, NULL), 0);
    assert_int_equal(names_put(&t.loras, "a\"b", "/l/o.safetensors", NULL), 0);
    assert_int_equal(names_put(&t.embeddings, "z", "/e/\xc3\xa9.safetensors", NULL), 0);
    for (int p = 0; p < PARAM_FIELDS; p++) {
        static const char *const values[] = {"1",      "8",       "64",  "0.5",  "true",
                                             "/x",     "none",    "nv",  "fill", "euler",
                                             "karras", "lanczos", "crop"};
        struct buf text = {0}, canonical = {0};
        json_t *tree;

        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            param_set(&t, (enum param)p, values[i], NULL);
        task_to_json(&t, &text);
        tree = json_loadb(text.data, text.size, 0, NULL);
        assert_non_null(tree);
        json_canonical(tree, &canonical);
        assert_string_equal(buf_text(&text), buf_text(&canonical));
        json_decref(tree);
        buf_done(&text);
        buf_done(&canonical);
    }
    task_done(&t);
}

static void new_fields_have_bounds_of_their_own(void **state)
{
    static const char *const bad[][2] = {
        {"\"clip_skip\":0", "clip_skip '0' must be a whole number from 1 to 12"},
        {"\"eta\":1.5", "eta '1.5' must be a number from 0 to 1"},
        {"\"eta\":null", "'eta' must be a number"},
        {"\"emphasis\":\"Original\"", "one of: original no_norm ignore none"},
        {"\"guidance_rescale\":-0.1", "from 0 to 1"},
        {"\"hr_scale\":0.5", "hr_scale '0.5' must be 0 or a number from 1 to 16"},
        {"\"hr_resize_x\":100", "a multiple of 8 from 0 to 8192"},
        {"\"init_image\":\"a.png\"", "init_image 'a.png' must be the absolute path of a file"},
        {"\"init_image\":\"/a\\nb\"", "absolute path"},
        {"\"inpaint_full_res\":1", "'inpaint_full_res' must be true or false"},
        {"\"mask_blur\":65", "from 0 to 64"},
        {"\"model_config\":\"../c\"", "a name in the model library"},
        {"\"outpaint_left\":-8", "a multiple of 8"},
        {"\"rng\":\"gpu\"", "one of: cpu nv"},
        {"\"subseed\":-1", "subseed"},
        {"\"vae\":\"x.pt\"", "runs code"},
        {"\"vae_tile\":100", "a multiple of 64"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf piece = {0};

        buf_printf(&piece, "\"cfg_scale\":5,%s", bad[i][0]);
        refused("\"cfg_scale\":5", buf_text(&piece), bad[i][1]);
        buf_done(&piece);
    }
}

static void pickles_are_refused_with_the_cure(void **state)
{
    static const char *const endings[] = {".ckpt", ".pt", ".bin", ".CKPT", ".pth"};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct buf name = {0};

        buf_printf(&name, "v1-5%s", endings[i]);
        refused("sticker-128", buf_text(&name), "convert it to .safetensors");
        buf_done(&name);
    }
}

static void numbers_that_are_none_are_refused(void **state)
{
    struct task t = {0};
    struct err e;

    (void)state;
    assert_int_equal(task_from_json(good, strlen(good), &t, NULL), 0);
    t.hr_scale = 0.0 / 0.0;
    assert_int_equal(task_check(&t, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "hr_scale"));
    t.hr_scale = 0;
    t.eta = (struct task_number){true, 1.0 / 0.0};
    assert_int_equal(task_check(&t, &e), ERR_INPUT);
    t.eta = (struct task_number){false, 0};
    t.emphasis = (enum emphasis)17;
    assert_int_equal(task_check(&t, &e), ERR_INPUT);
    task_done(&t);
}

/* The size of a second pass as AUTOMATIC1111's calculate_target_resolution has it. */
static void a_second_pass_has_the_web_uis_size(void **state)
{
    static const struct {
        int w, h;
        double scale;
        int x, y;
        int64_t width, height;
    } cases[] = {
        {512, 768, 2, 0, 0, 1024, 1536},   {512, 768, 1.5, 0, 0, 768, 1152},
        {512, 512, 1.3, 0, 0, 664, 664},   {512, 768, 2, 1024, 0, 1024, 1536},
        {512, 768, 0, 0, 1024, 680, 1024}, {512, 768, 0, 1024, 1024, 1024, 1024},
        {512, 768, 0, 0, 0, 512, 768},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct task t = {.width = cases[i].w,
                         .height = cases[i].h,
                         .hr_scale = cases[i].scale,
                         .hr_resize_x = cases[i].x,
                         .hr_resize_y = cases[i].y};
        int64_t w, h;

        task_hires_size(&t, &w, &h);
        assert_int_equal(w, cases[i].width);
        assert_int_equal(h, cases[i].height);
    }
}

static void duplicate_keys_and_garbage_are_refused(void **state)
{
    (void)state;
    refused("\"steps\":20", "\"steps\":20,\"steps\":21", "");
    refused("{", "", "");
    refused("{", "[{", "");
}

static void a_copy_owns_its_texts(void **state)
{
    struct task t = {0}, copy = {0};

    (void)state;
    assert_int_equal(task_from_json(good, strlen(good), &t, NULL), 0);
    assert_int_equal(task_copy(&t, &copy, NULL), 0);
    assert_ptr_not_equal(t.prompt, copy.prompt);
    task_done(&t);
    assert_string_equal(copy.model, "sticker-128");
    assert_int_equal(copy.steps, 20);
    task_done(&copy);
    task_done(&copy); /* legal on zeroed memory */
}

static void size_sets_width_and_height(void **state)
{
    struct task t = {0};
    struct buf text = {0};

    (void)state;
    assert_int_equal(param_set(&t, PARAM_SIZE, "512x768", NULL), 0);
    assert_int_equal(t.width, 512);
    assert_int_equal(t.height, 768);
    param_text(&t, PARAM_SIZE, &text);
    assert_string_equal(buf_text(&text), "512x768");
    for (size_t i = 0; i < 8; i++) {
        static const char *const bad[] = {"",       "512",     "512x",     "x512",
                                          "512x10", "512X768", "512x768 ", "0x0"};

        assert_int_equal(param_set(&t, PARAM_SIZE, bad[i], NULL), ERR_INPUT);
    }
    assert_int_equal(t.width, 512);
    buf_done(&text);
}

static void numbers_are_read_strictly(void **state)
{
    static const char *const bad[] = {"", " 5", "5 ", "+5", "0x5", "nan", "inf", "5e", "1e999"};
    struct task t = {.cfg_scale = 3};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(param_set(&t, PARAM_CFG_SCALE, bad[i], NULL), ERR_INPUT);
        assert_int_equal(param_set(&t, PARAM_STEPS, bad[i], NULL), ERR_INPUT);
        assert_int_equal(param_set(&t, PARAM_SEED, bad[i], NULL), ERR_INPUT);
    }
    assert_true(t.cfg_scale == 3);
    assert_int_equal(param_set(&t, PARAM_CFG_SCALE, "7.50", NULL), 0);
    assert_true(t.cfg_scale == 7.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_json_reads_back_to_the_same_bytes),
        cmocka_unit_test(fractions_keep_their_shortest_text),
        cmocka_unit_test(unknown_keys_are_refused),
        cmocka_unit_test(names_of_no_file_are_refused),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(wrong_types_are_refused),
        cmocka_unit_test(bounds_are_checked_and_named),
        cmocka_unit_test(model_names_cannot_climb_out_of_the_library),
        cmocka_unit_test(absolute_model_paths_are_taken),
        cmocka_unit_test(prompts_longer_than_the_limit_are_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(ddim_with_karras_is_refused),
        cmocka_unit_test(what_is_at_its_default_is_left_out),
        cmocka_unit_test(every_field_is_written_and_read_back),
        cmocka_unit_test(tasks_are_canonical_json_whatever_they_hold),
        cmocka_unit_test(new_fields_have_bounds_of_their_own),
        cmocka_unit_test(pickles_are_refused_with_the_cure),
        cmocka_unit_test(numbers_that_are_none_are_refused),
        cmocka_unit_test(a_second_pass_has_the_web_uis_size),
        cmocka_unit_test(duplicate_keys_and_garbage_are_refused),
        cmocka_unit_test(a_copy_owns_its_texts),
        cmocka_unit_test(size_sets_width_and_height),
        cmocka_unit_test(numbers_are_read_strictly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
