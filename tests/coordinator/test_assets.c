#include "coordinator/assets.h"
#include "tests/coordinator/answers.h"

#define A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define C "2123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static size_t asked(const struct table *t, enum asset_role role)
{
    size_t n = 0;

    for (size_t i = 0; i < t->o.n; i++)
        n += t->o.items[i].type == OUT_ASSET && t->o.items[i].role == role;
    return n;
}

static void want(struct table *t, const char *from, const char *sha256)
{
    struct msg m = {.type = MSG_WANT, .want = {.bytes = 10}};

    memcpy(m.want.sha256, sha256, HASH_HEX_SIZE);
    say(t, from, &m);
}

/* One worker with room for two leases of a job of four tasks. */
static void start(struct table *t)
{
    hello(t, "w1", "worker");
    ready(t, "w1", 2);
    submit_job(t, seeds_job("far", 4));
}

static void a_lease_waits_for_its_files_and_lists_them(void **state)
{
    struct table *t = *state;
    struct msg m;
    size_t i = 0;

    start(t);
    assert_int_equal(told(t, MSG_LEASE), 0);
    assert_int_equal(asked(t, ASSET_MODEL), 1); /* once, for both tasks */
    assert_int_equal(t->c.workers[0]->credits, 0);
    assert_int_equal(t->c.assets.waiting, 2);
    answer_model(t, A);
    assert_int_equal(told(t, MSG_LEASE), 2);
    assert_int_equal(t->c.assets.waiting, 0);
    while (t->o.items[i].type != OUT_SEND || t->o.items[i].message != MSG_LEASE)
        i++;
    MUST(msg_decode(t->o.items[i].frame.data, t->o.items[i].frame.size, &m, e));
    assert_int_equal(m.lease.n_assets, 1);
    assert_string_equal(m.lease.assets[0].role, "model");
    assert_string_equal(m.lease.assets[0].name, "m.safetensors");
    assert_string_equal(m.lease.assets[0].sha256, A);
    msg_done(&m);
}

/* What `submit` compares with later, to render only what changed. */
static void the_record_of_a_picture_has_the_tasks_hash_of_its_lease(void **state)
{
    char hash[HASH_HEX_SIZE];
    struct table *t = *state;

    memset(hash, 'b', HASH_HEX_SIZE - 1);
    hash[HASH_HEX_SIZE - 1] = 0;
    start(t);
    answer_model(t, hash);
    fresh(t);
    result(t, "w1", 0, 1);
    assert_non_null(recorded(t, 0));
    assert_int_equal(strlen(recorded(t, 0)->task_hash), HASH_HEX_SIZE - 1);
}

static size_t asked_by_name(const struct table *t, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < t->o.n; i++)
        n += t->o.items[i].type == OUT_ASSET && strcmp(t->o.items[i].path, name) == 0;
    return n;
}

/* The depot has one file for a LoRA or an embedding of this name, path or hash. */
static void answer_named(struct table *t, enum asset_role role, const char *name,
                         const char *sha256)
{
    struct asset_answer a = {.role = role, .name = strdup(name), .label = strdup("x"), .bytes = 5};

    memcpy(a.sha256, sha256, HASH_HEX_SIZE);
    MUST(listing_add(&a.files, a.label, sha256, 5, e));
    on(t, &(struct event){.type = EVENT_ASSET, .asset = &a});
    settle(t);
}

/* role, name and hash of each file of the lease. */
static void lease_lists(const struct table *t, const char *want)
{
    struct buf got = {0};
    struct msg m;
    size_t i = 0;

    while (t->o.items[i].type != OUT_SEND || t->o.items[i].message != MSG_LEASE)
        i++;
    MUST(msg_decode(t->o.items[i].frame.data, t->o.items[i].frame.size, &m, e));
    for (size_t k = 0; k < m.lease.n_assets; k++)
        buf_printf(&got, "%s %s %.4s; ", m.lease.assets[k].role, m.lease.assets[k].name,
                   m.lease.assets[k].sha256);
    assert_string_equal(buf_text(&got), want);
    buf_done(&got);
    msg_done(&m);
}

