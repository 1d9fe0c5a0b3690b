/* Chains of frames: coordinator/chains.h. */
#include "tests/coordinator/table.h"

#define AXES(others, frames)                                                                       \
    "[" others "{'name':'frame','columns':['frame'],'range':{'first':0,'step':1,'count':" #frames  \
    "}}]"
#define SEEDS(n)                                                                                   \
    "{'name':'seed','columns':['seed'],'range':{'first':100,'step':100,'count':" #n "}},"

static struct job *chain_job(const char *name, const char *axes, const char *conduct)
{
    return bundle_job((struct spec){.job = name,
                                    .axes = axes,
                                    .conduct = conduct,
                                    .chain = "{'axis':'frame','seed_behavior':'iter'}"});
}

/* Two chains of three frames: tasks 0 to 2 and 3 to 5. */
static void submit_two(struct table *t)
{
    submit_job(t, chain_job("two", AXES(SEEDS(2), 3), NULL));
}

/* The n-th lease's task in what was sent; json_decref(). */
static json_t *leased_task(const struct table *t, const char *to, size_t n)
{
    json_t *task = NULL;
    struct msg m;

    assert_true(sent(t, to, MSG_LEASE, n, &m));
    task = json_loads(m.lease.task, 0, NULL);
    assert_non_null(task);
    msg_done(&m);
    return task;
}

static void join_class(struct table *t, const char *name, const char *class, uint32_t credits)
{
    struct msg m = {.type = MSG_HELLO,
                    .hello = {.protocol = PROTOCOL_VERSION,
                              .protocol_min = PROTOCOL_VERSION_MIN,
                              .role = "worker",
                              .software = "test",
                              .name = name,
                              .device = "a device",
                              .device_class = class,
                              .host = "a"}};
    struct msg r = {.type = MSG_READY, .ready = {.credits = credits, .meeting = name}};

    say(t, name, &m);
    say(t, name, &r);
}

static void a_frame_is_leased_with_the_picture_before_once_that_is_recorded(void **state)
{
    struct table *t = *state;
    size_t row = 0, lease = 0;
    json_t *task;

    submit_job(t, chain_job("one", AXES(, 3), NULL));
    join(t, "w1", 4);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 1);
    task = leased_task(t, "w1", 0);
    assert_null(json_object_get(task, "init_image"));
    assert_int_equal(json_integer_value(json_object_get(task, "seed")), 7);
    json_decref(task);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_leased(t, "w1", 1, 1);
    task = leased_task(t, "w1", 0);
    assert_memory_equal(json_string_value(json_object_get(task, "init_image")), "sha256:aaaa", 11);
    assert_int_equal(json_integer_value(json_object_get(task, "seed")), 8);
    json_decref(task);
    for (size_t i = 0; i < t->o.n; i++) { /* one commit has both, and no message leaves before */
        row = t->o.items[i].type == OUT_STORE && t->o.items[i].row.op == STORE_RECORD ? i : row;
        lease = t->o.items[i].type == OUT_SEND && t->o.items[i].message == MSG_LEASE ? i : lease;
    }
    assert_true(row > 0 && row < lease);
    assert_string_equal(recorded(t, 0)->before, "");
    fresh(t);
    result(t, "w1", 1, 1);
    assert_memory_equal(recorded(t, 1)->before, "aaaa", 4);
    result(t, "w1", 2, 1);
    assert_int_equal(the_job(t)->phase, JOB_DONE);
    assert_int_equal(t->c.n_tasks, 0);
    assert_int_equal(t->c.n_unlinked, 0);
}

static void all_pictures_but_a_chains_last_are_to_be_kept(void **state)
{
    struct table *t = *state;
    struct msg m;

    submit_job(t, chain_job("one", AXES(, 3), NULL));
    join(t, "w1", 4);
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(sent(t, "w1", MSG_LEASE, 0, &m));
        assert_int_equal(m.lease.ref.index, i);
        assert_int_equal(m.lease.keep, i < 2);
        msg_done(&m);
        fresh(t);
        result(t, "w1", i, 1);
    }
}

static void no_worker_ever_holds_two_frames_of_one_chain(void **state)
{
    struct table *t = *state;

    submit_two(t);
    join(t, "w1", 8);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 2);
    assert_leased(t, "w1", 0, 1);
    assert_leased(t, "w1", 3, 1);
    assert_int_equal(the_job(t)->queue.ahead, 0);
}

