/* One batch on real files: what happens when the disk refuses a commit, and after a restart. */
#include "proto/png.h"
#include "tests/coordinator/place.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct bench {
    struct place p;
    int sent[MSG_TYPE_COUNT];
    struct buf last; /* frame */
    bool deaf;       /* the peer is gone */
};

static int on_send(void *user, const struct peer *peer, const struct buf *frame, struct err *why)
{
    struct bench *b = user;
    struct msg m;

    (void)peer;
    if (b->deaf)
        return err_set(why, ERR_MISSING, "no such peer");
    MUST(msg_decode(frame->data, frame->size, &m, e));
    b->sent[m.type]++;
    msg_done(&m);
    b->last.size = 0;
    buf_append(&b->last, frame->data, frame->size);
    return 0;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    b->p = (struct place){.now_ms = 1000, .user = b, .send = on_send};
    place_open(&b->p, temporary_folder());
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    place_close(&b->p);
    buf_done(&b->last);
    free(b);
    return 0;
}

static void restart(struct bench *b)
{
    place_kill(&b->p);
    place_start(&b->p);
}

static void hello(struct bench *b)
{
    place_hears_client(&b->p, "client");
}

static void submit(struct bench *b, const struct job *job)
{
    place_hears_submit(&b->p, "client", job, false);
}

static void a_refused_commit_sends_nothing_and_may_be_tried_again(void **state)
{
    struct bench *b = *state;
    struct job *job = seeds_job("a", 3);
    struct rlimit old, tiny;
    struct err why = {0};
    uint64_t done, failed;
    int rc;

    hello(b);
    submit(b, job);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    /* The bundle fits the job's folder, the database's log does not grow. */
    tiny = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tiny);
    rc = batch_run(&b->p.batch, 1000, &why);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, 1);
    assert_non_null(strstr(why.text, "database"));
    assert_int_equal(b->sent[MSG_SUBMITTED], 0);
    assert_int_equal(b->sent[MSG_WELCOME], 0);
    assert_int_equal(batch_finish(&b->p.batch, &why), 0);
    assert_int_equal(b->sent[MSG_SUBMITTED], 1);
    MUST(store_peek(buf_text(&b->p.state), job_hash(job), &done, &failed, e));
    job_free(job);
}

static void a_submitted_job_outlives_a_restart(void **state)
{
    struct bench *b = *state;
    struct job *job = seeds_job("a", 3);

    hello(b);
    submit(b, job);
    place_run(&b->p);
    restart(b);
    assert_int_equal(b->p.coord.n_jobs, 1);
    assert_string_equal(b->p.coord.jobs[0]->hash, job_hash(job));
    assert_int_equal(b->p.coord.jobs[0]->phase, JOB_RUNNING);
    hello(b);
    submit(b, job);
    place_run(&b->p);
    assert_int_equal(b->p.coord.n_jobs, 1);
    job_free(job);
}

static void an_unreachable_peer_becomes_an_event(void **state)
{
    struct bench *b = *state;

    hello(b);
    b->deaf = true;
    place_run(&b->p);
    assert_int_equal(b->p.coord.n_clients, 1);
    MUST(batch_gone(&b->p.batch, 1000, e));
    assert_int_equal(b->p.coord.n_clients, 0);
}

static void an_index_that_was_torn_is_made_anew(void **state)
{
    struct bench *b = *state;
    struct job *job = seeds_job("a", 3);
    struct store_row row = {.op = STORE_RECORD, .job = 1};
    struct buf torn = {0}, text = {0};

    hello(b);
    submit(b, job);
    place_run(&b->p);
    MUST(record_picture(&row.record, "a/0.png", "w", "cpu-x", "f32", e));
    place_apply(&b->p, &row, 1);
    buf_puts(&torn, "{\"index\":0,\"pa");
    MUST(output_replace(b->p.output, "a/index.jsonl", &torn, e));
    MUST(index_check(b->p.output, b->p.store, 1, "a", e));
    MUST(output_read(b->p.output, "a/index.jsonl", 1 << 20, &text, e));
    assert_non_null(strstr(buf_text(&text), "\"path\":\"a/0.png\""));
    assert_int_equal(text.data[text.size - 1], '\n');
    record_done(&row.record);
    buf_done(&torn);
    buf_done(&text);
    job_free(job);
}

