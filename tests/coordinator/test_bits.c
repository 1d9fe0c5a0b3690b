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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_holds_nothing),
        cmocka_unit_test(it_agrees_with_a_plain_array_whatever_the_order),
        cmocka_unit_test(raising_the_floor_frees_the_pages_below),
        cmocka_unit_test(distant_indices_cost_one_page_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
