/* Attempts without a picture: only a coordinator that is measured takes them, into its own state.
 */
#include "coordinator/store.h"
#include "tests/coordinator/table.h"

static void empty(struct table *t, const char *from, uint64_t index, uint32_t attempt)
{
    struct msg m = {.type = MSG_EMPTY, .empty = {.ref = ref(t, index, attempt)}};

    say(t, from, &m);
}

static void a_coordinator_that_is_not_measured_refuses_it_and_nothing_changes(void **state)
{
    struct table *t = *state;

    submit(t, "a", 2);
    join(t, "w", 1);
    fresh(t);
    empty(t, "w", 0, 1);
    assert_refused(t, "w", "bad_input");
    assert_int_equal(count_of(t, OUT_STORE), 0);
    assert_int_equal(the_job(t)->done, 0);
}

static void a_measured_one_records_it_before_the_acknowledgement(void **state)
{
    struct table *t = *state;

    t->c.limits.empties = true;
    submit(t, "a", 2);
    join(t, "w", 1);
    fresh(t);
    empty(t, "w", 0, 1);
    assert_recorded_before_ack(t);
    assert_verdict(t, "w", "accepted");
    assert_string_equal(recorded(t, 0)->path, "");
    assert_int_equal(the_job(t)->done, 1);
    fresh(t);
    empty(t, "w", 0, 1);
    assert_verdict(t, "w", "duplicate");
}

static void a_state_of_measurements_is_never_opened_as_a_real_one(void **state)
{
    char *dir = temporary_folder();
    struct store *s;
    struct err why;

    (void)state;
    MUST(store_open(dir, &s, e));
    MUST(store_claim(s, true, e));
    MUST(store_claim(s, true, e));
    store_close(s);
    MUST(store_open(dir, &s, e));
    assert_int_equal(store_claim(s, false, &why), ERR_CONFLICT);
    MUST(store_claim(s, true, e));
    store_close(s);
    remove_tree(dir);
    free(dir);
}

static void a_state_with_jobs_does_not_become_one_of_measurements(void **state)
{
    char *dir = temporary_folder();
    struct job *job = seeds_job("a", 2);
    struct store_row row = {.op = STORE_JOB, .job = 1, .bundle = job, .folder = (char *)"a"};
    struct store *s;
    struct err why;

    (void)state;
    MUST(store_open(dir, &s, e));
    MUST(store_claim(s, false, e));
    MUST(store_begin(s, e));
    MUST(store_apply(s, &row, e));
    MUST(store_commit(s, e));
    assert_int_equal(store_claim(s, true, &why), ERR_CONFLICT);
    MUST(store_claim(s, false, e));
    store_close(s);
    job_free(job);
    remove_tree(dir);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SENTENCE(a_coordinator_that_is_not_measured_refuses_it_and_nothing_changes),
        SENTENCE(a_measured_one_records_it_before_the_acknowledgement),
        cmocka_unit_test(a_state_of_measurements_is_never_opened_as_a_real_one),
        cmocka_unit_test(a_state_with_jobs_does_not_become_one_of_measurements),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
