/* litho-worker as a whole: the built program against a coordinator that this test plays. */
#include "engine/engine.h"
#include "proto/json.h"
#include "proto/png.h"
#include "tests/worker/stage.h"

static void has_its_chunks(const struct msg_result *m)
{
    struct buf text = {0};
    json_t *root = NULL;
    struct err e = {0};

    if (png_text_get(m->png, m->png_size, "litho", &text, &e) != 0 ||
        json_read("litho", buf_text(&text), text.size, &root, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(json_string_value(json_object_get(root, "device_class")), m->device_class);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "task"), "seed")), 7);
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "model"), "name")),
                        "sticker-128");
    assert_true(json_object_size(json_object_get(json_object_get(root, "model"), "files")) >= 5);
    text.size = 0;
    if (png_text_get(m->png, m->png_size, "parameters", &text, &e) != 0)
        fail_msg("%s", e.text);
    assert_non_null(strstr(buf_text(&text), "a red apple\nSteps: 2, Sampler: DPM++ 2M"));
    json_decref(root);
    buf_done(&text);
}

static void lease_becomes_a_picture_twice_with_the_same_bytes(void **state)
{
    struct stage s;
    const struct msg *m;
    struct buf first = {0};
    uint8_t *pixels = NULL;
    char hash[HASH_HEX_SIZE];
    int width, height;

    (void)state;
    enter(&s);
    start_worker(&s);
    m = hear(&s, MSG_HELLO);
    assert_string_equal(m->hello.role, "worker");
    assert_string_equal(m->hello.name, "tested");
    assert_string_equal(m->hello.device_class, engine_probe_class(BACKEND_CPU, PRECISION_AUTO));
    assert_int_equal(m->hello.threads, 2);
    assert_int_equal(m->hello.n_precisions, 3); /* all but f16, which is for cards */
    assert_string_equal(m->hello.precisions[0].asked, "f32");
    assert_string_equal(m->hello.precisions[0].computed, "f32");
    assert_string_equal(m->hello.precisions[0].device_class, "cpu");
    assert_string_equal(m->hello.precisions[2].asked, "auto");
    assert_string_equal(m->hello.precisions[2].device_class, m->hello.device_class);
    say(&s, &(struct msg){.type = MSG_WELCOME,
                          .welcome = {.protocol = 1,
                                      .heartbeat_ms = 500,
                                      .silence_ms = 60000,
                                      .frame_max = MSG_FRAME_MAX}});
    assert_int_equal(hear(&s, MSG_READY)->ready.credits, 2);
    lease(&s, 3, 1, TASK("2"));
    lease(&s, 4, 1, TASK("2"));
    assert_int_equal(hear(&s, MSG_PROGRESS)->progress.steps, 2);
    m = hear(&s, MSG_RESULT);
    assert_int_equal(m->result.ref.index, 3);
    assert_int_equal(png_decode(m->result.png, m->result.png_size, &pixels, &width, &height, NULL),
                     0);
    assert_int_equal(width, 64);
    assert_int_equal(height, 64);
    assert_int_equal(hash_bytes(m->result.png, m->result.png_size, hash, NULL), 0);
    assert_string_equal(m->result.sha256, hash);
    has_its_chunks(&m->result);
    buf_append(&first, m->result.png, m->result.png_size);
    acknowledge(&s, 3, 1);
    m = hear(&s, MSG_RESULT);
    assert_int_equal(m->result.ref.index, 4);
    assert_true(m->result.load_seconds == 0);
    assert_int_equal(m->result.png_size, first.size);
    assert_memory_equal(m->result.png, first.data, first.size);
    acknowledge(&s, 4, 1);
    kill(s.pid, SIGTERM);
    hear(&s, MSG_BYE);
    assert_int_equal(exit_code(&s), 0);
    free(pixels);
    buf_done(&first);
    leave(&s);
}

