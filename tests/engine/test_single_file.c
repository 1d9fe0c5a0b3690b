/* Checkpoints in one file, in the original names: the same models as the folders that they are of.
 */
#include "engine/engine.h"
#include "engine/family.h"
#include "tests/engine/single_file.h"

static char single_path[FOLDER_SIZE], other_path[FOLDER_SIZE];

static int make_paths(void **state)
{
    (void)state;
    mkdir(BINARY_DIR "/models-test", 0777);
    snprintf(single_path, sizeof single_path, BINARY_DIR "/models-test/single-%ld.safetensors",
             (long)getpid());
    snprintf(other_path, sizeof other_path, BINARY_DIR "/models-test/other-%ld.safetensors",
             (long)getpid());
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(single_path);
    unlink(other_path);
    return 0;
}

static const char *golden(const char *model)
{
    static char path[FOLDER_SIZE];

    snprintf(path, sizeof path, GOLDEN_DIR "/models/%s", model);
    return path;
}

static struct checkpoint *open_single(const char *config)
{
    const struct checkpoint_options o = {.model = single_path, .config = config};
    struct checkpoint *c = NULL;

    assert_ok(checkpoint_open(&o, &c, e));
    return c;
}

__attribute__((unused)) static void assert_refused_as(const struct checkpoint_options *o, int code,
                                                      const char *part1, const char *part2)
{
    struct checkpoint *c = NULL;
    struct err e = {0};

    assert_int_equal(checkpoint_open(o, &c, &e), code);
    assert_null(c);
    if (strstr(e.text, part1) == NULL || strstr(e.text, part2) == NULL)
        fail_msg("'%s' names not '%s' and '%s'", e.text, part1, part2);
}

/* SHA-256 over all tensors in order of their names: name, shape, bytes. */
static void hash_tensors(const char *path, char ret_hex[HASH_HEX_SIZE])
{
    struct weights *w = NULL;
    struct buf all = {0};
    const char *last = "";

    assert_ok(weights_open(path, &w, e));
    for (size_t n = 0; n < weights_count(w); n++) {
        const char *next = NULL;
        char shape[128];
        struct tensor t;

        for (size_t i = 0; i < weights_count(w); i++) {
            const char *name = weights_name(w, i);

            if (strcmp(name, last) > 0 && (next == NULL || strcmp(name, next) < 0))
                next = name;
        }
        assert_non_null(next);
        assert_true(weights_find(w, next, &t));
        buf_printf(&all, "%s%s", next, tensor_shape_text(&t, shape, sizeof shape));
        buf_append(&all, t.data, (size_t)tensor_count(&t) * dtype_size(t.dtype));
        last = next;
    }
    assert_ok(buf_check(&all, e));
    assert_ok(hash_bytes(all.data, all.size, ret_hex, e));
    buf_done(&all);
    weights_close(w);
}

/* The hashes are those of the oracle's models/sd1.safetensors and so on, by ldm_names.py. */
static void files_written_here_are_those_of_the_oracle(void **state)
{
    static const char *const hashes[][2] = {
        {"sd1", "1a72b39d0e1f67ff29632bd196c53a02b489998c97ad5b9ec0440db176cb2a11"},
        {"sd2", "5ff8dd176c3e0f2dc68c7117d49c038d72e5282be6fd6678e1397fc49bae8a25"},
        {"sdxl", "45da3d63a49718fc538d4dc3eb92b874a4355bcf59d779c5ee9589b0fedd560c"}};
    const struct single_options plain = {0};
    char hex[HASH_HEX_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        single_file_write(hashes[i][0], &plain, single_path);
        hash_tensors(single_path, hex);
        assert_string_equal(hex, hashes[i][1]);
    }
}

static void assert_same_parts(const struct checkpoint *c, const char *model)
{
    struct checkpoint *folder = NULL;

    assert_ok(checkpoint_open(&(struct checkpoint_options){.model = golden(model)}, &folder, e));
    assert_memory_equal(checkpoint_kind(c), checkpoint_kind(folder),
                        sizeof(struct checkpoint_kind));
    for (int p = 0; p < CHECKPOINT_PARTS; p++) {
        const struct part_source *got = checkpoint_source(c, (enum checkpoint_part)p);
        const struct part_source *want = checkpoint_source(folder, (enum checkpoint_part)p);

        assert_int_equal(got != NULL, want != NULL);
        if (want == NULL)
            continue;
        for (size_t i = 0; i < weights_count(want->weights); i++) {
            const char *name = weights_name(want->weights, i);
            struct tensor a, b;
            char longer[288];

            assert_true(weights_find(want->weights, name, &a));
            snprintf(longer, sizeof longer, "text_model.%s", name);
            if (!weights_find(got->weights, name, &b) && !weights_find(got->weights, longer, &b))
                fail_msg("%s: '%s' is not found", model, name);
            assert_int_equal(a.dtype, b.dtype);
            assert_int_equal(tensor_count(&a), tensor_count(&b));
            assert_int_equal(a.shape[0], b.shape[0]);
            if (memcmp(a.data, b.data, (size_t)tensor_count(&a) * dtype_size(a.dtype)) != 0)
                fail_msg("%s: '%s' has other numbers", model, name);
        }
    }
    checkpoint_close(folder);
}

static void every_tensor_is_found_under_its_original_name(void **state)
{
    static const struct {
        const char *model;
        struct single_options options;
    } cases[] = {
        {"sd1", {.extras = true}},     {"sd1", {.bare_text = true}}, {"sd1", {.sgm = true}},
        {"inpaint", {.extras = true}}, {"sd2", {.extras = true}},    {"sd2", {.sgm = true}},
        {"sdxl", {.extras = true}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct checkpoint *c;

        single_file_write(cases[i].model, &cases[i].options, single_path);
        c = open_single(golden(cases[i].model));
        assert_same_parts(c, cases[i].model);
        checkpoint_close(c);
    }
}

static struct image render_of(const struct engine_options *o)
{
    struct render r = {.prompt = "a red apple!",
                       .negative_prompt = "blurry",
                       .sampler = SAMPLER_EULER,
                       .scheduler = SCHEDULER_AUTOMATIC,
                       .steps = 1,
                       .width = 64,
                       .height = 64,
                       .cfg_scale = 3,
                       .seed = 5};
    struct image image = {0};
    struct engine *g = NULL;

    assert_ok(engine_open(o, &g, e));
    assert_ok(engine_render(g, &r, &image, e));
    engine_close(g);
    return image;
}

static void a_picture_of_the_file_equals_that_of_the_folder(void **state)
{
    static const char *const models[] = {"sd1", "sd2"};
    const struct single_options plain = {.extras = true};

    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct engine_options o = {.model = golden(models[i]), .threads = 2};
        struct image want = render_of(&o), got;

        single_file_write(models[i], &plain, single_path);
        o = (struct engine_options){
            .model = single_path, .config = golden(models[i]), .threads = 2};
        got = render_of(&o);
        assert_memory_equal(got.pixels, want.pixels, 64 * 64 * 3);
        image_done(&got);
        image_done(&want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_written_here_are_those_of_the_oracle),
        cmocka_unit_test(every_tensor_is_found_under_its_original_name),
        cmocka_unit_test(a_picture_of_the_file_equals_that_of_the_folder),
    };

    return cmocka_run_group_tests(tests, make_paths, remove_files);
}
