/* Requests that wait for the disk: what many of one client mean to the others. */
#include "coordinator/backlog.h"
#include "tests/coordinator/fixture.h"

static void ask(struct backlog *l, const char *peer, uint64_t request)
{
    const struct out out = {
        .type = OUT_ANSWER, .peer = peer_named(peer), .request = request, .answer = MSG_FETCH};

    MUST(backlog_add(l, &out, e));
}

static void requests_are_answered_in_the_order_in_which_they_came(void **state)
{
    struct backlog l = {0};
    struct out out;

    (void)state;
    for (uint64_t i = 1; i <= 3000; i++) { /* around the ring */
        ask(&l, "a", 2 * i);
        ask(&l, "b", 2 * i + 1);
        assert_true(backlog_next(&l, &out));
        assert_int_equal(out.request, 2 * i);
        assert_true(backlog_next(&l, &out));
        assert_int_equal(out.request, 2 * i + 1);
    }
    assert_false(backlog_next(&l, &out));
    backlog_done(&l);
}

static void a_client_that_asks_for_thousands_keeps_nobody_out(void **state)
{
    struct backlog l = {0};
    struct out out;
    size_t before = 0;

    (void)state;
    for (uint64_t i = 1; i <= 10000; i++)
        ask(&l, "greedy", i);
    ask(&l, "modest", 7);
    while (backlog_next(&l, &out) && out.peer.id[0] != 'm')
        before++;
    assert_int_equal(out.request, 7);
    assert_in_range(before, 1, BACKLOG_PEER_MAX);
    backlog_done(&l);
}

static void what_waits_is_bounded_whoever_asks(void **state)
{
    struct backlog l = {0};
    struct out out;
    char name[20];
    size_t n = 0;

    (void)state;
    for (uint64_t i = 1; i <= 3 * BACKLOG_MAX; i++) {
        snprintf(name, sizeof name, "peer-%d", (int)i);
        ask(&l, name, i);
    }
    while (backlog_next(&l, &out))
        n++;
    assert_int_equal(n, BACKLOG_MAX);
    backlog_done(&l);
}

static void a_check_of_files_takes_a_whole_slice(void **state)
{
    (void)state;
    assert_true(backlog_cost(&(struct out){.answer = MSG_CHECK}, 100) >= BACKLOG_SLICE);
    assert_true(backlog_cost(&(struct out){.answer = MSG_FETCH}, BACKLOG_SLICE) >= BACKLOG_SLICE);
    assert_true(backlog_cost(&(struct out){.answer = MSG_RECORDS}, 0) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered_in_the_order_in_which_they_came),
        cmocka_unit_test(a_client_that_asks_for_thousands_keeps_nobody_out),
        cmocka_unit_test(what_waits_is_bounded_whoever_asks),
        cmocka_unit_test(a_check_of_files_takes_a_whole_slice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
