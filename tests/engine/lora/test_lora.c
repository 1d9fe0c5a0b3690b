/*
 * LoRAs on a model: against diffusers and against weights with the changes merged; and what is left
 * of them afterwards, which is nothing.
 */
#include "engine/engine.h"
#include "tests/engine/lora/spelling.h"

static void applied_equals_diffusers_and_removed_leaves_no_trace(void **state)
{
    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct subject s;
        struct bytes before, with, after;

        subject_open(&s, b, "sd1", "lora-result", golden_folders);
        before = run(&s);
        check(s.results, "y_without", s.pass.y, s.ops->name);
        put_on(&s, "lora", 0.8, 0.8);
        with = run(&s);
        check(s.results, "y", s.pass.y, s.ops->name);
        check(s.results, "text", s.pass.text[0], s.ops->name);
        assert_false(same_y(&s, &before, &with));
        take_off(&s);
        after = run(&s);
        assert_true(same_y(&s, &before, &after));
        assert_true(same_text(&s, &before, &after));
        bytes_done(&before);
        bytes_done(&with);
        bytes_done(&after);
        subject_close(&s);
    }
}

static void two_at_once_add_up_in_any_order(void **state)
{
    const struct lora_use uses[2] = {{"lora", 0.8, 0.8}, {"two", -0.5, -0.5}};
    const struct lora_use turned[3] = {uses[1], {"no such file", 0, 0}, uses[0]};
    struct bytes first, second;
    struct subject s;

    (void)state;
    subject_open(&s, 1, "sd1", "two-result", golden_folders);
    assert_ok(model_loras(s.model, uses, 2, e));
    first = run(&s);
    check(s.results, "y", s.pass.y, s.ops->name);
    check(s.results, "text", s.pass.text[0], s.ops->name);
    take_off(&s);
    assert_ok(model_loras(s.model, turned, 3, e));
    second = run(&s);
    assert_true(same_y(&s, &first, &second));
    assert_true(same_text(&s, &first, &second));
    bytes_done(&first);
    bytes_done(&second);
    subject_close(&s);
}

static void both_text_encoders_and_original_names_of_sdxl_equal_diffusers(void **state)
{
    struct subject s;

    (void)state;
    subject_open(&s, 1, "sdxl", "xl-result", golden_folders);
    put_on(&s, "xl", 0.7, 0.7);
    run_planned(s.ops, forward, &s.pass);
    check(s.results, "y", s.pass.y, s.ops->name);
    check(s.results, "text", s.pass.text[0], s.ops->name);
    check(s.results, "text_2", s.pass.text[1], s.ops->name);
    check(s.results, "pooled", s.pass.pooled, s.ops->name);
    subject_close(&s);
}

/* ---- sets */

static void weights_of_unet_and_text_encoder_are_apart(void **state)
{
    struct bytes before, unet, text, both;
    struct subject s;
    char id[128];

    (void)state;
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    before = run(&s);
    assert_string_equal(model_lora_text_id(s.model), "");
    put_on(&s, "lora", 0.8, 0);
    assert_string_equal(model_lora_text_id(s.model), "");
    unet = run(&s);
    assert_true(same_text(&s, &before, &unet));
    put_on(&s, "lora", 0, 0.8);
    snprintf(id, sizeof id, "%s", model_lora_text_id(s.model));
    assert_int_equal(strlen(id), 64);
    text = run(&s);
    assert_true(same_y(&s, &before, &text));
    put_on(&s, "lora", 0.8, 0.8);
    assert_string_equal(model_lora_text_id(s.model), id);
    both = run(&s);
    assert_true(same_y(&s, &unet, &both));
    assert_true(same_text(&s, &text, &both));
    put_on(&s, "lora", 0.8, 0.5);
    assert_string_not_equal(model_lora_text_id(s.model), id);
    bytes_done(&before);
    bytes_done(&unet);
    bytes_done(&text);
    bytes_done(&both);
    subject_close(&s);
}

/* Bytes of the recorded LoRA's matrices as float32. */
static uint64_t matrix_bytes(void)
{
    struct weights *w = NULL;
    uint64_t n = 0;
    struct tensor t;

    assert_ok(weights_open(GOLDEN_DIR "/lora/lora.safetensors", &w, e));
    for (size_t i = 0; i < weights_count(w); i++)
        if (weights_find(w, weights_name(w, i), &t) && t.rank > 0)
            n += (uint64_t)tensor_count(&t) * sizeof(float);
    weights_close(w);
    return n;
}

