/* Which task goes to which worker: coordinator/turns.h, queue.h, tail.h. */
#include "tests/coordinator/table.h"

#include "coordinator/turns.h"

static struct job *job_of(const char *name, const char *axes, const char *conduct)
{
    return bundle_job((struct spec){.job = name, .axes = axes, .conduct = conduct});
}

/* The job of the n-th lease to that worker in the outbox. */
static void lease_job(const struct table *t, const char *to, size_t n, char *ret_job)
{
    struct msg m;

    if (!sent(t, to, MSG_LEASE, n, &m))
        fail_msg("no lease %d to %s", (int)n, to);
    memcpy(ret_job, m.lease.ref.job, HASH_HEX_SIZE);
    msg_done(&m);
}

static uint64_t lease_index(const struct table *t, const char *to, size_t n)
{
    struct msg m;
    uint64_t index;

    if (!sent(t, to, MSG_LEASE, n, &m))
        fail_msg("no lease %d to %s", (int)n, to);
    index = m.lease.ref.index;
    msg_done(&m);
    return index;
}

static void tasks_of_the_resident_model_go_first(void **state)
{
    static const uint64_t order[] = {0, 2, 4, 1, 3, 5};
    struct table *t = *state;

    /* The model is the innermost axis: index order would change it with every task. */
    submit_job(t,
               job_of("a",
                      "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':3}},"
                      "{'name':'model','columns':['model'],'rows':[['m1'],['m2']]}]",
                      NULL));
    join(t, "w", 0);
    for (size_t i = 0; i < 6; i++) {
        fresh(t);
        ready(t, "w", 1);
        assert_int_equal(lease_index(t, "w", 0), order[i]);
        result(t, "w", order[i], 1);
    }
}

static void tasks_of_the_size_at_hand_go_before_other_sizes_of_the_model(void **state)
{
    static const uint64_t order[] = {0, 2, 4, 1, 3, 5};
    struct table *t = *state;

    submit_job(t,
               job_of("a",
                      "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':3}},"
                      "{'name':'size','columns':['size'],'rows':[['64x64'],['128x128']]}]",
                      NULL));
    join(t, "w", 0);
    for (size_t i = 0; i < 6; i++) { /* with its last task still held: the other size has none */
        fresh(t);
        if (i == 0)
            ready(t, "w", 1);
        else
            ready_holding(t, "w", 1, order[i - 1], 1);
        assert_int_equal(lease_index(t, "w", 0), order[i]);
        if (i > 0)
            result(t, "w", order[i - 1], 1);
    }
}

#define SEED_AXIS(n)                                                                               \
    "{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':" #n "}}"

static struct job *texts_job(const char *axes)
{
    return bundle_job((struct spec){
        .job = "a", .axes = axes, .fixed = "'prompt':'${a}'", .path = "{job}/{index}.png"});
}

/* The n-th lease of a worker that renders one after the other; its picture is delivered. */
static uint64_t next_index(struct table *t, const char *name)
{
    uint64_t index;

    fresh(t);
    ready(t, name, 1);
    index = lease_index(t, name, 0);
    result(t, name, index, 1);
    return index;
}

static void tasks_of_the_texts_at_hand_go_first(void **state)
{
    static const uint64_t order[] = {0, 2, 4, 1, 3, 5};
    struct table *t = *state;

    submit_job(t,
               texts_job("[" SEED_AXIS(3) ",{'name':'a','columns':['a'],'rows':[['x'],['y']]}]"));
    join(t, "w", 0);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(next_index(t, "w"), order[i]);
}

static void workers_take_texts_of_their_own(void **state)
{
    struct table *t = *state;

    submit_job(
        t, texts_job("[{'name':'a','columns':['a'],'rows':[['x'],['y'],['z']]}," SEED_AXIS(4) "]"));
    join(t, "w1", 0);
    join(t, "w2", 0);
    assert_int_equal(next_index(t, "w1"), 0);
    assert_int_equal(next_index(t, "w2"), 4);
    assert_int_equal(next_index(t, "w1"), 1);
    assert_int_equal(next_index(t, "w2"), 5);
    assert_int_equal(next_index(t, "w1"), 2);
    assert_int_equal(next_index(t, "w1"), 3);
    assert_int_equal(next_index(t, "w1"), 8); /* z, which nobody is at; y is w2's */
}

