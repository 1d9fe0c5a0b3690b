/* The VAE's decoder shared by rows among processes, against one device. */
#include "tests/engine/gang/rows.h"

static struct ops *open_oracle(void)
{
    return backend_open(0);
}

static struct ops *open_fast(void)
{
    return backend_open(BACKEND_FAST);
}

static void check(const char *model, rows_open_fn open, int size)
{
    struct rows_result *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double error;

    assert_true(r != MAP_FAILED);
    rows_in_processes(1, model, open, r);
    rows_in_processes(size, model, open, r);
    error = relative_l2(r->rows, r->whole, ROWS_PICTURE);
    print_message("%s, %s, by %d: %.1e; %.2f of the memory\n", model,
                  open == open_fast ? "cpu" : "ref", size, error,
                  (double)r->rows_bytes / (double)r->whole_bytes);
    assert_true(error < 1e-5);
    assert_true(r->rows_bytes < r->whole_bytes);
    munmap(r, sizeof *r);
}

static void rows_of_two_three_and_four_make_the_picture_of_one(void **state)
{
    (void)state;
    check("sd1", open_fast, 2);
    check("sd1", open_fast, 3);
    check("sdxl", open_fast, 4);
}

static void the_oracle_agrees(void **state)
{
    (void)state;
    check("sd1", open_oracle, 2);
}

static void a_member_may_have_one_row(void **state)
{
    (void)state;
    check("sd1", open_fast, ROWS_H);
}

/* At the first border, and amidst the layers. */
static void a_member_killed_in_the_decoder_hangs_nobody(void **state)
{
    (void)state;
    rows_lose_a_member(2, "sd1", open_fast, 1);
    rows_lose_a_member(3, "sd1", open_fast, 9);
}

static void rows_are_dealt_without_gap(void **state)
{
    (void)state;
    for (int size = 1; size <= 8; size++)
        for (int64_t h = size; h < 20; h++) {
            int64_t at = 0;

            for (int i = 0; i < size; i++) {
                struct range r = vae_rows_of(h, i, size);

                assert_int_equal(r.begin, at);
                assert_true(r.n > 0);
                at += r.n;
            }
            assert_int_equal(at, h);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_two_three_and_four_make_the_picture_of_one),
        cmocka_unit_test(the_oracle_agrees),
        cmocka_unit_test(a_member_may_have_one_row),
        cmocka_unit_test(a_member_killed_in_the_decoder_hangs_nobody),
        cmocka_unit_test(rows_are_dealt_without_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