static void a_leases_files_have_the_names_that_its_prompt_calls(void **state)
{
    struct asset_answer names = {.role = ASSET_NAMES, .name = strdup("")};
    static const char none[HASH_HEX_SIZE] = A;
    struct table *t = *state;
    struct task task = {0};
    struct buf json = {0};
    struct listing files = {0};
    struct asset_set by_file, by_name;
    bool known;
    char *hash;

    hello(t, "w1", "worker");
    ready(t, "w1", 1);
    submit_job(t, bundle_job((struct spec){.fixed = "'prompt':'a GLOW bulb <lora:ink:0.5>'",
                                           .loras = "{'ink':'/x/y.safetensors'}",
                                           .embeddings = "{'glow':'sha256:" B "'}"}));
    answer_model(t, A);
    MUST(listing_add(&names.files, "Glow", none, 0, e)); /* the library's is not meant */
    MUST(listing_add(&names.files, "bulb", none, 0, e));
    on(t, &(struct event){.type = EVENT_ASSET, .asset = &names});
    answer_named(t, ASSET_LORA, "/x/y.safetensors", C);
    answer_named(t, ASSET_EMBEDDING, "sha256:" B, B);
    assert_int_equal(told(t, MSG_LEASE), 0);
    assert_int_equal(asked_by_name(t, "Glow"), 0);
    assert_int_equal(asked_by_name(t, "bulb"), 1);
    answer_named(t, ASSET_EMBEDDING, "bulb", A);
    lease_lists(t, "model m.safetensors 0123; lora ink 2123; embedding glow 1123; "
                   "embedding bulb 0123; ");
    MUST(job_task(t->c.jobs[0]->job, 0, &task, e));
    MUST(asset_expected(&t->c, &task, &files, e));
    assert_string_equal(files.files[1].path, "lora:ink");
    assert_string_equal(files.files[2].path, "embedding:glow");
    task_to_json(&task, &json);
    MUST(asset_set_of(&t->c, &task, buf_text(&json), &by_file, e));
    hash = strdup(by_file.task_hash);
    assert_string_equal(by_file.names[1], "/x/y.safetensors"); /* looked for again by that */
    asset_set_done(&by_file);
    /* The LoRA under that name in the library: the same task. */
    names_done(&task.loras);
    json.size = 0;
    task_to_json(&task, &json);
    assert_null(strstr(buf_text(&json), "loras"));
    MUST(assets_ready(&t->c, &task, t->now_ms, &known, &t->o, e));
    answer_named(t, ASSET_LORA, "ink", C);
    MUST(asset_set_of(&t->c, &task, buf_text(&json), &by_name, e));
    assert_string_equal(by_name.task_hash, hash);
    asset_set_done(&by_name);
    free(hash);
    listing_done(&files);
    buf_done(&json);
    task_done(&task);
}

static void what_the_coordinator_does_not_have_is_left_to_the_worker(void **state)
{
    struct table *t = *state;

    start(t);
    answer_model(t, NULL);
    assert_int_equal(told(t, MSG_LEASE), 2);
}

static void only_files_that_a_job_names_are_sent(void **state)
{
    struct table *t = *state;

    start(t);
    answer_model(t, A);
    assets_done(&t->c.assets); /* as after a restart */
    fresh(t);
    want(t, "w1", A); /* it is asked for again, by what the worker holds */
    assert_int_equal(count_of(t, OUT_CHUNK) + told(t, MSG_GONE), 0);
    assert_int_equal(asked(t, ASSET_MODEL), 1);
    answer_model(t, A);
    fresh(t);
    want(t, "w1", A);
    assert_int_equal(count_of(t, OUT_CHUNK), 1);
    want(t, "w1", B);
    assert_int_equal(count_of(t, OUT_CHUNK), 1);
    assert_int_equal(told(t, MSG_GONE), 1);
    hello(t, "c", "client");
    want(t, "c", A); /* only workers */
    assert_int_equal(count_of(t, OUT_CHUNK), 1);
}

static void a_worker_that_goes_while_files_are_hashed_leaves_no_trace(void **state)
{
    struct table *t = *state;
    const struct msg bye = {.type = MSG_BYE};

    start(t);
    say(t, "w1", &bye);
    answer_model(t, A);
    assert_int_equal(t->c.assets.waiting, 0);
    assert_int_equal(told(t, MSG_LEASE), 0);
    hello(t, "w2", "worker");
    ready(t, "w2", 2);
    assert_int_equal(told(t, MSG_LEASE), 2);
}

static void room_stated_while_files_are_hashed_is_not_given_twice(void **state)
{
    struct table *t = *state;

    start(t);
    ready(t, "w1", 2);
    assert_int_equal(t->c.workers[0]->credits, 0);
    assert_int_equal(t->c.assets.waiting, 2);
    answer_model(t, A);
    assert_int_equal(told(t, MSG_LEASE), 2);
}

