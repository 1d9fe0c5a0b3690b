/* What hostile names and texts look like once they are shown. */
#include "proto/msg_plain.h"
#include "proto/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SHOWN(text, expected)                                                                      \
    do {                                                                                           \
        char copy[] = text;                                                                        \
        plain_text(copy);                                                                          \
        assert_string_equal(copy, expected);                                                       \
    } while (0)

static void text_for_people_stays_as_it_is(void **state)
{
    (void)state;
    SHOWN("", "");
    SHOWN("caf\xc3\xa9 \xe2\x80\x94 \xf0\x9f\xa6\x8a \xd7\xa9\xd7\x9c",
          "caf\xc3\xa9 \xe2\x80\x94 \xf0\x9f\xa6\x8a \xd7\xa9\xd7\x9c");
    SHOWN("\xc2\xa0\xe2\x80\xa9\xe2\x81\xa5\xe2", "\xc2\xa0\xe2\x80\xa9\xe2\x81\xa5\xe2");
}

static void what_steers_a_terminal_becomes_question_marks(void **state)
{
    (void)state;
    SHOWN("a\033[2Jb", "a?[2Jb");
    SHOWN("\033]0;title\007\177", "?]0;title??");
    SHOWN("a\xc2\x9b"
          "31mb",
          "a?31mb"); /* U+009B is CSI */
    SHOWN("a\r\033[K", "a??[K");
}

static void lines_and_tabs_become_blanks(void **state)
{
    (void)state;
    SHOWN("a\nb\tc", "a b c");
}

static void marks_that_turn_the_direction_are_seen(void **state)
{
    (void)state;
    SHOWN("x\xe2\x80\xaegnp.exe", "x?gnp.exe");
    SHOWN("\xe2\x80\xaa\xe2\x80\xac\xe2\x81\xa6\xe2\x81\xa9", "????");
}

/* Strings of the message, of its map and of its rows; what is missing is "". */
static void every_string_of_a_message_is_made_plain(void **state)
{
    struct running_task running = {.worker = "w\033[1m"};
    struct failure failure = {.code = "x\007", .text = "one\ntwo"};
    struct msg m = {.type = MSG_JOB,
                    .job = {.request = 1,
                            .summary = {.name = "n\033c", .state = "done", .folder = "/a\xc2\x90"},
                            .running = &running,
                            .n_running = 1,
                            .failures = &failure,
                            .n_failures = 1}},
               back;
    struct buf frame = {0};

    (void)state;
    memset(m.job.summary.job, 'a', HASH_HEX_SIZE - 1);
    assert_int_equal(msg_encode(&m, &frame, NULL), 0);
    assert_int_equal(msg_decode(frame.data, frame.size, &back, NULL), 0);
    msg_plain(&back);
    assert_string_equal(back.job.summary.name, "n?c");
    assert_string_equal(back.job.summary.state, "done");
    assert_string_equal(back.job.summary.folder, "/a?");
    assert_string_equal(back.job.summary.reason, "");
    assert_string_equal(back.job.running[0].worker, "w?[1m");
    assert_string_equal(back.job.failures[0].code, "x?");
    assert_string_equal(back.job.failures[0].text, "one two");
    msg_done(&back);
    buf_done(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_for_people_stays_as_it_is),
        cmocka_unit_test(what_steers_a_terminal_becomes_question_marks),
        cmocka_unit_test(lines_and_tabs_become_blanks),
        cmocka_unit_test(marks_that_turn_the_direction_are_seen),
        cmocka_unit_test(every_string_of_a_message_is_made_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
