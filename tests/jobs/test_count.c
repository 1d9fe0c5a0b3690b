/* Counting, ranking and jumping, held against a walk over every index of small jobs. */
#include "tests/jobs/bundle.h"

#include <stdio.h>
#include <time.h>

static const char hundred_million[] =
    "[{'name':'thing','columns':['thing'],'rows':[['apple'],['pizza'],['boat'],['cat']]},"
    "{'name':'ground','columns':['ground'],'rows':[['red'],['blue'],['sky'],['grass'],['sand']]},"
    "{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':5000000}}]";

static void without_rules_every_index_counts(void **state)
{
    struct job *job = bundle_job((struct spec){.axes = hundred_million});

    (void)state;
    assert_int_equal(job_span(job), 100000000);
    assert_int_equal(job_count(job), 100000000);
    assert_int_equal(job_rank(job, 12345678), 12345678);
    assert_int_equal(job_next(job, 99999999), 99999999);
    assert_int_equal(job_next(job, 100000000), 100000000);
    assert_false(job_excluded(job, 0));
    job_free(job);
}

static void a_job_without_axes_has_one_task(void **state)
{
    struct job *job = bundle_job((struct spec){0});

    (void)state;
    assert_int_equal(job_span(job), 1);
    assert_int_equal(job_count(job), 1);
    assert_int_equal(job_next(job, 0), 0);
    assert_int_equal(job_next(job, 1), 1);
    assert_int_equal(job_rank(job, 1), 1);
    job_free(job);
}

static void a_rule_takes_out_its_product(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = hundred_million, .exclude = "[{'thing':['pizza'],'ground':['red','sky']}]"});
    uint64_t first = UINT64_C(5) * 5000000; /* pizza on red */

    (void)state;
    assert_int_equal(job_count(job), 90000000);
    assert_true(job_excluded(job, first));
    assert_false(job_excluded(job, first - 1));
    assert_int_equal(job_next(job, first), first + 5000000);
    assert_int_equal(job_next(job, first + 5000000), first + 5000000);
    assert_int_equal(job_rank(job, first + 5000000), first);
    job_free(job);
}

static void overlapping_rules_count_once(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = hundred_million,
        .exclude =
            "[{'thing':['pizza']},{'ground':['red']},{'thing':['pizza'],'ground':['red']}]"});

    (void)state;
    assert_int_equal(job_count(job), 100000000 - 25000000 - 20000000 + 5000000);
    job_free(job);
}

static void values_of_a_range_are_found_without_walking_it(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = hundred_million, .exclude = "[{'seed':[5,'17',4999999,5000000,-1]}]"});

    (void)state;
    assert_int_equal(job_count(job), 20 * (5000000 - 3));
    assert_true(job_excluded(job, 5));
    assert_true(job_excluded(job, 4999999));
    assert_int_equal(job_next(job, 4999999), 5000000);
    job_free(job);
}

static void long_excluded_runs_are_jumped(void **state)
{
    struct buf axes = {0}, exclude = {0};
    struct job *job;
    uint64_t n = 20000, at;
    clock_t start = clock();

    /* The innermost axis has one value left of 20,000: no rule covers a block whole. */
    (void)state;
    buf_puts(&axes, "[{'name':'a','columns':['a'],'range':{'first':0,'step':1,'count':1000000}},"
                    "{'name':'b','columns':['b'],'rows':[");
    buf_puts(&exclude, "[{'b':[");
    for (uint64_t i = 0; i < n; i++)
        buf_printf(&axes, "%s['v%d']", i ? "," : "", (int)i);
    for (uint64_t i = 0; i + 1 < n; i++)
        buf_printf(&exclude, "%s'v%d'", i ? "," : "", (int)i);
    buf_puts(&axes, "]}]");
    buf_puts(&exclude, "]}]");
    job = bundle_job((struct spec){.axes = buf_text(&axes), .exclude = buf_text(&exclude)});
    assert_int_equal(job_count(job), 1000000);
    at = job_next(job, 0);
    for (uint64_t k = 0; k < 1000; k++, at = job_next(job, at + 1))
        assert_int_equal(at, k * n + n - 1);
    assert_int_equal(job_next(job, job_span(job) - 1), job_span(job) - 1);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 10);
    job_free(job);
    buf_done(&axes);
    buf_done(&exclude);
}