static void no_text_is_passed_over_for_long(void **state)
{
    struct table *t = *state;
    int leases = 0;

    submit_job(t,
               texts_job("[" SEED_AXIS(100) ",{'name':'a','columns':['a'],'rows':[['x'],['y']]}]"));
    join(t, "w", 0);
    while (next_index(t, "w") != 1)
        leases++;
    assert_in_range(leases, QUEUE_AHEAD_MAX / 2, QUEUE_AHEAD_MAX);
}

static void tasks_of_the_lora_set_at_hand_go_first(void **state)
{
    struct table *t = *state;

    submit_job(t, texts_job("[" SEED_AXIS(60) ",{'name':'a','columns':['a'],'rows':"
                                              "[['<lora:x:1> a'],['<lora:y:1> a']]}]"));
    join(t, "x", 1);
    join(t, "y", 1); /* the lot that nobody is at */
    result(t, "x", 0, 1);
    result(t, "y", 1, 1);
    for (uint64_t i = 1; i < 60; i++) {
        assert_int_equal(next_index(t, "y"), 2 * i + 1);
        if (i < 40)
            assert_int_equal(next_index(t, "x"), 2 * i);
    }
    assert_int_equal(next_index(t, "y"), 80);
}

static void a_leaving_worker_is_no_other_worker(void **state)
{
    struct msg drain = {.type = MSG_DRAIN, .drain = {.request = 4, .worker = "leaves"}};
    struct table *t = *state;

    submit(t, "a", 1);
    join(t, "w", 1);
    join(t, "leaves", 0);
    say(t, "client", &drain);
    failed(t, "w", 0, 1, "internal");
    fresh(t);
    ready(t, "w", 1);
    tick(t, 5000);
    assert_leased(t, "w", 0, 2);
}

static void two_workers_take_a_model_each(void **state)
{
    struct table *t = *state;

    submit_job(t,
               job_of("a",
                      "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':9}},"
                      "{'name':'model','columns':['model'],'rows':[['m1'],['m2']]}]",
                      NULL));
    join(t, "w1", 1);
    join(t, "w2", 1);
    assert_int_equal(lease_index(t, "w1", 0), 0);
    assert_int_equal(lease_index(t, "w2", 0), 1);
}

static void a_job_of_larger_priority_goes_first(void **state)
{
    char job[HASH_HEX_SIZE];
    struct table *t = *state;

    submit(t, "a", 50);
    submit_job(t, job_of("b",
                         "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,"
                         "'count':5}}]",
                         "{'priority':60}"));
    join(t, "w", 0);
    fresh(t);
    ready(t, "w", 4);
    for (size_t i = 0; i < 4; i++) {
        lease_job(t, "w", i, job);
        assert_string_equal(job, t->job);
    }
}

static void a_job_of_smaller_priority_gets_a_lease_within_its_age(void **state)
{
    char low[HASH_HEX_SIZE], job[HASH_HEX_SIZE];
    struct table *t = *state;
    bool seen = false;

    submit(t, "low", 900);
    memcpy(low, t->job, sizeof low);
    submit_job(t, job_of("high",
                         "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,"
                         "'count':900}}]",
                         "{'priority':53}"));
    join(t, "w", 0);
    for (int second = 0; second <= 3 * TURNS_AGE_MS / 1000 + 1 && !seen; second++) {
        fresh(t);
        tick(t, 1000);
        ready(t, "w", 1);
        lease_job(t, "w", 0, job);
        seen = strcmp(job, low) == 0;
        memcpy(t->job, job, sizeof t->job);
        result(t, "w", lease_index(t, "w", 0), 1);
    }
    assert_true(seen);
}

/* Two jobs of different models; what is resident may hold the other up for so many leases only. */
static void no_job_of_equal_priority_waits_longer_than_the_slack(void **state)
{
    char job[HASH_HEX_SIZE], last[HASH_HEX_SIZE] = "";
    struct table *t = *state;
    int row = 0, longest = 0, changes = 0;

    submit(t, "a", 400);
    submit_job(t, job_of("b",
                         "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,"
                         "'count':400}},{'name':'model','columns':['model'],'rows':[['m2']]}]",
                         NULL));
    join(t, "w", 0);
    for (int i = 0; i < 200; i++) {
        fresh(t);
        ready(t, "w", 1);
        lease_job(t, "w", 0, job);
        memcpy(t->job, job, sizeof t->job);
        result(t, "w", lease_index(t, "w", 0), 1);
        row = strcmp(job, last) == 0 ? row + 1 : 1;
        changes += strcmp(job, last) != 0;
        longest = row > longest ? row : longest;
        memcpy(last, job, sizeof last);
    }
    assert_in_range(longest, 2, 2 * TURNS_SLACK + 2);
    assert_in_range(changes, 5, 40); /* and models are not changed for every task */
}

