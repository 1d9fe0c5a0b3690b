#include "proto/hash_memo.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define FALSE_HASH "0000000000000000000000000000000000000000000000000000000000000000"

struct place {
    char dir[40], path[60], shared[60];
    struct hash_memo *m;
};

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    snprintf(p->dir, sizeof p->dir, "/tmp/test_hash_memo_XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof p->path, "%s/model", p->dir);
    snprintf(p->shared, sizeof p->shared, "%s/hashes", p->dir);
    write_file(p->path, "abc");
    assert_int_equal(hash_memo_new(NULL, &p->m, NULL), 0);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    hash_memo_free(p->m);
    unlink(p->path);
    unlink(p->shared);
    rmdir(p->dir);
    free(p);
    return 0;
}

/* A hash that no reading would give shows whether the file was read. */
static void lie(struct hash_memo *m, const char *path, bool share)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    if (share)
        hash_memo_share(m, &st, FALSE_HASH);
    else
        hash_memo_note(m, &st, FALSE_HASH);
}

static bool is_read(struct hash_memo *m, const char *path)
{
    char hex[HASH_HEX_SIZE], truth[HASH_HEX_SIZE];

    assert_int_equal(hash_memo_file(m, path, hex, NULL), 0);
    assert_int_equal(hash_file(path, truth, NULL), 0);
    if (strcmp(hex, FALSE_HASH) == 0)
        return false;
    assert_string_equal(hex, truth);
    return true;
}

static void a_known_file_is_not_read_again(void **state)
{
    struct place *p = *state;

    assert_true(is_read(p->m, p->path));
    lie(p->m, p->path, false);
    assert_false(is_read(p->m, p->path));
    assert_true(is_read(NULL, p->path)); /* without a memo it always is */
}

static void a_link_or_another_name_is_the_same_file(void **state)
{
    struct place *p = *state;
    char link[60];

    snprintf(link, sizeof link, "%s/link", p->dir);
    assert_int_equal(symlink(p->path, link), 0);
    lie(p->m, p->path, false);
    assert_false(is_read(p->m, link));
    unlink(link);
}

static void other_bytes_of_the_same_size_and_time_are_read(void **state)
{
    struct place *p = *state;
    struct timespec times[2];
    struct stat st;

    lie(p->m, p->path, false);
    assert_int_equal(stat(p->path, &st), 0);
    write_file(p->path, "abd");
    times[0] = st.st_atim;
    times[1] = st.st_mtim; /* as cp -p and rsync set it back */
    assert_int_equal(utimensat(AT_FDCWD, p->path, times, 0), 0);
    assert_true(is_read(p->m, p->path));
}

static void another_file_in_its_place_is_read(void **state)
{
    struct place *p = *state;
    char other[60];

    lie(p->m, p->path, false);
    snprintf(other, sizeof other, "%s/other", p->dir);
    write_file(other, "abd");
    assert_int_equal(rename(other, p->path), 0);
    assert_true(is_read(p->m, p->path));
}

static void a_file_that_just_changed_is_not_remembered(void **state)
{
    struct place *p = *state;
    struct stat st;

    assert_int_equal(stat(p->path, &st), 0);
    assert_false(hash_memo_settled(&st));
    st.st_ctim.tv_sec -= HASH_MEMO_YOUNG_S + 1;
    assert_true(hash_memo_settled(&st));
}

static void processes_share_what_they_read(void **state)
{
    struct place *p = *state;
    struct hash_memo *a, *b, *late;

    assert_int_equal(hash_memo_new(p->shared, &a, NULL), 0);
    assert_int_equal(hash_memo_new(p->shared, &b, NULL), 0);
    assert_true(is_read(b, p->path));
    lie(a, p->path, true);
    assert_false(is_read(b, p->path));
    assert_int_equal(hash_memo_new(p->shared, &late, NULL), 0);
    assert_false(is_read(late, p->path));
    write_file(p->path, "other bytes");
    lie(a, p->path, false); /* noted for itself only */
    assert_true(is_read(b, p->path));
    hash_memo_free(a);
    hash_memo_free(b);
    hash_memo_free(late);
}

static void torn_and_foreign_lines_say_nothing(void **state)
{
    static const char *const torn[] = {"",
                                       "\n\n",
                                       "nonsense\n",
                                       FALSE_HASH " 1 2 3\n",
                                       FALSE_HASH " 1 2 3 4 5 6\n",
                                       "0a 1 2 3 4 5\n"};
    struct place *p = *state;
    struct hash_memo *m;
    char good[300];
    struct stat st;
    FILE *f;

    assert_int_equal(stat(p->path, &st), 0);
    snprintf(good, sizeof good, "%s %llu %llu %llu %lld %lld\n", FALSE_HASH,
             (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
             (unsigned long long)st.st_size,
             (long long)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
             (long long)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec);
    f = fopen(p->shared, "w");
    for (size_t i = 0; i < 20000; i++) /* many times what is read at once */
        fputs(torn[i % 6], f);
    fprintf(f, "%.*s", (int)strlen(good) - 1, good); /* its end is not written yet */
    fclose(f);
    chmod(p->shared, 0600);
    assert_int_equal(hash_memo_new(p->shared, &m, NULL), 0);
    assert_true(is_read(m, p->path));
    f = fopen(p->shared, "a");
    fputs("\n", f);
    fclose(f);
    assert_false(is_read(m, p->path));
    hash_memo_free(m);
}

static void hashes_that_others_could_write_are_refused(void **state)
{
    struct place *p = *state;
    struct hash_memo *m = NULL;
    struct err e = {0};

    write_file(p->shared, "");
    chmod(p->shared, 0620);
    assert_int_equal(hash_memo_new(p->shared, &m, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.text, "others than this user"));
    assert_null(m);
}

static void a_disk_that_refuses_costs_only_the_sharing(void **state)
{
    struct place *p = *state;
    struct hash_memo *m;

    assert_int_equal(hash_memo_new("/nowhere/at/all/hashes", &m, NULL), 0);
    lie(m, p->path, true);
    assert_false(is_read(m, p->path));
    hash_memo_free(m);
}

static void beyond_its_room_the_oldest_is_forgotten(void **state)
{
    struct place *p = *state;
    struct stat st;

    lie(p->m, p->path, false);
    assert_int_equal(stat(p->path, &st), 0);
    for (uint64_t i = 1; i < HASH_MEMO_MAX; i++) {
        st.st_size = (off_t)(1000 + i);
        hash_memo_note(p->m, &st, FALSE_HASH);
    }
    assert_false(is_read(p->m, p->path));
    st.st_size = 1;
    hash_memo_note(p->m, &st, FALSE_HASH);
    assert_true(is_read(p->m, p->path));
}

static void what_is_no_file_has_no_hash(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];
    struct err e;

    assert_int_equal(hash_memo_file(p->m, p->dir, hex, &e), ERR_INPUT);
    assert_int_equal(hash_memo_file(p->m, "/nowhere/at/all", hex, &e), ERR_MISSING);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_known_file_is_not_read_again),
        TEST(a_link_or_another_name_is_the_same_file),
        TEST(other_bytes_of_the_same_size_and_time_are_read),
        TEST(another_file_in_its_place_is_read),
        TEST(a_file_that_just_changed_is_not_remembered),
        TEST(processes_share_what_they_read),
        TEST(torn_and_foreign_lines_say_nothing),
        TEST(hashes_that_others_could_write_are_refused),
        TEST(a_disk_that_refuses_costs_only_the_sharing),
        TEST(beyond_its_room_the_oldest_is_forgotten),
        TEST(what_is_no_file_has_no_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
