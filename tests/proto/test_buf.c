/* Byte buffers, and numbers as RFC 8785 writes them. */
#include "proto/buf.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void text_is_appended_and_detached(void **state)
{
    struct buf b = {0};
    char *text;

    (void)state;
    assert_string_equal(buf_text(&b), "");
    buf_puts(&b, "a");
    buf_putc(&b, 'b');
    buf_append(&b, "\0c", 2);
    buf_printf(&b, "%d-%s", 7, "x");
    assert_int_equal(b.size, 7);
    assert_memory_equal(b.data, "ab\0c7-x", 8);
    assert_int_equal(buf_check(&b, NULL), 0);
    text = buf_detach(&b);
    assert_null(b.data);
    assert_int_equal(b.size, 0);
    assert_string_equal(text, "ab");
    free(text);
    buf_done(&b);
}

static void an_empty_buffer_detaches_as_an_empty_string(void **state)
{
    struct buf b = {0};
    char *text = buf_detach(&b);

    (void)state;
    assert_string_equal(text, "");
    free(text);
}

static void growth_keeps_every_byte(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "%04d", i);
    assert_int_equal(b.size, 40000);
    assert_memory_equal(b.data + 4 * 9876, "98769877", 8);
    buf_done(&b);
}

static void a_failed_buffer_ignores_appends_and_says_so(void **state)
{
    struct buf b = {.failed = true};
    struct err e;

    (void)state;
    buf_puts(&b, "lost");
    assert_int_equal(b.size, 0);
    assert_int_equal(buf_check(&b, &e), ERR_OOM);
    assert_null(buf_detach(&b));
}

/* RFC 8785, appendix B: IEEE 754 bits and their text. */
static void numbers_are_written_as_rfc_8785_lists_them(void **state)
{
    static const struct {
        uint64_t bits;
        const char *text;
    } cases[] = {
        {0x0000000000000000, "0"},
        {0x8000000000000000, "0"},
        {0x0000000000000001, "5e-324"},
        {0x8000000000000001, "-5e-324"},
        {0x7fefffffffffffff, "1.7976931348623157e+308"},
        {0xffefffffffffffff, "-1.7976931348623157e+308"},
        {0x4340000000000000, "9007199254740992"},
        {0xc340000000000000, "-9007199254740992"},
        {0x4430000000000000, "295147905179352830000"},
        {0x44b52d02c7e14af5, "9.999999999999997e+22"},
        {0x44b52d02c7e14af6, "1e+23"},
        {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
        {0x444b1ae4d6e2ef4e, "999999999999999700000"},
        {0x444b1ae4d6e2ef4f, "999999999999999900000"},
        {0x444b1ae4d6e2ef50, "1e+21"},
        {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
        {0x3eb0c6f7a0b5ed8d, "0.000001"},
        {0x41b3de4355555553, "333333333.3333332"},
        {0x41b3de4355555554, "333333333.33333325"},
        {0x41b3de4355555555, "333333333.3333333"},
        {0x41b3de4355555556, "333333333.3333334"},
        {0x41b3de4355555557, "333333333.33333343"},
        {0xbecbf647612f3696, "-0.0000033333333333333333"},
        {0x43143ff3c1cb0959, "1424953923781206.2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        double x;

        memcpy(&x, &cases[i].bits, sizeof x);
        buf_number(&b, x);
        assert_string_equal(buf_text(&b), cases[i].text);
        buf_done(&b);
    }
}

static void every_number_reads_back_exactly(void **state)
{
    uint64_t bits = 88172645463325252u;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct buf b = {0};
        double x, back;

        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&x, &bits, sizeof x);
        if (x != x || x - x != 0)
            continue;
        buf_number(&b, x);
        back = strtod(buf_text(&b), NULL);
        if (memcmp(&back, &x, sizeof x) != 0)
            fail_msg("%s is not %.17g", buf_text(&b), x);
        buf_done(&b);
    }
}

static void files_are_read_whole_up_to_the_limit(void **state)
{
    char path[] = "/tmp/test_buf_XXXXXX";
    struct buf b = {0};
    struct err e;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    buf_puts(&b, ">");
    assert_int_equal(buf_read_file(&b, path, 10, &e), 0);
    assert_string_equal(buf_text(&b), ">0123456789");
    assert_int_equal(buf_read_file(&b, path, 9, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, path));
    unlink(path);
    assert_int_equal(buf_read_file(&b, path, 9, &e), ERR_MISSING);
    assert_int_equal(buf_read_file(&b, "/tmp", 9, &e), ERR_INPUT);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_appended_and_detached),
        cmocka_unit_test(an_empty_buffer_detaches_as_an_empty_string),
        cmocka_unit_test(growth_keeps_every_byte),
        cmocka_unit_test(a_failed_buffer_ignores_appends_and_says_so),
        cmocka_unit_test(numbers_are_written_as_rfc_8785_lists_them),
        cmocka_unit_test(every_number_reads_back_exactly),
        cmocka_unit_test(files_are_read_whole_up_to_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
