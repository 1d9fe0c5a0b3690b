#include "engine/ops/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void blocks_are_aligned_and_do_not_overlap(void **state)
{
    struct arena a;
    struct err e;
    char *x, *y;

    (void)state;
    assert_int_equal(arena_init(&a, 256, &e), 0);
    x = arena_bytes(&a, 1);
    y = arena_bytes(&a, 65);
    assert_true((uintptr_t)x % 64 == 0 && (uintptr_t)y % 64 == 0);
    assert_true(y >= x + 1);
    memset(x, 1, 1);
    memset(y, 2, 65);
    assert_int_equal(*x, 1);
    arena_done(&a);
}

static void a_plan_measures_what_the_run_then_needs(void **state)
{
    struct arena plan, run;
    struct err e;

    (void)state;
    arena_plan(&plan);
    for (int pass = 0; pass < 2; pass++) {
        struct arena *a = pass ? &run : &plan;
        size_t mark;

        if (pass)
            assert_int_equal(arena_init(&run, plan.peak, &e), 0);
        assert_non_null(arena_floats(a, 100));
        mark = arena_mark(a);
        assert_non_null(arena_floats(a, 1000));
        arena_release(a, mark);
        assert_non_null(arena_floats(a, 500));
        assert_int_equal(arena_check(a, &e), 0);
    }
    assert_int_equal(run.used, plan.used);
    assert_int_equal(run.peak, plan.peak);
    arena_done(&run);
    arena_done(&plan);
}

static void released_blocks_are_given_again(void **state)
{
    struct arena a;
    struct err e;
    size_t mark;
    void *first;

    (void)state;
    assert_int_equal(arena_init(&a, 128, &e), 0);
    mark = arena_mark(&a);
    first = arena_bytes(&a, 128);
    arena_release(&a, mark);
    assert_ptr_equal(arena_bytes(&a, 128), first);
    arena_done(&a);
}

static void a_request_that_does_not_fit_is_remembered(void **state)
{
    struct arena a;
    struct err e;

    (void)state;
    assert_int_equal(arena_init(&a, 128, &e), 0);
    assert_null(arena_bytes(&a, 129));
    assert_non_null(arena_bytes(&a, 64));
    assert_int_equal(arena_check(&a, &e), ERR_INTERNAL);
    arena_done(&a);
}

static void absurd_sizes_do_not_wrap_around(void **state)
{
    struct arena a;
    struct err e;

    (void)state;
    arena_plan(&a);
    assert_null(arena_bytes(&a, SIZE_MAX - 1));
    assert_null(arena_floats(&a, SIZE_MAX / 2));
    assert_non_null(arena_bytes(&a, SIZE_MAX / 2));
    assert_null(arena_bytes(&a, SIZE_MAX - 100));
    assert_int_equal(arena_check(&a, &e), ERR_INTERNAL);
    assert_int_equal(arena_init(&a, SIZE_MAX - 5, &e), ERR_OOM);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_do_not_overlap),
        cmocka_unit_test(a_plan_measures_what_the_run_then_needs),
        cmocka_unit_test(released_blocks_are_given_again),
        cmocka_unit_test(a_request_that_does_not_fit_is_remembered),
        cmocka_unit_test(absurd_sizes_do_not_wrap_around),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
