/* The output folder on a real file system. */
#include "coordinator/index.h"
#include "coordinator/output.h"
#include "proto/png.h"
#include "tests/coordinator/fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct listing no_files;
static const char task_a[] = "{\"seed\":1}", task_b[] = "{\"seed\":2}";

struct place {
    char *dir;
    struct output *o;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    p->dir = temporary_folder();
    MUST(output_open(p->dir, &p->o, e));
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    output_close(p->o);
    remove_tree(p->dir);
    free(p->dir);
    free(p);
    return 0;
}

/* What was synced: the C library's fsync(), and a note. */
static struct {
    ino_t inode[16];
    int n;
} synced;

int fsync(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && synced.n < 16)
        synced.inode[synced.n++] = st.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

static bool was_synced(const struct place *p, const char *path)
{
    struct buf whole = {0};
    struct stat st;
    bool found = false;

    buf_printf(&whole, "%s/%s", p->dir, path);
    assert_int_equal(stat(buf_text(&whole), &st), 0);
    for (int i = 0; i < synced.n; i++)
        found |= synced.inode[i] == st.st_ino;
    buf_done(&whole);
    return found;
}

/* A small picture of one shade whose `litho` chunk names the task. task NULL: no chunk. */
static void picture(const char *task, uint8_t shade, struct buf *ret)
{
    uint8_t pixels[8 * 8 * 3];
    struct buf chunk = {0};
    struct png_text text = {.key = "litho"};

    memset(pixels, shade, sizeof pixels);
    buf_printf(&chunk, "{\"device_class\":\"cpu-x\",\"precision\":\"f32\",\"task\":%s}",
               task ? task : "");
    text.text = buf_text(&chunk);
    MUST(png_encode(pixels, 8, 8, &text, task ? 1 : 0, ret, e));
    buf_done(&chunk);
}

static struct delivery *delivery(const char *path, const char *task, uint8_t shade)
{
    struct delivery *d = calloc(1, sizeof *d);
    struct buf png = {0};

    picture(task, shade, &png);
    d->path = strdup(path);
    d->task = strdup(task);
    d->png_size = png.size;
    MUST(hash_bytes(png.data, png.size, d->record.sha256, e));
    MUST(record_picture(&d->record, path, "w", "cpu-y", "f32", e));
    d->record.bytes = png.size;
    d->png = buf_detach(&png);
    return d;
}

static void put_file(const struct place *p, const char *path, const void *data, size_t size)
{
    struct buf bytes = {0};

    buf_append(&bytes, data, size);
    MUST(output_replace(p->o, path, &bytes, e));
    buf_done(&bytes);
}

static int write_it(const struct place *p, const char *path, const char *task, uint8_t shade,
                    struct err *e)
{
    struct delivery *d = delivery(path, task, shade);
    int rc = output_write(p->o, d, e);

    delivery_free(d);
    return rc;
}

