#include "jobs/cli/provenance.h"

#include "jobs/job.h"
#include "proto/png.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TASK                                                                                       \
    "{\"cfg_scale\":4,\"height\":64,\"model\":\"m\",\"negative_prompt\":\"\",\"precision\":"       \
    "\"f32\",\"prompt\":\"a ${thing} for $${5\\u007f\",\"sampler\":\"euler\",\"scheduler\":"       \
    "\"karras\",\"seed\":7,\"steps\":3,\"width\":64}"
#define RECORD(engine, files)                                                                      \
    "{\"litho\":1,\"task\":" TASK ",\"model\":{\"name\":\"m\",\"files\":{" files                   \
    "}},\"engine\":\"" engine "\",\"precision\":\"f32\",\"device_class\":\"cpu-avx2\"}"
#define FILE_A "\"a\":\"0000000000000000\""
#define FILE_B "\"b\":\"1111111111111111\""

static int read_record(const char *record, struct provenance *ret_p, struct err *e)
{
    const uint8_t pixels[8 * 8 * 3] = {0};
    struct png_text text = {.key = "litho", .text = record};
    struct buf file = {0};
    int rc;

    assert_int_equal(png_encode(pixels, 8, 8, &text, record != NULL, &file, e), 0);
    rc = provenance_read(file.data, file.size, "x.png", ret_p, e);
    buf_done(&file);
    return rc;
}

static void record_gives_the_task(void **state)
{
    struct provenance p;
    struct err e;

    (void)state;
    assert_int_equal(read_record(RECORD("1", FILE_A), &p, &e), 0);
    assert_int_equal(p.task.seed, 7);
    assert_string_equal(p.task.prompt, "a ${thing} for $${5\177");
    provenance_done(&p);
}

#define OPEN(precision)                                                                            \
    "{\"litho\":1,\"task\":{\"cfg_scale\":4,\"height\":64,\"model\":\"m\",\"negative_prompt\":"    \
    "\"\","                                                                                        \
    "\"precision\":\"auto\",\"prompt\":\"x\",\"sampler\":\"euler\",\"scheduler\":\"karras\","      \
    "\"seed\":"                                                                                    \
    "7,\"steps\":3,\"width\":64},\"model\":{\"name\":\"m\",\"files\":{}},\"engine\":\"1\","        \
    "\"precision\":\"" precision "\",\"device_class\":\"cpu-amx\"}"

static void a_precision_left_open_is_the_one_that_was_computed_in(void **state)
{
    struct provenance p;
    struct err e;

    (void)state;
    assert_int_equal(read_record(OPEN("bf16"), &p, &e), 0);
    assert_int_equal(p.task.precision, PRECISION_BF16);
    provenance_done(&p);
    assert_int_equal(read_record(OPEN("f32"), &p, &e), 0);
    assert_int_equal(p.task.precision, PRECISION_F32);
    provenance_done(&p);
    assert_int_equal(read_record(OPEN("auto"), &p, &e), ERR_INPUT);
    assert_int_equal(read_record(OPEN("f8"), &p, &e), ERR_INPUT);
}

static void picture_without_a_record_says_so(void **state)
{
    struct provenance p;
    struct err e;

    (void)state;
    assert_int_equal(read_record(NULL, &p, &e), ERR_MISSING);
    assert_non_null(strstr(e.text, "x.png carries no record"));
}

static void broken_records_are_refused(void **state)
{
    static const char *const records[] = {
        "",
        "[]",
        "{",
        "{\"litho\":2}",
        "{\"litho\":1,\"task\":{}}",
        "{\"litho\":1,\"task\":" TASK "}",
        "{\"litho\":1,\"task\":" TASK ",\"model\":{\"files\":[]},\"engine\":\"1\",\"precision\":"
        "\"f32\",\"device_class\":\"c\"}",
        "{\"litho\":1,\"task\":{\"steps\":1},\"model\":{\"files\":{}},\"engine\":\"1\","
        "\"precision\":\"f32\",\"device_class\":\"c\"}",
    };
    struct provenance p;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++)
        assert_int_equal(read_record(records[i], &p, &e), ERR_INPUT);
}

static void check_differences(const char *was, const char *is, const char *expected)
{
    struct provenance a, b;
    struct buf lines = {0};
    struct err e;

    assert_int_equal(read_record(was, &a, &e), 0);
    assert_int_equal(read_record(is, &b, &e), 0);
    provenance_differences(&a, &b, &lines);
    assert_string_equal(buf_text(&lines), expected);
    buf_done(&lines);
    provenance_done(&a);
    provenance_done(&b);
}

