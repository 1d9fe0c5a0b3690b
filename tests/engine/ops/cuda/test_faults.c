/*
 * Calls of NVIDIA's libraries that fail, each once: what is told, that nothing leaks, that a dead
 * device is told apart. Of the operations; whole pictures: test_picture_faults.c.
 */
#include "tests/engine/ops/cuda/faults.h"

/* Calls until all was done but for freeing what was taken, where there is nobody to tell. */
static uint64_t calls_in_all;

static void assert_told(const struct err *e)
{
    if (!is_told(e))
        fail_msg("'%s' failed: %s", sim->failed(), e->text);
}

static void assert_nothing_left(void)
{
    struct gpusim_counts c = sim->counts();

    if (!nothing_is_left())
        fail_msg("%zu bytes of the device and %zu pinned are left after '%s'", c.device_bytes,
                 c.pinned_bytes, sim->failed());
}

#define SIDE 4
#define WIDE 16
#define N    (SIDE * SIDE * WIDE)

struct layers {
    struct ops *o;
    struct linear *linear;
    struct conv *conv;
    struct norm *norm;
    void *memory;
    struct act *x, *y;
};

static int make_layers(struct layers *l, struct err *e)
{
    static float numbers[WIDE * WIDE * 9];
    const struct tensor w = {numbers, DTYPE_F32, 2, {WIDE, WIDE}};
    const struct tensor taps = {numbers, DTYPE_F32, 4, {WIDE, WIDE, 3, 3}};
    const struct tensor row = {numbers, DTYPE_F32, 1, {WIDE}};
    int rc = 0;

    TRY(ops_cuda_new(0, PRECISION_F16, &l->o, e));
    TRY(l->o->linear_new(l->o, &w, &row, &l->linear, e));
    TRY(l->o->conv_new(l->o, &taps, &row, &l->conv, e));
    TRY(l->o->norm_new(l->o, &row, &row, &l->norm, e));
    TRY(l->o->memory_new(l->o, 2 * N * l->o->act_bytes, &l->memory, e));
    l->x = l->memory;
    l->y = act_at(l->o, l->x, N);
out:
    return rc;
}

static int call_layers(const struct layers *l, struct err *e)
{
    struct ops *o = l->o;
    int rc = 0;

    TRY(o->linear(o, l->y, l->x, l->linear, SIDE * SIDE, ACT_SILU, NULL, e));
    TRY(o->conv2d(o, l->x, l->y, l->conv, 1, SIDE, SIDE, 1, (int[]){1, 1, 1, 1}, NULL, NULL, e));
    TRY(o->group_norm(o, l->y, l->x, l->norm, 1, SIDE * SIDE, WIDE, 4, 1e-5f, ACT_SILU, e));
    TRY(o->layer_norm(o, l->x, l->y, l->norm, SIDE * SIDE, WIDE, 1e-5f, e));
    TRY(o->attention(o, l->y, l->x, l->x, l->x, 1, SIDE * SIDE, SIDE * SIDE, 2, WIDE / 2, 1, false,
                     e));
    TRY(o->add(o, l->x, l->x, l->y, N, e));
out:
    return rc;
}

/* As a render does: planned, then three times, recorded. */
static int run_layers(const struct layers *l, struct err *e)
{
    static const float numbers[N];
    float back[N];
    bool done;
    int key = 1, rc = 0;

    for (int i = 0; i < 3; i++) {
        TRY(l->o->put(l->o, l->x, numbers, N, e));
        TRY(l->o->record(l->o, &key, sizeof key, &done, e));
        if (!done) {
            int calls = call_layers(l, e);

            rc = l->o->record_end(l->o, calls != 0, e);
            TRY(calls != 0 ? calls : rc);
        }
        TRY(l->o->get(l->o, back, l->y, N, e));
    }
out:
    return rc;
}

static void free_layers(const struct layers *l)
{
    l->o->linear_free(l->o, l->linear);
    l->o->conv_free(l->o, l->conv);
    l->o->norm_free(l->o, l->norm);
    l->o->memory_free(l->o, l->memory);
    l->o->free(l->o);
}

