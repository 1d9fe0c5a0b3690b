#include "jobs/cli/makespan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void pictures_of_their_own_are_dealt_to_all(void **state)
{
    const struct makespan m = {.chains = 100, .frames = 1, .renderers = 4, .longest = 1};

    (void)state;
    assert_true(makespan_left(&m, 0) == 25);
    assert_true(makespan_left(&m, 60) == 10);
    assert_true(makespan_left(&m, 100) == 0);
}

static void one_chain_takes_all_its_frames_in_turn_however_many_workers(void **state)
{
    const struct makespan m = {.chains = 1, .frames = 24, .renderers = 8, .longest = 24};

    (void)state;
    assert_true(makespan_left(&m, 0) == 24);
    assert_true(makespan_left(&m, 23) == 1);
    assert_true(makespan_left(&m, 24) == 0);
}

static void a_chain_more_than_workers_is_a_round_more(void **state)
{
    const struct makespan m = {.chains = 3, .frames = 24, .renderers = 2, .longest = 24};

    (void)state;
    assert_true(makespan_left(&m, 0) == 48);
    assert_true(makespan_left(&m, 24) == 36); /* two chains of which twelve frames are there */
    assert_true(makespan_left(&m, 48) == 24);
    assert_true(makespan_left(&m, 60) == 12);
    assert_true(makespan_left(&m, 72) == 0);
}

static void nothing_ends_before_the_longest_chain(void **state)
{
    const struct makespan m = {.chains = 4, .frames = 10, .renderers = 4, .longest = 25};

    (void)state;
    assert_true(makespan_left(&m, 0) == 25);
    assert_true(makespan_left(&m, 20) == 12.5);
    assert_true(makespan_left(&m, 40) == 0);
}

static void more_pictures_than_a_job_has_are_none_left(void **state)
{
    const struct makespan m = {.chains = 2, .frames = 3, .renderers = 2, .longest = 3};

    (void)state;
    assert_true(makespan_left(&m, 7) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_of_their_own_are_dealt_to_all),
        cmocka_unit_test(one_chain_takes_all_its_frames_in_turn_however_many_workers),
        cmocka_unit_test(a_chain_more_than_workers_is_a_round_more),
        cmocka_unit_test(nothing_ends_before_the_longest_chain),
        cmocka_unit_test(more_pictures_than_a_job_has_are_none_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
