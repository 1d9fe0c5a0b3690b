#include "coordinator/bits.h"
#include "tests/coordinator/fixture.h"

static void an_empty_set_holds_nothing(void **state)
{
    struct bits b = {0};

    (void)state;
    assert_false(bits_has(&b, 0));
    assert_false(bits_has(&b, UINT64_C(1) << 53));
    bits_done(&b);
}

static void it_agrees_with_a_plain_array_whatever_the_order(void **state)
{
    enum { N = 3 * BITS_PAGE };
    static bool plain[N];
    struct bits b = {0};
    uint64_t x = 1;

    (void)state;
    for (int i = 0; i < 4000; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        plain[(x >> 33) % N] = true;
        MUST(bits_add(&b, (x >> 33) % N, e));
        if (i == 2000) {
            bits_raise(&b, BITS_PAGE + 7);
            memset(plain, true, BITS_PAGE + 7);
        }
    }
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(bits_has(&b, i), plain[i]);
    bits_done(&b);
}

static void raising_the_floor_frees_the_pages_below(void **state)
{
    struct bits b = {0};

    (void)state;
    for (uint64_t i = 0; i < 10; i++)
        MUST(bits_add(&b, i * BITS_PAGE, e));
    assert_int_equal(b.n_pages, 10);
    bits_raise(&b, 9 * BITS_PAGE);
    assert_int_equal(b.n_pages, 1);
    bits_raise(&b, 5);
    assert_int_equal(b.floor, 9 * BITS_PAGE);
    bits_done(&b);
}

static void distant_indices_cost_one_page_each(void **state)
{
    struct bits b = {0};

    (void)state;
    MUST(bits_add(&b, (UINT64_C(1) << 53) - 1, e));
    MUST(bits_add(&b, 0, e));
    assert_int_equal(b.n_pages, 2);
    assert_true(bits_has(&b, (UINT64_C(1) << 53) - 1));
    assert_false(bits_has(&b, (UINT64_C(1) << 53) - 2));
    bits_done(&b);
}

static void a_page_put_at_once_is_as_its_bits_one_by_one(void **state)
{
    uint64_t words[BITS_PAGE / 64] = {0};
    struct bits b = {0}, each = {0};

    (void)state;
    for (uint64_t i = 0; i < BITS_PAGE; i += i % 5 + 1) {
        words[i / 64] |= UINT64_C(1) << i % 64;
        MUST(bits_add(&each, 3 * BITS_PAGE + i, e));
    }
    MUST(bits_add(&b, 4 * BITS_PAGE, e));
    MUST(bits_put_page(&b, 3, words, e));
    for (uint64_t i = 0; i < BITS_PAGE; i++)
        assert_int_equal(bits_has(&b, 3 * BITS_PAGE + i), bits_has(&each, 3 * BITS_PAGE + i));
    assert_true(bits_has(&b, 4 * BITS_PAGE));
    bits_done(&b);
    bits_done(&each);
}

static void the_next_gap_is_the_first_index_that_is_not_in_it(void **state)
{
    static const uint64_t gaps[] = {0, 1, 63, 64, 100, 4095, 4096, 6400, 8191, 8192, 9000, 20000};
    struct bits b = {0};
    size_t g = 0;

    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        bool is_gap = false;

        for (size_t k = 0; k < sizeof gaps / sizeof *gaps; k++)
            is_gap |= gaps[k] == i;
        if (!is_gap)
            MUST(bits_add(&b, i, e));
    }
    for (uint64_t i = 0; i <= 20000; i++) {
        while (gaps[g] < i)
            g++;
        assert_int_equal(bits_gap(&b, i), gaps[g]);
    }
    bits_raise(&b, 4097);
    assert_int_equal(bits_gap(&b, 0), 6400);
    bits_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_holds_nothing),
        cmocka_unit_test(it_agrees_with_a_plain_array_whatever_the_order),
        cmocka_unit_test(raising_the_floor_frees_the_pages_below),
        cmocka_unit_test(distant_indices_cost_one_page_each),
        cmocka_unit_test(a_page_put_at_once_is_as_its_bits_one_by_one),
        cmocka_unit_test(the_next_gap_is_the_first_index_that_is_not_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
