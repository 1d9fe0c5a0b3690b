/* A step of the sampler on the device against the host's, to the bit; and a render's steps, which
 * copy nothing. */
#include "tests/engine/cases.h"
#include "tests/engine/ops/cuda/fixture.h"
#include "tests/engine/step_case.h"

/* Latents of several shapes, guided and not, rescaled, repainted, with a mask beside them. */
static const struct step_case shapes[] = {
    {SAMPLER_EULER, 1, 1, 4, 0, 0, 0, false},     {SAMPLER_EULER, 1, 64, 4, 0, 1, 0, false},
    {SAMPLER_EULER, 3, 77, 4, 0, 1, 0.7f, false}, {SAMPLER_EULER, 2, 150, 4, 5, 2, 0, false},
    {SAMPLER_EULER, 2, 33, 16, 0, 1, 1, true},    {SAMPLER_EULER, 4, 13, 3, 0, 4, 0.25f, true},
};

/* On a card functions of float64 are another library's, so that noise may be off by an ulp. */
static void assert_latents(const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double allowed = cuda_is_emulated() ? 0 : 1e-5 * fmax(1, fabs((double)want[i]));

        if (!(fabs((double)got[i] - (double)want[i]) <= allowed))
            fail_msg("number %lld is %.9g, on the host %.9g", (long long)i, (double)got[i],
                     (double)want[i]);
    }
}

static void check(struct ops *ref, struct ops *o, const struct step_case *c)
{
    struct step_result want = step_run(ref, c, 5, 0), got = step_run(o, c, 5, 0);

    assert_int_equal(got.n_latents, want.n_latents);
    assert_latents(got.latents, want.latents, got.n_latents);
    for (int64_t i = 0; i < got.n_in; i++)
        assert_true(got.in[i] == cuda_rounded(want.in[i], o->precision) || !cuda_is_emulated());
    for (int i = 0; i < STEP_TIME_WIDTH; i++)
        assert_float_equal(got.time[i], cuda_rounded(want.time[i], o->precision),
                           cuda_is_emulated() ? 0 : 1e-2);
    assert_int_equal(got.bad, 0);
    step_result_done(&want);
    step_result_done(&got);
}

static void every_sampler_takes_the_hosts_steps_to_the_bit(void **state)
{
    struct ops *ref = backend_open(0);

    (void)state;
    for (int k = 0; k < CUDA_PRECISIONS; k++) {
        struct ops *o = cuda_with(cuda_precisions[k]);

        for (int sampler = 0; sampler < SAMPLER_COUNT; sampler++) {
            struct step_case c = shapes[(sampler + 3 * k) % 6];

            c.sampler = (enum sampler_id)sampler;
            check(ref, o, &c);
        }
        o->free(o);
    }
    ref->free(ref);
}

static void every_shape_takes_the_hosts_steps_to_the_bit(void **state)
{
    struct ops *ref = backend_open(0), *o = cuda_with(PRECISION_F16);

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int sampler = 0; sampler < 2; sampler++) {
            struct step_case c = shapes[i];

            c.sampler = sampler == 0 ? SAMPLER_EULER_A : SAMPLER_UNIPC;
            check(ref, o, &c);
        }
    ref->free(ref);
    o->free(o);
}

static void the_first_step_with_a_bad_answer_is_told(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);
    struct step_result r = step_run(o, &shapes[2], 5, 2);

    (void)state;
    assert_int_equal(r.bad, 2);
    step_result_done(&r);
    o->free(o);
}

static void check_pixels(enum precision precision)
{
    const int64_t n = 3 * 1000 * 7 + 1;
    struct ops *ref = backend_open(0), *o = cuda_with(precision);
    struct act *x = act_memory(o, n), *x_ref = act_memory(ref, n);
    uint8_t *got = malloc((size_t)n), *want = malloc((size_t)n);
    float *values = malloc((size_t)n * sizeof *values);
    struct workspace plan, w = {0};
    bool finite, any;

    for (int64_t i = 0; i < n; i++)
        values[i] = cuda_rounded((float)i / (float)n * 2.4f - 1.2f, precision);
    assert_ok(o->put(o, x, values, n, e));
    assert_ok(ref->put(ref, x_ref, values, n, e));
    workspace_plan(&plan, o);
    assert_ok(o->step->bytes(o, NULL, x, n, &finite, &any, e));
    assert_ok(workspace_init(&w, o, &plan, e));
    assert_ok(o->step->bytes(o, got, x, n, &finite, &any, e));
    assert_ok(o->step->settle(o, got, e));
    assert_true(finite && any);
    assert_ok(ref->step->bytes(ref, want, x_ref, n, &finite, &any, e));
    assert_ok(ref->step->settle(ref, want, e));
    assert_memory_equal(got, want, (size_t)n);
    assert_ok(o->step->bytes(o, got, x, n / 20, &finite, &any, e));
    assert_ok(o->step->settle(o, got, e));
    assert_true(finite && !any); /* all of them are black */
    assert_ok(o->put(o, act_at(o, x, n - 1), &(float){NAN}, 1, e));
    assert_ok(o->step->bytes(o, got, x, n, &finite, &any, e));
    assert_ok(o->step->settle(o, got, e));
    assert_false(finite);
    workspace_done(&w, o);
    free(values);
    free(got);
    free(want);
    o->memory_free(o, x);
    ref->memory_free(ref, x_ref);
    o->free(o);
    ref->free(ref);
}

static void pixels_leave_the_device_as_the_hosts_bytes(void **state)
{
    (void)state;
    for (int p = 0; p < CUDA_PRECISIONS; p++)
        check_pixels(cuda_precisions[p]);
}

