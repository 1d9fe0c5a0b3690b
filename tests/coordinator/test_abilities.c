/* Which precisions workers render, and who gets what for it: coordinator/abilities.h, waits.h. */
#include "tests/coordinator/table.h"

static const struct hello_precision card[] = {
    {"bf16", "bf16", "cuda-x-bf16"}, {"f16", "f16", "cuda-x-f16"}, {"auto", "", "cuda-x-auto"}};
static const struct hello_precision amx[] = {
    {"f32", "f32", "cpu"}, {"bf16", "bf16", "cpu-amx"}, {"auto", "bf16", "cpu-amx"}};
static const struct hello_precision old_cpu[] = {
    {"f32", "f32", "cpu"}, {"bf16", "f32", "cpu"}, {"auto", "f32", "cpu"}};

static void join_as(struct table *t, const char *name, const struct hello_precision *rows,
                    uint32_t credits)
{
    hello_with(t, (struct msg_hello){.name = name,
                                     .device_class = rows[2].device_class,
                                     .host = "here",
                                     .precisions = (struct hello_precision *)rows,
                                     .n_precisions = 3});
    ready_to_meet(t, name, credits);
}

static struct job *precision_job(const char *name, const char *precision, int n,
                                 const char *conduct)
{
    char fixed[40];

    snprintf(fixed, sizeof fixed, "'precision':'%s'", precision);
    return seeds_job_with(n, (struct spec){.job = name, .fixed = fixed, .conduct = conduct});
}

/* Task 0 is of the first precision, task 1 of the second. */
static struct job *two_precisions(const char *a, const char *b, const char *conduct)
{
    char axes[120];

    snprintf(axes, sizeof axes,
             "[{'name':'precision','columns':['precision'],'rows':[['%s'],['%s']]}]", a, b);
    return bundle_job((struct spec){.axes = axes, .conduct = conduct});
}

static void assert_reason(struct table *t, const char *reason)
{
    struct msg m = {.type = MSG_STATUS, .status = {.request = 3}}, answer;

    m.status.job = t->job;
    fresh(t);
    say(t, "client", &m);
    assert_true(sent(t, "client", MSG_JOB, 0, &answer));
    assert_string_equal(answer.job.summary.reason, reason);
    assert_int_equal(answer.job.summary.failed, 0);
    msg_done(&answer);
}

#define ALONE_F32 "no connected worker renders precision f32; they render bf16, f16, auto"

static void a_task_waits_for_a_worker_that_renders_its_precision_and_says_so(void **state)
{
    struct table *t = *state;

    submit_job(t, precision_job("a", "f32", 2, NULL));
    join_as(t, "card", card, 2);
    assert_int_equal(count_sent(t, "card", MSG_LEASE), 0);
    assert_reason(t, ALONE_F32);
    tick(t, 5000);
    assert_reason(t, ALONE_F32);
    join_as(t, "old", old_cpu, 1);
    assert_leased(t, "old", 0, 1);
    assert_reason(t, "");
    ready(t, "card", 2);
    assert_int_equal(count_sent(t, "card", MSG_LEASE), 0);
    result(t, "old", 0, 1);
    ready(t, "old", 1);
    result(t, "old", 1, 1);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
}

static void a_worker_that_states_nothing_is_given_everything(void **state)
{
    struct table *t = *state;

    submit_job(t, precision_job("a", "f16", 1, NULL));
    join(t, "w", 1);
    assert_leased(t, "w", 0, 1);
}

static void what_others_render_goes_on_and_the_rest_is_told_at_its_end(void **state)
{
    struct table *t = *state;

    submit_job(t, two_precisions("f32", "f16", NULL));
    join_as(t, "card", card, 2);
    assert_leased(t, "card", 1, 1);
    assert_int_equal(count_sent(t, "card", MSG_LEASE), 1);
    assert_reason(t, "");
    result(t, "card", 1, 1);
    assert_reason(t, ALONE_F32);
}