static void the_preview_of_each_job_comes_before_the_rest_of_all(void **state)
{
    char first[HASH_HEX_SIZE], job[HASH_HEX_SIZE];
    struct table *t = *state;

    submit(t, "a", 50);
    memcpy(first, t->job, sizeof first);
    join(t, "w", 1);
    submit_job(t, job_of("b",
                         "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,"
                         "'count':9}}]",
                         "{'first':2,'priority':1}"));
    fresh(t);
    ready(t, "w", 4); /* one of them crosses with the lease it has */
    lease_job(t, "w", 0, job);
    assert_string_equal(job, t->job);
    lease_job(t, "w", 1, job);
    assert_string_equal(job, t->job);
    lease_job(t, "w", 2, job);
    assert_string_equal(job, first);
}

static void of_jobs_whose_deadline_is_in_danger_the_earliest_goes_first(void **state)
{
    static const char *const axes =
        "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':9}}]";
    struct table *t = *state;
    char soon[HASH_HEX_SIZE], next[HASH_HEX_SIZE];

    submit_job(t, job_of("none", axes, NULL));
    submit_job(t, job_of("late", axes, "{'deadline_seconds':9000}"));
    submit_job(t, job_of("soon", axes, "{'deadline_seconds':900}"));
    memcpy(soon, t->job, sizeof soon);
    join(t, "w", 1);
    lease_job(t, "w", 0, next);
    assert_string_equal(next, soon);
    for (uint64_t i = 0; i < 2; i++) { /* at one a second it is not in danger any more */
        t->now_ms += 1000;
        fresh(t);
        result(t, "w", i, 1);
        ready(t, "w", 1);
    }
    lease_job(t, "w", 0, next);
    assert_string_not_equal(next, soon);
}

static void a_paused_job_gets_no_lease_until_it_is_resumed(void **state)
{
    struct msg m, pause = {.type = MSG_PAUSE, .pause = {.request = 1, .job = "a"}};
    struct msg resume = {.type = MSG_RESUME, .resume = {.request = 2, .job = "a"}};
    struct table *t = *state;

    submit(t, "a", 9);
    fresh(t);
    say(t, "client", &pause);
    assert_true(sent(t, "client", MSG_JOB, 0, &m));
    assert_string_equal(m.job.summary.state, "paused");
    msg_done(&m);
    join(t, "w", 1);
    tick(t, 60000 - 50000);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    say(t, "client", &resume);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 1);
}

static void excluded_tasks_are_jumped_over_within_their_lot(void **state)
{
    struct table *t = *state;

    submit_job(t, bundle_job((struct spec){
                      .job = "a",
                      .axes = "[{'name':'model','columns':['model'],'rows':[['m1'],['m2']]},"
                              "{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,"
                              "'count':4}}]",
                      .exclude = "[{'model':['m1'],'seed':[0,1]}]"}));
    join(t, "w", 0);
    fresh(t);
    ready(t, "w", 9);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 6);
    assert_int_equal(lease_index(t, "w", 0), 2);
    assert_int_equal(lease_index(t, "w", 5), 7);
}

/* Both workers' pace is known, and the slow one holds the last task. */
static void last_task_on_a_slow_worker(struct table *t)
{
    submit(t, "a", 3);
    join(t, "slow", 1);
    join(t, "fast", 1);
    progress(t, "slow", 0, 1, 0);
    progress(t, "fast", 1, 1, 0);
    t->now_ms += 100;
    progress(t, "fast", 1, 1, 1);
    t->now_ms += 1900;
    progress(t, "slow", 0, 1, 1); /* 2 s a step against 0.1 s */
    result(t, "fast", 1, 1);
}