static void a_chain_stays_with_its_worker_though_another_is_free_too(void **state)
{
    struct table *t = *state;

    join(t, "w2", 0); /* looked at first */
    submit_job(t, chain_job("one", AXES(, 3), NULL));
    join(t, "w1", 2);
    ready(t, "w2", 2);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_leased(t, "w1", 1, 1);
    assert_int_equal(count_sent(t, "w2", MSG_LEASE), 0);
}

static void an_idle_worker_takes_the_frame_that_its_own_worker_would_begin_later(void **state)
{
    struct table *t = *state;

    submit_two(t);
    join(t, "w1", 3);
    assert_leased(t, "w1", 3, 1);
    join(t, "w2", 2);
    assert_int_equal(count_sent(t, "w2", MSG_LEASE), 0);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_leased(t, "w2", 1, 1);
    fresh(t);
    result(t, "w1", 3, 1); /* w1 has nothing else: the frame stays */
    assert_leased(t, "w1", 4, 1);
}

static void all_frames_of_a_chain_are_of_one_device_class(void **state)
{
    struct table *t = *state;
    struct msg ping = {.type = MSG_PING};

    submit_job(t, chain_job("one", AXES(, 3), NULL));
    join(t, "w1", 1); /* of cpu-avx2 */
    join_class(t, "w2", "cpu-amx", 2);
    fresh(t);
    result(t, "w1", 0, 1); /* its credit is spent */
    assert_int_equal(count_of(t, OUT_PROBE), 0);
    t->now_ms += 16000;
    say(t, "w2", &ping);
    tick(t, 0); /* w1 was silent for too long */
    assert_int_equal(count_sent(t, "w2", MSG_LEASE), 0);
    assert_string_equal(the_job(t)->wait_reason,
                        "no connected worker renders in the device class 'cpu-avx2', which began "
                        "the chains: all frames of a chain are of one class");
    fresh(t);
    join(t, "w3", 1);
    assert_leased(t, "w3", 1, 1);
    result(t, "w3", 1, 1);
    assert_null(the_job(t)->wait_reason);
}

static void a_frame_that_fails_takes_the_later_ones_with_it_and_the_job_ends(void **state)
{
    struct table *t = *state;

    submit_two(t);
    join(t, "w1", 8);
    fresh(t);
    failed(t, "w1", 0, 1, "bad_input");
    settle(t);
    assert_string_equal(recorded(t, 0)->code, "bad_input");
    assert_string_equal(recorded(t, 1)->code, "asset_missing");
    assert_string_equal(recorded(t, 2)->text,
                        "the chain broke at frame 0 (task 0): bad_input: it went wrong");
    assert_int_equal(the_job(t)->failed, 3);
    assert_int_equal(logged(t, "task_failed"), 1);
    for (uint64_t i = 3; i < 6; i++)
        result(t, "w1", i, 1);
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
    assert_int_equal(the_job(t)->done, 3);
    assert_int_equal(t->c.n_unlinked, 0);
}

static void frames_that_fail_with_another_count_for_max_failed(void **state)
{
    struct table *t = *state;

    submit_job(t, chain_job("two", AXES(SEEDS(2), 3), "{'max_failed':'2'}"));
    join(t, "w1", 8);
    failed(t, "w1", 0, 1, "bad_input");
    settle(t);
    settle(t);
    assert_int_equal(the_job(t)->phase, JOB_FAILED);
    assert_int_equal(the_job(t)->done, 0);
    assert_int_equal(t->c.n_tasks, 0);
}

static void frames_that_wait_go_before_chains_that_nobody_began(void **state)
{
    struct table *t = *state;

    submit_job(t, chain_job("many", AXES(SEEDS(1000), 3), NULL));
    join(t, "w1", 1);
    fresh(t);
    result(t, "w1", 0, 1);
    ready(t, "w1", 1);
    assert_leased(t, "w1", 1, 1);
    assert_int_equal(t->c.n_tasks, 1);
}

static void a_waiting_frame_does_not_go_before_a_job_of_higher_priority(void **state)
{
    struct table *t = *state;

    submit_job(t, chain_job("low", AXES(, 3), NULL));
    join(t, "w1", 1);
    submit_job(t, bundle_job((struct spec){.job = "high", .conduct = "{'priority':90}"}));
    fresh(t);
    memcpy(t->job, coord_job(&t->c, 1)->hash, sizeof t->job);
    result(t, "w1", 0, 1);
    ready(t, "w1", 1);
    assert_leased(t, "w1", 0, 1); /* of the other job */
    assert_int_equal(coord_job(&t->c, 2)->running, 1);
    assert_int_equal(coord_job(&t->c, 1)->running, 0);
}

