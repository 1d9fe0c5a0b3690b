/* Whose turn it is among jobs, and what bounds the wait of the others: coordinator/turns.h. The
 * bounds are written out, since jobs/SPEC.md and ARCHITECTURE.md state them. */
#include "tests/coordinator/table.h"

#include "coordinator/turns.h"

static struct job *model_job(const char *name, const char *model, const char *conduct)
{
    char fixed[60];

    snprintf(fixed, sizeof fixed, "'model':'%s'", model);
    return seeds_job_with(900, (struct spec){.job = name, .fixed = fixed, .conduct = conduct});
}

/* The next task of a worker that renders one after the other; t->job becomes its job. */
static void takes(struct table *t, const char *name)
{
    struct msg m;

    fresh(t);
    ready(t, name, 1);
    if (!sent(t, name, MSG_LEASE, 0, &m))
        fail_msg("no lease to %s", name);
    memcpy(t->job, m.lease.ref.job, sizeof t->job);
    result(t, name, m.lease.ref.index, 1);
    msg_done(&m);
}

static void of_equal_jobs_the_oldest_goes_first(void **state)
{
    struct table *t = *state;
    char first[HASH_HEX_SIZE];

    submit(t, "a", 9);
    memcpy(first, t->job, sizeof first);
    submit(t, "b", 8);
    submit(t, "c", 7);
    join(t, "w", 0);
    takes(t, "w");
    assert_string_equal(t->job, first);
}

/* w holds the model of the one of larger priority, and renders a task every four seconds. */
static void each_ten_seconds_of_waiting_are_worth_one_of_priority(void **state)
{
    struct table *t = *state;
    char low[HASH_HEX_SIZE];
    int64_t begun_ms = t->now_ms;

    submit_job(t, model_job("low", "m1", "{'priority':47}"));
    memcpy(low, t->job, sizeof low);
    submit_job(t, model_job("high", "m2", "{'priority':50}"));
    join(t, "w", 0);
    do {
        takes(t, "w");
        t->now_ms += 4000;
    } while (strcmp(t->job, low) != 0 && t->now_ms < begun_ms + 100000);
    assert_in_range(t->now_ms - 4000 - begun_ms, 30000, 40000);
}

static void what_is_resident_puts_no_job_more_than_seventeen_leases_ahead(void **state)
{
    struct table *t = *state;
    char a[HASH_HEX_SIZE];
    int ahead = 0, most = 0, least = 0;

    submit_job(t, model_job("a", "m1", NULL));
    memcpy(a, t->job, sizeof a);
    submit_job(t, model_job("b", "m2", NULL));
    join(t, "w", 0);
    for (int i = 0; i < 200; i++) {
        takes(t, "w");
        ahead += strcmp(t->job, a) == 0 ? 1 : -1;
        most = ahead > most ? ahead : most;
        least = ahead < least ? ahead : least;
    }
    assert_int_equal(most, 17);
    assert_int_equal(least, -17);
}

static void a_blocked_worker_renders_no_preview_while_others_can(void **state)
{
    struct table *t = *state;

    submit_job(t, seeds_job_with(9, (struct spec){.job = "a", .conduct = "{'first':9}"}));
    join(t, "bad", 3);
    join(t, "good", 0);
    for (uint64_t i = 0; i < 3; i++)
        failed(t, "bad", i, 1, "bad_output");
    fresh(t);
    ready(t, "bad", 1);
    assert_int_equal(count_sent(t, "bad", MSG_LEASE), 0);
    ready(t, "good", 4);
    assert_int_equal(count_sent(t, "good", MSG_LEASE), 4);
}

static void a_job_not_begun_whose_model_is_resident_goes_before_an_older_one(void **state)
{
    struct table *t = *state;
    char alike[HASH_HEX_SIZE];

    submit_job(t, seeds_job_with(1, (struct spec){.job = "a", .fixed = "'model':'m1'"}));
    join(t, "w", 0);
    takes(t, "w");
    submit_job(t, model_job("other", "m2", NULL));
    submit_job(t, model_job("alike", "m1", NULL));
    memcpy(alike, t->job, sizeof alike);
    takes(t, "w");
    assert_string_equal(t->job, alike);
}

/* Another size of the model that is resident costs less than another model, though fewer are at
 * the latter. */
static void another_size_of_the_resident_model_goes_before_another_model(void **state)
{
    struct table *t = *state;
    struct msg m;

    submit_job(t, bundle_job((struct spec){
                      .axes = "[{'name':'model','columns':['model','size'],'rows':[['m1','64x64'],"
                              "['m2','64x64'],['m1','128x128']]}]"}));
    join(t, "w", 1);
    result(t, "w", 0, 1);
    fresh(t);
    ready(t, "w", 1);
    assert_true(sent(t, "w", MSG_LEASE, 0, &m));
    assert_int_equal(m.lease.ref.index, 2);
    msg_done(&m);
}

/* Three tasks wait, but those of a paused job are for nobody: of two idle workers the fastest gets
 * the last one. */
