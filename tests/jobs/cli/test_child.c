#include "jobs/cli/child.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* A program beside this one, since that is where children come from. */
struct program {
    char name[64], path[4200], log[4200];
};

static int set_up(void **state)
{
    struct program *p = calloc(1, sizeof(*p));
    char *folder;

    assert_int_equal(child_programs_folder(&folder, NULL), 0);
    snprintf(p->name, sizeof(p->name), "test-child-%ld", (long)getpid());
    snprintf(p->path, sizeof(p->path), "%s/%s", folder, p->name);
    snprintf(p->log, sizeof(p->log), "%s/%s.log", folder, p->name);
    free(folder);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct program *p = *state;

    unlink(p->path);
    unlink(p->log);
    free(p);
    return 0;
}

static void start(struct program *p, const char *script, struct child *child)
{
    const char *argv[] = {p->name, NULL};
    FILE *file = fopen(p->path, "w");
    struct err e;

    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    assert_int_equal(chmod(p->path, 0755), 0);
    assert_int_equal(child_start(child, argv, p->log, &e), 0);
}

static void wait_for_end(struct child *child)
{
    while (!child_ended(child))
        poll(NULL, 0, 1);
}

static void check_how(const struct child *child, const char *expected)
{
    struct buf text = {0};

    child_how_ended(child, &text);
    assert_string_equal(buf_text(&text), expected);
    buf_done(&text);
}

static void end_is_told_with_exit_code_and_last_log_lines(void **state)
{
    struct child child = {0};
    struct buf tail = {0};

    start(*state, "for i in 1 2 3 4; do echo line $i; done; printf '\\033bad' >&2; exit 3", &child);
    wait_for_end(&child);
    check_how(&child, "exit code 3");
    child_log_tail(&child, 2, &tail);
    assert_string_equal(buf_text(&tail), "  line 4\n  ?bad\n");
    buf_done(&tail);
    child_done(&child);
}

static void signal_ends_it(void **state)
{
    struct child child = {0};

    start(*state, "exec sleep 1000", &child);
    assert_false(child_ended(&child));
    child_signal(&child, SIGTERM);
    wait_for_end(&child);
    check_how(&child, "killed by signal 15 (Terminated)");
    child_done(&child);
}

static void done_kills_what_still_runs(void **state)
{
    struct child child = {0};
    pid_t pid;

    start(*state, "exec sleep 1000", &child);
    pid = child.pid;
    child_done(&child);
    assert_int_equal(kill(pid, 0), -1);
}

static void it_is_out_of_the_terminals_reach(void **state)
{
    struct child child = {0};

    start(*state, "exec sleep 1000", &child);
    while (getpgid(child.pid) != child.pid) /* the child does that first of all */
        assert_false(child_ended(&child));
    child_done(&child);
}

static void missing_program_is_named(void **state)
{
    const char *argv[] = {"no-such-program", NULL};
    struct program *p = *state;
    struct child child = {0};
    struct err e;

    assert_int_equal(child_start(&child, argv, p->log, &e), ERR_MISSING);
    assert_non_null(strstr(e.text, "no-such-program"));
    child_done(&child);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(end_is_told_with_exit_code_and_last_log_lines),
        TEST(signal_ends_it),
        TEST(done_kills_what_still_runs),
        TEST(it_is_out_of_the_terminals_reach),
        TEST(missing_program_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
