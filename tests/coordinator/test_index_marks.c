/* index.jsonl after a restart: only what follows the mark is looked at, and made good. */
#include "coordinator/index.h"
#include "tests/coordinator/fixture.h"
#include "tests/coordinator/reopen.h"

struct place {
    char *dir;
    struct job *job;
    struct store *s;
    struct output *o;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct store_row row = {.op = STORE_JOB, .job = 1, .folder = (char *)"a"};
    struct buf out = {0};

    p->dir = temporary_folder();
    buf_printf(&out, "%s/out", p->dir);
    p->job = seeds_job("a", 9);
    row.bundle = p->job;
    MUST(store_open(p->dir, &p->s, e));
    MUST(output_open(buf_text(&out), &p->o, e));
    MUST(output_claim(p->o, "a", p->job, e));
    MUST(store_begin(p->s, e));
    MUST(store_apply(p->s, &row, e));
    MUST(store_commit(p->s, e));
    buf_done(&out);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    output_close(p->o);
    store_close(p->s);
    job_free(p->job);
    remove_tree(p->dir);
    free(p->dir);
    free(p);
    return 0;
}

/* A batch: rows and mark. crash: before its lines are appended. */
static void batch(struct place *p, const uint64_t *tasks, size_t n, bool crash)
{
    struct buf lines = {0};

    MUST(store_begin(p->s, e));
    for (size_t i = 0; i < n; i++) {
        struct store_row row = {.op = STORE_RECORD, .job = 1, .record = {.index = tasks[i]}};

        MUST(record_picture(&row.record, "a/x.png", "w", "cpu", "f32", e));
        MUST(store_apply(p->s, &row, e));
        MUST(index_line(p->job, &row.record, &lines, e));
        record_done(&row.record);
    }
    MUST(index_mark(p->o, p->s, 1, "a", tasks, n, e));
    MUST(store_commit(p->s, e));
    if (!crash)
        MUST(index_append(p->o, "a", &lines, e));
    buf_done(&lines);
}

static void read_index(struct place *p, struct buf *ret)
{
    ret->size = 0;
    MUST(output_read(p->o, "a/index.jsonl", 1 << 20, ret, e));
}

static int count(const struct buf *text, const char *word)
{
    int n = 0;

    for (const char *at = buf_text(text); (at = strstr(at, word)); at++)
        n++;
    return n;
}

static const uint64_t first[] = {0, 1, 2}, second[] = {5, 3};

static void lines_that_a_crash_kept_back_are_appended(void **state)
{
    struct place *p = *state;
    struct buf text = {0};

    batch(p, first, 3, false);
    batch(p, second, 2, true);
    MUST(index_restart(p->o, p->s, 1, "a", e));
    read_index(p, &text);
    assert_int_equal(count(&text, "\n"), 5);
    assert_true(strstr(buf_text(&text), "{\"index\":5,") <
                strstr(buf_text(&text), "{\"index\":3,"));
    MUST(index_restart(p->o, p->s, 1, "a", e));
    read_index(p, &text);
    assert_int_equal(count(&text, "\n"), 5);
    buf_done(&text);
}

static void what_stands_before_the_mark_is_not_read(void **state)
{
    struct place *p = *state;
    struct buf text = {0};

    batch(p, first, 3, false);
    read_index(p, &text);
    text.data[3] = '#';
    MUST(output_replace(p->o, "a/index.jsonl", &text, e));
    batch(p, second, 2, true);
    MUST(index_restart(p->o, p->s, 1, "a", e));
    read_index(p, &text);
    assert_int_equal(text.data[3], '#');
    assert_int_equal(count(&text, "\n"), 5);
    buf_done(&text);
}

static void a_torn_end_is_cut_and_written_again(void **state)
{
    struct place *p = *state;
    struct buf text = {0};

    batch(p, first, 3, false);
    batch(p, second, 2, false);
    read_index(p, &text);
    text.size -= 70;
    MUST(output_replace(p->o, "a/index.jsonl", &text, e));
    MUST(index_restart(p->o, p->s, 1, "a", e));
    read_index(p, &text);
    assert_int_equal(count(&text, "\n"), 5);
    assert_int_equal(count(&text, "{\"index\":3,"), 1);
    assert_int_equal(text.data[text.size - 1], '\n');
    buf_done(&text);
}

static void a_file_shorter_than_the_mark_is_made_anew(void **state)
{
    struct place *p = *state;
    struct buf text = {0};

    batch(p, first, 3, false);
    batch(p, second, 2, false);
    read_index(p, &text);
    text.size = 50;
    MUST(output_replace(p->o, "a/index.jsonl", &text, e));
    MUST(index_restart(p->o, p->s, 1, "a", e));
    read_index(p, &text);
    assert_int_equal(count(&text, "\n"), 5);
    assert_int_equal(count(&text, "{\"index\":"), 5);
    buf_done(&text);
}

static void without_a_mark_lines_are_counted(void **state)
{
    struct place *p = *state;
    struct buf text = {0};

    batch(p, first, 3, false);
    batch(p, second, 2, true);
    MUST(store_begin(p->s, e));
    MUST(store_unmark(p->s, 1, e));
    MUST(store_commit(p->s, e));
    MUST(index_restart(p->o, p->s, 1, "a", e));
    read_index(p, &text);
    assert_int_equal(count(&text, "\n"), 5);
    buf_done(&text);
}

static int nothing(void *user, struct restored *r, struct err *e)
{
    (void)user;
    (void)r;
    (void)e;
    return 0;
}

static void a_reopened_job_has_no_mark(void **state)
{
    struct place *p = *state;
    uint64_t *tasks, bytes;
    size_t n;
    struct err why;

    batch(p, first, 3, false);
    reopen_job(p->s, REOPEN_ALL, NULL, nothing, NULL);
    assert_int_equal(store_marked(p->s, 1, &bytes, &tasks, &n, &why), ERR_MISSING);
}

int main(void)
{
#define SENTENCE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        SENTENCE(lines_that_a_crash_kept_back_are_appended),
        SENTENCE(what_stands_before_the_mark_is_not_read),
        SENTENCE(a_torn_end_is_cut_and_written_again),
        SENTENCE(a_file_shorter_than_the_mark_is_made_anew),
        SENTENCE(without_a_mark_lines_are_counted),
        SENTENCE(a_reopened_job_has_no_mark),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
