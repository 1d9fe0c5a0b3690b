/* A step of the sampler on the host: programs, guidance, noise, pictures. */
#include "tests/engine/step_case.h"

static void a_program_is_the_formula_in_its_order(void **state)
{
    float x[3] = {1, -2, 0.3f}, noise[3] = {0.1f, 0.7f, -3}, mask[3] = {1, 0, 1};
    float *arrays[PROGRAM_ARRAYS] = {
        [ARRAY_X] = x, [ARRAY_NOISE] = noise, [ARRAY_MASK] = mask, [ARRAY_CLEAN] = mask};
    const float before[3] = {1, -2, 0.3f}, model[3] = {0.25f, 9, NAN};
    struct program p = {0};
    struct value v = program_array(&p, ARRAY_X), w = program_array(&p, ARRAY_NOISE);
    struct value sum = program_add(&p, program_scale(&p, v, 0.7f), program_over(&p, w, 3));

    (void)state;
    sum = program_clip(&p, program_sub(&p, sum, program_model(&p)), 1.5f);
    program_store(&p, ARRAY_X,
                  program_select(&p, program_array(&p, ARRAY_MASK), sum, program_number(&p, 7)));
    program_store(&p, ARRAY_NOISE, program_mul(&p, w, program_div(&p, v, w)));
    program_apply(&p, arrays, 0, 3, model);
    assert_true(x[0] == (before[0] * 0.7f + 0.1f / 3) - 0.25f);
    assert_true(x[1] == 7);
    assert_true(isnan(x[2]));
    assert_true(noise[1] == 0.7f * (-2 / 0.7f));
}

/* ---- guidance */

#define SIZE 8

/* One sample of SIZE numbers guided by n parts, alone. */
static void guide(float *ret, const float *outputs, int n, const double *weights, double scale,
                  float share)
{
    struct step_case c = {.sampler = SAMPLER_EULER, .n = 1, .pixels = 2, .channels = 4};
    struct ops *o = backend_open(0);
    struct act *out = act_memory(o, (1 + n) * SIZE);
    struct step_block *b = calloc(1, step_bytes(1, 1 + n));
    struct step_place at;

    c.parts = n;
    at = step_place_new(o, &c);
    b->branches = 1 + n;
    *step_samples(b) = (struct step_sample){.parts = n, .share = share, .rest = 1 - share};
    for (int k = 1; k <= n; k++)
        step_branches(b, 1)[k] =
            (struct step_branch){weights[k - 1], (float)(weights[k - 1] * scale), 0};
    program_store(&b->program, ARRAY_X, program_model(&b->program));
    assert_ok(o->put(o, out, outputs, (1 + n) * SIZE, e));
    assert_ok(o->step->set(o, &at, b, e));
    assert_ok(o->step->update(o, &at, out, share > 0, e));
    assert_ok(o->step->get(o, ret, at.arrays[ARRAY_X], SIZE, e));
    free(b);
    step_place_done(o, &at);
    o->memory_free(o, out);
    o->free(o);
}

static void parts_that_share_a_weight_guide_as_one(void **state)
{
    float outputs[4 * SIZE], a[SIZE], b[SIZE];

    (void)state;
    for (int i = 0; i < SIZE; i++) {
        outputs[i] = (float)i * 0.25f;
        for (int k = 1; k < 4; k++)
            outputs[k * SIZE + i] = 3 - (float)(i * i) * 0.5f;
    }
    for (int rescaled = 0; rescaled < 2; rescaled++) {
        guide(a, outputs, 1, (double[]){1}, 4, rescaled ? 0.75f : 0);
        guide(b, outputs, 3, (double[]){0.5, 0.25, 0.25}, 4, rescaled ? 0.75f : 0);
        for (int i = 0; i < SIZE; i++)
            assert_float_equal(a[i], b[i], 1e-5);
    }
}

static void full_rescale_gives_the_deviation_without_guidance(void **state)
{
    float outputs[2 * SIZE], got[SIZE];
    double want = 0, mean = 0, is = 0, is_mean = 0;

    (void)state;
    for (int i = 0; i < SIZE; i++) {
        outputs[i] = sinf((float)i);
        outputs[SIZE + i] = cosf((float)(3 * i));
    }
    guide(got, outputs, 1, (double[]){1}, 7, 1);
    for (int i = 0; i < SIZE; i++) {
        mean += (double)outputs[SIZE + i] / SIZE;
        is_mean += (double)got[i] / SIZE;
    }
    for (int i = 0; i < SIZE; i++) {
        want += pow((double)outputs[SIZE + i] - mean, 2);
        is += pow((double)got[i] - is_mean, 2);
    }
    assert_float_equal(is, want, 1e-5);
}

static void without_parts_the_answer_is_the_only_branchs(void **state)
{
    float outputs[SIZE], got[SIZE];

    (void)state;
    for (int i = 0; i < SIZE; i++)
        outputs[i] = (float)i / 3;
    guide(got, outputs, 0, NULL, 9, 0);
    assert_memory_equal(got, outputs, sizeof got);
}