static void an_answer_about_records_comes_from_the_store(void **state)
{
    struct bench *b = *state;
    struct job *job = seeds_job("a", 3);
    struct store_row row = {.op = STORE_RECORD, .job = 1};
    struct msg ask = {.type = MSG_RECORDS, .records = {.request = 5, .job = "a", .limit = 1}}, m;
    struct msg fetch = {.type = MSG_FETCH, .fetch = {.request = 6, .job = "a", .index = 2}};

    hello(b);
    submit(b, job);
    place_run(&b->p);
    MUST(store_begin(b->p.store, e));
    for (int i = 0; i < 2; i++) {
        row.record.index = (uint64_t)i;
        MUST(record_picture(&row.record, "a/0.png", "w", "cpu-x", "f32", e));
        memset(row.record.sha256, 'b', 64);
        MUST(store_apply(b->p.store, &row, e));
    }
    MUST(store_commit(b->p.store, e));
    place_hears(&b->p, "client", &ask);
    place_run(&b->p);
    MUST(msg_decode(b->last.data, b->last.size, &m, e));
    assert_int_equal(m.type, MSG_PAGE);
    assert_int_equal(m.page.n_records, 1);
    assert_string_equal(m.page.records[0].path, "a/0.png");
    assert_int_equal(m.page.next, 1);
    msg_done(&m);
    place_hears(&b->p, "client", &fetch);
    place_run(&b->p);
    MUST(msg_decode(b->last.data, b->last.size, &m, e));
    assert_int_equal(m.type, MSG_ERROR);
    assert_int_equal(m.error.request, 6);
    assert_string_equal(m.error.code, "asset_missing");
    msg_done(&m);
    record_done(&row.record);
    job_free(job);
}

static void many_requests_for_pictures_are_answered_over_several_batches(void **state)
{
    struct bench *b = *state;
    struct job *job = seeds_job("a", 3);
    struct msg ask = {.type = MSG_FETCH, .fetch = {.request = 6, .job = "a", .index = 2}};
    int turns = 0;

    hello(b);
    submit(b, job);
    place_run(&b->p);
    for (int i = 0; i < 40; i++)
        place_hears(&b->p, "client", &ask);
    for (; turns == 0 || !batch_waits(&b->p.batch); turns++) {
        int before = b->sent[MSG_ERROR];

        place_run(&b->p);
        assert_in_range(b->sent[MSG_ERROR] - before, 1, 16);
    }
    assert_int_equal(b->sent[MSG_ERROR], 40);
    assert_true(turns >= 3);
    job_free(job);
}

static void a_cancelled_job_submitted_again_goes_on_with_larger_attempt_numbers(void **state)
{
    struct bench *b = *state;
    struct job *job = seeds_job("a", 3);
    struct store_row row = {
        .op = STORE_ATTEMPT, .job = 1, .index = 1, .attempts = 5, .worker = (char *)"w"};
    struct msg cancel = {.type = MSG_CANCEL, .cancel = {.request = 4, .job = "a"}};

    hello(b);
    submit(b, job);
    place_run(&b->p);
    place_apply(&b->p, &row, 1);
    place_hears(&b->p, "client", &cancel);
    place_run(&b->p);
    assert_int_equal(b->p.coord.jobs[0]->phase, JOB_CANCELLED);
    submit(b, job);
    place_run(&b->p);
    assert_int_equal(b->sent[MSG_SUBMITTED], 2);
    assert_int_equal(b->p.coord.jobs[0]->phase, JOB_RUNNING);
    assert_int_equal(coord_task(&b->p.coord, b->p.coord.jobs[0], 1)->attempts, 5);
    assert_int_equal(coord_task(&b->p.coord, b->p.coord.jobs[0], 1)->phase, TASK_READY);
    job_free(job);
}

/* A worker's picture of a task: black, and of so many pixels each way. */
static void hears_picture(struct bench *b, const struct job *job, uint64_t index, int side)
{
    struct msg m = {.type = MSG_RESULT,
                    .result = {.ref = {.index = index, .attempt = 1},
                               .device_class = "cpu",
                               .precision = "f32"}};
    static const uint8_t pixels[128 * 128 * 3];
    struct buf png = {0};

    MUST(png_encode(pixels, side, side, NULL, 0, &png, e));
    m.result.png = png.data;
    m.result.png_size = png.size;
    memcpy(m.result.ref.job, job_hash(job), sizeof m.result.ref.job);
    MUST(hash_bytes(png.data, png.size, m.result.sha256, e));
    place_hears(&b->p, "w", &m);
    buf_done(&png);
}

static void hears_result(struct bench *b, const struct job *job, uint64_t index)
{
    hears_picture(b, job, index, 128);
}

static bool has_picture(const struct bench *b, const struct job *job, uint64_t index)
{
    struct buf path = {0};
    bool there;

    buf_printf(&path, "%s/", buf_text(&b->p.out));
    MUST(job_path(job, index, &path, e));
    there = access(buf_text(&path), F_OK) == 0;
    buf_done(&path);
    return there;
}

