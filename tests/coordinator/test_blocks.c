/* What a worker is blocked for, and what lifts it: coordinator/blocks.h. */
#include "tests/coordinator/fixture.h"

#include "coordinator/blocks.h"

#define MODEL UINT64_C(1)
#define OTHER UINT64_C(2)

static void note(struct blocks *b, uint64_t model, int code, uint64_t pixels, uint64_t task)
{
    MUST(block_note(b, "a model", model, code, pixels, task, e));
}

static void fail_thrice(struct blocks *b, uint64_t model, int code, uint64_t pixels)
{
    for (uint64_t task = 0; task < 3; task++)
        note(b, model, code, pixels, task);
}

static void three_tasks_of_one_model_and_class_block(void **state)
{
    struct blocks b = {0};

    (void)state;
    note(&b, MODEL, ERR_IO, 0, 1);
    note(&b, MODEL, ERR_IO, 0, 2);
    note(&b, MODEL, ERR_OUTPUT, 0, 3);
    note(&b, OTHER, ERR_IO, 0, 4);
    assert_false(block_holds(&b, MODEL, 100));
    note(&b, MODEL, ERR_IO, 0, 5);
    assert_true(block_holds(&b, MODEL, 100));
    assert_false(block_holds(&b, OTHER, 100));
    blocks_done(&b);
}

static void one_task_that_fails_again_and_again_blocks_nobody(void **state)
{
    struct blocks b = {0};

    (void)state;
    for (int i = 0; i < 5; i++)
        note(&b, MODEL, ERR_IO, 0, 7);
    assert_false(block_holds(&b, MODEL, 100));
    blocks_done(&b);
}

static void too_little_memory_blocks_for_so_many_pixels_and_more(void **state)
{
    struct blocks b = {0};

    (void)state;
    note(&b, MODEL, ERR_OOM, 900, 1);
    note(&b, MODEL, ERR_OOM, 500, 2);
    note(&b, MODEL, ERR_OOM, 700, 3);
    assert_false(block_holds(&b, MODEL, 499));
    assert_true(block_holds(&b, MODEL, 500));
    blocks_done(&b);
}

static void a_picture_lifts_what_is_not_for_more_pixels(void **state)
{
    struct blocks b = {0};

    (void)state;
    fail_thrice(&b, MODEL, ERR_OOM, 500);
    fail_thrice(&b, MODEL, ERR_IO, 0);
    fail_thrice(&b, OTHER, ERR_IO, 0);
    assert_true(block_holds(&b, MODEL, 400));
    block_lift(&b, MODEL, 400);
    assert_false(block_holds(&b, MODEL, 400));
    assert_true(block_holds(&b, MODEL, 500)); /* a smaller picture says nothing of a larger one */
    assert_true(block_holds(&b, OTHER, 400));
    block_lift(&b, MODEL, 500);
    assert_false(block_holds(&b, MODEL, 500));
    blocks_done(&b);
}

static void of_too_many_pairs_the_oldest_that_blocks_nothing_is_forgotten(void **state)
{
    struct blocks b = {0};

    (void)state;
    fail_thrice(&b, MODEL, ERR_IO, 0);
    for (uint64_t other = 0; other < BLOCKS_MAX; other++) { /* the last one needs room */
        note(&b, OTHER + other, ERR_IO, 0, 1);
        note(&b, OTHER + other, ERR_IO, 0, 2);
    }
    assert_true(block_holds(&b, MODEL, 100));
    note(&b, OTHER + 1, ERR_IO, 0, 3); /* not the oldest: its third */
    assert_true(block_holds(&b, OTHER + 1, 100));
    note(&b, OTHER, ERR_IO, 0, 3); /* forgotten: its first */
    assert_false(block_holds(&b, OTHER, 100));
    blocks_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_tasks_of_one_model_and_class_block),
        cmocka_unit_test(one_task_that_fails_again_and_again_blocks_nobody),
        cmocka_unit_test(too_little_memory_blocks_for_so_many_pixels_and_more),
        cmocka_unit_test(a_picture_lifts_what_is_not_for_more_pixels),
        cmocka_unit_test(of_too_many_pairs_the_oldest_that_blocks_nothing_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
