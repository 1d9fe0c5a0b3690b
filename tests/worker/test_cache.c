#include "tests/coordinator/fixture.h"
#include "worker/cache.h"

#include <sys/file.h>

struct place {
    char *dir;
    struct cache *c;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    p->dir = temporary_folder();
    MUST(cache_open(p->dir, 100, NULL, &p->c, e));
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    cache_close(p->c);
    remove_tree(p->dir);
    free(p->dir);
    free(p);
    return 0;
}

/* n bytes of one letter, and their hash. */
static const char *bytes_of(char letter, size_t n, char ret_hex[HASH_HEX_SIZE])
{
    static char bytes[200];

    memset(bytes, letter, n);
    MUST(hash_bytes(bytes, n, ret_hex, e));
    return bytes;
}

static int put(struct place *p, char letter, size_t n, struct err *e)
{
    char hex[HASH_HEX_SIZE];
    const char *bytes = bytes_of(letter, n, hex);
    uint64_t have;
    int rc;

    TRY(cache_begin(p->c, hex, n, &have, e));
    TRY(cache_append(p->c, bytes + have, n - have, e));
    TRY(cache_commit(p->c, e));
out:
    return rc;
}

static bool hold(struct place *p, char letter, size_t n)
{
    char hex[HASH_HEX_SIZE];
    bool here;

    bytes_of(letter, n, hex);
    MUST(cache_hold(p->c, hex, &here, e));
    return here;
}

static void release(struct place *p, char letter, size_t n)
{
    char hex[HASH_HEX_SIZE];

    bytes_of(letter, n, hex);
    cache_release(p->c, hex);
}

static char *path_of(struct place *p, const char *folder, char letter, size_t n)
{
    char hex[HASH_HEX_SIZE];
    struct buf path = {0};

    bytes_of(letter, n, hex);
    buf_printf(&path, "%s/%s/%s", p->dir, folder, hex);
    return buf_detach(&path);
}

static void a_file_is_here_once_it_was_committed(void **state)
{
    struct place *p = *state;

    assert_false(hold(p, 'a', 40));
    MUST(put(p, 'a', 40, e));
    assert_true(hold(p, 'a', 40));
    release(p, 'a', 40);
    cache_close(p->c); /* and for the next process */
    MUST(cache_open(p->dir, 100, NULL, &p->c, e));
    assert_true(hold(p, 'a', 40));
}

static void other_bytes_never_get_the_name(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];
    struct err why;
    uint64_t have;

    bytes_of('a', 40, hex);
    MUST(cache_begin(p->c, hex, 40, &have, e));
    MUST(cache_append(p->c, "something else", 14, e));
    assert_int_equal(cache_commit(p->c, &why), ERR_OUTPUT);
    assert_non_null(strstr(why.text, hex));
    assert_false(hold(p, 'a', 40));
    MUST(cache_begin(p->c, hex, 40, &have, e));
    assert_int_equal(have, 0); /* from the beginning */
}

static void the_longest_unused_makes_room(void **state)
{
    struct place *p = *state;

    MUST(put(p, 'a', 40, e));
    MUST(put(p, 'b', 40, e));
    assert_true(hold(p, 'a', 40)); /* used later than b */
    release(p, 'a', 40);
    MUST(put(p, 'c', 50, e));
    assert_false(hold(p, 'b', 40));
    assert_true(hold(p, 'a', 40));
    assert_true(hold(p, 'c', 50));
    assert_int_equal(cache_counts(p->c).evictions, 1);
}

static void what_is_in_use_is_never_removed(void **state)
{
    struct place *p = *state;
    struct cache *other;
    struct err why;

    MUST(put(p, 'a', 40, e));
    assert_true(hold(p, 'a', 40));
    assert_int_equal(put(p, 'b', 70, &why), ERR_MISSING);
    assert_non_null(strstr(why.text, "40 bytes of its 100 are in use"));
    MUST(cache_open(p->dir, 60, NULL, &other, e)); /* another worker's eyes */
    {
        struct cache *mine = p->c;

        p->c = other;
        assert_int_equal(put(p, 'c', 50, &why), ERR_MISSING);
        p->c = mine;
    }
    cache_close(other);
    release(p, 'a', 40);
    MUST(put(p, 'b', 70, e));
    assert_false(hold(p, 'a', 40));
}

static void a_fetch_goes_on_after_a_crash(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];
    const char *bytes = bytes_of('a', 80, hex);
    uint64_t have;

    MUST(cache_begin(p->c, hex, 80, &have, e));
    assert_int_equal(have, 0);
    MUST(cache_append(p->c, bytes, 30, e));
    cache_close(p->c);
    MUST(cache_open(p->dir, 100, NULL, &p->c, e));
    MUST(cache_begin(p->c, hex, 80, &have, e));
    assert_int_equal(have, 30);
    MUST(cache_append(p->c, bytes + 30, 50, e));
    MUST(cache_commit(p->c, e));
    assert_true(hold(p, 'a', 80));
}