static void numbers_match_as_numbers_and_texts_as_texts(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes = "[{'name':'c','columns':['cfg_scale'],'rows':[['5.0'],[6],['7']]},"
                "{'name':'n','columns':['n'],'rows':[['7'],['007'],['7.0']]},"
                "{'name':'r','columns':['r'],'range':{'first':0,'step':0.1,'count':11}}]",
        .exclude = "[{'cfg_scale':[5],'n':['7'],'r':['0.30',1]}]"});

    (void)state;
    assert_int_equal(job_count(job), 99 - 2);
    assert_true(job_excluded(job, 3));
    assert_true(job_excluded(job, 10));
    assert_false(job_excluded(job, 11 + 3));
    job_free(job);
}

static void columns_of_one_zip_are_intersected(void **state)
{
    struct job *job = bundle_job((struct spec){
        .axes =
            "[{'name':'p','columns':['product','colour'],'rows':[['mug','red'],['mug','blue'],"
            "['cap','red']]},{'name':'n','columns':['n'],'range':{'first':1,'step':1,'count':3}},"
            "{'name':'s','columns':['seed'],'range':{'first':1,'step':1,'count':10}}]",
        .combine = "[[0,1],[2]]",
        .exclude = "[{'product':['mug'],'colour':['red']},{'product':['cap'],'n':[1,2]}]"});

    (void)state;
    assert_int_equal(job_span(job), 30);
    assert_int_equal(job_count(job), 20); /* the second rule holds nowhere: cap is n = 3 */
    assert_int_equal(job_next(job, 0), 10);
    job_free(job);
}

/* --- random jobs --- */

static uint32_t random_state;

static uint32_t draw(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(random_state >> 8) * n) >> 24);
}

static void random_spec(struct buf *axes, struct buf *combine, struct buf *exclude)
{
    uint32_t n_axes = 1 + draw(4), lengths[8], n_rules = draw(6), a = 0;

    buf_puts(axes, "[");
    buf_puts(combine, "[");
    while (a < n_axes) {
        uint32_t zip = 1 + draw(2), length = 1 + draw(6);

        buf_puts(combine, a ? ",[" : "[");
        for (uint32_t z = 0; z < zip && a < n_axes; z++, a++) {
            lengths[a] = length;
            buf_printf(combine, "%s%u", z ? "," : "", a);
            if (draw(2)) {
                buf_printf(axes,
                           "%s{'name':'a%u','columns':['a%u'],'range':{'first':%d,'step':%d,"
                           "'count':%u}}",
                           a ? "," : "", a, a, 0, 1, length);
                continue;
            }
            buf_printf(axes, "%s{'name':'a%u','columns':['a%u'],'rows':[", a ? "," : "", a, a);
            for (uint32_t i = 0; i < length; i++) /* some values twice */
                buf_printf(axes, "%s['%u']", i ? "," : "", draw(3) ? i : i / 2);
            buf_puts(axes, "]}");
        }
        buf_puts(combine, "]");
    }
    buf_puts(axes, "]");
    buf_puts(combine, "]");
    buf_puts(exclude, "[");
    for (uint32_t r = 0; r < n_rules; r++) {
        uint32_t first = draw(n_axes);

        buf_puts(exclude, r ? ",{" : "{");
        for (uint32_t k = 0; k < n_axes; k++) {
            if (k != first && draw(2))
                continue;
            if (exclude->data[exclude->size - 1] != '{')
                buf_putc(exclude, ',');
            buf_printf(exclude, "'a%u':['%u','%u']", k, draw(lengths[k]), draw(lengths[k] + 1));
        }
        buf_puts(exclude, "}");
    }
    buf_puts(exclude, "]");
}

/* Rules as the specification words them, on the values' texts. */
static bool excluded_by_text(const struct job *job, const json_t *rules, uint64_t index)
{
    for (size_t r = 0; r < json_array_size(rules); r++) {
        bool all = true;
        const char *name;
        json_t *list;

        json_object_foreach(json_array_get(rules, r), name, list)
        {
            size_t axis = (size_t)(name[1] - '0');
            struct buf text = {0};
            bool any = false;

            job_axis_value(job, axis, job_axis_at(job, axis, index), &text);
            for (size_t i = 0; i < json_array_size(list); i++)
                any =
                    any || strcmp(json_string_value(json_array_get(list, i)), buf_text(&text)) == 0;
            all = all && any;
            buf_done(&text);
        }
        if (all)
            return true;
    }
    return false;
}