static int use_layers(struct err *e)
{
    struct layers l = {0};
    struct workspace plan, w = {0};
    int rc = 0;

    TRY(make_layers(&l, e));
    workspace_plan(&plan, l.o);
    TRY(run_layers(&l, e));
    TRY(workspace_init(&w, l.o, &plan, e));
    TRY(run_layers(&l, e));
    calls_in_all = sim->counts().calls;
out:
    if (l.o == NULL)
        return rc;
    workspace_done(&w, l.o);
    free_layers(&l);
    return rc;
}

/*
 * use() with the nth call failing, for every n; how many it are. Without memory for a
 * trial, calls are made one by one instead, with the same bytes; a wait before memory is freed has
 * nobody to tell, and what it meets the next call meets too: one of three may succeed.
 */
static int sweep(int (*use)(struct err *), enum gpusim_fault fault, int code)
{
    int n = 0, survived = 0, rc;
    struct err e;

    for (uint64_t nth = 1;; nth++, n++) {
        sim->plan(fault, nth);
        rc = use(&e);
        assert_nothing_left();
        if (sim->failed() == NULL || (rc == 0 && nth > calls_in_all))
            break;
        survived += rc == 0;
        if (rc == 0 &&
            (fault == GPUSIM_FAIL_MEMORY || strcmp(sim->failed(), "cudaStreamSynchronize") == 0))
            continue;
        if (rc != code)
            fail_msg("call %d, '%s', failed: %d, not %d: %s", (int)nth, sim->failed(), rc, code,
                     rc != 0 ? e.text : "as if nothing were");
        assert_told(&e);
    }
    assert_int_equal(rc, 0);
    sim->plan(GPUSIM_FAIL_NONE, 0);
    print_message("  %d calls failed, %d without harm\n", n, survived);
    assert_true(survived * 3 <= n);
    return n;
}

static void each_call_of_the_operations_that_fails_is_told_by_name_and_leaks_nothing(void **state)
{
    (void)state;
    assert_in_range(sweep(use_layers, GPUSIM_FAIL_ANY, ERR_INTERNAL), 150, 10000);
}

static void each_call_of_the_operations_that_finds_no_memory_is_class_oom(void **state)
{
    (void)state;
    assert_in_range(sweep(use_layers, GPUSIM_FAIL_MEMORY, ERR_OOM), 30, 10000);
}

static void each_call_of_the_operations_that_finds_the_device_dead_says_so(void **state)
{
    (void)state;
    assert_in_range(sweep(use_layers, GPUSIM_FAIL_DEVICE, ERR_DEVICE), 150, 10000);
}

/* What a first run has not come to is not loaded, which a capture cannot do: nothing may wait in
 * one, as get() does. */
static void calls_that_failed_when_they_were_first_made_are_not_captured_next(void **state)
{
    static float numbers[N];
    struct layers l = {0};
    int key = 1;
    struct err e;
    bool done;

    (void)state;
    sim->plan(GPUSIM_FAIL_NONE, 0);
    assert_int_equal(make_layers(&l, &e), 0);
    assert_int_equal(l.o->record(l.o, &key, sizeof key, &done, &e), 0);
    assert_int_equal(l.o->record_end(l.o, true, &e), 0);
    assert_int_equal(l.o->put(l.o, l.x, numbers, N, &e), 0);
    assert_int_equal(l.o->record(l.o, &key, sizeof key, &done, &e), 0);
    assert_false(done);
    assert_int_equal(l.o->get(l.o, numbers, l.x, N, &e), 0);
    assert_int_equal(l.o->record_end(l.o, false, &e), 0);
    free_layers(&l);
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_of_the_operations_that_fails_is_told_by_name_and_leaks_nothing),
        cmocka_unit_test(each_call_of_the_operations_that_finds_no_memory_is_class_oom),
        cmocka_unit_test(each_call_of_the_operations_that_finds_the_device_dead_says_so),
        cmocka_unit_test(calls_that_failed_when_they_were_first_made_are_not_captured_next),
    };

    int missing = find_control();

    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
