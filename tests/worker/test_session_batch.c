/* Leases of one kind are rendered together, and each ends for itself. */
#include "tests/worker/session_case.h"
#include "worker/kind.h"

#define TASK(prompt, sampler, steps, seed)                                                         \
    "{\"cfg_scale\":5,\"height\":64,\"model\":\"m\",\"negative_prompt\":\"\","                     \
    "\"precision\":\"f32\",\"prompt\":\"" prompt "\",\"sampler\":\"" sampler "\","                 \
    "\"scheduler\":\"automatic\",\"seed\":" seed ",\"steps\":" steps ",\"width\":64}"
#define FOX   TASK("a fox", "euler", "4", "1")
#define OWL   TASK("an owl", "euler", "4", "2")
#define PIZZA TASK("a pizza", "euler", "4", "3")
#define OTHER TASK("a fox", "heun", "4", "1")

static struct session *opened_for(uint32_t batch, uint64_t batch_pixels)
{
    struct session *s = start_with(
        (struct session_options){.capacity = 2, .batch = batch, .batch_pixels = batch_pixels});

    assert_int_equal(sends(s, MSG_HELLO)->hello.batch, batch);
    hear_welcome(s, T0);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 2);
    nothing_more(s);
    return s;
}

static void lease(struct session *s, uint64_t index, const char *task, bool alone)
{
    const struct msg m = {.type = MSG_LEASE,
                          .lease = {.ref = ref(index, 1), .task = task, .alone = alone}};

    hear(s, &m, T0);
}

/* Task 0 runs; what is leased meanwhile waits. */
static struct session *busy(uint32_t batch)
{
    struct session *s = opened_for(batch, 0);

    lease(s, 0, FOX, false);
    assert_int_equal(does(s, SESSION_START)->n_tasks, 1);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 2 * batch - 1);
    nothing_more(s);
    return s;
}

static void leases_that_wait_and_go_together_are_started_together(void **state)
{
    struct session *s = busy(3);
    const struct session_action *a;

    (void)state;
    lease(s, 1, OWL, false);
    lease(s, 2, OTHER, false);
    lease(s, 3, PIZZA, false);
    lease(s, 4, FOX, false);
    lease(s, 5, FOX, false);
    while (session_next(s))
        ;
    render_ends(s, "PNG");
    sends(s, MSG_RESULT);
    a = does(s, SESSION_START);
    assert_int_equal(a->n_tasks, 3);
    assert_int_equal(a->ref.index, 1);
    assert_string_equal(a->tasks[0], OWL);
    assert_string_equal(a->tasks[1], PIZZA);
    assert_string_equal(a->tasks[2], FOX);
    assert_int_equal(a->refs[0]->index, 1); /* whose files each is rendered from */
    assert_int_equal(a->refs[1]->index, 3);
    assert_int_equal(a->refs[2]->index, 4);
    session_free(s);
}

static void each_of_a_batch_has_its_progress_and_its_end(void **state)
{
    struct session *s = busy(2);

    (void)state;
    lease(s, 1, OWL, false);
    lease(s, 2, PIZZA, false);
    render_ends(s, "PNG");
    sends(s, MSG_RESULT);
    assert_int_equal(does(s, SESSION_START)->n_tasks, 2);
    sends(s, MSG_READY);
    assert_int_equal(session_progress(s, 2, 4, T0, NULL), 0);
    assert_int_equal(sends(s, MSG_PROGRESS)->progress.ref.index, 1);
    assert_int_equal(sends(s, MSG_PROGRESS)->progress.ref.index, 2);
    nothing_more(s);
    render_ends(s, "PNG");
    assert_int_equal(sends(s, MSG_RESULT)->result.ref.index, 1);
    sends(s, MSG_READY);
    nothing_more(s); /* the other one still runs */
    assert_int_equal(session_failed(s, &(struct err){ERR_OUTPUT, "NaN"}, T0, NULL), 0);
    assert_int_equal(sends(s, MSG_FAILED)->failed.ref.index, 2);
    sends(s, MSG_READY);
    nothing_more(s);
    session_free(s);
}