static void the_preview_of_another_precision_is_left_to_those_that_render_it(void **state)
{
    struct table *t = *state;

    submit_job(t, two_precisions("f32", "f16", "{'first':1}"));
    join_as(t, "card", card, 2);
    assert_leased(t, "card", 1, 1);
    join_as(t, "old", old_cpu, 2);
    assert_leased(t, "old", 0, 1);
    assert_int_equal(count_sent(t, "old", MSG_LEASE), 1);
}

static void a_task_that_came_back_goes_to_no_worker_that_refuses_it(void **state)
{
    struct table *t = *state;

    submit_job(t, precision_job("a", "f32", 1, NULL));
    join_as(t, "old", old_cpu, 1);
    assert_leased(t, "old", 0, 1);
    join_as(t, "card", card, 1);
    lose(t, "old");
    tick(t, 5000);
    assert_int_equal(count_sent(t, "card", MSG_LEASE), 0);
    assert_reason(t, ALONE_F32);
}

/* One picture by `w`, whose steps take step_ms. */
static void shows_its_pace(struct table *t, const char *w, int step_ms)
{
    for (uint32_t step = 0; step < 5; step++) {
        progress(t, w, 0, 1, step);
        tick(t, step_ms);
    }
    result(t, w, 0, 1);
}

/* Whether the fast one of two is given a second attempt of what the slow one is at. */
static bool helps_out(struct table *t, const struct hello_precision *fast)
{
    submit_job(t, precision_job("a", fast[0].asked, 1, NULL));
    join_as(t, "fast", fast, 1);
    shows_its_pace(t, "fast", 10);
    submit_job(t, precision_job("b", "f32", 1, NULL));
    join_as(t, "old", old_cpu, 1);
    if (count_sent(t, "old", MSG_LEASE) == 0) { /* the fast one took it */
        result(t, "fast", 0, 1);
        submit_job(t, precision_job("c", "f32", 1, NULL));
    }
    assert_leased(t, "old", 0, 1);
    fresh(t);
    for (uint32_t step = 0; step < 5; step++) {
        progress(t, "old", 0, 1, step);
        tick(t, 10000);
        ready(t, "fast", 1);
    }
    return count_sent(t, "fast", MSG_LEASE) > 0;
}

static void a_second_attempt_goes_to_a_faster_worker(void **state)
{
    assert_true(helps_out(*state, old_cpu));
}

/* It would be refused there, which fails a task. */
static void no_second_attempt_goes_to_a_worker_that_refuses_it(void **state)
{
    assert_false(helps_out(*state, card));
}

static void many_jobs_that_it_refuses_do_not_hide_one_that_it_renders(void **state)
{
    struct table *t = *state;
    char name[16];

    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "j%d", i);
        submit_job(t, precision_job(name, "f32", 2, NULL));
    }
    submit_job(t, precision_job("last", "auto", 1, NULL));
    join_as(t, "card", card, 1);
    for (int i = 0; i < 5; i++)
        tick(t, 1000);
    assert_leased(t, "card", 0, 1);
    assert_int_equal(count_sent(t, "card", MSG_LEASE), 1);
}

static void the_models_that_two_precisions_share_are_not_changed(void **state)
{
    struct table *t = *state;

    submit_job(t, bundle_job((struct spec){
                      .axes = "[{'name':'precision','columns':['precision'],'rows':[['auto'],"
                              "['bf16']]},{'name':'model','columns':['model'],'rows':[['m1'],"
                              "['m2']]}]"}));
    join_as(t, "amx", amx, 1);
    assert_leased(t, "amx", 0, 1); /* auto of m1 */
    fresh(t);
    result(t, "amx", 0, 1);
    ready(t, "amx", 1);
    assert_leased(t, "amx", 2, 1); /* bf16 of m1: the same model in memory */
    fresh(t);
    result(t, "amx", 2, 1);
    ready(t, "amx", 1);
    assert_leased(t, "amx", 1, 1);
}