static void a_second_attempt_at_the_end_goes_to_a_much_faster_worker(void **state)
{
    struct table *t = *state;

    last_task_on_a_slow_worker(t);
    ready(t, "fast", 1);
    result(t, "fast", 2, 1);
    fresh(t);
    ready(t, "fast", 1);
    assert_leased(t, "fast", 0, 2);
    result(t, "fast", 0, 2);
    assert_int_equal(count_sent(t, "slow", MSG_REVOKE), 1);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
}

/* slow, of 2 s a step, and fast, of 0.1 s, have nothing to do; slow came first. */
static void both_idle(struct table *t)
{
    last_task_on_a_slow_worker(t);
    result(t, "slow", 0, 1);
    ready(t, "slow", 1);
    result(t, "slow", 2, 1);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
}

static void the_last_tasks_go_to_the_fastest_of_the_idle_workers(void **state)
{
    struct table *t = *state;

    both_idle(t);
    ready(t, "slow", 1);
    ready(t, "fast", 1);
    fresh(t);
    submit(t, "b", 1);
    assert_int_equal(count_sent(t, "fast", MSG_LEASE), 1);
    assert_int_equal(count_sent(t, "slow", MSG_LEASE), 0);
}

static void a_worker_of_unknown_pace_comes_before_the_slow_and_after_the_fast(void **state)
{
    struct table *t = *state;

    both_idle(t);
    join(t, "new", 1);
    ready(t, "slow", 1);
    ready(t, "fast", 1);
    fresh(t);
    submit(t, "b", 1);
    assert_int_equal(count_sent(t, "fast", MSG_LEASE), 1);
    assert_int_equal(count_sent(t, "new", MSG_LEASE), 0);
    submit(t, "c", 1);
    assert_int_equal(count_sent(t, "new", MSG_LEASE), 1);
    assert_int_equal(count_sent(t, "slow", MSG_LEASE), 0);
}

static struct job *model_job(const char *name, const char *model, int n)
{
    char axes[200];

    snprintf(axes, sizeof axes,
             "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':1,'count':%d}},"
             "{'name':'model','columns':['model'],'rows':[['%s']]}]",
             n, model);
    return job_of(name, axes, NULL);
}

static void loaded(struct table *t, const char *from, uint64_t index, double load_seconds)
{
    struct msg m = {.type = MSG_RESULT,
                    .result = {.png = "bytes",
                               .png_size = 5,
                               .device_class = "cpu-avx2",
                               .precision = "f32",
                               .load_seconds = load_seconds,
                               .render_seconds = 1}};

    m.result.ref = ref(t, index, 1);
    memset(m.result.sha256, 'a', HASH_HEX_SIZE - 1);
    say(t, from, &m);
}

/* Whether fast tries the slow worker's last task, whose model takes it so long to open. */
static bool tries_after_loading(struct table *t, double load_seconds)
{
    submit_job(t, model_job("a", "m1", 1)); /* fast learns what opening m1 takes */
    join(t, "fast", 1);
    progress(t, "fast", 0, 1, 0);
    t->now_ms += 100;
    progress(t, "fast", 0, 1, 1);
    loaded(t, "fast", 0, load_seconds);
    submit_job(t, model_job("b", "m2", 1)); /* and has another one open */
    ready(t, "fast", 1);
    result(t, "fast", 0, 1);
    submit_job(t, model_job("c", "m1", 1));
    join(t, "slow", 1);
    progress(t, "slow", 0, 1, 0);
    t->now_ms += 2000;
    progress(t, "slow", 0, 1, 1); /* 38 s are left */
    fresh(t);
    ready(t, "fast", 1);
    return count_sent(t, "fast", MSG_LEASE) == 1;
}

static void what_opening_a_model_takes_is_learned_and_counts(void **state)
{
    void *other = NULL;

    assert_true(tries_after_loading(*state, 5));
    setup(&other);
    assert_false(tries_after_loading(other, 60));
    teardown(&other);
}

static void a_second_attempt_that_would_not_pay_is_not_made(void **state)
{
    struct table *t = *state;

    last_task_on_a_slow_worker(t);
    ready(t, "fast", 1);
    result(t, "fast", 2, 1);
    for (uint32_t step = 2; step <= 19; step++) {
        t->now_ms += 100;
        progress(t, "slow", 0, 1, step);
    }
    fresh(t);
    ready(t, "fast", 1);
    assert_int_equal(count_sent(t, "fast", MSG_LEASE), 0);
}