static void a_cancelled_jobs_tasks_wait_no_more(void **state)
{
    struct table *t = *state;
    struct msg cancel = {.type = MSG_CANCEL, .cancel = {.request = 9, .job = "far"}};

    start(t);
    hello(t, "c", "client");
    say(t, "c", &cancel);
    assert_int_equal(t->c.assets.waiting, 0);
    assert_int_equal(t->c.workers[0]->credits, 2);
    answer_model(t, A);
}

static void an_answer_is_believed_for_some_seconds(void **state)
{
    struct table *t = *state;

    start(t);
    answer_model(t, A);
    fresh(t);
    ready(t, "w1", 2); /* both leases cross with it */
    t->now_ms += ASSETS_FRESH_MS + 1000;
    ready(t, "w1", 2); /* now they are lost: given again, after another look */
    assert_int_equal(asked(t, ASSET_MODEL), 1);
    assert_int_equal(told(t, MSG_LEASE), 0);
    answer_model(t, B);
    assert_int_equal(told(t, MSG_LEASE), 2);
}

static void so_many_workers_are_served_at_a_time(void **state)
{
    struct table *t = *state;
    char name[16];

    start(t);
    answer_model(t, A);
    fresh(t);
    for (int i = 0; i < ASSETS_SERVED_MAX + 3; i++) {
        snprintf(name, sizeof name, "x%d", i);
        hello(t, name, "worker");
        want(t, name, A);
    }
    assert_int_equal(count_of(t, OUT_CHUNK), ASSETS_SERVED_MAX);
    t->now_ms += ASSETS_SERVED_MS;
    want(t, name, A); /* the others have asked for nothing since */
    assert_int_equal(count_of(t, OUT_CHUNK), ASSETS_SERVED_MAX + 1);
}

static void fetching_counts_as_progress_and_is_shown(void **state)
{
    struct table *t = *state;
    struct msg m = {.type = MSG_FETCHING, .fetching = {.fetched = 5, .total = 10}};
    struct task_entry *task;

    start(t);
    answer_model(t, A);
    task = t->c.workers[0]->tasks[0];
    memcpy(m.fetching.ref.job, task->job->hash, HASH_HEX_SIZE);
    m.fetching.ref.index = task->index;
    m.fetching.ref.attempt = 1;
    t->now_ms += 1000;
    say(t, "w1", &m);
    assert_int_equal(task->runs[0].fetched, 5);
    assert_int_equal(task->runs[0].fetch_bytes, 10);
    assert_int_equal(t->c.workers[0]->active_ms, t->now_ms);
    fresh(t);
    m.fetching.ref.attempt = 7; /* nobody gave that out */
    say(t, "w1", &m);
    assert_int_equal(told(t, MSG_REVOKE), 1);
}

static void a_job_whose_files_changed_is_compared_when_it_is_opened_again(void **state)
{
    struct table *t = *state;
    struct job_asset *rows = calloc(1, sizeof *rows);
    struct task task = {0};
    size_t i = 0;

    start(t);
    answer_model(t, A);
    MUST(job_task(t->c.jobs[0]->job, 0, &task, e));
    rows[0] = (struct job_asset){.role = ASSET_MODEL, .name = strdup(task.model)};
    task_done(&task);
    memcpy(rows[0].sha256, A, HASH_HEX_SIZE);
    fresh(t);
    on(t, &(struct event){.type = EVENT_ASSETS, .job = 1, .assets = rows, .n_assets = 1});
    assert_int_equal(count_of(t, OUT_REOPEN), 0); /* it is looked at first */
    assert_int_equal(asked(t, ASSET_MODEL), 1);
    answer_model(t, C);
    while (t->o.items[i].type != OUT_REOPEN)
        i++;
    assert_int_equal(t->o.items[i].reopen, REOPEN_CHANGED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_assets, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lease_waits_for_its_files_and_lists_them),
        TEST(the_record_of_a_picture_has_the_tasks_hash_of_its_lease),
        TEST(a_leases_files_have_the_names_that_its_prompt_calls),
        TEST(what_the_coordinator_does_not_have_is_left_to_the_worker),
        TEST(only_files_that_a_job_names_are_sent),
        TEST(a_worker_that_goes_while_files_are_hashed_leaves_no_trace),
        TEST(room_stated_while_files_are_hashed_is_not_given_twice),
        TEST(a_cancelled_jobs_tasks_wait_no_more),
        TEST(an_answer_is_believed_for_some_seconds),
        TEST(so_many_workers_are_served_at_a_time),
        TEST(fetching_counts_as_progress_and_is_shown),
        TEST(a_job_whose_files_changed_is_compared_when_it_is_opened_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
