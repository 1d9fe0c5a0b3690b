/* Chains of a job that is opened again: which frames are looked at anew. On real files. */
#include "coordinator/requests.h"
#include "tests/coordinator/place.h"

#define FRAMES 4
#define TASKS  12

struct bench {
    struct place p;
    struct job *job;
};

static int on_send(void *user, const struct peer *peer, const struct buf *frame, struct err *why)
{
    (void)user;
    (void)peer;
    (void)frame;
    (void)why;
    return 0;
}

/* The hash of a task's picture; of its file only the name matters here. */
static void hash_of(uint64_t index, char ret_hex[HASH_HEX_SIZE])
{
    memset(ret_hex, 'a' + (char)(index % 6), HASH_HEX_SIZE - 1);
    ret_hex[HASH_HEX_SIZE - 1] = 0;
}

/* All frames are done; those of `gone` (bits) have no file, those of `torn` started from another
 * picture than the one before them. */
static void settle(struct bench *b, unsigned gone, unsigned torn)
{
    MUST(store_begin(b->p.store, e));
    for (uint64_t i = 0; i < TASKS; i++) {
        struct store_row row = {.op = STORE_RECORD, .job = 1, .record = {.index = i, .attempt = 1}};

        MUST(record_picture(&row.record, gone >> i & 1 ? "a/gone.png" : "a/there.png", "w", "cpu",
                            "f32", e));
        hash_of(i, row.record.sha256);
        if (i % FRAMES > 0)
            hash_of(torn >> i & 1 ? i + 2 : i - 1, row.record.before);
        MUST(store_apply(b->p.store, &row, e));
        record_done(&row.record);
    }
    MUST(store_commit(b->p.store, e));
    place_apply(
        &b->p, &(struct store_row){.op = STORE_STATE, .job = 1, .state = "done", .done = TASKS}, 1);
    place_kill(&b->p);
    place_start(&b->p);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    b->p = (struct place){.now_ms = 1000, .user = b, .send = on_send};
    b->job = bundle_job((struct spec){
        .job = "a",
        .axes = "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':9,'count':3}},"
                "{'name':'frame','columns':['frame'],'range':{'first':0,'step':1,'count':4}}]",
        .chain = "{'axis':'frame','seed_behavior':'iter'}"});
    place_open(&b->p, temporary_folder());
    MUST(output_claim(b->p.output, "a", b->job, e));
    place_file(&b->p, "a/there.png");
    place_apply(
        &b->p,
        &(struct store_row){.op = STORE_JOB, .job = 1, .bundle = b->job, .folder = (char *)"a"}, 1);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    place_close(&b->p);
    job_free(b->job);
    free(b);
    return 0;
}

static int note(void *user, const struct record *r, struct err *e)
{
    (void)e;
    *(unsigned *)user |= 1u << r->index;
    return 0;
}

/* Submitted again: the records that stay, as bits. */
static unsigned kept(struct bench *b)
{
    unsigned bits = 0;

    place_hears_client(&b->p, "c");
    place_hears_submit(&b->p, "c", b->job, false);
    for (int turns = 0; turns < 100; turns++) {
        place_run(&b->p);
        if (batch_waits(&b->p.batch))
            break;
    }
    MUST(store_records(b->p.store, 1, 0, note, &bits, e));
    return bits;
}

static void frames_after_one_that_is_gone_are_looked_at_too_and_no_other_chains(void **state)
{
    struct bench *b = *state;

    settle(b, 1u << 5, 0); /* the second chain's frame 1 */
    assert_int_equal(kept(b), 0xf1f);
}

static void a_frame_that_started_from_another_picture_is_looked_at_with_all_after_it(void **state)
{
    struct bench *b = *state;

    settle(b, 0, 1u << 2 | 1u << 11);
    assert_int_equal(kept(b), 0x7f3);
}

static void whole_chains_stay(void **state)
{
    struct bench *b = *state;

    settle(b, 0, 0);
    assert_int_equal(kept(b), 0xfff);
    assert_int_equal(b->p.coord.jobs[0]->phase, JOB_DONE);
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(frames_after_one_that_is_gone_are_looked_at_too_and_no_other_chains),
        SENTENCE(a_frame_that_started_from_another_picture_is_looked_at_with_all_after_it),
        SENTENCE(whole_chains_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
