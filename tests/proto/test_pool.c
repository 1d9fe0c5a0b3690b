/* Bytes that die together. */
#include "proto/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Blocks that wait; the first member of one is the next. */
static size_t idle(const struct pool *p)
{
    const void *b = p->idle;
    size_t n = 0;

    for (; b; n++)
        memcpy(&b, b, sizeof b);
    return n;
}

static void what_was_taken_stays_until_it_is_cleared(void **state)
{
    struct pool p = {.block_bytes = 256};
    char *texts[1000], wanted[32];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(wanted, sizeof wanted, "number %d", i);
        texts[i] = pool_text(&p, wanted, strlen(wanted));
        assert_non_null(texts[i]);
        assert_int_equal((uintptr_t)texts[i] % _Alignof(max_align_t), 0);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(wanted, sizeof wanted, "number %d", i);
        assert_string_equal(texts[i], wanted);
    }
    pool_done(&p);
}

static void blocks_stay_up_to_the_limit_and_are_used_again(void **state)
{
    struct pool p = {.block_bytes = 1024};
    void *first;

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_non_null(pool_take(&p, 1024));
    pool_clear(&p, 4 * 1024);
    assert_int_equal(idle(&p), 4);
    first = p.idle;
    assert_non_null(pool_take(&p, 1));
    assert_ptr_equal(p.used, first);
    assert_int_equal(idle(&p), 3);
    pool_clear(&p, 0);
    assert_int_equal(idle(&p), 0);
    assert_null(p.used);
    pool_done(&p);
}

static void what_is_larger_than_a_block_has_one_of_its_own_that_does_not_stay(void **state)
{
    struct pool p = {.block_bytes = 64};
    char *large = pool_take(&p, 100000), *small;

    (void)state;
    memset(large, 1, 100000);
    small = pool_alloc(&p, 64);
    assert_int_equal(small[63], 0);
    assert_int_equal(large[99999], 1);
    pool_clear(&p, 1 << 20);
    assert_int_equal(idle(&p), 1);
    assert_null(pool_take(&p, SIZE_MAX - 3));
    pool_done(&p);
}

static void zeroed_bytes_are_zero_in_a_used_block_too(void **state)
{
    struct pool p = {.block_bytes = 64};
    unsigned char *bytes = pool_take(&p, 64);

    (void)state;
    memset(bytes, 0xff, 64);
    pool_clear(&p, 64);
    bytes = pool_alloc(&p, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(bytes[i], 0);
    pool_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_taken_stays_until_it_is_cleared),
        cmocka_unit_test(blocks_stay_up_to_the_limit_and_are_used_again),
        cmocka_unit_test(what_is_larger_than_a_block_has_one_of_its_own_that_does_not_stay),
        cmocka_unit_test(zeroed_bytes_are_zero_in_a_used_block_too),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