static void bytes_count_against_the_budget_while_they_are_there(void **state)
{
    const struct lora_use use = {"lora", 1, 1};
    struct lora_info infos[LORA_USES_MAX];
    struct err why = {0};
    struct subject s;
    uint64_t own;

    (void)state;
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    own = s.model->weight_bytes;
    put_on(&s, "lora", 1, 1);
    assert_in_range(s.model->weight_bytes, own + matrix_bytes(), own + 4 * matrix_bytes());
    assert_int_equal(model_lora_infos(s.model, infos), 1);
    assert_string_equal(infos[0].name, "lora");
    assert_string_equal(infos[0].path, GOLDEN_DIR "/lora/lora.safetensors");
    take_off(&s);
    assert_int_equal(s.model->weight_bytes, own);
    assert_int_equal(model_lora_infos(s.model, infos), 0);
    assert_ok(model_lora_folders(s.model, golden_folders, own + matrix_bytes() / 2, e));
    assert_int_equal(model_loras(s.model, &use, 1, &why), ERR_OOM);
    assert_non_null(strstr(why.text, "budget"));
    assert_int_equal(s.model->weight_bytes, own);
    subject_close(&s);
}

static void file_that_changed_on_disk_is_read_again(void **state)
{
    const struct spelling how = {"style",          "unet.",  "text_encoder.", ".lora_A.weight",
                                 ".lora_B.weight", ".alpha", false,           false};
    const struct spelling other = {"style",          "unet.", "text_encoder.", ".lora_A.weight",
                                   ".lora_B.weight", NULL,    false,           false};
    char folder[FOLDER_SIZE];
    const char *const folders[] = {folder, NULL};
    struct bytes first, second, third;
    struct subject s;

    (void)state;
    lora_folder(folder, "changed");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    respell(&s, &how, folder, NULL);
    put_on(&s, "style", 0.8, 0.8);
    first = run(&s);
    put_on(&s, "style", 0.8, 0.8);
    second = run(&s);
    assert_true(same_y(&s, &first, &second));
    respell(&s, &other, folder, NULL);
    put_on(&s, "style", 0.8, 0.8);
    third = run(&s);
    assert_false(same_y(&s, &first, &third));
    bytes_done(&first);
    bytes_done(&second);
    bytes_done(&third);
    subject_close(&s);
    lora_folder_remove(folder);
}

/* ---- by prompt */

/* The recorded case's picture, with something after its prompt. */
static struct image render_case(struct engine *g, const json_t *c, const char *end)
{
    struct render r = case_render(GOLDEN_DIR "/lora", c);
    struct image image = {0};
    char prompt[256];

    snprintf(prompt, sizeof prompt, "%s%s", r.prompt, end);
    r.prompt = prompt;
    assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &image, e));
    case_done(&r);
    return image;
}

static void picture_equals_diffusers_and_those_before_and_after_are_the_same(void **state)
{
    struct lora_info infos[ENGINE_LORAS_MAX];
    struct image before, with, after;
    struct engine *g = NULL;
    json_t *c = NULL;
    char end[64];

    (void)state;
    assert_ok(json_read_file(GOLDEN_DIR "/lora/case.json", &c, e));
    assert_ok(engine_open(&(struct engine_options){.model = GOLDEN_DIR "/models/sd1",
                                                   .lora_folders = golden_folders,
                                                   .threads = 2},
                          &g, e));
    before = render_case(g, c, "");
    assert_int_equal(engine_loras(g, infos), 0);
    snprintf(end, sizeof end, "<lora:lora:%g>", case_number(c, "weight"));
    with = render_case(g, c, end);
    assert_near_png(&with, GOLDEN_DIR "/lora/lora.png");
    assert_int_equal(engine_loras(g, infos), 1);
    assert_string_equal(infos[0].name, "lora");
    assert_true(infos[0].unet == case_number(c, "weight"));
    after = render_case(g, c, "");
    assert_memory_equal(before.pixels, after.pixels, (size_t)(before.width * before.height * 3));
    assert_memory_not_equal(before.pixels, with.pixels, (size_t)(before.width * before.height * 3));
    image_done(&before);
    image_done(&with);
    image_done(&after);
    engine_close(g);
    json_decref(c);
}

/* ---- errors */

