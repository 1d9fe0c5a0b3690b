#include "worker/fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B    "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SIZE 103

static unsigned char file[SIZE];

static struct msg_chunk chunk_of(const struct msg_want *w)
{
    struct msg_chunk c = {.offset = w->offset, .total = SIZE, .data = file + w->offset};

    memcpy(c.sha256, w->sha256, HASH_HEX_SIZE);
    c.data_size = w->offset + w->bytes > SIZE ? SIZE - w->offset : w->bytes;
    return c;
}

static int answer(struct fetch *f, const struct msg_want *w)
{
    struct msg_chunk c = chunk_of(w);

    return fetch_chunk(f, &c, NULL);
}

/* Appends what is in order. */
static void take(struct fetch *f, unsigned char *copy, size_t *n)
{
    void *data;
    size_t size;

    while (fetch_take(f, &data, &size)) {
        memcpy(copy + *n, data, size);
        *n += size;
        free(data);
    }
}

static void no_more_than_the_window_is_wanted_at_a_time(void **state)
{
    struct fetch f = {0};
    struct msg_want w[FETCH_WINDOW + 1];

    (void)state;
    fetch_begin(&f, A, 0, SIZE, SIZE, 10);
    for (int i = 0; i < FETCH_WINDOW; i++) {
        assert_true(fetch_want(&f, 0, &w[i]));
        assert_int_equal(w[i].offset, 10 * i);
    }
    assert_false(fetch_want(&f, FETCH_REPEAT_MS - 1, &w[FETCH_WINDOW]));
    assert_true(fetch_want(&f, FETCH_REPEAT_MS, &w[FETCH_WINDOW])); /* again */
    assert_int_equal(w[FETCH_WINDOW].offset, 0);
    fetch_again(&f);
    for (int i = 0; i < FETCH_WINDOW; i++)
        assert_true(fetch_want(&f, FETCH_REPEAT_MS, &w[i])); /* a new connection */
    fetch_end(&f);
}

static void parts_that_overtake_each_other_are_written_in_order(void **state)
{
    struct fetch f = {0};
    struct msg_want w[2];
    unsigned char copy[SIZE];
    size_t n = 0;

    (void)state;
    fetch_begin(&f, A, 0, SIZE, SIZE, 60);
    assert_true(fetch_want(&f, 0, &w[0]) && fetch_want(&f, 0, &w[1]));
    assert_int_equal(w[1].bytes, 43); /* the rest of the file */
    assert_int_equal(answer(&f, &w[1]), 0);
    take(&f, copy, &n);
    assert_int_equal(n, 0);
    assert_int_equal(answer(&f, &w[1]), 0); /* repeated: passed over */
    assert_int_equal(answer(&f, &w[0]), 0);
    take(&f, copy, &n);
    assert_true(fetch_over(&f));
    assert_int_equal(n, SIZE);
    assert_memory_equal(copy, file, SIZE);
    assert_int_equal(answer(&f, &w[0]), 0); /* late */
    fetch_end(&f);
}

static void a_fetch_goes_on_where_it_stopped(void **state)
{
    struct fetch f = {0};
    struct msg_want w;

    (void)state;
    fetch_begin(&f, A, 100, SIZE, SIZE, 60);
    assert_true(fetch_want(&f, 0, &w));
    assert_int_equal(w.offset, 100);
    assert_int_equal(w.bytes, 3);
    assert_false(fetch_want(&f, 0, &w));
    fetch_end(&f);
}

static void a_size_that_is_not_known_comes_with_the_first_part(void **state)
{
    struct fetch f = {0};
    struct msg_want w, more;

    (void)state;
    fetch_begin(&f, A, 0, 0, SIZE, 60);
    assert_true(fetch_want(&f, 0, &w));
    assert_false(fetch_want(&f, 0, &more));
    assert_int_equal(answer(&f, &w), 0);
    assert_true(fetch_want(&f, 0, &more));
    assert_int_equal(more.offset, 60);
    fetch_end(&f);
}

static void refused(struct fetch *f, struct msg_chunk c, const char *why)
{
    struct err e = {0};

    assert_int_equal(fetch_chunk(f, &c, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, why));
}

static void what_was_not_wanted_is_refused_or_passed_over(void **state)
{
    struct fetch f = {0};
    struct msg_want w;
    struct msg_chunk good, c;

    (void)state;
    fetch_begin(&f, A, 0, SIZE, SIZE, 60);
    assert_true(fetch_want(&f, 0, &w));
    good = chunk_of(&w);
    c = good, c.data_size = 59;
    refused(&f, c, "expected 60");
    c = good, c.total = SIZE + 1;
    refused(&f, c, "expected 103");
    c = good, c.total = 0;
    refused(&f, c, "expected 103");
    c = good, c.offset = 1; /* nobody asked for that */
    assert_int_equal(fetch_chunk(&f, &c, NULL), 0);
    c = good, memcpy(c.sha256, B, HASH_HEX_SIZE);
    assert_int_equal(fetch_chunk(&f, &c, NULL), 0);
    assert_int_equal(f.next, 0);
    fetch_begin(&f, A, 0, 0, SIZE - 1, 60); /* larger than it may be */
    assert_true(fetch_want(&f, 0, &w));
    refused(&f, good, "at most 102");
    fetch_end(&f);
    assert_int_equal(fetch_chunk(&f, &good, NULL), 0); /* idle */
}

/* Seeded weather: wants and chunks are lost, repeated and reordered; the copy is whole. */
static void any_weather_ends_with_the_whole_file(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 300; seed++) {
        struct fetch f = {0};
        struct msg_want w, flying[64];
        unsigned char copy[SIZE];
        unsigned random = seed;
        size_t n = seed % SIZE, n_flying = 0;
        int64_t now = 0;

        memcpy(copy, file, n);
        fetch_begin(&f, A, n, seed % 3 ? SIZE : 0, SIZE, 1 + seed % 40);
        for (int turn = 0; !fetch_over(&f); turn++) {
            assert_true(turn < 20000);
            now += 500;
            while (fetch_want(&f, now, &w))
                for (unsigned copies = (random = random * 1103515245u + 12345u) / 65536u % 3;
                     copies > 0 && n_flying < 64; copies--)
                    flying[n_flying++] = w;
            if (n_flying > 0) {
                size_t at = (random = random * 1103515245u + 12345u) / 65536u % n_flying;

                assert_int_equal(answer(&f, &flying[at]), 0);
                flying[at] = flying[--n_flying];
            }
            take(&f, copy, &n);
        }
        assert_int_equal(n, SIZE);
        assert_memory_equal(copy, file, SIZE);
        fetch_end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_the_window_is_wanted_at_a_time),
        cmocka_unit_test(parts_that_overtake_each_other_are_written_in_order),
        cmocka_unit_test(a_fetch_goes_on_where_it_stopped),
        cmocka_unit_test(a_size_that_is_not_known_comes_with_the_first_part),
        cmocka_unit_test(what_was_not_wanted_is_refused_or_passed_over),
        cmocka_unit_test(any_weather_ends_with_the_whole_file),
    };

    for (int i = 0; i < SIZE; i++)
        file[i] = (unsigned char)(i * 7);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
