#include "jobs/cli/amounts.h"
#include "jobs/cli/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_live(const struct progress *p, bool unicode, int columns, const char *expected)
{
    struct buf line = {0};

    progress_live(p, unicode, columns, &line);
    assert_string_equal(buf_text(&line), expected);
    assert_true(text_columns(buf_text(&line)) < columns);
    buf_done(&line);
}

static void bar_fills_by_eighths_of_a_column(void **state)
{
    struct progress p = {.tasks = 32, .done = 8, .eta_seconds = -1};

    (void)state;
    check_live(&p, true, 28, "▕███▎         ▏ 8/32 images");
    p.partial = 0.5;
    check_live(&p, true, 28, "▕███▍         ▏ 8/32 images");
    p.done = 32;
    p.partial = 0;
    check_live(&p, true, 30, "▕██████████████▏ 32/32 images");
}

static void plain_charset_gets_a_plain_bar(void **state)
{
    struct progress p = {.tasks = 4, .done = 2, .eta_seconds = -1};

    (void)state;
    check_live(&p, false, 24, "[#####     ] 2/4 images");
}

static void narrow_terminal_never_wraps(void **state)
{
    struct progress p = {
        .tasks = 1000000, .done = 123456, .failed = 7, .rate = 2.55, .eta_seconds = 75};
    struct buf line = {0};

    (void)state;
    for (int columns = 2; columns < 120; columns++) {
        progress_live(&p, true, columns, &line);
        assert_true(text_columns(buf_text(&line)) < columns);
        buf_done(&line);
    }
}

static void facts_are_rate_time_left_and_failures(void **state)
{
    struct progress p = {.tasks = 24, .done = 12, .failed = 1, .rate = 2.55, .eta_seconds = 75};
    struct buf line = {0};

    (void)state;
    progress_plain(&p, &line);
    assert_string_equal(buf_text(&line), "12 of 24 images, 2.5 images/s, 1:15 min left, 1 failed");
    buf_done(&line);
    p = (struct progress){.tasks = 24, .eta_seconds = -1, .phase = "loading the model"};
    progress_plain(&p, &line);
    assert_string_equal(buf_text(&line), "0 of 24 images, loading the model");
    buf_done(&line);
}

static void plain_lines_come_seconds_apart_and_at_the_end(void **state)
{
    struct terminal t = {.file = tmpfile()};
    struct progress_view v = {.terminal = &t};
    struct progress p = {.tasks = 3, .eta_seconds = -1};
    char text[200] = "";

    (void)state;
    progress_show(&v, &p, 1000);
    p.done = 1;
    progress_show(&v, &p, 1000 + PROGRESS_PLAIN_MS - 1);
    progress_show(&v, &p, 1000 + PROGRESS_PLAIN_MS);
    p.done = 3;
    progress_show(&v, &p, 1000 + PROGRESS_PLAIN_MS + 1);
    progress_end(&v);
    rewind(t.file);
    text[fread(text, 1, sizeof(text) - 1, t.file)] = '\0';
    assert_string_equal(text, "0 of 3 images\n1 of 3 images\n3 of 3 images\n");
    fclose(t.file);
}

static void check_amount(void (*amount)(double, struct buf *), double value, const char *expected)
{
    struct buf text = {0};

    amount(value, &text);
    assert_string_equal(buf_text(&text), expected);
    buf_done(&text);
}

static void amounts_read_well(void **state)
{
    struct buf text = {0};

    (void)state;
    check_amount(amount_duration, 0.44, "0.4 s");
    check_amount(amount_duration, 59.4, "59 s");
    check_amount(amount_duration, 59.6, "1:00 min");
    check_amount(amount_duration, 3725, "1:02:05 h");
    check_amount(amount_duration, 864000, "10.0 days");
    check_amount(amount_bytes, 812, "812 bytes");
    check_amount(amount_bytes, 999.6, "1.0 kB");
    check_amount(amount_bytes, 3.24e9, "3.2 GB");
    check_amount(amount_rate, 2.6, "2.6 images/s");
    check_amount(amount_rate, 0.1, "6.0 images/min");
    check_amount(amount_rate, 0.002, "7.2 images/h");
    amount_count(100000000, &text);
    assert_string_equal(buf_text(&text), "100,000,000");
    buf_done(&text);
    amount_images(1, &text);
    assert_string_equal(buf_text(&text), "1 image");
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bar_fills_by_eighths_of_a_column),
        cmocka_unit_test(plain_charset_gets_a_plain_bar),
        cmocka_unit_test(narrow_terminal_never_wraps),
        cmocka_unit_test(facts_are_rate_time_left_and_failures),
        cmocka_unit_test(plain_lines_come_seconds_apart_and_at_the_end),
        cmocka_unit_test(amounts_read_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