static void failure_leaves_the_model_without_any(void **state)
{
    const struct lora_use uses[2] = {{"lora", 0.8, 0.8}, {"nowhere", 1, 1}};
    struct bytes before, after;
    struct err why = {0};
    struct subject s;

    (void)state;
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    before = run(&s);
    put_on(&s, "lora", 0.8, 0.8);
    assert_int_equal(model_loras(s.model, uses, 2, &why), ERR_MISSING);
    assert_non_null(strstr(why.text, "nowhere"));
    assert_non_null(strstr(why.text, GOLDEN_DIR "/lora"));
    assert_string_equal(model_lora_text_id(s.model), "");
    after = run(&s);
    assert_true(same_y(&s, &before, &after));
    assert_true(same_text(&s, &before, &after));
    bytes_done(&before);
    bytes_done(&after);
    subject_close(&s);
}

static void write_conv_in(const char *folder, float down_value, float up_value)
{
    static float down[4 * 9], up[32];
    char path[FOLDER_SIZE + 32];
    struct st_file f;

    down[35] = down_value;
    up[31] = up_value;
    st_begin(&f);
    st_add_floats(&f, "unet.conv_in.lora_A.weight", down, 4, (int64_t[]){1, 4, 3, 3});
    st_add_floats(&f, "unet.conv_in.lora_B.weight", up, 4, (int64_t[]){32, 1, 1, 1});
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    st_save(&f, path);
}

static void numbers_that_are_not_finite_are_refused(void **state)
{
    static const struct {
        float down, up;
        double weight;
        const char *said;
    } cases[] = {
        {NAN, 1, 1, "unet.conv_in.lora_A.weight"},
        {1, INFINITY, 1, "unet.conv_in.lora_B.weight"},
        {1, 1e30f, 1e30, "unet.conv_in.lora_B.weight"}, /* finite before it is weighted */
        {1, 1, 1, NULL},
    };
    char folder[FOLDER_SIZE];
    const char *const folders[] = {folder, NULL};
    struct subject s;

    (void)state;
    lora_folder(folder, "finite");
    subject_open(&s, 1, "sd1", "lora-result", folders);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct lora_use use = {"x", cases[i].weight, cases[i].weight};
        struct err why = {0};

        write_conv_in(folder, cases[i].down, cases[i].up);
        assert_int_equal(model_loras(s.model, &use, 1, &why), cases[i].said ? ERR_INPUT : 0);
        if (cases[i].said != NULL)
            assert_non_null(strstr(why.text, cases[i].said));
        take_off(&s);
    }
    subject_close(&s);
    lora_folder_remove(folder);
}

static void lists_that_cannot_be_meant_are_refused(void **state)
{
    const struct lora_use twice[2] = {{"lora", 0.8, 0.8}, {"lora", 0.1, 0}};
    const struct lora_use wild = {"lora", 1e300, 1}, nan = {"lora", 1, NAN};
    struct lora_use many[LORA_USES_MAX + 1];
    struct err why = {0};
    struct subject s;

    (void)state;
    for (int i = 0; i <= LORA_USES_MAX; i++)
        many[i] = (struct lora_use){"lora", 1, 1};
    subject_open(&s, 1, "sd1", "lora-result", golden_folders);
    assert_int_equal(model_loras(s.model, twice, 2, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "twice"));
    assert_int_equal(model_loras(s.model, &wild, 1, &why), ERR_INPUT);
    assert_int_equal(model_loras(s.model, &nan, 1, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "finite"));
    assert_int_equal(model_loras(s.model, many, LORA_USES_MAX + 1, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "more than"));
    subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applied_equals_diffusers_and_removed_leaves_no_trace),
        cmocka_unit_test(two_at_once_add_up_in_any_order),
        cmocka_unit_test(both_text_encoders_and_original_names_of_sdxl_equal_diffusers),
        cmocka_unit_test(weights_of_unet_and_text_encoder_are_apart),
        cmocka_unit_test(bytes_count_against_the_budget_while_they_are_there),
        cmocka_unit_test(file_that_changed_on_disk_is_read_again),
        cmocka_unit_test(picture_equals_diffusers_and_those_before_and_after_are_the_same),
        cmocka_unit_test(failure_leaves_the_model_without_any),
        cmocka_unit_test(numbers_that_are_not_finite_are_refused),
        cmocka_unit_test(lists_that_cannot_be_meant_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
