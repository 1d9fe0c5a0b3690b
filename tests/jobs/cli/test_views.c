/* Lines of `litho status`: jobs/cli/views.h. */
#include "jobs/cli/views.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_gang_line(const char *gang, double step_ms, double speedup, const char *expected)
{
    const struct msg_job m = {.gang = gang, .gang_step_ms = step_ms, .gang_speedup = speedup};
    struct terminal t = {0};
    size_t size;
    char *text;

    t.file = open_memstream(&text, &size);
    assert_non_null(t.file);
    view_gang(&t, &m);
    assert_int_equal(fclose(t.file), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void a_gangs_worth_is_shown_once_it_was_measured(void **state)
{
    (void)state;
    assert_gang_line("none", 0, 0, "");
    assert_gang_line("", 0, 0, "");
    assert_gang_line("guidance 2, tensor 1", 0, 0, "  gang    guidance 2, tensor 1\n");
    assert_gang_line("auto", 250, 0,
                     "  gang    auto: 0.25 s a step; its worth is known once a worker has rendered "
                     "such a task alone\n");
    assert_gang_line("guidance 2, tensor 1", 80, 1.5,
                     "  gang    guidance 2, tensor 1: 0.08 s a step, 1.50 times as fast as one "
                     "worker\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gangs_worth_is_shown_once_it_was_measured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
