/* How a job wants to be treated: jobs/conduct.h. */
#include "tests/jobs/bundle.h"

#include "jobs/conduct.h"

static void without_the_key_all_is_default(void **state)
{
    struct job *job = bundle_job((struct spec){0});
    const struct conduct *c = job_conduct(job);

    (void)state;
    assert_int_equal(c->priority, CONDUCT_PRIORITY_DEFAULT);
    assert_int_equal(c->first, 0);
    assert_int_equal(c->deadline_s, 0);
    assert_true(conduct_failures(c, 100) == UINT64_MAX);
    job_free(job);
}

static void every_key_is_read(void **state)
{
    struct job *job = bundle_job((struct spec){
        .conduct = "{'priority':70,'first':8,'max_failed':'1%','deadline_seconds':7200}"});
    const struct conduct *c = job_conduct(job);

    (void)state;
    assert_int_equal(c->priority, 70);
    assert_int_equal(c->first, 8);
    assert_int_equal(c->deadline_s, 7200);
    assert_int_equal(conduct_failures(c, 1000), 10);
    assert_int_equal(conduct_failures(c, 99), 0);
    job_free(job);
}

static void gangs_have_a_shape(void **state)
{
    struct job *job = bundle_job((struct spec){.conduct = "{'gang':{'guidance':2,'tensor':4}}"});
    const struct conduct *c = job_conduct(job);
    char text[CONDUCT_GANG_TEXT];

    (void)state;
    assert_int_equal(c->gang, GANG_SHAPE);
    assert_int_equal(c->shape.guidance, 2);
    assert_int_equal(c->shape.tensor, 4);
    conduct_gang_text(c, text);
    assert_string_equal(text, "guidance 2, tensor 4");
    job_free(job);
    bundle_refused((struct spec){.conduct = "{'gang':'none'}"}, "gang is");
    bundle_refused((struct spec){.conduct = "{'gang':{'guidance':1,'tensor':1}}"}, "one member");
    bundle_refused((struct spec){.conduct = "{'gang':{'guidance':3,'tensor':1}}"}, "cannot be");
    bundle_refused((struct spec){.conduct = "{'gang':{'guidance':2,'tensor':3}}"}, "1, 2, 4 or 8");
    bundle_refused((struct spec){.conduct = "{'gang':{'guidance':2}}"}, "guidance and tensor");
}

static void what_is_out_of_bounds_is_refused(void **state)
{
    (void)state;
    bundle_refused((struct spec){.conduct = "{'priority':0}"}, "priority");
    bundle_refused((struct spec){.conduct = "{'priority':101}"}, "priority");
    bundle_refused((struct spec){.conduct = "{'first':1001}"}, "first");
    bundle_refused((struct spec){.conduct = "{'deadline_seconds':0}"}, "deadline_seconds");
    bundle_refused((struct spec){.conduct = "{'max_failed':3}"}, "max_failed");
    bundle_refused((struct spec){.conduct = "{'max_failed':'some'}"}, "max_failed");
    bundle_refused((struct spec){.conduct = "{'prio':3}"}, "unknown key 'prio'");
    bundle_refused((struct spec){.conduct = "[]"}, "object");
}

static void shares_and_numbers_of_failures(void **state)
{
    static const struct {
        const char *text;
        uint64_t of_200;
    } good[] = {{"0", 0}, {"20", 20}, {"1%", 2}, {"0.5 %", 1}, {"100%", 200}};
    static const char *const bad[] = {"", "%", " %", "-1", "101%", "1.5", "1 percent", "nan"};
    struct conduct c;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(conduct_failures_parse(good[i].text, &c, NULL), 0);
        assert_int_equal(conduct_failures(&c, 200), good[i].of_200);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(conduct_failures_parse(bad[i], &c, NULL), ERR_INPUT);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        uint32_t seconds;
    } good[] = {{"90", 90}, {"90s", 90}, {"30m", 1800}, {"1.5h", 5400}, {"2d", 172800}};
    static const char *const bad[] = {"", "s", "0", "-5m", "5 m", "5w", "1000d", "5hm"};
    uint32_t seconds;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(conduct_duration_parse(good[i].text, &seconds, NULL), 0);
        assert_int_equal(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(conduct_duration_parse(bad[i], &seconds, NULL), ERR_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_key_all_is_default),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(gangs_have_a_shape),
        cmocka_unit_test(what_is_out_of_bounds_is_refused),
        cmocka_unit_test(shares_and_numbers_of_failures),
        cmocka_unit_test(durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