static void a_preview_of_chains_is_their_first_frames(void **state)
{
    struct table *t = *state;

    submit_job(t, chain_job("many", AXES(SEEDS(10), 3), "{'first':2}"));
    join(t, "w1", 1);
    fresh(t);
    result(t, "w1", 0, 1);
    ready(t, "w1", 1);
    assert_leased(t, "w1", 3, 1);
    fresh(t);
    result(t, "w1", 3, 1);
    ready(t, "w1", 1);
    assert_int_equal(count_sent(t, "w1", MSG_LEASE), 1);
    assert_leased(t, "w1", 1, 1);
}

static void a_chain_begun_before_a_restart_goes_on_where_it_was(void **state)
{
    struct table *t = *state;
    struct job *job = chain_job("two", AXES(SEEDS(2), 3), NULL);
    struct record before = {.index = 1};
    struct restored r = {.number = 1, .name = "two", .folder = "f", .state = "running", .tasks = 6};
    json_t *task;

    memcpy(r.hash, job_hash(job), sizeof r.hash);
    memcpy(t->job, r.hash, sizeof r.hash);
    r.job = job;
    r.done = 2;
    MUST(bits_add(&r.settled, 0, e));
    MUST(bits_add(&r.settled, 1, e));
    MUST(reactor_restore(&t->c, &r, t->now_ms, e));
    MUST(record_picture(&before, "p", "w", "cpu-avx2", "f32", e));
    memset(before.sha256, 'b', HASH_HEX_SIZE - 1);
    t->before = &before;
    join(t, "w1", 1);
    assert_int_equal(count_of(t, OUT_BEFORE), 1);
    settle(t);
    assert_leased(t, "w1", 2, 1);
    task = leased_task(t, "w1", 0);
    assert_memory_equal(json_string_value(json_object_get(task, "init_image")), "sha256:bbbb", 11);
    json_decref(task);
    result(t, "w1", 2, 1);
    ready(t, "w1", 1);
    assert_leased(t, "w1", 3, 1);
    record_done(&before);
}

static void a_result_that_comes_before_the_store_has_told_is_not_taken(void **state)
{
    struct table *t = *state;
    struct job *job = chain_job("one", AXES(, 3), NULL);
    struct record before = {.index = 0};
    struct restored_attempt attempt = {.index = 1, .attempts = 1, .given = true};
    struct restored r = {.number = 1, .name = "one", .folder = "f", .state = "running", .tasks = 3};
    struct msg m = {.type = MSG_RESULT,
                    .result = {.png = "x", .png_size = 1, .device_class = "c", .precision = "f32"}};
    struct event event = {.type = EVENT_MESSAGE, .peer = peer_named("w1"), .msg = &m};

    memcpy(r.hash, job_hash(job), sizeof r.hash);
    memcpy(t->job, r.hash, sizeof r.hash);
    r.job = job;
    r.done = 1;
    r.attempts = &attempt;
    r.n_attempts = 1;
    MUST(bits_add(&r.settled, 0, e));
    MUST(reactor_restore(&t->c, &r, t->now_ms, e));
    MUST(record_picture(&before, "p", "w", "cpu-avx2", "f32", e));
    t->before = &before;
    MUST(reactor_on(&t->c,
                    &(struct event){.type = EVENT_MESSAGE,
                                    .peer = peer_named("w1"),
                                    .msg = &(struct msg){.type = MSG_HELLO,
                                                         .hello = {.protocol = PROTOCOL_VERSION,
                                                                   .protocol_min = 1,
                                                                   .role = "worker",
                                                                   .software = "t",
                                                                   .name = "w1",
                                                                   .device = "d",
                                                                   .device_class = "cpu-avx2"}}},
                    t->now_ms, &t->o, e));
    m.result.ref = ref(t, 1, 1);
    memset(m.result.sha256, 'a', HASH_HEX_SIZE - 1);
    MUST(reactor_on(&t->c, &event, t->now_ms, &t->o, e));
    assert_int_equal(count_of(t, OUT_WRITE), 0);
    settle(t);
    result(t, "w1", 1, 1);
    assert_non_null(recorded(t, 1));
    record_done(&before);
}