static int count_files(const char *dir)
{
    struct buf command = {0};
    int n = -1;
    FILE *f;

    buf_printf(&command, "find '%s' -type f | wc -l", dir);
    f = popen(buf_text(&command), "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &n), 1);
    pclose(f);
    buf_done(&command);
    return n;
}

static void a_picture_arrives_whole_under_its_path(void **state)
{
    struct place *p = *state;
    struct buf bytes = {0};
    struct delivery *d = delivery("job/deep/er/1.png", task_a, 9);

    MUST(output_write(p->o, d, e));
    MUST(output_sync(p->o, e));
    MUST(output_read(p->o, "job/deep/er/1.png", 1 << 20, &bytes, e));
    assert_int_equal(bytes.size, d->png_size);
    assert_memory_equal(bytes.data, d->png, d->png_size);
    assert_int_equal(count_files(p->dir), 1);
    delivery_free(d);
    buf_done(&bytes);
}

static void a_picture_its_folder_and_those_above_are_synced_before_anybody_is_told(void **state)
{
    struct place *p = *state;

    synced.n = 0;
    MUST(write_it(p, "job/deep/1.png", task_a, 9, e));
    assert_true(was_synced(p, "job/deep/1.png"));
    MUST(output_sync(p->o, e));
    assert_true(was_synced(p, "job/deep"));
    assert_true(was_synced(p, "job"));
    assert_true(was_synced(p, ""));
}

/* Its process may have died between the file's name and the sync of its folder. */
static void the_folder_of_a_picture_that_was_found_is_synced_too(void **state)
{
    struct place *p = *state;
    struct record found;

    MUST(write_it(p, "job/1.png", task_a, 9, e));
    MUST(output_sync(p->o, e));
    synced.n = 0;
    assert_int_equal(output_probe(p->o, "job/1.png", task_a, &no_files, &found, NULL), PROBE_OURS);
    MUST(output_sync(p->o, e));
    assert_true(was_synced(p, "job"));
    record_done(&found);
}

static void the_same_bytes_again_are_adopted(void **state)
{
    struct place *p = *state;

    MUST(write_it(p, "a.png", task_a, 9, e));
    MUST(write_it(p, "a.png", task_a, 9, e));
}

static void an_equal_task_of_another_class_is_adopted_as_it_is(void **state)
{
    struct place *p = *state;
    struct delivery *d = delivery("a.png", task_a, 10);
    struct buf bytes = {0};
    char hex[HASH_HEX_SIZE];

    MUST(write_it(p, "a.png", task_a, 9, e));
    MUST(output_write(p->o, d, e));
    MUST(output_read(p->o, "a.png", 1 << 20, &bytes, e));
    MUST(hash_bytes(bytes.data, bytes.size, hex, e));
    assert_string_equal(d->record.sha256, hex);
    assert_string_equal(d->record.device_class, "cpu-x");
    delivery_free(d);
    buf_done(&bytes);
}

static void a_picture_of_another_task_is_never_overwritten(void **state)
{
    struct place *p = *state;
    struct buf before = {0}, after = {0};
    struct err why = {0};

    MUST(write_it(p, "a.png", task_b, 9, e));
    MUST(output_read(p->o, "a.png", 1 << 20, &before, e));
    assert_int_equal(write_it(p, "a.png", task_a, 9, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.text, "a.png"));
    MUST(output_read(p->o, "a.png", 1 << 20, &after, e));
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, before.size);
    assert_int_equal(count_files(p->dir), 1);
    buf_done(&before);
    buf_done(&after);
}

static void a_file_that_is_no_picture_is_never_overwritten(void **state)
{
    struct place *p = *state;
    struct err why = {0};

    put_file(p, "a.png", "my notes", 8);
    assert_int_equal(write_it(p, "a.png", task_a, 9, &why), ERR_CONFLICT);
    assert_true(output_has(p->o, "a.png"));
}

static void a_torn_picture_is_not_adopted(void **state)
{
    struct place *p = *state;
    struct buf png = {0};
    struct record found;
    struct err why = {0};

    picture(task_a, 9, &png);
    put_file(p, "a.png", png.data, png.size - 1);
    assert_int_equal(output_probe(p->o, "a.png", task_a, &no_files, &found, &why), PROBE_FOREIGN);
    put_file(p, "a.png", png.data, png.size);
    assert_int_equal(output_probe(p->o, "a.png", task_a, &no_files, &found, &why), PROBE_OURS);
    assert_string_equal(found.device_class, "cpu-x");
    assert_int_equal(found.bytes, png.size);
    record_done(&found);
    assert_int_equal(output_probe(p->o, "a.png", task_b, &no_files, &found, &why), PROBE_FOREIGN);
    assert_int_equal(output_probe(p->o, "b/c.png", task_b, &no_files, &found, &why), PROBE_FREE);
    buf_done(&png);
}

static void wrong_hashes_and_other_formats_are_bad_output(void **state)
{
    struct place *p = *state;
    struct delivery *d = delivery("a.png", task_a, 9);
    struct err why = {0};

    d->record.sha256[0] = d->record.sha256[0] == 'a' ? 'b' : 'a';
    assert_int_equal(output_write(p->o, d, &why), ERR_OUTPUT);
    ((char *)d->png)[1] = 'J';
    MUST(hash_bytes(d->png, d->png_size, d->record.sha256, e));
    assert_int_equal(output_write(p->o, d, &why), ERR_OUTPUT);
    assert_int_equal(count_files(p->dir), 0);
    delivery_free(d);
}

