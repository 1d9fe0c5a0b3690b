/* The corpus in tests/fuzz/corpus/manifest, and some thousand damaged copies of it: whatever the
 * bytes, a manifest is accepted with a bundle that loads, or refused with a reason. */
#include "tests/fuzz/damage.h"
#include "tests/jobs/manifest_case.h"

#include <dirent.h>

#define ROUNDS 250 /* damaged copies of each file */

/* Bytes that mean something in YAML, CSV or the language itself. */
static const char *const tokens[] = {
    "\n", "  ",   ": ",       "- ",     "[",    "]",   "{",        "}",   "\"",     "'",   "&a ",
    "*a", "# ",   "|",        ">",      ",",    "*",   "(",        ")",   "${",     "1-",  "[9",
    "%",  "---",  "...",      "\t",     "\xff", "\\0", "!!",       "<<",  "-1",     "1e9", "..",
    "/",  ".png", "\xc3\xa9", "<lora:", ":1>",  "AND", "{prompt}", "yes", "Karras", "null"};

/* No task of a job that loads is wrong. */
static void first_and_last_are_tasks(const struct job *job)
{
    uint64_t indices[] = {job_next(job, 0), job_span(job) - 1};
    struct err e = {0};

    for (size_t i = 0; i < 2; i++) {
        struct task t = {0};

        if (job_excluded(job, indices[i]))
            continue;
        assert_int_equal(job_task(job, indices[i], &t, NULL), 0);
        if (task_check(&t, &e) != 0)
            fail_msg("task %llu: %s", (unsigned long long)indices[i], e.text);
        task_done(&t);
    }
}

/* As a manifest, as its list file and as its CSV file. */
static void try_one(const struct buf *text)
{
    struct outcome out;

    write_file("list.txt", buf_text(text));
    write_file("list.csv", buf_text(text));
    out = read_text(buf_text(text));
    if (out.rc == 0) {
        struct job *job = NULL;

        assert_int_equal(out.d.n_errors, 0);
        assert_int_equal(job_load(out.bundle.data, out.bundle.size, &job, NULL), 0);
        assert_true(job_count(job) > 0);
        first_and_last_are_tasks(job);
        job_free(job);
    } else {
        assert_int_equal(out.rc, ERR_INPUT);
        assert_true(out.d.n_errors > 0);
        assert_true(out.d.n > 0);
    }
    outcome_done(&out);
    out = read_text(HEAD "axes: {thing: {file: list.txt}, rows: {csv: list.csv}}\n");
    assert_true(out.rc == 0 || out.rc == ERR_INPUT);
    outcome_done(&out);
}

static size_t try_file(const char *path)
{
    struct damage how = {tokens, sizeof tokens / sizeof *tokens, DAMAGE_SEED};
    struct buf text = {0};

    assert_int_equal(buf_read_file(&text, path, MANIFEST_FILE_MAX, NULL), 0);
    try_one(&text);
    for (int i = 0; i < ROUNDS; i++) {
        /* Damage adds up over a few rounds, then starts again. */
        if (i % 5 == 0) {
            text.size = 0;
            assert_int_equal(buf_read_file(&text, path, MANIFEST_FILE_MAX, NULL), 0);
        }
        damage(&how, &text);
        try_one(&text);
    }
    buf_done(&text);
    return 1;
}

static void damaged_manifests_are_refused_with_a_reason(void **state)
{
    DIR *dir = opendir(SOURCE_DIR "/tests/fuzz/corpus/manifest");
    struct dirent *entry;
    size_t n = 0;

    (void)state;
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        struct buf path = {0};

        if (entry->d_name[0] == '.')
            continue;
        buf_printf(&path, SOURCE_DIR "/tests/fuzz/corpus/manifest/%s", entry->d_name);
        n += try_file(buf_text(&path));
        buf_done(&path);
    }
    closedir(dir);
    assert_true(n >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_manifests_are_refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