/* ---- copies of a render's steps, counted */

static struct {
    struct step_ops step;           /* with counters in the place of some */
    const struct step_ops *step_of; /* the backend's own */
    int (*put)(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e);
    int (*get)(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e);
    int (*record)(struct ops *o, const void *key, size_t key_bytes, bool *ret_done, struct err *e);
    bool stepping; /* between a pass' begin and its picture */
    int copies, blocks, updates, replays, looks;
} seen;

static int count_put(struct ops *o, struct act *y, const float *x, int64_t n, struct err *e)
{
    seen.copies += seen.stepping;
    return seen.put(o, y, x, n, e);
}

static int count_get(struct ops *o, float *y, const struct act *x, int64_t n, struct err *e)
{
    seen.copies += seen.stepping;
    return seen.get(o, y, x, n, e);
}

static int count_latent_put(struct ops *o, struct latent *y, const float *x, int64_t n,
                            struct err *e)
{
    seen.copies += seen.stepping;
    return seen.step_of->put(o, y, x, n, e);
}

static int count_latent_get(struct ops *o, float *y, const struct latent *x, int64_t n,
                            struct err *e)
{
    seen.copies += seen.stepping;
    return seen.step_of->get(o, y, x, n, e);
}

static int count_record(struct ops *o, const void *key, size_t key_bytes, bool *ret_done,
                        struct err *e)
{
    int rc = seen.record(o, key, key_bytes, ret_done, e);

    seen.replays += *ret_done;
    return rc;
}

static int note_begin(struct ops *o, const struct step_place *at, struct err *e)
{
    seen.stepping = !o->planning;
    return seen.step_of->begin(o, at, e);
}

static int count_found(struct ops *o, const struct step_place *at, int *ret_bad, struct err *e)
{
    seen.looks += !o->planning;
    return seen.step_of->found(o, at, ret_bad, e);
}

static int note_picture(struct ops *o, struct act *y, const struct latent *x, int64_t n,
                        float divisor, float shift, struct err *e)
{
    seen.stepping = false;
    return seen.step_of->for_vae(o, y, x, n, divisor, shift, e);
}

static int count_set(struct ops *o, const struct step_place *at, const struct step_block *block,
                     struct err *e)
{
    seen.blocks += !o->planning;
    return seen.step_of->set(o, at, block, e);
}

static int count_update(struct ops *o, const struct step_place *at, const struct act *outputs,
                        bool rescales, struct err *e)
{
    seen.updates += !o->planning;
    return seen.step_of->update(o, at, outputs, rescales, e);
}

/* The backend counts from now on. */
static void watch(struct ops *o)
{
    memset(&seen, 0, sizeof seen);
    seen.step_of = o->step;
    seen.step = *o->step;
    seen.put = o->put;
    seen.get = o->get;
    seen.record = o->record;
    seen.step.put = count_latent_put;
    seen.step.get = count_latent_get;
    seen.step.begin = note_begin;
    seen.step.found = count_found;
    seen.step.for_vae = note_picture;
    seen.step.set = count_set;
    seen.step.update = count_update;
    o->step = &seen.step;
    o->put = count_put;
    o->get = count_get;
    o->record = count_record;
}

/* Renders with a watched backend, in new memory if the plan is another. */
static void render_watched(struct pipeline *p, struct workspace *w, const struct render *r)
{
    const struct batch b = {(const struct render *[]){r}, 1};
    struct workspace plan;
    struct image image;

    assert_ok(pipeline_plan(p, &b, &plan, e));
    assert_ok(workspace_init(w, p->model->ops, &plan, e));
    seen.copies = seen.blocks = seen.updates = seen.replays = seen.looks = 0;
    assert_ok(pipeline_run(p, &b, NULL, &image, e));
    image_done(&image);
}

static void steps_copy_nothing_but_the_cpus_noise_and_are_one_recording(void **state)
{
    struct ops *o = cuda_with(PRECISION_F16);
    struct workspace w = {0};
    struct pipeline p = {0};

    (void)state;
    assert_ok(open_model(GOLDEN_DIR "/models/sd1", o, &p.model, e));
    watch(o);
    for (int sampler = 0; sampler <= SAMPLER_COUNT; sampler++) {
        bool host_noise = sampler == SAMPLER_COUNT; /* a last time, with torch's generator */
        struct render r = {.prompt = "a lighthouse",
                           .negative_prompt = "",
                           .steps = 3,
                           .width = 16,
                           .height = 16,
                           .cfg_scale = sampler == SAMPLER_EULER ? 5 : 1,
                           .guidance_rescale = 0.5,
                           .rng = host_noise ? RNG_CPU : RNG_NV,
                           .sampler = host_noise ? SAMPLER_EULER_A : (enum sampler_id)sampler};

        render_watched(&p, &w, &r);
        assert_int_equal(seen.copies, host_noise ? 3 : 0);
        assert_true(seen.blocks >= 3);
        assert_true(seen.updates <= 2); /* once as they come, once to be recorded */
        assert_int_equal(seen.updates + seen.replays, seen.blocks);
        assert_int_equal(seen.looks, 1); /* at the answers, when all is done */
    }
    workspace_done(&w, o);
    pipeline_done(&p);
    model_close(p.model);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sampler_takes_the_hosts_steps_to_the_bit),
        cmocka_unit_test(every_shape_takes_the_hosts_steps_to_the_bit),
        cmocka_unit_test(the_first_step_with_a_bad_answer_is_told),
        cmocka_unit_test(pixels_leave_the_device_as_the_hosts_bytes),
        cmocka_unit_test(steps_copy_nothing_but_the_cpus_noise_and_are_one_recording),
    };

    return cuda_missing() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