static void check_by_walking(const struct job *job, const json_t *rules)
{
    uint64_t span = job_span(job), rank = 0, *next = calloc(span + 1, sizeof *next);

    next[span] = span;
    for (uint64_t i = span; i-- > 0;)
        next[i] = excluded_by_text(job, rules, i) ? next[i + 1] : i;
    for (uint64_t i = 0; i < span; i++) {
        assert_int_equal(job_excluded(job, i), next[i] != i);
        assert_int_equal(job_rank(job, i), rank);
        assert_int_equal(job_next(job, i), next[i]);
        rank += next[i] == i;
    }
    assert_int_equal(job_count(job), rank);
    assert_int_equal(job_rank(job, span), rank);
    free(next);
}

static void random_jobs_agree_with_a_walk_over_all_indices(void **state)
{
    int checked = 0;

    (void)state;
    for (random_state = 1; random_state < 400;) {
        uint32_t seed = random_state;
        struct buf axes = {0}, combine = {0}, exclude = {0};
        struct job *job = NULL;
        struct err e = {0};
        struct spec s;
        json_t *rules;

        random_spec(&axes, &combine, &exclude);
        s = (struct spec){
            .axes = buf_text(&axes), .combine = buf_text(&combine), .exclude = buf_text(&exclude)};
        rules = bundle_json(buf_text(&exclude));
        if (bundle_try(&s, &job, &e) == 0) {
            check_by_walking(job, rules);
            checked++;
        } else {
            assert_non_null(strstr(e.text, "leaves no combination"));
        }
        job_free(job);
        json_decref(rules);
        buf_done(&axes);
        buf_done(&combine);
        buf_done(&exclude);
        random_state = seed + 1;
    }
    assert_true(checked > 200);
}

static void twelve_rules_are_exact(void **state)
{
    struct buf exclude = {0}, axes = {0};
    struct job *job;
    uint64_t left = 1;

    (void)state;
    buf_puts(&exclude, "[");
    buf_puts(&axes, "[");
    for (int i = 0; i < 12; i++) {
        buf_printf(&axes,
                   "%s{'name':'a%d','columns':['a%d'],'range':{'first':0,'step':1,'count':9}}",
                   i ? "," : "", i, i);
        buf_printf(&exclude, "%s{'a%d':[%d]}", i ? "," : "", i, i % 9);
        left *= 8;
    }
    buf_puts(&exclude, "]");
    buf_puts(&axes, "]");
    job = bundle_job((struct spec){.axes = buf_text(&axes), .exclude = buf_text(&exclude)});
    assert_true(job_count(job) == left); /* each rule leaves 8 of 9 values: 8^12 */
    for (uint64_t at = 0; at < job_span(job); at += job_span(job) / 37) {
        uint64_t next = job_next(job, at);

        assert_int_equal(job_rank(job, next), job_rank(job, at));
        assert_false(next < job_span(job) && job_excluded(job, next));
    }
    job_free(job);
    bundle_refused((struct spec){.exclude = "[{},{},{},{},{},{},{},{},{},{},{},{},{}]"},
                   "more than 12 rules");
    buf_done(&exclude);
    buf_done(&axes);
}

static void wrong_rules_are_refused(void **state)
{
    (void)state;
    bundle_refused((struct spec){.axes = hundred_million, .exclude = "[{}]"},
                   "at least one column");
    bundle_refused((struct spec){.axes = hundred_million, .exclude = "[{'thing':'pizza'}]"},
                   "list of values");
    bundle_refused((struct spec){.axes = hundred_million, .exclude = "[{'thing':[]}]"},
                   "list of values");
    bundle_refused((struct spec){.axes = hundred_million, .exclude = "[{'thing':[true]}]"},
                   "text or a number");
    bundle_refused((struct spec){.axes = hundred_million, .exclude = "[{'thin':['pizza']}]"},
                   "'thin'");
    bundle_refused((struct spec){.axes = hundred_million, .exclude = "{}"}, "list of rules");
    bundle_refused((struct spec){.axes = hundred_million,
                                 .exclude = "[{'thing':['apple','pizza','boat','cat']}]"},
                   "leaves no combination");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_rules_every_index_counts),
        cmocka_unit_test(a_job_without_axes_has_one_task),
        cmocka_unit_test(a_rule_takes_out_its_product),
        cmocka_unit_test(overlapping_rules_count_once),
        cmocka_unit_test(values_of_a_range_are_found_without_walking_it),
        cmocka_unit_test(long_excluded_runs_are_jumped),
        cmocka_unit_test(numbers_match_as_numbers_and_texts_as_texts),
        cmocka_unit_test(columns_of_one_zip_are_intersected),
        cmocka_unit_test(random_jobs_agree_with_a_walk_over_all_indices),
        cmocka_unit_test(twelve_rules_are_exact),
        cmocka_unit_test(wrong_rules_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
