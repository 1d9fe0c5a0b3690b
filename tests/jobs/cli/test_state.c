#include "jobs/cli/measure.h"
#include "jobs/cli/state.h"
#include "proto/file.h"

#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* 3 steps: 4, 8, 12; cfg_scale 1 (no guidance) and 5; 64x32 pixels */
#define BUNDLE                                                                                     \
    "{\"axes\":[{\"columns\":[\"steps\"],\"name\":\"steps\",\"range\":{\"count\":3,\"first\":4,"   \
    "\"step\":4}},{\"columns\":[\"cfg_scale\"],\"name\":\"cfg_scale\",\"rows\":[[1],[5]]}],"       \
    "\"combine\":[[0],[1]],\"exclude\":[],\"fixed\":{\"height\":32,\"model\":\"m\","               \
    "\"negative_prompt\":\"\",\"precision\":\"f32\",\"prompt\":\"x\",\"sampler\":\"euler\","       \
    "\"scheduler\":\"karras\",\"seed\":1,\"width\":64},\"job\":\"j\",\"litho\":1,\"output\":{"     \
    "\"path\":\"{job}/{index}.png\",\"sheet\":null}}"

struct place {
    char folder[64], out[80];
    struct state state;
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    struct err e;

    snprintf(p->folder, sizeof(p->folder), "/tmp/litho-test-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->out, sizeof(p->out), "%s/a/b", p->folder);
    assert_int_equal(state_locate(p->out, &p->state, &e), 0);
    *state = p;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    struct place *p = *state;

    state_done(&p->state);
    nftw(p->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(p);
    return 0;
}

static struct job *load_bundle(const char *bundle)
{
    struct job *job;
    struct err e;

    assert_int_equal(job_load(bundle, strlen(bundle), &job, &e), 0);
    return job;
}

static struct job *load(void)
{
    return load_bundle(BUNDLE);
}

static void locating_makes_nothing_and_making_makes_all(void **state)
{
    struct place *p = *state;
    struct stat status;
    struct err e;

    assert_int_equal(stat(p->out, &status), -1);
    assert_int_equal(state_make(&p->state, &e), 0);
    assert_int_equal(state_make(&p->state, &e), 0);
    assert_int_equal(stat(p->state.logs, &status), 0);
    assert_int_equal(stat(p->state.bundles, &status), 0);
}

static void folder_below_a_file_is_refused_by_name(void **state)
{
    struct place *p = *state;
    char path[100];
    struct err e;

    snprintf(path, sizeof(path), "%s/a", p->folder);
    assert_int_equal(file_replace(path, "", 0, &e), 0);
    assert_int_equal(state_make(&p->state, &e), ERR_IO);
    assert_non_null(strstr(e.text, "output folder"));
    assert_non_null(strstr(e.text, "Not a directory"));
}

static void kept_bundle_comes_back(void **state)
{
    struct place *p = *state;
    struct buf bundle = {0}, again = {0};
    struct err e;

    assert_int_equal(state_make(&p->state, &e), 0);
    assert_int_equal(state_bundle_read(&p->state, "abc", &again, &e), ERR_MISSING);
    buf_puts(&bundle, "content");
    assert_int_equal(state_bundle_write(&p->state, "abc", &bundle, &e), 0);
    assert_int_equal(state_bundle_read(&p->state, "abc", &again, &e), 0);
    assert_string_equal(buf_text(&again), "content");
    buf_done(&bundle);
    buf_done(&again);
}

static void work_counts_steps_pixels_and_both_branches_of_guidance(void **state)
{
    struct job *job = load();
    struct workload w;
    struct err e;

    (void)state;
    assert_int_equal(workload_of(job, &w, &e), 0);
    assert_true(w.pixels == 64 * 32);
    assert_true(w.work == 64 * 32 * 8 * 1.5); /* mean of 4, 8, 12 steps; of 1 and 2 branches */
    job_free(job);
}

/* 300 chains of 24 frames by 20 steps, every second chain without guidance; a later frame runs a
 * quarter of its steps. */
#define CHAINS                                                                                     \
    "{\"axes\":[{\"columns\":[\"x\"],\"name\":\"x\",\"range\":{\"count\":150,\"first\":1,"         \
    "\"step\":1}},{\"columns\":[\"cfg_scale\"],\"name\":\"cfg_scale\",\"rows\":[[1],[5]]},{"       \
    "\"columns\":[\"frame\"],\"name\":\"frame\",\"range\":{\"count\":24,\"first\":0,\"step\":1}}]" \
    ","                                                                                            \
    "\"chain\":{\"axis\":\"frame\",\"seed_behavior\":\"iter\"},\"combine\":[[0],[1],[2]],"         \
    "\"exclude\":[],\"fixed\":{\"denoising_strength\":0.25,\"height\":32,\"model\":\"m\","         \
    "\"negative_prompt\":\"\",\"precision\":\"f32\",\"prompt\":\"${x}\",\"sampler\":\"euler\","    \
    "\"scheduler\":\"karras\",\"seed\":1,\"steps\":20,\"width\":64},\"job\":\"j\",\"litho\":1,"    \
    "\"output\":{\"path\":\"{job}/{index}.png\",\"sheet\":null}}"

static void work_of_chains_is_that_of_first_and_later_frames(void **state)
{
    const double first = 64 * 32 * 20, later = 64 * 32 * 5;
    struct job *job = load_bundle(CHAINS);
    struct workload w;
    struct err e;

    (void)state;
    assert_int_equal(workload_of(job, &w, &e), 0);
    assert_true(fabs(w.work - 1.5 * (first + 23 * later) / 24) < 1e-6 * w.work);
    assert_true(fabs(w.longest - 2 * (first + 23 * later)) < 1e-6 * w.longest);
    job_free(job);
}

static void seconds_of_chains_count_those_rendered_at_once(void **state)
{
    const struct measure m = {.work_per_second = 1000, .workers = 2};
    struct job *job = load_bundle(CHAINS);
    struct workload w = {.work = 500, .longest = 500 * 24};

    (void)state;
    assert_true(measure_seconds(&m, &w, job, 0) == 300 * 24 / 2); /* a picture takes 1 s of one */
    w.longest = 500 * 24 * 200;
    assert_true(measure_seconds(&m, &w, job, 0) == 200 * 24);
    assert_true(measure_seconds(&m, &w, job, 300 * 24) == 0);
    job_free(job);
}

static void measure_is_kept_for_its_models(void **state)
{
    const struct measure m = {.work_per_second = 1000.5,
                              .bytes_per_pixel = 0.25,
                              .images = 12,
                              .workers = 2,
                              .threads = 3};
    struct place *p = *state;
    struct job *job = load();
    struct measure again;
    struct err e;

    assert_false(measure_read(&p->state, job, &again));
    assert_int_equal(state_make(&p->state, &e), 0);
    assert_int_equal(measure_write(&p->state, job, &m, &e), 0);
    assert_true(measure_read(&p->state, job, &again));
    assert_memory_equal(&again, &m, sizeof(m));
    job_free(job);
}

static void broken_measurements_count_as_none(void **state)
{
    static const char *const texts[] = {"", "[]", "{\"m\":1}",
                                        "{\"m\":{\"work_per_second\":-1,\"bytes_per_pixel\":1}}",
                                        "{\"m\":{\"work_per_second\":\"x\"}}"};
    struct place *p = *state;
    struct job *job = load();
    struct measure m;
    char path[200];
    struct err e;

    assert_int_equal(state_make(&p->state, &e), 0);
    snprintf(path, sizeof(path), "%s/measured.json", p->state.folder);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_int_equal(file_replace(path, texts[i], strlen(texts[i]), &e), 0);
        assert_false(measure_read(&p->state, job, &m));
    }
    job_free(job);
}

static void pictures_are_measured_where_they_are(void **state)
{
    struct place *p = *state;
    struct job *job = load();
    char path[200];
    char bytes[64 * 32] = {0};
    struct err e;

    assert_int_equal(state_make(&p->state, &e), 0);
    assert_true(measure_pictures(&p->state, job) == 0);
    snprintf(path, sizeof(path), "%s/j", p->out);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof(path), "%s/j/3.png", p->out);
    assert_int_equal(file_replace(path, bytes, sizeof(bytes), &e), 0);
    assert_true(fabs(measure_pictures(&p->state, job) - 1) < 1e-9);
    job_free(job);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(locating_makes_nothing_and_making_makes_all),
        TEST(folder_below_a_file_is_refused_by_name),
        TEST(kept_bundle_comes_back),
        TEST(work_counts_steps_pixels_and_both_branches_of_guidance),
        TEST(work_of_chains_is_that_of_first_and_later_frames),
        TEST(seconds_of_chains_count_those_rendered_at_once),
        TEST(measure_is_kept_for_its_models),
        TEST(broken_measurements_count_as_none),
        TEST(pictures_are_measured_where_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