static void what_must_be_alone_is_rendered_alone(void **state)
{
    struct session *s = busy(4);

    (void)state;
    lease(s, 1, OWL, true);
    sends(s, MSG_READY);
    lease(s, 2, PIZZA, false);
    while (session_next(s))
        ;
    render_ends(s, "PNG");
    sends(s, MSG_RESULT);
    assert_int_equal(does(s, SESSION_START)->n_tasks, 1);
    sends(s, MSG_READY);
    render_ends(s, "PNG");
    sends(s, MSG_RESULT);
    assert_int_equal(does(s, SESSION_START)->ref.index, 2);
    session_free(s);
}

static void a_batch_is_cancelled_when_nobody_wants_any_of_it(void **state)
{
    struct session *s = busy(2);

    (void)state;
    lease(s, 1, OWL, false);
    lease(s, 2, PIZZA, false);
    render_ends(s, "PNG");
    sends(s, MSG_RESULT);
    does(s, SESSION_START);
    sends(s, MSG_READY);
    hear_ref(s, MSG_REVOKE, 1, 1);
    sends(s, MSG_READY);
    nothing_more(s);
    render_ends(s, "unwanted"); /* the revoked one's picture, thrown away */
    sends(s, MSG_READY);
    nothing_more(s);
    hear_ref(s, MSG_REVOKE, 2, 1);
    does(s, SESSION_CANCEL);
    session_free(s);
}

static void large_pictures_are_rendered_one_by_one(void **state)
{
    struct session *s = opened_for(4, 2 * 64 * 64);

    (void)state;
    lease(s, 0, FOX, false);
    does(s, SESSION_START);
    assert_int_equal(sends(s, MSG_READY)->ready.credits, 3); /* two render, two wait */
    session_free(s);
    s = opened_for(4, 64 * 64);
    lease(s, 0, FOX, false);
    does(s, SESSION_START);
    nothing_more(s); /* room for one more, as it said */
    session_free(s);
}

static void leaving_hands_back_all_of_a_batch(void **state)
{
    struct session *s = busy(2);

    (void)state;
    lease(s, 1, OWL, false);
    lease(s, 2, PIZZA, false);
    render_ends(s, "PNG");
    while (session_next(s))
        ;
    assert_int_equal(session_leave(s, false, T0, NULL), 0);
    does(s, SESSION_CANCEL);
    nothing_more(s);
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(session_failed(s, &(struct err){ERR_CANCELLED, "stopped"}, T0, NULL), 0);
        assert_int_equal(sends(s, MSG_FAILED)->failed.ref.index, i);
        while (session_next(s))
            ;
    }
    session_free(s);
}

static void tasks_of_one_kind_differ_in_what_is_each_pictures_own(void **state)
{
    const uint64_t fox = kind_of(FOX).key;

    (void)state;
    assert_int_equal(kind_of(FOX).pixels, 64 * 64);
    assert_true(fox == kind_of(OWL).key);
    assert_false(fox == kind_of(OTHER).key);
    assert_false(fox == kind_of(TASK("a fox", "euler", "5", "1")).key);
    assert_false(fox == kind_of(TASK("a <lora:fur:1> fox", "euler", "4", "1")).key);
    assert_true(kind_of(TASK("a <lora:fur:1> fox", "euler", "4", "1")).key ==
                kind_of(TASK("one more <lora:fur:1>", "euler", "4", "9")).key);
    assert_int_equal(kind_of("{}").key, 0);
    assert_int_equal(kind_of("no JSON").key, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leases_that_wait_and_go_together_are_started_together),
        cmocka_unit_test(each_of_a_batch_has_its_progress_and_its_end),
        cmocka_unit_test(what_must_be_alone_is_rendered_alone),
        cmocka_unit_test(a_batch_is_cancelled_when_nobody_wants_any_of_it),
        cmocka_unit_test(large_pictures_are_rendered_one_by_one),
        cmocka_unit_test(leaving_hands_back_all_of_a_batch),
        cmocka_unit_test(tasks_of_one_kind_differ_in_what_is_each_pictures_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