static void result_is_offered_again_to_a_restarted_coordinator(void **state)
{
    const struct msg hello_first = {.type = MSG_ERROR,
                                    .error = {.code = "conflict", .text = MSG_HELLO_FIRST}};
    struct stage s;
    const struct msg *m;
    struct buf first = {0};

    (void)state;
    enter(&s);
    start_worker(&s);
    welcome(&s);
    hear(&s, MSG_READY);
    lease(&s, 5, 2, TASK("1"));
    m = hear(&s, MSG_RESULT);
    buf_append(&first, m->result.png, m->result.png_size);
    link_close(s.router, 0); /* without an ack: the coordinator dies, and comes back */
    assert_int_equal(link_listen(s.endpoint, &s.router, NULL), 0);
    hear(&s, MSG_PING);
    say(&s, &hello_first);
    welcome(&s);
    m = hear(&s, MSG_READY);
    assert_int_equal(m->ready.n_held, 1);
    assert_int_equal(m->ready.held[0].index, 5);
    assert_int_equal(m->ready.held[0].attempt, 2);
    m = hear(&s, MSG_RESULT);
    assert_int_equal(m->result.png_size, first.size);
    assert_memory_equal(m->result.png, first.data, first.size);
    acknowledge(&s, 5, 2);
    kill(s.pid, SIGTERM);
    hear(&s, MSG_BYE);
    assert_int_equal(exit_code(&s), 0);
    buf_done(&first);
    leave(&s);
}

static void revoked_and_broken_leases_leave_room_for_the_next(void **state)
{
    const struct msg revoke = {.type = MSG_REVOKE,
                               .revoke = {.ref = {.job = JOB, .index = 1, .attempt = 1}}};
    struct stage s;
    const struct msg *m;

    (void)state;
    enter(&s);
    start_worker(&s);
    welcome(&s);
    hear(&s, MSG_READY);
    lease(&s, 1, 1, TASK("900"));
    hear(&s, MSG_PROGRESS);
    say(&s, &revoke);
    lease(&s, 2, 1, "no task");
    m = hear(&s, MSG_FAILED);
    assert_int_equal(m->failed.ref.index, 2);
    assert_string_equal(m->failed.code, "bad_input");
    assert_false(m->failed.retryable);
    acknowledge(&s, 2, 1);
    assert_int_equal(hear(&s, MSG_READY)->ready.credits, 2);
    kill(s.pid, SIGINT);
    hear(&s, MSG_BYE);
    assert_int_equal(exit_code(&s), 0);
    leave(&s);
}

static void signal_in_mid_render_hands_the_lease_back(void **state)
{
    struct stage s;
    const struct msg *m;

    (void)state;
    enter(&s);
    start_worker(&s);
    welcome(&s);
    hear(&s, MSG_READY);
    lease(&s, 1, 1, TASK("900"));
    hear(&s, MSG_PROGRESS);
    kill(s.pid, SIGTERM);
    m = hear(&s, MSG_FAILED);
    assert_int_equal(m->failed.ref.index, 1);
    assert_string_equal(m->failed.code, "cancelled");
    assert_true(m->failed.retryable);
    acknowledge(&s, 1, 1);
    hear(&s, MSG_BYE);
    assert_int_equal(exit_code(&s), 0);
    leave(&s);
}

static void another_protocol_version_ends_the_program(void **state)
{
    const struct msg refusal = {.type = MSG_ERROR,
                                .error = {.code = "conflict", .text = "speaks 2 to 3, you 1"}};
    struct stage s;

    (void)state;
    enter(&s);
    start_worker(&s);
    hear(&s, MSG_HELLO);
    say(&s, &refusal);
    assert_int_equal(exit_code(&s), 1);
    leave(&s);
}

static void garbage_from_the_coordinator_is_survived(void **state)
{
    struct stage s;

    (void)state;
    enter(&s);
    start_worker(&s);
    welcome(&s);
    hear(&s, MSG_READY);
    assert_int_equal(link_send(s.router, &s.worker, "\xdd\xff\xff\xff\xff", 5, NULL), 0);
    hear(&s, MSG_PING);
    kill(s.pid, SIGTERM);
    hear(&s, MSG_BYE);
    assert_int_equal(exit_code(&s), 0);
    leave(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lease_becomes_a_picture_twice_with_the_same_bytes),
        cmocka_unit_test(result_is_offered_again_to_a_restarted_coordinator),
        cmocka_unit_test(revoked_and_broken_leases_leave_room_for_the_next),
        cmocka_unit_test(signal_in_mid_render_hands_the_lease_back),
        cmocka_unit_test(another_protocol_version_ends_the_program),
        cmocka_unit_test(garbage_from_the_coordinator_is_survived),
    };

    return cmocka_run_group_tests_name("program", tests, NULL, NULL);
}
