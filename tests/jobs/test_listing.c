#include "jobs/listing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void a_listing_comes_back_as_it_was_sorted(void **state)
{
    struct listing l = {0}, back = {0};
    struct buf text = {0};

    (void)state;
    assert_int_equal(listing_add(&l, "unet/config.json", A, 12, NULL), 0);
    assert_int_equal(listing_add(&l, "model_index.json", B, 0, NULL), 0);
    assert_int_equal(listing_text(&l, &text, NULL), 0);
    assert_string_equal(buf_text(&text), B " 0 model_index.json\n" A " 12 unet/config.json\n");
    assert_int_equal(listing_parse(text.data, text.size, &back, NULL), 0);
    assert_int_equal(back.n, 2);
    assert_string_equal(back.files[1].path, "unet/config.json");
    assert_string_equal(back.files[1].sha256, A);
    assert_int_equal(listing_bytes(&back), 12);
    listing_done(&l);
    listing_done(&back);
    buf_done(&text);
}

static void refuses(const char *text, const char *why)
{
    struct listing l = {0};
    struct err e = {0};

    if (listing_parse(text, strlen(text), &l, &e) != ERR_INPUT)
        fail_msg("taken: %s", text);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
    assert_null(l.files);
}

static void no_path_leads_out_of_the_folder(void **state)
{
    static const char *const paths[] = {"../a",
                                        "a/../b",
                                        "/a",
                                        "a//b",
                                        "a/",
                                        ".a",
                                        "a/.b",
                                        "",
                                        ".",
                                        "..",
                                        "a\\b",
                                        "a\tb",
                                        "a\x7f",
                                        "\xff",
                                        "a/..",
                                        "./a",
                                        "\xc0\xaf"
                                        "x"};
    struct buf line = {0};
    struct listing l = {0};

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        line.size = 0;
        buf_printf(&line, A " 1 %s\n", paths[i]);
        refuses(buf_text(&line), "line 1");
        assert_int_equal(listing_add(&l, paths[i], A, 1, NULL), ERR_INPUT);
    }
    assert_int_equal(l.n, 0);
    listing_done(&l);
    buf_done(&line);
}

static void anything_but_lines_in_order_is_refused_whole(void **state)
{
    (void)state;
    refuses(A " 1 a", "no line feed");
    refuses(A "  1 a\n", "SHA256");
    refuses(A " 01 a\n", "SHA256");
    refuses(A " -1 a\n", "SHA256");
    refuses(A " 99999999999999999999 a\n", "SHA256");
    refuses(A " 9007199254740993 a\n", "SHA256");
    refuses(A " 9007199254740992 a\n" A " 1 b\n", "2^53");
    refuses("g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 1 a\n", "SHA256");
    refuses(A " 1 b\n" A " 1 a\n", "order");
    refuses(A " 1 a\n" A " 1 a\n", "line 2");
    refuses("\n", "line 1");
}

static void a_listing_has_so_many_files_and_no_more(void **state)
{
    struct listing l = {0};
    struct err e = {0};
    char name[16];

    (void)state;
    for (int i = 0; i < LISTING_FILES_MAX; i++) {
        snprintf(name, sizeof name, "f%d", i);
        assert_int_equal(listing_add(&l, name, A, 1, NULL), 0);
    }
    assert_int_equal(listing_add(&l, "more", A, 1, &e), ERR_INPUT);
    listing_done(&l);
}

/* One byte changed, one cut off: an error or a listing of safe paths, never anything else. */
static void a_damaged_listing_is_an_error_or_safe(void **state)
{
    static const char good[] = A " 12 model_index.json\n" B " 7 unet/a.json\n" B " 7 unet/b.json\n";
    char bytes[sizeof good];
    unsigned random = 1;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct listing l = {0};
        size_t size = sizeof good - 1;

        memcpy(bytes, good, sizeof good);
        for (int k = 0; k < 1 + i % 3; k++) {
            random = random * 1103515245u + 12345u;
            bytes[random / 65536u % size] = (char)(random >> 8);
        }
        size -= random / 65536u % 40 % (i % 5 == 0 ? 40 : 1);
        if (listing_parse(bytes, size, &l, NULL) != 0)
            continue;
        for (size_t k = 0; k < l.n; k++)
            assert_true(l.files[k].path[0] != '/' && !strstr(l.files[k].path, ".."));
        listing_done(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listing_comes_back_as_it_was_sorted),
        cmocka_unit_test(no_path_leads_out_of_the_folder),
        cmocka_unit_test(anything_but_lines_in_order_is_refused_whole),
        cmocka_unit_test(a_listing_has_so_many_files_and_no_more),
        cmocka_unit_test(a_damaged_listing_is_an_error_or_safe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