#define PAIR "{'gang':{'guidance':2,'tensor':1}}"

static void a_gang_is_of_one_class_at_the_precision_of_its_task(void **state)
{
    struct table *t = *state;

    submit_job(t, precision_job("a", "bf16", 1, PAIR));
    join_as(t, "amx", amx, 1);
    join_as(t, "old", old_cpu, 1);
    assert_int_equal(count_sent(t, "amx", MSG_LEASE) + count_sent(t, "old", MSG_LEASE), 0);
    assert_reason(t, "a gang of 2 needs as many workers of one device class on one host, or with "
                     "--gang-address");
    join_as(t, "amx2", amx, 1);
    assert_leased(t, "amx", 0, 1);
    assert_leased(t, "amx2", 0, 2);
}

static void at_other_precisions_its_members_may_differ(void **state)
{
    struct table *t = *state;

    submit_job(t, precision_job("a", "f32", 1, PAIR));
    join_as(t, "amx", amx, 1);
    join_as(t, "old", old_cpu, 1);
    assert_leased(t, "amx", 0, 1);
    assert_leased(t, "old", 0, 2);
}

/* Equal words for the class are not enough: parts of one picture are computed alike. */
static void what_two_workers_compute_otherwise_is_not_shared_by_them(void **state)
{
    static const struct hello_precision f32[] = {
        {"f32", "f32", "x"}, {"bf16", "bf16", "x"}, {"auto", "f32", "x"}};
    static const struct hello_precision bf16[] = {
        {"f32", "f32", "x"}, {"bf16", "bf16", "x"}, {"auto", "bf16", "x"}};
    struct table *t = *state;

    submit_job(t, precision_job("a", "auto", 1, PAIR));
    join_as(t, "one", f32, 1);
    join_as(t, "two", bf16, 1);
    assert_int_equal(count_sent(t, "one", MSG_LEASE) + count_sent(t, "two", MSG_LEASE), 0);
    join_as(t, "three", f32, 1);
    assert_leased(t, "one", 0, 1);
    assert_leased(t, "three", 0, 2);
}

static void workers_that_refuse_a_gangs_task_neither_join_nor_wait_for_it(void **state)
{
    struct table *t = *state;

    submit_job(t, precision_job("a", "f32", 1, PAIR));
    join_as(t, "card", card, 1);
    join_as(t, "card2", card, 1);
    assert_int_equal(count_sent(t, "card", MSG_LEASE), 0);
    assert_reason(t, ALONE_F32);
    submit_job(t, precision_job("b", "auto", 2, NULL));
    assert_int_equal(count_sent(t, "card", MSG_LEASE), 1);
    assert_int_equal(count_sent(t, "card2", MSG_LEASE), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_task_waits_for_a_worker_that_renders_its_precision_and_says_so),
        SENTENCE(a_worker_that_states_nothing_is_given_everything),
        SENTENCE(what_others_render_goes_on_and_the_rest_is_told_at_its_end),
        SENTENCE(the_preview_of_another_precision_is_left_to_those_that_render_it),
        SENTENCE(a_task_that_came_back_goes_to_no_worker_that_refuses_it),
        SENTENCE(a_second_attempt_goes_to_a_faster_worker),
        SENTENCE(no_second_attempt_goes_to_a_worker_that_refuses_it),
        SENTENCE(many_jobs_that_it_refuses_do_not_hide_one_that_it_renders),
        SENTENCE(the_models_that_two_precisions_share_are_not_changed),
        SENTENCE(a_gang_is_of_one_class_at_the_precision_of_its_task),
        SENTENCE(at_other_precisions_its_members_may_differ),
        SENTENCE(what_two_workers_compute_otherwise_is_not_shared_by_them),
        SENTENCE(workers_that_refuse_a_gangs_task_neither_join_nor_wait_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