/* Its hash is right: the worker says what it sends, and sends what is no such picture. */
static void pictures_of_another_size_or_with_broken_chunks_are_bad_output(void **state)
{
    struct place *p = *state;
    struct delivery *d = delivery("a.png", task_a, 9);
    struct err why = {0};

    d->width = 16;
    d->height = 8;
    assert_int_equal(output_write(p->o, d, &why), ERR_OUTPUT);
    assert_non_null(strstr(why.text, "8 x 8 pixels instead of 16 x 8"));
    d->width = 8;
    ((char *)d->png)[d->png_size / 2] ^= 1;
    MUST(hash_bytes(d->png, d->png_size, d->record.sha256, e));
    assert_int_equal(output_write(p->o, d, &why), ERR_OUTPUT);
    assert_non_null(strstr(why.text, "broken PNG file"));
    assert_int_equal(count_files(p->dir), 0);
    ((char *)d->png)[d->png_size / 2] ^= 1;
    MUST(hash_bytes(d->png, d->png_size, d->record.sha256, e));
    MUST(output_write(p->o, d, e));
    delivery_free(d);
}

static void a_path_cannot_leave_the_folder(void **state)
{
    static const char *const paths[] = {
        "../a.png", "/tmp/a.png", "x/../../a.png", "x//a.png", "./a.png", "a/", "", ".."};
    struct place *p = *state;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct err why = {0};

        assert_int_not_equal(write_it(p, paths[i], task_a, 9, &why), 0);
        assert_non_null(strstr(why.text, "not inside"));
    }
}

static void symbolic_links_are_not_followed(void **state)
{
    struct place *p = *state;
    char *outside = temporary_folder();
    struct buf link = {0};
    struct err why = {0};

    buf_printf(&link, "%s/job", p->dir);
    assert_int_equal(symlink(outside, buf_text(&link)), 0);
    assert_int_equal(write_it(p, "job/a.png", task_a, 9, &why), ERR_CONFLICT);
    assert_int_equal(count_files(outside), 0);
    buf_done(&link);
    remove_tree(outside);
    free(outside);
}

static void a_full_disk_is_io_and_leaves_nothing_behind(void **state)
{
    struct place *p = *state;
    struct rlimit old, tiny;
    struct err why = {0};
    int rc;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    tiny = (struct rlimit){.rlim_cur = 16, .rlim_max = old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tiny);
    rc = write_it(p, "a.png", task_a, 9, &why);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, ERR_IO);
    assert_int_equal(count_files(p->dir), 0);
    MUST(write_it(p, "a.png", task_a, 9, e));
}

/* Whoever may write here knows the temporary name: it follows from the picture's hash. */
static void what_others_put_under_a_temporary_name_is_removed(void **state)
{
    struct place *p = *state;
    struct buf victim = {0}, part = {0}, text = {0};
    struct delivery *d;
    struct stat st;

    buf_printf(&victim, "%s/victim", p->dir);
    put_file(p, "victim", "precious", 8);
    for (int game = 0; game < 3; game++) {
        d = delivery(game == 0 ? "a.png" : game == 1 ? "b.png" : "c.png", task_a, (uint8_t)game);
        part.size = 0;
        buf_printf(&part, "%s/.litho-%.16s.part", p->dir, d->record.sha256);
        assert_int_equal(game == 0   ? mkfifo(buf_text(&part), 0666)
                         : game == 1 ? link(buf_text(&victim), buf_text(&part))
                                     : symlink(buf_text(&victim), buf_text(&part)),
                         0);
        MUST(output_write(p->o, d, e));
        part.size = 0;
        buf_printf(&part, "%s/%s", p->dir, d->path);
        assert_int_equal(lstat(buf_text(&part), &st), 0);
        assert_true(S_ISREG(st.st_mode) && st.st_nlink == 1);
        assert_int_equal(st.st_size, d->png_size);
        delivery_free(d);
    }
    MUST(output_read(p->o, "victim", 100, &text, e));
    assert_string_equal(buf_text(&text), "precious");
    buf_done(&victim);
    buf_done(&part);
    buf_done(&text);
}

