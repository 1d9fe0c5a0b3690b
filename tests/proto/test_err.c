/* Errors: codes, names on the wire, texts. */
#include "proto/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define EURO "\xe2\x82\xac"

static void every_code_reads_back_from_its_name(void **state)
{
    (void)state;
#define X(code, value, name, retry)                                                                \
    assert_int_equal(code, value);                                                                 \
    assert_string_equal(err_name(code), name);                                                     \
    assert_int_equal(err_from_name(name), code);                                                   \
    assert_int_equal(err_retryable(code), retry);
    ERR_TABLE(X)
#undef X
}

static void unknown_codes_and_names_are_internal(void **state)
{
    (void)state;
    assert_string_equal(err_name(0), "ok");
    assert_string_equal(err_name(-99), "internal");
    assert_int_equal(err_from_name("no such name"), ERR_INTERNAL);
    assert_int_equal(err_retryable(-99), 0);
}

static void context_is_added_around_the_text_itself(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(err_set(&e, ERR_IO, "disk full"), ERR_IO);
    assert_int_equal(err_set(&e, ERR_INPUT, "file '%s': %s", "a.png", e.text), ERR_INPUT);
    assert_string_equal(e.text, "file 'a.png': disk full");
    assert_int_equal(e.code, ERR_INPUT);
}

static void a_long_text_is_cut_and_a_null_error_is_legal(void **state)
{
    char text[2 * ERR_TEXT_MAX];
    struct err e;

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    err_set(&e, ERR_ARG, "%s", text);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    err_set(&e, ERR_ARG, "the file %s: disk full", text);
    assert_memory_equal(e.text, "the file xxx", 12);
    assert_non_null(strstr(e.text, "xx ... xx"));
    assert_string_equal(e.text + ERR_TEXT_MAX - 1 - 14, "xxx: disk full");
    err_set(&e, ERR_ARG, "the file %s: disk full", e.text);
    assert_string_equal(e.text + ERR_TEXT_MAX - 1 - 18, "sk full: disk full");
    assert_int_equal(err_set(NULL, ERR_OOM, "%s", text), ERR_OOM);
}

static void no_half_of_a_character_stays_where_a_text_was_cut(void **state)
{
    char euros[2 * ERR_TEXT_MAX], rest[ERR_TEXT_MAX];
    struct err e;

    (void)state;
    for (size_t i = 0; i + 3 < sizeof euros; i += 3)
        memcpy(euros + i, EURO, strlen(EURO) + 1);
    for (int shift = 0; shift < 3; shift++) {
        size_t n = 0;

        err_set(&e, ERR_ARG, "%.*s%s: disk full", shift, "xyz", euros);
        assert_in_range(strlen(e.text), ERR_TEXT_MAX - 3, ERR_TEXT_MAX - 1);
        for (const char *p = e.text; *p;) {
            if (strncmp(p, EURO, strlen(EURO)) == 0)
                p += strlen(EURO);
            else
                rest[n++] = *p++;
        }
        rest[n] = '\0';
        assert_string_equal(rest + shift, " ... : disk full");
    }
}

static void errno_becomes_a_class(void **state)
{
    struct err e;

    (void)state;
    errno = ENOENT;
    assert_int_equal(err_errno(&e, "m.txt"), ERR_MISSING);
    assert_string_equal(e.text, "m.txt: No such file or directory");
    errno = ENOMEM;
    assert_int_equal(err_errno(&e, "m.txt"), ERR_OOM);
    errno = EACCES;
    assert_int_equal(err_errno(&e, "m.txt"), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_reads_back_from_its_name),
        cmocka_unit_test(unknown_codes_and_names_are_internal),
        cmocka_unit_test(context_is_added_around_the_text_itself),
        cmocka_unit_test(a_long_text_is_cut_and_a_null_error_is_legal),
        cmocka_unit_test(no_half_of_a_character_stays_where_a_text_was_cut),
        cmocka_unit_test(errno_becomes_a_class),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