static void a_drained_worker_gets_no_lease_and_is_told_to_leave(void **state)
{
    struct msg drain = {.type = MSG_DRAIN, .drain = {.request = 4, .worker = "w"}};
    struct table *t = *state;

    submit(t, "a", 9);
    join(t, "w", 1);
    fresh(t);
    say(t, "client", &drain);
    assert_int_equal(count_sent(t, "w", MSG_LEAVE), 1);
    ready_holding(t, "w", 1, 0, 1);
    assert_int_equal(count_sent(t, "w", MSG_LEASE), 0);
    assert_int_equal(count_sent(t, "w", MSG_LEAVE), 2);
    fresh(t);
    drain.drain.worker = "nobody";
    say(t, "client", &drain);
    assert_refused(t, "client", "asset_missing");
}

static void a_token_names_the_job_of_its_first_submit(void **state)
{
    struct job *one = seeds_job("a", 3), *two = seeds_job("a", 4);
    struct msg m = {.type = MSG_SUBMIT, .submit = {.request = 1, .token = "t"}}, got;
    struct table *t = *state;
    char hash[HASH_HEX_SIZE];

    hello(t, "client", "client");
    m.submit.bundle = job_bundle(one, &m.submit.bundle_size);
    say(t, "client", &m);
    fresh(t);
    m.submit.bundle = job_bundle(two, &m.submit.bundle_size);
    say(t, "client", &m);
    memcpy(hash, job_hash(one), sizeof hash);
    assert_true(sent(t, "client", MSG_SUBMITTED, 0, &got));
    assert_string_equal(got.submitted.job, hash);
    assert_true(got.submitted.known);
    msg_done(&got);
    assert_int_equal(t->c.n_jobs, 1);
    job_free(one);
    job_free(two);
}

static void only_a_job_that_is_over_can_be_removed(void **state)
{
    struct msg rm = {.type = MSG_REMOVE, .remove = {.request = 1, .job = "a"}};
    struct table *t = *state;

    submit(t, "a", 1);
    fresh(t);
    say(t, "client", &rm);
    assert_refused(t, "client", "conflict");
    join(t, "w", 1);
    result(t, "w", 0, 1);
    tick(t, 1000);
    fresh(t);
    say(t, "client", &rm);
    assert_int_equal(count_sent(t, "client", MSG_JOB), 1);
    assert_int_equal(t->c.n_jobs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(tasks_of_the_resident_model_go_first),
        SENTENCE(two_workers_take_a_model_each),
        SENTENCE(a_job_of_larger_priority_goes_first),
        SENTENCE(a_job_of_smaller_priority_gets_a_lease_within_its_age),
        SENTENCE(no_job_of_equal_priority_waits_longer_than_the_slack),
        SENTENCE(the_preview_of_each_job_comes_before_the_rest_of_all),
        SENTENCE(of_jobs_whose_deadline_is_in_danger_the_earliest_goes_first),
        SENTENCE(a_paused_job_gets_no_lease_until_it_is_resumed),
        SENTENCE(excluded_tasks_are_jumped_over_within_their_lot),
        SENTENCE(a_second_attempt_at_the_end_goes_to_a_much_faster_worker),
        SENTENCE(tasks_of_the_texts_at_hand_go_first),
        SENTENCE(workers_take_texts_of_their_own),
        SENTENCE(no_text_is_passed_over_for_long),
        SENTENCE(tasks_of_the_lora_set_at_hand_go_first),
        SENTENCE(the_last_tasks_go_to_the_fastest_of_the_idle_workers),
        SENTENCE(a_worker_of_unknown_pace_comes_before_the_slow_and_after_the_fast),
        SENTENCE(what_opening_a_model_takes_is_learned_and_counts),
        SENTENCE(a_second_attempt_that_would_not_pay_is_not_made),
        SENTENCE(a_drained_worker_gets_no_lease_and_is_told_to_leave),
        SENTENCE(a_token_names_the_job_of_its_first_submit),
        SENTENCE(only_a_job_that_is_over_can_be_removed),
        SENTENCE(a_leaving_worker_is_no_other_worker),
        SENTENCE(tasks_of_the_size_at_hand_go_before_other_sizes_of_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