static void a_pipe_in_the_place_of_the_index_is_no_file(void **state)
{
    struct place *p = *state;
    struct buf path = {0}, line = {0};
    struct err why;
    int reader;

    buf_printf(&path, "%s/index.jsonl", p->dir);
    buf_puts(&line, "{}\n");
    assert_int_equal(mkfifo(buf_text(&path), 0666), 0);
    assert_int_not_equal(output_append(p->o, "index.jsonl", &line, &why), 0); /* nobody reads it */
    reader = open(buf_text(&path), O_RDONLY | O_NONBLOCK);
    assert_int_equal(output_append(p->o, "index.jsonl", &line, &why), ERR_CONFLICT);
    close(reader);
    buf_done(&path);
    buf_done(&line);
}

static void a_folder_that_cannot_be_written_is_refused_at_start(void **state)
{
    struct place *p = *state;
    struct output *o = NULL;
    struct err why = {0};
    struct buf path = {0};

    put_file(p, "file", "x", 1);
    buf_printf(&path, "%s/file", p->dir);
    assert_int_equal(output_open(buf_text(&path), &o, &why), ERR_IO);
    assert_non_null(strstr(why.text, "output folder"));
    if (geteuid() != 0) { /* nothing is unwritable to root */
        chmod(p->dir, 0500);
        assert_int_equal(output_open(p->dir, &o, &why), ERR_IO);
        chmod(p->dir, 0700);
    }
    buf_done(&path);
}

static void a_folder_is_claimed_by_its_bundle(void **state)
{
    struct place *p = *state;
    struct job *one = seeds_job("a", 1), *two = seeds_job("a", 2);

    MUST(output_claim(p->o, "a", one, e));
    MUST(output_claim(p->o, "a", one, e));
    assert_int_equal(output_claim(p->o, "a", two, NULL), ERR_CONFLICT);
    assert_true(output_has(p->o, "a/job.json"));
    job_free(one);
    job_free(two);
}

static void an_index_line_names_everything(void **state)
{
    struct job *job = seeds_job("a", 3);
    struct record r = {.index = 2, .attempt = 4, .bytes = 9, .render_seconds = 1.5};
    struct buf line = {0};
    json_t *root;

    (void)state;
    memset(r.sha256, 'a', 64);
    r.finished_ms = 1500;
    MUST(record_picture(&r, "a/2.png", "w \"1\"", "cpu-x", "f32", e));
    MUST(index_line(job, &r, &line, e));
    assert_int_equal(line.data[line.size - 1], '\n');
    MUST(json_read("line", line.data, line.size, &root, e));
    assert_string_equal(json_string_value(json_object_get(root, "worker")), "w \"1\"");
    assert_string_equal(json_string_value(json_object_get(root, "finished")),
                        "1970-01-01T00:00:01.500Z");
    assert_int_equal(json_integer_value(json_object_get(root, "seed")), 2);
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "values"), "seed")),
                        "2");
    json_decref(root);
    buf_done(&line);
    record_done(&r);
    job_free(job);
}

static void a_vanished_folder_is_waited_for_and_a_new_one_used(void **state)
{
    struct delivery *d = delivery("job/1.png", task_a, 1),
                    *again = delivery("job/2.png", task_b, 2);
    struct place *p = *state;
    struct record found;
    struct err why = {0};

    MUST(output_write(p->o, d, e));
    MUST(output_sync(p->o, e));
    remove_tree(p->dir);
    assert_int_equal(output_probe(p->o, "job/2.png", task_b, &no_files, &found, &why),
                     PROBE_BLOCKED);
    assert_int_equal(output_write(p->o, again, &why), ERR_IO);
    assert_non_null(strstr(why.text, "is gone"));
    assert_int_equal(mkdir(p->dir, 0700), 0);
    MUST(output_write(p->o, again, e));
    MUST(output_sync(p->o, e));
    assert_true(output_has(p->o, "job/2.png"));
    assert_false(output_has(p->o, "job/1.png"));
    delivery_free(d);
    delivery_free(again);
}