static void differences_name_files_and_versions(void **state)
{
    (void)state;
    check_differences(RECORD("1", FILE_A), RECORD("1", FILE_A), "");
    check_differences(RECORD("1", FILE_A), RECORD("2", FILE_B),
                      "model file a: not in this model\n"
                      "model file b: not in the record\n"
                      "engine version: 1 in the record, 2 here\n");
    check_differences(RECORD("1", FILE_A), RECORD("1", "\"a\":\"2222222222222222\""),
                      "model file a: another content (SHA-256 22222222..., was 00000000...)\n");
}

static void changed_pictures_are_told(void **state)
{
#define WITH(assets) "{\"assets\":{" assets "}," RECORD_REST
#define RECORD_REST                                                                                \
    "\"litho\":1,\"task\":" TASK ",\"model\":{\"name\":\"m\",\"files\":{}},\"engine\":\"1\","      \
    "\"precision\":\"f32\",\"device_class\":\"c\"}"
    struct provenance p;
    struct err e;

    (void)state;
    check_differences(WITH("\"init_image\":\"00000000\""), WITH("\"init_image\":\"00000000\""), "");
    check_differences(WITH("\"init_image\":\"00000000\",\"mask\":\"1\""),
                      WITH("\"init_image\":\"22222222\""),
                      "file init_image: another content (SHA-256 22222222..., was 00000000...)\n"
                      "file mask: not used here\n");
    assert_int_equal(read_record("{\"assets\":[]," RECORD_REST, &p, &e), ERR_INPUT);
}

static void bundle_is_a_job_of_exactly_this_task(void **state)
{
    struct provenance p;
    struct buf bundle = {0}, path = {0}, text = {0};
    struct task task;
    struct job *job;
    struct err e;

    (void)state;
    assert_int_equal(read_record(RECORD("1", FILE_A), &p, &e), 0);
    assert_int_equal(provenance_bundle(&p.task, &bundle, &e), 0);
    assert_int_equal(job_load(bundle.data, bundle.size, &job, &e), 0);
    assert_int_equal(job_count(job), 1);
    assert_int_equal(job_task(job, 0, &task, &e), 0);
    task_to_json(&task, &text);
    assert_string_equal(buf_text(&text),
                        "{\"cfg_scale\":4,\"height\":64,\"model\":\"m\",\"negative_prompt\":\"\","
                        "\"precision\":\"f32\",\"prompt\":\"a ${thing} for $${5\177\",\"sampler\":"
                        "\"euler\",\"scheduler\":\"karras\",\"seed\":7,\"steps\":3,\"width\":64}");
    assert_int_equal(job_path(job, 0, &path, &e), 0);
    assert_string_equal(buf_text(&path), "replay/picture.png");
    task_done(&task);
    job_free(job);
    buf_done(&bundle);
    buf_done(&path);
    buf_done(&text);
    provenance_done(&p);
}

static void a_bundle_has_the_tasks_own_names(void **state)
{
    struct task t = {0}, again = {0};
    struct buf bundle = {0}, was = {0}, is = {0};
    struct provenance p;
    struct job *job;
    struct err e;

    (void)state;
    assert_int_equal(read_record(RECORD("1", FILE_A), &p, &e), 0);
    assert_int_equal(task_copy(&p.task, &t, &e), 0);
    free(t.prompt);
    t.prompt = strdup("a glow <lora:ink:0.5><lora:ink-2:1>");
    assert_int_equal(names_put(&t.loras, "ink", "/a/ink.safetensors", &e), 0);
    assert_int_equal(names_put(&t.loras, "ink-2", "/b/ink.safetensors", &e), 0);
    assert_int_equal(names_put(&t.embeddings, "glow", "/a/glow.safetensors", &e), 0);
    assert_int_equal(provenance_bundle(&t, &bundle, &e), 0);
    assert_int_equal(job_load(bundle.data, bundle.size, &job, &e), 0);
    assert_int_equal(job_task(job, 0, &again, &e), 0);
    task_to_json(&t, &was);
    task_to_json(&again, &is);
    assert_string_equal(buf_text(&is), buf_text(&was));
    task_done(&t);
    task_done(&again);
    job_free(job);
    buf_done(&bundle);
    buf_done(&was);
    buf_done(&is);
    provenance_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_gives_the_task),
        cmocka_unit_test(a_precision_left_open_is_the_one_that_was_computed_in),
        cmocka_unit_test(picture_without_a_record_says_so),
        cmocka_unit_test(broken_records_are_refused),
        cmocka_unit_test(differences_name_files_and_versions),
        cmocka_unit_test(changed_pictures_are_told),
        cmocka_unit_test(bundle_is_a_job_of_exactly_this_task),
        cmocka_unit_test(a_bundle_has_the_tasks_own_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
