/* The VAE's decoder shared by rows among processes, against one device. */
#include "tests/engine/gang/crew.h"
#include "tests/engine/gang/rows.h"
#include "tests/engine/small_render.h"

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

/* The crew whose marked member is to die, and the exchange of the decoder at which. */
static const struct crew *doomed;
static int doomed_exchange;

static void doom_after_the_steps(void *user, int step, int steps)
{
    (void)user;
    if (step == steps)
        rows_doom(doomed->render.gang, doomed_exchange);
}

/* One who dies with its steps done; nobody has a picture. */
static void lose_in_the_picture(int guidance, int tensor, int killed, int exchange)
{
    struct crew c = {.engine = {.model = GOLDEN_DIR "/models/sd1", .threads = 1},
                     .render = small_render(2, 64, 48),
                     .guidance = guidance,
                     .tensor = tensor,
                     .in_step = doom_after_the_steps,
                     .marked = killed};

    doomed = &c;
    doomed_exchange = exchange;
    crew_start(&c);
    assert_int_equal(crew_wait(&c, killed), -SIGKILL);
    for (int i = 0; i < crew_size(&c); i++)
        if (i != killed)
            assert_int_equal(crew_wait(&c, i), -ERR_LOST);
    assert_non_null(strstr(c.result->text, "went away"));
    assert_int_equal(c.result->width, 0);
    crew_done(&c);
}

static void a_member_killed_after_the_steps_ends_the_picture_of_all(void **state)
{
    (void)state;
    lose_in_the_picture(1, 2, 1, 1);
    lose_in_the_picture(1, 2, 0, 9); /* who collects the rows */
    lose_in_the_picture(2, 2, 2, 9);
    lose_in_the_picture(1, 2, 1, 21); /* its picture done, as the last exchange hands it over */
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
        cmocka_unit_test(a_member_killed_after_the_steps_ends_the_picture_of_all),
        cmocka_unit_test(rows_are_dealt_without_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