static void a_replaced_picture_is_one_of_ours_only(void **state)
{
    struct delivery *d = delivery("job/1.png", task_b, 2);
    struct place *p = *state;
    struct buf png = {0};

    picture(task_a, 1, &png);
    put_file(p, "job/1.png", png.data, png.size);
    put_file(p, "job/text.png", "text", 4);
    assert_true(output_is_ours(p->o, "job/1.png"));
    assert_false(output_is_ours(p->o, "job/text.png"));
    assert_false(output_is_ours(p->o, "job/none.png"));
    assert_int_equal(output_write(p->o, d, NULL), ERR_CONFLICT);
    d->replace = true;
    MUST(output_write(p->o, d, e));
    buf_done(&png);
    png.size = 0;
    MUST(output_read(p->o, "job/1.png", 1 << 20, &png, e));
    assert_int_equal(png.size, d->png_size);
    assert_memory_equal(png.data, d->png, png.size);
    buf_done(&png);
    delivery_free(d);
}

#define SIXTEEN(c) c c c c c c c c c c c c c c c c
#define HASH_OF(c) SIXTEEN(c c c c)

/* The n-th picture of a chain, from the one of that hash. */
#define FRAME(c, seed) "{\"init_image\":\"sha256:" HASH_OF(c) "\",\"seed\":" #seed "}"

static void a_frame_that_started_from_another_picture_is_not_taken(void **state)
{
    struct delivery *d = delivery("job/1.png", FRAME("a", 1), 2);
    struct place *p = *state;

    memcpy(d->record.before, HASH_OF("b"), HASH_HEX_SIZE);
    assert_int_equal(output_write(p->o, d, NULL), ERR_CANCELLED);
    assert_false(output_has(p->o, "job/1.png"));
    memcpy(d->record.before, HASH_OF("a"), HASH_HEX_SIZE);
    MUST(output_write(p->o, d, e));
    delivery_free(d);
    d = delivery("job/2.png", task_a, 2); /* it started from none */
    memcpy(d->record.before, HASH_OF("a"), HASH_HEX_SIZE);
    assert_int_equal(output_write(p->o, d, NULL), ERR_CANCELLED);
    delivery_free(d);
}

static void an_older_picture_of_a_frame_differs_in_what_it_started_from_alone(void **state)
{
    struct place *p = *state;
    struct buf png = {0};

    picture(FRAME("a", 1), 1, &png);
    put_file(p, "job/1.png", png.data, png.size);
    png.size = 0;
    picture(task_a, 1, &png);
    put_file(p, "job/first.png", png.data, png.size);
    assert_true(output_is_older_frame(p->o, "job/1.png", FRAME("b", 1)));
    assert_false(output_is_older_frame(p->o, "job/1.png", FRAME("b", 2)));
    assert_false(output_is_older_frame(p->o, "job/1.png", task_a));
    assert_false(output_is_older_frame(p->o, "job/first.png", FRAME("b", 1)));
    assert_false(output_is_older_frame(p->o, "job/none.png", FRAME("b", 1)));
    buf_done(&png);
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(a_picture_arrives_whole_under_its_path),
        SENTENCE(a_picture_its_folder_and_those_above_are_synced_before_anybody_is_told),
        SENTENCE(the_folder_of_a_picture_that_was_found_is_synced_too),
        SENTENCE(the_same_bytes_again_are_adopted),
        SENTENCE(an_equal_task_of_another_class_is_adopted_as_it_is),
        SENTENCE(a_picture_of_another_task_is_never_overwritten),
        SENTENCE(a_file_that_is_no_picture_is_never_overwritten),
        SENTENCE(a_torn_picture_is_not_adopted),
        SENTENCE(wrong_hashes_and_other_formats_are_bad_output),
        SENTENCE(pictures_of_another_size_or_with_broken_chunks_are_bad_output),
        SENTENCE(a_path_cannot_leave_the_folder),
        SENTENCE(symbolic_links_are_not_followed),
        SENTENCE(a_full_disk_is_io_and_leaves_nothing_behind),
        SENTENCE(what_others_put_under_a_temporary_name_is_removed),
        SENTENCE(a_pipe_in_the_place_of_the_index_is_no_file),
        SENTENCE(a_folder_that_cannot_be_written_is_refused_at_start),
        SENTENCE(a_folder_is_claimed_by_its_bundle),
        cmocka_unit_test(an_index_line_names_everything),
        SENTENCE(a_vanished_folder_is_waited_for_and_a_new_one_used),
        SENTENCE(a_replaced_picture_is_one_of_ours_only),
        SENTENCE(a_frame_that_started_from_another_picture_is_not_taken),
        SENTENCE(an_older_picture_of_a_frame_differs_in_what_it_started_from_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