static void tasks_of_a_paused_job_do_not_put_off_the_end(void **state)
{
    struct msg pause = {.type = MSG_PAUSE, .pause = {.request = 1, .job = "paused"}};
    static const char *const names[] = {"slow", "fast"};
    struct table *t = *state;

    submit(t, "pace", 2);
    for (int i = 0; i < 2; i++) {
        join(t, names[i], 1);
        progress(t, names[i], (uint64_t)i, 1, 0);
        t->now_ms += i == 0 ? 2000 : 100;
        progress(t, names[i], (uint64_t)i, 1, 1);
        result(t, names[i], (uint64_t)i, 1);
    }
    submit(t, "paused", 9);
    say(t, "client", &pause);
    ready(t, "slow", 1);
    ready(t, "fast", 1);
    fresh(t);
    submit(t, "last", 1);
    assert_int_equal(count_sent(t, "fast", MSG_LEASE), 1);
    assert_int_equal(count_sent(t, "slow", MSG_LEASE), 0);
}

/* Two pictures came in the last second; a deadline 100 s away, and so many tasks open. */
static bool is_in_danger(int open)
{
    void *one = NULL;
    struct table *t;
    char soon[HASH_HEX_SIZE];
    bool is;

    setup(&one);
    t = one;
    submit(t, "older", 9);
    join(t, "w", 0);
    takes(t, "w");
    submit_job(t, seeds_job_with(open + 2, (struct spec){.job = "soon",
                                                         .conduct = "{'deadline_seconds':102}"}));
    memcpy(soon, t->job, sizeof soon);
    for (int i = 0; i < 2; i++) { /* without a rate it is in danger */
        t->now_ms += 1000;
        takes(t, "w");
        assert_string_equal(t->job, soon);
    }
    takes(t, "w");
    is = strcmp(t->job, soon) == 0;
    teardown(&one);
    return is;
}

static void a_deadline_is_in_danger_if_the_rest_takes_three_quarters_of_the_time(void **state)
{
    (void)state;
    assert_false(is_in_danger(74));
    assert_true(is_in_danger(76));
}

static void the_look_ahead_for_texts_passes_over_what_is_excluded(void **state)
{
    static const uint64_t order[] = {0, 4, 1, 3, 5};
    struct table *t = *state;
    struct msg m;

    submit_job(t, bundle_job((struct spec){
                      .axes = "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,"
                              "'count':3}},{'name':'a','columns':['a'],'rows':[['x'],['y']]}]",
                      .fixed = "'prompt':'${a}'",
                      .exclude = "[{'a':['x'],'seed':[1]}]"}));
    join(t, "w", 0);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        fresh(t);
        ready(t, "w", 1);
        assert_true(sent(t, "w", MSG_LEASE, 0, &m));
        assert_int_equal(m.lease.ref.index, order[i]);
        msg_done(&m);
        result(t, "w", order[i], 1);
    }
}

static void a_worker_that_says_more_room_than_a_page_gets_a_page(void **state)
{
    struct table *t = *state;

    join(t, "w", UINT32_MAX);
    assert_int_equal(coord_worker(&t->c, &(struct peer){.size = 1, .id = "w"})->credits,
                     MSG_PAGE_MAX);
}

static struct needs needs_with(const char *fixed)
{
    struct job *job = bundle_job((struct spec){.fixed = fixed});
    struct task task = {0};
    struct needs needs;

    MUST(job_task(job, 0, &task, e));
    needs = needs_of(&task);
    task_done(&task);
    job_free(job);
    return needs;
}

/* What a worker has ready is told apart by all that would have to be opened or planned again. */
static void tasks_are_alike_only_in_model_vae_configuration_precision_and_size(void **state)
{
    static const char *const files[] = {"'model':'m2'", "'vae':'v'", "'model_config':'c'"};
    static const char *const shapes[] = {"'width':192", "'width':64,'height':256", "'height':192",
                                         "'hr_scale':2", "'prompt':'<lora:x:1>'"};
    struct needs plain = needs_with(""), other;

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        other = needs_with(files[i]);
        assert_int_not_equal(other.files_key, plain.files_key);
        assert_int_not_equal(other.model_key, plain.model_key);
    }
    other = needs_with("'precision':'bf16'");
    assert_int_equal(other.files_key, plain.files_key);
    assert_int_not_equal(other.model_key, plain.model_key);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        other = needs_with(shapes[i]);
        assert_int_equal(other.model_key, plain.model_key);
        assert_int_not_equal(other.shape_key, plain.shape_key);
    }
    other = needs_with("'seed':8,'sampler':'euler','steps':5");
    assert_int_equal(other.model_key, plain.model_key);
    assert_int_equal(other.shape_key, plain.shape_key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(of_equal_jobs_the_oldest_goes_first),
        SENTENCE(each_ten_seconds_of_waiting_are_worth_one_of_priority),
        SENTENCE(what_is_resident_puts_no_job_more_than_seventeen_leases_ahead),
        SENTENCE(a_blocked_worker_renders_no_preview_while_others_can),
        SENTENCE(a_job_not_begun_whose_model_is_resident_goes_before_an_older_one),
        SENTENCE(another_size_of_the_resident_model_goes_before_another_model),
        SENTENCE(tasks_of_a_paused_job_do_not_put_off_the_end),
        SENTENCE(a_deadline_is_in_danger_if_the_rest_takes_three_quarters_of_the_time),
        SENTENCE(the_look_ahead_for_texts_passes_over_what_is_excluded),
        SENTENCE(a_worker_that_says_more_room_than_a_page_gets_a_page),
        cmocka_unit_test(tasks_are_alike_only_in_model_vae_configuration_precision_and_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