static void a_torn_or_altered_file_counts_as_missing(void **state)
{
    struct place *p = *state;
    char *path;

    MUST(put(p, 'a', 40, e));
    path = path_of(p, "files", 'a', 40);
    assert_true(hold(p, 'a', 40)); /* known to be right */
    release(p, 'a', 40);
    assert_int_equal(truncate(path, 39), 0);
    assert_false(hold(p, 'a', 40));
    assert_int_not_equal(access(path, F_OK), 0);
    MUST(put(p, 'a', 40, e));
    cache_close(p->c); /* altered between two processes, size and all else as before */
    {
        FILE *file = fopen(path, "r+b");

        fputc('x', file);
        fclose(file);
    }
    MUST(cache_open(p->dir, 100, NULL, &p->c, e));
    assert_false(hold(p, 'a', 40));
    assert_int_equal(cache_counts(p->c).damaged, 1);
    free(path);
}

static void two_workers_do_not_write_one_part(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];
    struct cache *other;
    uint64_t have;

    bytes_of('a', 40, hex);
    MUST(cache_begin(p->c, hex, 40, &have, e));
    MUST(cache_open(p->dir, 100, NULL, &other, e));
    assert_int_equal(cache_begin(other, hex, 40, &have, NULL), ERR_CONFLICT);
    cache_suspend(p->c);
    MUST(cache_begin(other, hex, 40, &have, e));
    cache_close(other);
}

static void an_abandoned_part_makes_room_before_files_do(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE], *part = path_of(p, "parts", 'a', 80);
    const char *bytes = bytes_of('a', 80, hex);
    uint64_t have;

    MUST(put(p, 'b', 40, e));
    bytes_of('a', 80, hex);
    MUST(cache_begin(p->c, hex, 60, &have, e));
    MUST(cache_append(p->c, bytes, 50, e));
    cache_suspend(p->c);
    MUST(put(p, 'c', 30, e));
    assert_int_not_equal(access(part, F_OK), 0);
    assert_true(hold(p, 'b', 40));
    free(part);
}

static void a_link_in_the_cache_is_not_followed(void **state)
{
    struct place *p = *state;
    char *path = path_of(p, "files", 'a', 40);

    MUST(put(p, 'b', 40, e));
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_false(hold(p, 'a', 40));
    free(path);
}

/* Whoever puts such things there: nobody waits for them, and the file takes its place. */
static void pipes_links_and_empty_folders_make_way(void **state)
{
    struct place *p = *state;
    char *file = path_of(p, "files", 'a', 40), *part = path_of(p, "parts", 'a', 40);

    MUST(put(p, 'b', 40, e));
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(mkfifo(part, 0600), 0);
    assert_false(hold(p, 'a', 40));
    MUST(put(p, 'a', 40, e));
    assert_true(hold(p, 'a', 40));
    release(p, 'a', 40);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(symlink("/nowhere/at/all", part), 0);
    assert_false(hold(p, 'a', 40));
    MUST(put(p, 'a', 40, e));
    assert_true(hold(p, 'a', 40));
    free(file);
    free(part);
}

static void a_pipe_is_no_file_to_make_room_of(void **state)
{
    struct place *p = *state;
    char *file = path_of(p, "files", 'a', 40);

    MUST(put(p, 'b', 60, e));
    assert_int_equal(mkfifo(file, 0600), 0);
    MUST(put(p, 'c', 90, e));
    assert_true(hold(p, 'c', 90));
    free(file);
}

static void a_folder_with_something_in_it_stays_and_is_named(void **state)
{
    struct place *p = *state;
    char *file = path_of(p, "files", 'a', 40);
    struct buf inside = {0};
    struct err why;

    MUST(put(p, 'b', 40, e));
    buf_printf(&inside, "%s/mine", file);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(mkdir(buf_text(&inside), 0700), 0);
    assert_false(hold(p, 'a', 40));
    assert_int_equal(put(p, 'a', 40, &why), ERR_IO);
    assert_non_null(strstr(why.text, file));
    assert_int_equal(access(buf_text(&inside), F_OK), 0);
    buf_done(&inside);
    free(file);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_here_once_it_was_committed),
        TEST(other_bytes_never_get_the_name),
        TEST(the_longest_unused_makes_room),
        TEST(what_is_in_use_is_never_removed),
        TEST(a_fetch_goes_on_after_a_crash),
        TEST(a_torn_or_altered_file_counts_as_missing),
        TEST(two_workers_do_not_write_one_part),
        TEST(an_abandoned_part_makes_room_before_files_do),
        TEST(a_link_in_the_cache_is_not_followed),
        TEST(pipes_links_and_empty_folders_make_way),
        TEST(a_pipe_is_no_file_to_make_room_of),
        TEST(a_folder_with_something_in_it_stays_and_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