static void a_picture_of_another_size_than_the_tasks_is_neither_written_nor_recorded(void **state)
{
    struct msg ready = {.type = MSG_READY, .ready = {.credits = 2}},
               worker = {.type = MSG_HELLO,
                         .hello = {.protocol = PROTOCOL_VERSION,
                                   .protocol_min = PROTOCOL_VERSION_MIN,
                                   .role = "worker",
                                   .software = "test",
                                   .name = "w",
                                   .device = "a device",
                                   .device_class = "cpu"}};
    struct job *job = seeds_job("a", 3);
    struct bench *b = *state;

    hello(b);
    submit(b, job);
    place_hears(&b->p, "w", &worker);
    place_hears(&b->p, "w", &ready);
    place_run(&b->p);
    hears_picture(b, job, 0, 64);
    place_run(&b->p);
    assert_false(has_picture(b, job, 0));
    assert_int_equal(b->p.coord.jobs[0]->done, 0);
    assert_int_equal(coord_task(&b->p.coord, b->p.coord.jobs[0], 0)->tries, 1);
    assert_string_equal(coord_task(&b->p.coord, b->p.coord.jobs[0], 0)->fail_code, "bad_output");
    job_free(job);
}

static void a_cancel_beside_a_result_leaves_no_picture_without_a_record(void **state)
{
    struct msg ready = {.type = MSG_READY, .ready = {.credits = 2}},
               cancel = {.type = MSG_CANCEL, .cancel = {.request = 4, .job = "a"}},
               worker = {.type = MSG_HELLO,
                         .hello = {.protocol = PROTOCOL_VERSION,
                                   .protocol_min = PROTOCOL_VERSION_MIN,
                                   .role = "worker",
                                   .software = "test",
                                   .name = "w",
                                   .device = "a device",
                                   .device_class = "cpu"}};
    struct job *job = seeds_job("a", 3);
    struct bench *b = *state;

    hello(b);
    submit(b, job);
    place_hears(&b->p, "w", &worker);
    place_hears(&b->p, "w", &ready);
    place_run(&b->p);
    assert_int_equal(b->sent[MSG_LEASE], 2);
    hears_result(b, job, 0);
    place_run(&b->p);
    assert_true(has_picture(b, job, 0));
    hears_result(b, job, 1); /* both are heard before either is acted on */
    place_hears(&b->p, "client", &cancel);
    place_run(&b->p);
    assert_int_equal(b->p.coord.jobs[0]->done, 1);
    assert_false(has_picture(b, job, 1));
    assert_int_equal(b->sent[MSG_ACK], 2); /* the worker need not offer it again */
    job_free(job);
}

static void a_finished_job_submitted_again_renders_what_was_deleted(void **state)
{
    struct bench *b = *state;
    struct job *job = seeds_job("a", 2);
    struct store_row row = {.op = STORE_RECORD, .job = 1};
    struct store_row over = {.op = STORE_STATE, .job = 1, .state = "done", .done = 2};
    struct buf picture = {0};

    hello(b);
    submit(b, job);
    place_run(&b->p);
    MUST(store_begin(b->p.store, e));
    for (int i = 0; i < 2; i++) {
        row.record.index = (uint64_t)i;
        MUST(record_picture(&row.record, i ? "a/1.png" : "a/0.png", "w", "cpu-x", "f32", e));
        MUST(store_apply(b->p.store, &row, e));
    }
    MUST(store_apply(b->p.store, &over, e));
    MUST(store_commit(b->p.store, e));
    buf_puts(&picture, "picture 1; picture 0 was deleted");
    MUST(output_replace(b->p.output, "a/1.png", &picture, e));
    restart(b);
    assert_int_equal(b->p.coord.jobs[0]->phase, JOB_DONE);
    hello(b);
    submit(b, job);
    do /* a slow disk may ask for several turns */
        place_run(&b->p);
    while (!batch_waits(&b->p.batch));
    assert_int_equal(b->p.coord.jobs[0]->phase, JOB_RUNNING);
    assert_int_equal(b->p.coord.jobs[0]->done, 1);
    assert_false(bits_has(&b->p.coord.jobs[0]->settled, 0));
    assert_true(bits_has(&b->p.coord.jobs[0]->settled, 1));
    record_done(&row.record);
    buf_done(&picture);
    job_free(job);
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(a_refused_commit_sends_nothing_and_may_be_tried_again),
        SENTENCE(a_submitted_job_outlives_a_restart),
        SENTENCE(an_unreachable_peer_becomes_an_event),
        SENTENCE(an_index_that_was_torn_is_made_anew),
        SENTENCE(an_answer_about_records_comes_from_the_store),
        SENTENCE(many_requests_for_pictures_are_answered_over_several_batches),
        SENTENCE(a_cancelled_job_submitted_again_goes_on_with_larger_attempt_numbers),
        SENTENCE(a_picture_of_another_size_than_the_tasks_is_neither_written_nor_recorded),
        SENTENCE(a_cancel_beside_a_result_leaves_no_picture_without_a_record),
        SENTENCE(a_finished_job_submitted_again_renders_what_was_deleted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