static void the_first_step_with_a_bad_answer_is_told(void **state)
{
    const struct step_case c = {SAMPLER_EULER, 2, 9, 4, 0, 1, 0.5f, false};
    struct ops *o = backend_open(BACKEND_FAST);
    struct step_result good = step_run(o, &c, 4, 0), bad = step_run(o, &c, 4, 3);

    (void)state;
    assert_int_equal(good.bad, 0);
    assert_int_equal(bad.bad, 3);
    step_result_done(&good);
    step_result_done(&bad);
    o->free(o);
}

/* ---- noise, input, pictures */

static void noise_is_the_draw_of_each_samples_stream_in_our_layout(void **state)
{
    const struct step_case c = {SAMPLER_EULER_A, 2, 35, 4, 0, 0, 0, false};
    struct ops *o = backend_open(BACKEND_FAST);
    struct step_result r = step_run(o, &c, 3, 0);
    float nchw[35 * 4], want[35 * 4];

    (void)state;
    for (int s = 0; s < 2; s++) {
        struct philox g;

        philox_init(&g, 0x123456789abcu + (uint64_t)s);
        g.offset = 2; /* the last of three steps */
        philox_normal(&g, nchw, 35 * 4);
        nhwc_from_nchw(want, nchw, 4, 35);
        assert_memory_equal(r.latents + (2 + s) * 35 * 4, want, sizeof want);
    }
    step_result_done(&r);
    o->free(o);
}

static void each_branch_sees_its_samples_latent_with_what_stands_beside_it(void **state)
{
    const struct step_case c = {SAMPLER_EULER, 2, 5, 4, 5, 1, 0, false};
    struct ops *o = backend_open(BACKEND_FAST);
    struct step_result r = step_run(o, &c, 1, 0);
    struct schedule s = step_schedule(SAMPLER_EULER, 1);
    float divisor = sqrtf(s.sigmas[0] * s.sigmas[0] + 1);

    (void)state;
    for (int i = 0; i < 4 * 5 * 9; i++) {
        int sample = i / 45 / 2, pixel = i / 9 % 5, k = i % 9;
        float want = k < 4 ? step_number(sample, pixel * 4 + k, ARRAY_X) / divisor
                           : step_number(sample, pixel * 5 + k - 4, 20);

        assert_true(r.in[i] == want);
    }
    step_result_done(&r);
    schedule_done(&s);
    o->free(o);
}

static void pixels_are_rounded_and_bad_ones_are_told(void **state)
{
    const float values[6] = {-9, -1, 0.4f / 127.5f - 1, 1.6f / 127.5f - 1, 1, 3};
    const uint8_t want[6] = {0, 0, 0, 2, 255, 255};
    struct ops *o = backend_open(BACKEND_FAST);
    struct act *x = act_memory(o, 6);
    bool finite, any;
    uint8_t got[6];

    (void)state;
    assert_ok(o->put(o, x, values, 6, e));
    assert_ok(o->step->bytes(o, got, x, 6, &finite, &any, e));
    assert_ok(o->step->settle(o, got, e));
    assert_memory_equal(got, want, 6);
    assert_true(finite && any);
    assert_ok(o->step->bytes(o, got, x, 3, &finite, &any, e));
    assert_ok(o->step->settle(o, got, e));
    assert_true(finite && !any);
    assert_ok(o->put(o, act_at(o, x, 5), &(float){INFINITY}, 1, e));
    assert_ok(o->step->bytes(o, got, x, 6, &finite, &any, e));
    assert_ok(o->step->settle(o, got, e));
    assert_true(!finite);
    o->memory_free(o, x);
    o->free(o);
}

static void both_backends_take_the_same_steps_to_the_bit(void **state)
{
    struct ops *ref = backend_open(0), *cpu = backend_open(BACKEND_FAST);

    (void)state;
    for (int sampler = 0; sampler < SAMPLER_COUNT; sampler++) {
        const struct step_case c = {(enum sampler_id)sampler, 2, 301, 4, 0, 2, 0.4f, true};
        struct step_result a = step_run(ref, &c, 4, 0), b = step_run(cpu, &c, 4, 0);

        assert_memory_equal(a.latents, b.latents, (size_t)a.n_latents * sizeof(float));
        assert_memory_equal(a.in, b.in, (size_t)a.n_in * sizeof(float));
        step_result_done(&a);
        step_result_done(&b);
    }
    ref->free(ref);
    cpu->free(cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_the_formula_in_its_order),
        cmocka_unit_test(parts_that_share_a_weight_guide_as_one),
        cmocka_unit_test(full_rescale_gives_the_deviation_without_guidance),
        cmocka_unit_test(without_parts_the_answer_is_the_only_branchs),
        cmocka_unit_test(the_first_step_with_a_bad_answer_is_told),
        cmocka_unit_test(noise_is_the_draw_of_each_samples_stream_in_our_layout),
        cmocka_unit_test(each_branch_sees_its_samples_latent_with_what_stands_beside_it),
        cmocka_unit_test(pixels_are_rounded_and_bad_ones_are_told),
        cmocka_unit_test(both_backends_take_the_same_steps_to_the_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
