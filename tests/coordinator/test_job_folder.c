/* Folders of jobs that share a name, on a real file system. */
#include "coordinator/job_folder.h"
#include "proto/png.h"
#include "tests/coordinator/fixture.h"

#include <sys/stat.h>

static const struct listing no_files;

struct place {
    char *dir;
    struct output *o;
    struct coord c;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    p->dir = temporary_folder();
    MUST(output_open(p->dir, &p->o, e));
    MUST(coord_init(&p->c, &(struct coord_limits){0}, p->dir, e));
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    coord_done(&p->c);
    output_close(p->o);
    remove_tree(p->dir);
    free(p->dir);
    free(p);
    return 0;
}

/* A job of that name with n tasks, and the folder it is given. */
static struct job_entry *submit(struct place *p, const char *name, int n, const char *folder)
{
    struct buf peek = {0};
    struct job_entry *j;
    char *got;

    MUST(coord_job_add(&p->c, p->c.n_jobs + 1, seeds_job(name, n), &j, e));
    MUST(job_folder_peek(p->dir, j->job, &peek, e));
    assert_string_equal(buf_text(&peek), folder);
    MUST(job_folder_claim(&p->c, j, p->o, &got, e));
    assert_string_equal(got, folder);
    MUST(job_set_folder(j->job, got, e));
    j->folder = got;
    buf_done(&peek);
    return j;
}

static void put_picture(struct place *p, const struct job *job, uint64_t index, const char *task)
{
    struct buf chunk = {0}, png = {0}, path = {0};
    struct png_text text = {.key = "litho"};
    uint8_t pixels[8 * 8 * 3] = {0};

    buf_printf(&chunk, "{\"device_class\":\"cpu-x\",\"precision\":\"f32\",\"task\":%s}", task);
    text.text = buf_text(&chunk);
    MUST(png_encode(pixels, 8, 8, &text, 1, &png, e));
    MUST(job_path(job, index, &path, e));
    MUST(output_replace(p->o, buf_text(&path), &png, e));
    buf_done(&chunk);
    buf_done(&png);
    buf_done(&path);
}

static void every_bundle_of_a_name_has_its_own_folder_and_finds_it_again(void **state)
{
    struct place *p = *state;
    struct job_entry *first = submit(p, "a", 1, "a");

    submit(p, "a", 2, "a-2");
    submit(p, "a", 3, "a-3");
    submit(p, "b", 1, "b");
    coord_job_remove(&p->c, first); /* as litho rm does; its files stay */
    submit(p, "a", 1, "a");
}

static void a_folder_of_another_job_is_left_alone_though_its_bundle_was_removed(void **state)
{
    struct place *p = *state;
    struct job_entry *j;
    struct buf path = {0};
    char *folder;

    submit(p, "a", 1, "a");
    buf_printf(&path, "%s/a/job.json", p->dir);
    assert_int_equal(unlink(buf_text(&path)), 0);
    MUST(coord_job_add(&p->c, 9, seeds_job("a", 2), &j, e));
    MUST(job_folder_claim(&p->c, j, p->o, &folder, e));
    assert_string_equal(folder, "a-2");
    free(folder);
    buf_done(&path);
}

static void job_in_a_path_is_the_folder(void **state)
{
    struct place *p = *state;
    struct buf path = {0};

    submit(p, "a", 1, "a");
    MUST(job_path(submit(p, "a", 2, "a-2")->job, 1, &path, e));
    assert_string_equal(buf_text(&path), "a-2/1.png");
    buf_done(&path);
}

static void an_equal_tasks_picture_is_taken_over_from_the_latest_folder_that_has_it(void **state)
{
    struct place *p = *state;
    const struct job *one = submit(p, "a", 1, "a")->job, *two = submit(p, "a", 2, "a-2")->job,
                     *three = submit(p, "a", 3, "a-3")->job;
    struct record found;
    struct stat st, from;
    struct buf path = {0}, source = {0};

    put_picture(p, one, 0, "{\"seed\":1}");
    put_picture(p, two, 0, "{\"seed\":2}");
    MUST(job_folder_take(p->o, three, 0, "a-3/0.png", "{\"seed\":1}", &no_files, &found, e));
    assert_string_equal(found.path, "a-3/0.png");
    assert_string_equal(found.device_class, "cpu-x");
    record_done(&found);
    buf_printf(&path, "%s/a-3/0.png", p->dir);
    buf_printf(&source, "%s/a/0.png", p->dir);
    assert_int_equal(stat(buf_text(&path), &st), 0);
    assert_int_equal(stat(buf_text(&source), &from), 0);
    assert_int_equal(st.st_ino, from.st_ino);
    assert_int_equal(st.st_nlink, 2);
    /* Another task's is not, nor one that is not there. */
    assert_int_equal(
        job_folder_take(p->o, three, 0, "a-3/1.png", "{\"seed\":3}", &no_files, &found, NULL),
        ERR_MISSING);
    /* A name that is taken stays. */
    assert_int_equal(
        job_folder_take(p->o, three, 0, "a-3/0.png", "{\"seed\":2}", &no_files, &found, NULL),
        ERR_CONFLICT);
    /* Nothing comes from later folders, and the first has none before it. */
    assert_int_equal(
        job_folder_take(p->o, one, 0, "a/7.png", "{\"seed\":2}", &no_files, &found, NULL),
        ERR_MISSING);
    buf_done(&path);
    buf_done(&source);
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(every_bundle_of_a_name_has_its_own_folder_and_finds_it_again),
        SENTENCE(a_folder_of_another_job_is_left_alone_though_its_bundle_was_removed),
        SENTENCE(job_in_a_path_is_the_folder),
        SENTENCE(an_equal_tasks_picture_is_taken_over_from_the_latest_folder_that_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
