/* What clients hear of a job's files, on real ones: `check`. */
#include "coordinator/answers.h"
#include "tests/coordinator/place.h"

#define FRAMES 4

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

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    b->p = (struct place){.now_ms = 1000, .user = b, .send = on_send};
    b->job = bundle_job((struct spec){
        .job = "a",
        .axes = "[{'name':'seed','columns':['seed'],'range':{'first':0,'step':9,'count':2}},"
                "{'name':'frame','columns':['frame'],'range':{'first':0,'step':1,'count':4}}]",
        .chain = "{'axis':'frame','seed_behavior':'iter'}"});
    place_open(&b->p, temporary_folder());
    place_hears_client(&b->p, "c");
    place_hears_submit(&b->p, "c", b->job, false);
    place_run(&b->p);
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

static void path_of(uint64_t index, char ret_path[16])
{
    snprintf(ret_path, 16, "a/%d.png", (int)index);
}

static void hash_of(uint64_t index, char ret_hex[HASH_HEX_SIZE])
{
    MUST(hash_bytes(&index, sizeof index, ret_hex, e));
}

/* The file of a task: the bytes of its index, or others. */
static void write_file(struct bench *b, uint64_t index, uint64_t bytes)
{
    struct buf text = {0};
    char path[16];

    path_of(index, path);
    buf_append(&text, &bytes, sizeof bytes);
    MUST(output_replace(b->p.output, path, &text, e));
    buf_done(&text);
}

/* Both chains are done, the frame at `torn` from another picture than the one before it. */
static void settle(struct bench *b, uint64_t torn)
{
    for (uint64_t i = 0; i < 2 * FRAMES; i++) {
        struct store_row row = {.op = STORE_RECORD, .job = 1, .record = {.index = i, .attempt = 1}};
        char path[16];

        path_of(i, path);
        MUST(record_picture(&row.record, path, "w", "cpu", "f32", e));
        hash_of(i, row.record.sha256);
        if (i % FRAMES > 0)
            hash_of(i == torn ? i + 1 : i - 1, row.record.before);
        place_apply(&b->p, &row, 1);
        record_done(&row.record);
        write_file(b, i, i);
    }
}

static void remove_file(struct bench *b, uint64_t index)
{
    struct buf path = {0};

    buf_printf(&path, "%s/a/%d.png", buf_text(&b->p.out), (int)index);
    assert_int_equal(unlink(buf_text(&path)), 0);
    buf_done(&path);
}

/* All pages of so many tasks each, as lines "INDEX: TEXT", and the number of files. */
static char *checked(struct bench *b, uint32_t limit)
{
    struct out out = {.type = OUT_ANSWER, .answer = MSG_CHECK, .job = 1, .limit = limit};
    struct buf text = {0};
    uint64_t files = 0;

    out.request = 1;
    do {
        struct buf frame = {0};
        struct msg m;

        MUST(answer_frame(&b->p.coord, b->p.store, b->p.output, &out, &frame, e));
        MUST(msg_decode(frame.data, frame.size, &m, e));
        assert_int_equal(m.type, MSG_CHECKED);
        for (size_t i = 0; i < m.checked.n_bad; i++)
            buf_printf(&text, "%d: %s\n", (int)m.checked.bad[i].index, m.checked.bad[i].text);
        files += m.checked.files;
        out.from = m.checked.next;
        msg_done(&m);
        buf_done(&frame);
    } while (out.from != 0);
    buf_printf(&text, "%d files", (int)files);
    return buf_detach(&text);
}

/* ... which are these, however many tasks a page has. */
static void assert_checked(struct bench *b, const char *lines)
{
    for (uint32_t limit = 1; limit <= 2 * FRAMES + 1; limit++) {
        char *found = checked(b, limit);

        assert_non_null(found);
        assert_string_equal(found, lines);
        free(found);
    }
}

#define LOST  "the picture of the frame before, from which it was made, is missing\n"
#define OTHER "the picture of the frame before is not the one from which it was made\n"

static void whole_chains_have_nothing_wrong(void **state)
{
    settle(*state, UINT64_MAX);
    assert_checked(*state, "8 files");
}

static void a_frame_that_was_made_from_another_picture_is_told(void **state)
{
    settle(*state, 6);
    assert_checked(*state, "6: " OTHER "8 files");
}

static void a_frame_is_told_with_the_file_before_it_that_is_gone_or_changed(void **state)
{
    settle(*state, UINT64_MAX);
    remove_file(*state, 1);
    write_file(*state, 5, 99);
    assert_checked(*state, "1: the file is gone\n"
                           "2: " LOST "5: the file's bytes are not those of the record\n"
                           "6: " OTHER "8 files");
}

static void a_frame_is_told_whose_predecessor_has_no_record(void **state)
{
    struct bench *b = *state;

    settle(b, UINT64_MAX);
    place_apply(&b->p, &(struct store_row){.op = STORE_FORGET, .job = 1, .index = 4}, 1);
    assert_checked(b, "5: " LOST "7 files");
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(whole_chains_have_nothing_wrong),
        SENTENCE(a_frame_that_was_made_from_another_picture_is_told),
        SENTENCE(a_frame_is_told_with_the_file_before_it_that_is_gone_or_changed),
        SENTENCE(a_frame_is_told_whose_predecessor_has_no_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
