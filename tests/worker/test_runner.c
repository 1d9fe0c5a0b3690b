#include "worker/resident.h"
#include "worker/runner.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define PATIENCE_MS 120000 /* only a failing test waits this long */

#define TASK(model, steps)                                                                         \
    "{\"cfg_scale\":5,\"height\":64,\"model\":\"" model "\",\"negative_prompt\":\"\","             \
    "\"precision\":\"f32\",\"prompt\":\"a pizza\",\"sampler\":\"euler\","                          \
    "\"scheduler\":\"automatic\",\"seed\":1,\"steps\":" steps ",\"width\":64}"

static struct library *library;

static int open_library(void **state)
{
    static const char *const directories[] = {SOURCE_DIR "/models"};

    (void)state;
    return library_open(directories, 1, &library, NULL);
}

static int close_library(void **state)
{
    (void)state;
    library_close(library);
    return 0;
}

static struct runner *open_runner(uint64_t memory_bytes)
{
    const struct runner_options o = {
        .library = library, .backend = BACKEND_CPU, .threads = 2, .memory_bytes = memory_bytes};
    struct runner *r = NULL;
    struct err e = {0};

    if (runner_open(&o, &r, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

static void start(struct runner *r, const char *task)
{
    assert_int_equal(runner_start(r, &task, NULL, 1, NULL, NULL), 0);
}

static struct report next_report(struct runner *r)
{
    struct pollfd fd = {.fd = runner_fd(r), .events = POLLIN};
    struct report report;

    while (!runner_take(r, &report))
        if (poll(&fd, 1, PATIENCE_MS) == 0)
            fail_msg("no report came");
    return report;
}

/* The end of the running task. ret_steps (may be NULL): the last step reported. */
static struct report outcome(struct runner *r, uint32_t *ret_steps)
{
    struct report report;

    while ((report = next_report(r)).kind == REPORT_PROGRESS)
        if (ret_steps)
            *ret_steps = report.step;
    return report;
}

static void fails(struct runner *r, const char *task, int code, const char *why)
{
    struct report report;

    start(r, task);
    report = outcome(r, NULL);
    assert_int_equal(report.kind, REPORT_FAILED);
    assert_int_equal(report.error.code, code);
    if (!strstr(report.error.text, why))
        fail_msg("'%s' does not say '%s'", report.error.text, why);
}

static void same_task_gives_the_same_bytes_and_loads_once(void **state)
{
    struct runner *r = open_runner(0);
    struct report first, second;
    uint32_t steps = 0;

    (void)state;
    start(r, TASK("sticker-128", "2"));
    first = outcome(r, &steps);
    if (first.kind != REPORT_FINISHED)
        fail_msg("%s", first.error.text);
    assert_int_equal(steps, 2);
    assert_true(first.picture.load_seconds > 0);
    assert_true(first.picture.render_seconds > 0);
    assert_string_equal(first.picture.device_class, engine_probe_class(BACKEND_CPU, PRECISION_F32));
    assert_false(first.picture.black);
    start(r, TASK("sticker-128", "2"));
    second = outcome(r, NULL);
    assert_int_equal(second.kind, REPORT_FINISHED);
    assert_true(second.picture.load_seconds == 0);
    assert_int_equal(first.picture.png.size, second.picture.png.size);
    assert_memory_equal(first.picture.png.data, second.picture.png.data, first.picture.png.size);
    picture_done(&first.picture);
    picture_done(&second.picture);
    runner_close(r);
}

static void failures_have_their_class_and_the_next_task_runs(void **state)
{
    struct runner *r = open_runner(0);
    struct report report;

    (void)state;
    fails(r, "{", ERR_INPUT, "");
    fails(r, TASK("no-such-model", "2"), ERR_MISSING, "no-such-model");
    fails(r, TASK("sticker-128", "0"), ERR_INPUT, "steps");
    start(r, TASK("sticker-128", "1"));
    report = outcome(r, NULL);
    assert_int_equal(report.kind, REPORT_FINISHED);
    picture_done(&report.picture);
    runner_close(r);
}

static void a_configuration_is_a_folder_of_the_library_or_a_family(void **state)
{
#define WITH(config)                                                                               \
    "{\"cfg_scale\":5,\"height\":64,\"model\":\"sticker-128\",\"model_config\":\"" config          \
    "\",\"negative_prompt\":\"\",\"precision\":\"f32\",\"prompt\":\"a "                            \
    "pizza\",\"sampler\":\"euler\","                                                               \
    "\"scheduler\":\"automatic\",\"seed\":1,\"steps\":1,\"width\":64}"
    struct runner *r = open_runner(0);

    (void)state;
    /* these reach the engine, which wants none for a model in a folder */
    fails(r, WITH("sd-turbo"), ERR_INPUT, "is a folder, whose own configuration decides");
    fails(r, WITH("sticker-128"), ERR_INPUT, "is a folder, whose own configuration decides");
    runner_close(r);
}

static void what_does_not_fit_the_budget_is_refused(void **state)
{
    struct runner *r = open_runner(1 << 20);

    (void)state;
    fails(r, TASK("sticker-128", "1"), ERR_OOM, "");
    runner_close(r);
}

#define SEED(seed)                                                                                 \
    "{\"cfg_scale\":5,\"height\":64,\"model\":\"sticker-128\",\"negative_prompt\":\"\","           \
    "\"precision\":\"f32\",\"prompt\":\"a pizza\",\"sampler\":\"euler_a\","                        \
    "\"scheduler\":\"automatic\",\"seed\":" seed ",\"steps\":2,\"width\":64}"

/* The outcomes of a batch, in the order of its tasks. */
static void outcomes(struct runner *r, const char *const *tasks, size_t n, struct report *ret)
{
    assert_int_equal(runner_start(r, tasks, NULL, n, NULL, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        ret[i] = outcome(r, NULL);
        assert_int_equal(ret[i].more, i + 1 < n);
    }
}

static void a_batch_gives_each_task_the_file_that_it_has_alone(void **state)
{
    static const char *const tasks[] = {SEED("1"), SEED("2"), SEED("3")};
    struct runner *r = open_runner(0);
    struct report together[3], alone;

    (void)state;
    outcomes(r, tasks, 3, together);
    for (size_t i = 0; i < 3; i++) {
        outcomes(r, &tasks[i], 1, &alone);
        assert_int_equal(together[i].kind, REPORT_FINISHED);
        assert_int_equal(alone.picture.png.size, together[i].picture.png.size);
        assert_memory_equal(alone.picture.png.data, together[i].picture.png.data,
                            alone.picture.png.size);
        picture_done(&alone.picture);
        picture_done(&together[i].picture);
    }
    runner_close(r);
}

static void one_bad_task_of_a_batch_fails_alone(void **state)
{
    static const char *const tasks[] = {SEED("1"), "{}", SEED("3"),
                                        /* found by the engine only */
                                        "{\"cfg_scale\":5,\"height\":64,\"model\":\"sticker-128\","
                                        "\"negative_prompt\":\"\",\"precision\":\"f32\",\"prompt\":"
                                        "\"a <lora:none:1> pizza\",\"sampler\":\"euler_a\","
                                        "\"scheduler\":\"automatic\",\"seed\":4,\"steps\":2,"
                                        "\"width\":64}"};
    struct runner *r = open_runner(0);
    struct report ends[4];

    (void)state;
    outcomes(r, tasks, 4, ends);
    assert_int_equal(ends[0].kind, REPORT_FINISHED);
    assert_int_equal(ends[1].kind, REPORT_FAILED);
    assert_int_equal(ends[1].error.code, ERR_INPUT);
    assert_int_equal(ends[2].kind, REPORT_FINISHED);
    assert_int_equal(ends[3].kind, REPORT_FAILED);
    assert_int_equal(ends[3].error.code, ERR_MISSING);
    picture_done(&ends[0].picture);
    picture_done(&ends[2].picture);
    runner_close(r);
}

/* What one picture of the model takes at its peak. */
static uint64_t peak_of_one(void)
{
    const struct engine_options o = {
        .model = SOURCE_DIR "/models/sticker-128", .backend = BACKEND_CPU, .threads = 2};
    const struct render r = {.prompt = "a pizza",
                             .negative_prompt = "",
                             .sampler = SAMPLER_EULER_A,
                             .steps = 2,
                             .width = 64,
                             .height = 64,
                             .cfg_scale = 5};
    struct engine *g = NULL;
    uint64_t bytes = 0;

    assert_int_equal(engine_open(&o, &g, NULL), 0);
    assert_int_equal(engine_plan(g, (const struct render *[]){&r}, 1, &bytes, NULL), 0);
    engine_close(g);
    return bytes;
}

static void a_batch_too_large_for_the_memory_is_rendered_in_smaller_ones(void **state)
{
    static const char *const tasks[] = {SEED("1"), SEED("2"), SEED("3"), SEED("4")};
    struct runner *r = open_runner(peak_of_one());
    struct report ends[4];

    (void)state;
    outcomes(r, tasks, 4, ends);
    for (size_t i = 0; i < 4; i++) {
        if (ends[i].kind != REPORT_FINISHED)
            fail_msg("%s", ends[i].error.text);
        picture_done(&ends[i].picture);
    }
    runner_close(r);
}

static void cancel_ends_a_render_between_steps(void **state)
{
    const char *more = TASK("sticker-128", "1");
    struct runner *r = open_runner(0);
    struct report report;

    (void)state;
    start(r, TASK("sticker-128", "900"));
    assert_int_equal(next_report(r).kind, REPORT_PROGRESS);
    assert_int_equal(runner_start(r, &more, NULL, 1, NULL, NULL), ERR_CONFLICT);
    runner_cancel(r);
    report = outcome(r, NULL);
    assert_int_equal(report.kind, REPORT_FAILED);
    assert_int_equal(report.error.code, ERR_CANCELLED);
    start(r, TASK("sticker-128", "1")); /* the flag is for one render */
    report = outcome(r, NULL);
    assert_int_equal(report.kind, REPORT_FINISHED);
    picture_done(&report.picture);
    runner_close(r);
}

static void close_in_the_midst_of_a_render_leaves_nothing_behind(void **state)
{
    struct runner *r = open_runner(0);

    (void)state;
    start(r, TASK("sticker-128", "900"));
    assert_int_equal(next_report(r).kind, REPORT_PROGRESS);
    runner_close(r);
    runner_close(open_runner(0)); /* nor one that never ran */
    runner_close(NULL);
}

static void idle_runner_has_nothing_to_take(void **state)
{
    struct runner *r = open_runner(0);
    struct pollfd fd = {.fd = runner_fd(r), .events = POLLIN};
    struct report report;

    (void)state;
    assert_false(runner_take(r, &report));
    assert_int_equal(poll(&fd, 1, 0), 0);
    runner_close(r);
}

static void precisions_that_come_to_the_same_share_a_model(void **state)
{
    const struct resident_options o = {.backend = BACKEND_CPU, .threads = 1};
    struct resident_model m = {.model = SOURCE_DIR "/models/sticker-128",
                               .precision = PRECISION_AUTO};
    struct resident *models = NULL;
    struct engine *g = NULL, *again = NULL;
    enum precision is;
    double seconds = 0;
    struct err e;

    (void)state;
    assert_int_equal(resident_new(&o, &models, NULL), 0);
    assert_int_equal(resident_get(models, &m, &g, &seconds, NULL), 0);
    is = engine_precision(g);
    assert_int_equal(engine_computes(g, PRECISION_AUTO), is);
    m.precision = is;
    assert_int_equal(resident_get(models, &m, &again, &seconds, NULL), 0);
    assert_true(seconds == 0 && again == g);
    m.precision = is == PRECISION_BF16 ? PRECISION_F32 : PRECISION_BF16;
    assert_int_equal(resident_get(models, &m, &again, &seconds, NULL), 0);
    /* A processor without bf16 computes it in f32. */
    assert_int_equal(seconds == 0, engine_computes(g, m.precision) == is);
    m.precision = PRECISION_F16;
    assert_int_equal(resident_get(models, &m, &again, &seconds, &e), ERR_ARG);
    resident_free(models);
}

static void one_model_at_a_time_within_a_budget(void **state)
{
    const struct resident_options o = {
        .backend = BACKEND_CPU, .threads = 1, .memory_bytes = UINT64_C(4) << 30};
    const struct resident_model a = {.model = SOURCE_DIR "/models/sticker-128"},
                                b = {.model = SOURCE_DIR "/models/./sticker-128"};
    struct resident *models = NULL;
    struct engine *g = NULL;
    double seconds = 0;

    (void)state;
    assert_int_equal(resident_new(&o, &models, NULL), 0);
    assert_int_equal(resident_get(models, &a, &g, &seconds, NULL), 0);
    assert_true(seconds > 0);
    assert_int_equal(resident_get(models, &a, &g, &seconds, NULL), 0);
    assert_true(seconds == 0);
    assert_int_equal(resident_get(models, &b, &g, &seconds, NULL), 0);
    assert_true(seconds > 0);
    assert_int_equal(resident_get(models, &a, &g, &seconds, NULL), 0);
    assert_true(seconds > 0); /* it had made room */
    resident_free(models);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_task_gives_the_same_bytes_and_loads_once),
        cmocka_unit_test(failures_have_their_class_and_the_next_task_runs),
        cmocka_unit_test(a_configuration_is_a_folder_of_the_library_or_a_family),
        cmocka_unit_test(what_does_not_fit_the_budget_is_refused),
        cmocka_unit_test(a_batch_gives_each_task_the_file_that_it_has_alone),
        cmocka_unit_test(one_bad_task_of_a_batch_fails_alone),
        cmocka_unit_test(a_batch_too_large_for_the_memory_is_rendered_in_smaller_ones),
        cmocka_unit_test(cancel_ends_a_render_between_steps),
        cmocka_unit_test(close_in_the_midst_of_a_render_leaves_nothing_behind),
        cmocka_unit_test(idle_runner_has_nothing_to_take),
        cmocka_unit_test(precisions_that_come_to_the_same_share_a_model),
        cmocka_unit_test(one_model_at_a_time_within_a_budget),
    };

    return cmocka_run_group_tests_name("runner", tests, open_library, close_library);
}
