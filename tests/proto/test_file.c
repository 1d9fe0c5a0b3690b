#include "proto/file.h"

#include "proto/buf.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_file.XXXXXX";

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return chdir("/") == 0 ? rmdir(folder) : -1;
}

static void assert_holds(const char *path, const char *text)
{
    struct buf b = {0};

    assert_int_equal(buf_read_file(&b, path, 100, NULL), 0);
    assert_string_equal(buf_text(&b), text);
    buf_done(&b);
}

static size_t files(void)
{
    DIR *d = opendir(".");
    size_t n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void new_bytes_replace_the_old_ones(void **state)
{
    (void)state;
    assert_int_equal(file_replace("a", "first", 5, NULL), 0);
    assert_holds("a", "first");
    assert_int_equal(file_replace("a", "", 0, NULL), 0);
    assert_holds("a", "");
    assert_int_equal(files(), 1);
    unlink("a");
}

static void a_link_is_replaced_and_its_target_stays(void **state)
{
    (void)state;
    assert_int_equal(file_replace("target", "old", 3, NULL), 0);
    assert_int_equal(symlink("target", "link"), 0);
    assert_int_equal(file_replace("link", "new", 3, NULL), 0);
    assert_holds("target", "old");
    assert_holds("link", "new");
    unlink("target");
    unlink("link");
}

static void what_cannot_be_replaced_stays_alone(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(mkdir("taken", 0700), 0);
    assert_int_not_equal(file_replace("taken", "x", 1, &e), 0);
    assert_non_null(strstr(e.text, "taken"));
    assert_int_equal(files(), 1);
    rmdir("taken");
    assert_int_equal(file_replace("no/folder", "x", 1, &e), ERR_MISSING);
    assert_non_null(strstr(e.text, "no/folder"));
}

static void a_full_disk_is_an_error(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct err e = {0};

    (void)state;
    if (fd < 0)
        skip();
    assert_int_equal(file_write(fd, "that file", "x", 1, &e), ERR_IO);
    assert_non_null(strstr(e.text, "that file"));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_bytes_replace_the_old_ones),
        cmocka_unit_test(a_link_is_replaced_and_its_target_stays),
        cmocka_unit_test(what_cannot_be_replaced_stays_alone),
        cmocka_unit_test(a_full_disk_is_an_error),
    };

    return cmocka_run_group_tests_name("file", tests, set_up, tear_down);
}
