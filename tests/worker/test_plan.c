#include "worker/plan.h"

#include "engine/ops/ops.h"
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *directories[] = {SOURCE_DIR "/models"};

struct said {
    int code;
    char *out, *err;
};

static struct said plan(struct options o)
{
    struct said said;
    size_t out_size, err_size;
    FILE *out = open_memstream(&said.out, &out_size), *err = open_memstream(&said.err, &err_size);

    o.directories = directories;
    o.n_directories = 1;
    o.threads = 1;
    said.code = plan_tasks(&o, out, err);
    fclose(out);
    fclose(err);
    return said;
}

static void said_done(struct said *said)
{
    free(said->out);
    free(said->err);
}

/* A number of the n-th JSON line. */
static int64_t number(const struct said *said, int n, const char *key)
{
    const char *line = said->out;
    json_t *value;
    int64_t x;

    while (n-- > 0)
        line = strchr(line, '\n') + 1;
    value = json_loadb(line, strcspn(line, "\n"), 0, NULL);
    assert_non_null(value);
    x = json_integer_value(json_object_get(value, key));
    json_decref(value);
    return x;
}

static void peak_is_weights_and_render(void **state)
{
    bool single = strcmp(ops_cpu_class(PRECISION_AUTO), "cpu") == 0;
    struct said said =
        plan((struct options){.model = "sticker-128", .size = "128x128", .json = true});

    (void)state;
    assert_int_equal(said.code, 0);
    assert_string_equal(said.err, "");
    assert_int_equal(number(&said, 0, "width"), 128);
    /* A parameter takes 4 bytes in float32, half of that in bf16, which auto may choose. */
    assert_true(number(&said, 0, "weights") > (single ? 80 << 20 : 40 << 20));
    assert_true(number(&said, 0, "render") > 1 << 20);
    assert_int_equal(number(&said, 0, "total"),
                     number(&said, 0, "weights") + number(&said, 0, "render"));
    said_done(&said);
}

static void larger_pictures_take_more(void **state)
{
    static const char *const small[] = {"size=64x64"}, *const large[] = {"size=64x64",
                                                                         "hr_scale=4"};
    struct said a = plan((struct options){
        .model = "sticker-128", .sets = (const char **)small, .n_sets = 1, .json = true});
    struct said b = plan((struct options){
        .model = "sticker-128", .sets = (const char **)large, .n_sets = 2, .json = true});

    (void)state;
    assert_int_equal(number(&b, 0, "width"), 256);
    assert_true(number(&b, 0, "render") > 2 * number(&a, 0, "render"));
    assert_int_equal(number(&a, 0, "weights"), number(&b, 0, "weights"));
    said_done(&a);
    said_done(&b);
}

static void people_read_mebibytes(void **state)
{
    struct said said = plan((struct options){.model = "sticker-128", .size = "128x128"});

    (void)state;
    assert_memory_equal(said.out, "sticker-128, 128x128: ", 22);
    assert_non_null(strstr(said.out, " MiB at its peak: weights "));
    said_done(&said);
}

static void tasks_of_a_file_are_planned_line_by_line(void **state)
{
#define TASK(model)                                                                                \
    "{\"cfg_scale\":5,\"height\":64,\"model\":\"" model "\",\"negative_prompt\":\"\","             \
    "\"precision\":\"f32\",\"prompt\":\"a pizza\",\"sampler\":\"euler\","                          \
    "\"scheduler\":\"automatic\",\"seed\":1,\"steps\":2,\"width\":64}\n"
    static const char text[] = TASK("sticker-128") TASK("none") "\n" TASK("sticker-128");
    char path[] = "/tmp/test_plan.XXXXXX";
    int fd = mkstemp(path);
    struct said said;

    (void)state;
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    said = plan((struct options){.tasks = path, .json = true});
    assert_int_equal(said.code, 1);
    assert_non_null(strstr(said.err, "litho-worker: model 'none' is not in the model library"));
    assert_non_null(strstr(said.out, "{\"code\":\"asset_missing\",\"error\":\"model 'none'"));
    assert_int_equal(number(&said, 0, "total"), number(&said, 2, "total"));
    said_done(&said);
    unlink(path);
}

static void what_is_no_task_is_refused(void **state)
{
    static const char *const unknown[] = {"stepz=3"}, *const wrong[] = {"steps=0"},
                             *const clash[] = {"mask=/a.png"};
    static const struct {
        struct options o;
        const char *why;
    } cases[] = {
        {{.model = NULL}, "which model?"},
        {{.model = "m", .size = "1x1"}, "size '1x1' must be"},
        {{.model = "../m"}, "No such file"},
        {{.model = "m", .sets = (const char **)unknown, .n_sets = 1}, "--set stepz=3"},
        {{.model = "m", .sets = (const char **)wrong, .n_sets = 1}, "steps '0' must be"},
        {{.model = "m", .sets = (const char **)clash, .n_sets = 1}, "mask: there is no init_image"},
        {{.tasks = "/no/such/file"}, "/no/such/file"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct said said = plan(cases[i].o);

        assert_int_equal(said.code, 2);
        if (!strstr(said.err, cases[i].why))
            fail_msg("'%s' does not say '%s'", said.err, cases[i].why);
        said_done(&said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peak_is_weights_and_render),
        cmocka_unit_test(larger_pictures_take_more),
        cmocka_unit_test(people_read_mebibytes),
        cmocka_unit_test(tasks_of_a_file_are_planned_line_by_line),
        cmocka_unit_test(what_is_no_task_is_refused),
    };

    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
