#include "monitoring/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_text(const struct metrics *m, const char *expected)
{
    struct buf text = {0};

    metrics_text(m, &text);
    assert_string_equal(buf_text(&text), expected);
    buf_done(&text);
}

static struct metrics *new_metrics(void)
{
    struct metrics *m;
    struct err e;

    assert_int_equal(metrics_new(&m, &e), 0);
    return m;
}

static void a_counter_starts_at_zero_and_adds(void **state)
{
    struct metrics *m = new_metrics();
    int id = metrics_family(m, METRIC_COUNTER, "a_total", "Help.", NULL);

    (void)state;
    assert_text(m, "# HELP a_total Help.\n# TYPE a_total counter\na_total 0\n");
    metrics_add(m, id, "", 2);
    metrics_add(m, id, "", 0.5);
    assert_text(m, "# HELP a_total Help.\n# TYPE a_total counter\na_total 2.5\n");
    metrics_free(m);
}

static void labels_are_escaped_and_bounded(void **state)
{
    struct metrics *m = new_metrics();
    int id = metrics_family(m, METRIC_GAUGE, "g", "Help.", "state");
    struct buf text = {0};
    char name[16];

    (void)state;
    metrics_set(m, id, "a\"b\\c\nd", 1);
    assert_text(m, "# HELP g Help.\n# TYPE g gauge\ng{state=\"a\\\"b\\\\c\\nd\"} 1\n");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "v%d", i);
        metrics_add(m, id, name, 1);
    }
    metrics_text(m, &text);
    assert_non_null(strstr(buf_text(&text), "g{state=\"other\"} 70\n"));
    assert_null(strstr(buf_text(&text), "v31"));
    buf_done(&text);
    metrics_free(m);
}

static void histogram_buckets_are_cumulative_and_include_their_bound(void **state)
{
    static const double bounds[] = {0.5, 1};
    struct metrics *m = new_metrics();
    int id = metrics_histogram(m, "h_seconds", "Help.", bounds, 2);

    (void)state;
    metrics_observe(m, id, 0.5);
    metrics_observe(m, id, 0.75);
    metrics_observe(m, id, 3);
    assert_text(m, "# HELP h_seconds Help.\n# TYPE h_seconds histogram\n"
                   "h_seconds_bucket{le=\"0.5\"} 1\n"
                   "h_seconds_bucket{le=\"1\"} 2\n"
                   "h_seconds_bucket{le=\"+Inf\"} 3\n"
                   "h_seconds_sum 4.25\nh_seconds_count 3\n");
    metrics_free(m);
}

static void too_many_families_are_ignored(void **state)
{
    struct metrics *m = new_metrics();

    (void)state;
    for (int i = 0; i < METRICS_FAMILIES_MAX; i++)
        assert_int_equal(metrics_family(m, METRIC_GAUGE, "g", "Help.", NULL), i);
    assert_int_equal(metrics_family(m, METRIC_GAUGE, "g", "Help.", NULL), -1);
    metrics_set(m, -1, "", 1);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_starts_at_zero_and_adds),
        cmocka_unit_test(labels_are_escaped_and_bounded),
        cmocka_unit_test(histogram_buckets_are_cumulative_and_include_their_bound),
        cmocka_unit_test(too_many_families_are_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