/* Steps of so many ms, as their worker tells them. */
static void steps(struct table *t, const char *name, uint64_t index, int64_t ms)
{
    for (uint32_t step = 1; step <= 3; step++) {
        t->now_ms += ms;
        progress(t, name, index, 1, step);
    }
}

/* One chain, two workers: its first frame was rendered by w1, in steps of 100 ms, and the next one
 * is leased. */
static void begin_auto(struct table *t, const char *axes)
{
    join_class(t, "w1", "cpu-avx2", 2);
    join_class(t, "w2", "cpu-avx2", 2);
    submit_job(t, chain_job("auto", axes, "{'gang':'auto'}"));
    assert_int_equal(t->c.count.gangs, 0);
    steps(t, "w1", 0, 100);
    fresh(t);
}

static void auto_shares_the_frames_of_a_chain_once_that_is_measured_to_be_faster(void **state)
{
    struct table *t = *state;

    begin_auto(t, AXES(, 6));
    result(t, "w1", 0, 1);
    assert_int_equal(t->c.count.gangs, 1); /* to learn */
    assert_leased(t, "w1", 1, 1);
    assert_leased(t, "w2", 1, 2);
    ready_to_meet_at(t, "w1", 2, "a second place");
    steps(t, "w1", 1, 60);
    for (uint64_t i = 1; i < 4; i++) {
        char place[32];

        fresh(t);
        result(t, "w1", i, 1);
        assert_int_equal(t->c.count.gangs, i + 1);
        snprintf(place, sizeof place, "behind frame %d", (int)i);
        ready_to_meet_at(t, "w1", 2, place);
        ready_to_meet(t, "w2", 2);
    }
    assert_true(the_job(t)->gang_speedup > 1.5);
}

static void auto_leaves_frames_alone_where_sharing_was_measured_to_be_too_little(void **state)
{
    struct table *t = *state;

    begin_auto(t, AXES(, 6));
    result(t, "w1", 0, 1);
    ready_to_meet(t, "w1", 2);
    steps(t, "w1", 1, 90);
    for (uint64_t i = 1; i < 4; i++) {
        fresh(t);
        result(t, "w1", i, 1);
        assert_leased(t, "w1", i + 1, 1);
        assert_int_equal(count_sent(t, "w2", MSG_LEASE), 0);
        ready_to_meet(t, "w1", 2);
    }
    assert_int_equal(t->c.count.gangs, 1);
}

static void auto_shares_no_frame_while_each_worker_has_a_chain(void **state)
{
    struct table *t = *state;

    begin_auto(t, AXES(SEEDS(2), 6));
    for (uint64_t i = 0; i < 3; i++) {
        result(t, "w1", i, 1);
        ready_to_meet(t, "w1", 2);
        result(t, "w2", 6 + i, 1);
        ready_to_meet(t, "w2", 2);
    }
    assert_int_equal(t->c.count.gangs, 0);
    assert_int_equal(the_job(t)->done, 6);
    fresh(t);
    failed(t, "w2", 9, 1, "bad_input"); /* w2's chain is over */
    settle(t);
    result(t, "w1", 3, 1);
    assert_int_equal(t->c.count.gangs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_frame_is_leased_with_the_picture_before_once_that_is_recorded),
        SENTENCE(all_pictures_but_a_chains_last_are_to_be_kept),
        SENTENCE(no_worker_ever_holds_two_frames_of_one_chain),
        SENTENCE(a_chain_stays_with_its_worker_though_another_is_free_too),
        SENTENCE(an_idle_worker_takes_the_frame_that_its_own_worker_would_begin_later),
        SENTENCE(all_frames_of_a_chain_are_of_one_device_class),
        SENTENCE(a_frame_that_fails_takes_the_later_ones_with_it_and_the_job_ends),
        SENTENCE(frames_that_fail_with_another_count_for_max_failed),
        SENTENCE(frames_that_wait_go_before_chains_that_nobody_began),
        SENTENCE(a_waiting_frame_does_not_go_before_a_job_of_higher_priority),
        SENTENCE(a_preview_of_chains_is_their_first_frames),
        SENTENCE(a_chain_begun_before_a_restart_goes_on_where_it_was),
        SENTENCE(a_result_that_comes_before_the_store_has_told_is_not_taken),
        SENTENCE(auto_shares_the_frames_of_a_chain_once_that_is_measured_to_be_faster),
        SENTENCE(auto_leaves_frames_alone_where_sharing_was_measured_to_be_too_little),
        SENTENCE(auto_shares_no_frame_while_each_worker_has_a_chain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
