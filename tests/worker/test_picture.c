#include "proto/json.h"
#include "proto/png.h"
#include "proto/version.h"
#include "worker/picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define HASH_A "aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999"

static uint8_t pixels[16 * 8 * 3];

static const struct model_file files[] = {
    {"vae/config.json", HASH_A},
    {"unet/config.json", HASH_A},
};

static struct task task_of(const char *prompt)
{
    struct task t = task_defaults();

    t.model = (char *)(uintptr_t) "tiny";
    t.prompt = (char *)(uintptr_t)prompt;
    t.negative_prompt = (char *)(uintptr_t) "blurry, dark";
    t.sampler = SAMPLER_EULER_A;
    t.scheduler = SCHEDULER_AUTOMATIC;
    t.steps = 12;
    t.width = 16;
    t.height = 8;
    t.cfg_scale = 6.5;
    t.seed = 42;
    return t;
}

static struct picture make(const char *prompt, const char *path)
{
    const struct picture_model model = {
        .path = path, .files = files, .n_files = 2, .hash = HASH_A, .device_class = "cpu-avx2"};
    const struct image image = {.width = 16, .height = 8, .pixels = pixels};
    const struct task t = task_of(prompt);
    struct picture p = {0};
    struct err e = {0};

    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 7);
    if (picture_make(&t, &model, &image, &p, &e) != 0)
        fail_msg("%s", e.text);
    return p;
}

static void chunk(const struct picture *p, const char *key, struct buf *ret_text)
{
    struct err e = {0};

    if (png_text_get(p->png.data, p->png.size, key, ret_text, &e) != 0)
        fail_msg("%s", e.text);
}

static void pixels_survive(void **state)
{
    struct picture p = make("a pizza", "/models/tiny");
    uint8_t *back = NULL;
    int width, height;

    (void)state;
    assert_int_equal(png_decode(p.png.data, p.png.size, &back, &width, &height, NULL), 0);
    assert_int_equal(width, 16);
    assert_int_equal(height, 8);
    assert_memory_equal(back, pixels, sizeof pixels);
    free(back);
    picture_done(&p);
}

static void litho_chunk_is_canonical_and_complete(void **state)
{
    struct picture p = make("a pizza", "/models/tiny/");
    struct buf text = {0};

    (void)state;
    chunk(&p, "litho", &text);
    assert_string_equal(buf_text(&text),
                        "{\"device_class\":\"cpu-avx2\",\"engine\":\"" ENGINE_VERSION
                        "\",\"litho\":1,\"model\":{\"files\":{\"unet/config.json\":\"" HASH_A
                        "\",\"vae/config.json\":\"" HASH_A
                        "\"},\"name\":\"tiny\"},\"precision\":\"f32\",\"task\":{\"cfg_scale\":6.5,"
                        "\"height\":8,\"model\":\"tiny\",\"negative_prompt\":\"blurry, dark\","
                        "\"precision\":\"f32\",\"prompt\":\"a pizza\",\"sampler\":\"euler_a\","
                        "\"scheduler\":\"automatic\",\"seed\":42,\"steps\":12,\"width\":16}}");
    buf_done(&text);
    picture_done(&p);
}

static void task_of_the_chunk_is_the_task(void **state)
{
    struct picture p = make("snow \xe2\x9d\x84, \"quoted\"", "/models/tiny");
    const struct task t = task_of("snow \xe2\x9d\x84, \"quoted\"");
    struct buf text = {0}, expected = {0}, got = {0};
    json_t *root = NULL;
    struct task back = {0};

    (void)state;
    chunk(&p, "litho", &text);
    assert_int_equal(json_read("chunk", buf_text(&text), text.size, &root, NULL), 0);
    assert_int_equal(task_from_value(json_object_get(root, "task"), &back, NULL), 0);
    task_to_json(&t, &expected);
    task_to_json(&back, &got);
    assert_string_equal(buf_text(&got), buf_text(&expected));
    json_decref(root);
    task_done(&back);
    buf_done(&text);
    buf_done(&expected);
    buf_done(&got);
    picture_done(&p);
}

static void parameters_come_first_and_name_the_model(void **state)
{
    struct picture p = make("a pizza", "/models/tiny");
    struct buf text = {0};
    const char *parameters = memmem(p.png.data, p.png.size, "parameters", 10);
    const char *litho = memmem(p.png.data, p.png.size, "litho", 6);

    (void)state;
    assert_non_null(parameters);
    assert_non_null(litho);
    assert_true(parameters < litho);
    chunk(&p, "parameters", &text);
    assert_non_null(strstr(buf_text(&text), "a pizza\nNegative prompt: blurry, dark\nSteps: 12, "));
    assert_non_null(strstr(buf_text(&text), "Model hash: aaaabbbbcc, Model: tiny"));
    buf_done(&text);
    picture_done(&p);
}

static void other_files_that_decided_the_pixels_are_named(void **state)
{
    const struct model_file asset = {"init_image", HASH_A};
    const struct picture_model model = {.path = "/models/tiny.safetensors",
                                        .files = files,
                                        .n_files = 2,
                                        .assets = &asset,
                                        .n_assets = 1,
                                        .hash = HASH_A,
                                        .device_class = "cpu"};
    const struct image image = {.width = 16, .height = 8, .pixels = pixels};
    const struct task t = task_of("x");
    struct picture p = {0};
    struct buf text = {0};

    (void)state;
    assert_int_equal(picture_make(&t, &model, &image, &p, NULL), 0);
    chunk(&p, "litho", &text);
    assert_memory_equal(buf_text(&text), "{\"assets\":{\"init_image\":\"" HASH_A "\"},", 90);
    assert_non_null(strstr(buf_text(&text), "\"name\":\"tiny\""));
    text.size = 0;
    chunk(&p, "parameters", &text);
    assert_non_null(strstr(buf_text(&text), "Model: tiny,"));
    buf_done(&text);
    picture_done(&p);
}

static void same_task_means_same_bytes_wherever_the_model_lies(void **state)
{
    struct picture a = make("a pizza", "/models/tiny"), b = make("a pizza", "elsewhere/tiny");
    struct picture c = make("a piz", "/models/tiny");
    char hash[HASH_HEX_SIZE];

    (void)state;
    assert_int_equal(a.png.size, b.png.size);
    assert_memory_equal(a.png.data, b.png.data, a.png.size);
    assert_string_equal(a.sha256, b.sha256);
    assert_string_not_equal(a.sha256, c.sha256);
    assert_int_equal(hash_bytes(a.png.data, a.png.size, hash, NULL), 0);
    assert_string_equal(a.sha256, hash);
    assert_string_equal(a.precision, "f32");
    assert_string_equal(a.device_class, "cpu-avx2");
    picture_done(&a);
    picture_done(&b);
    picture_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_survive),
        cmocka_unit_test(litho_chunk_is_canonical_and_complete),
        cmocka_unit_test(task_of_the_chunk_is_the_task),
        cmocka_unit_test(parameters_come_first_and_name_the_model),
        cmocka_unit_test(other_files_that_decided_the_pixels_are_named),
        cmocka_unit_test(same_task_means_same_bytes_wherever_the_model_lies),
    };

    return cmocka_run_group_tests_name("picture", tests, NULL, NULL);
}
