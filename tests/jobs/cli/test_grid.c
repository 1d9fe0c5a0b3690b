#include "jobs/cli/grid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    struct terminal plain = {0};
    struct buf text = {0};
    struct grid g;

    (void)state;
    grid_init(&g, 3, (const char *const[]){"NAME", "N", "END"}, (const bool[]){false, true, false});
    grid_row(&g, (const char *const[]){"é", "1,000", "x"});
    grid_row(&g, (const char *const[]){"longer", "2", NULL});
    grid_text(&g, &plain, &text);
    assert_string_equal(buf_text(&text), "NAME        N  END\n"
                                         "é       1,000  x\n"
                                         "longer      2  \n");
    buf_done(&text);
    grid_done(&g);
}

static void cells_cannot_steer_the_terminal(void **state)
{
    struct terminal plain = {0};
    struct buf text = {0};
    struct grid g;

    (void)state;
    grid_init(&g, 1, (const char *const[]){"A"}, (const bool[]){false});
    grid_row(&g, (const char *const[]){"\033[2Jx\ny"});
    grid_text(&g, &plain, &text);
    assert_string_equal(buf_text(&text), "A\n?[2Jx?y\n");
    buf_done(&text);
    grid_done(&g);
}

static void colours_only_where_they_are_welcome(void **state)
{
    struct terminal colour = {.colour = true}, plain = {0};

    (void)state;
    assert_string_equal(style(&plain, STYLE_RED), "");
    assert_string_equal(style(&colour, STYLE_RED), "\033[31m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(cells_cannot_steer_the_terminal),
        cmocka_unit_test(colours_only_where_they_are_welcome),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
