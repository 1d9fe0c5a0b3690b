/* The noise of one picture: the web UI's variation and seed resize (tests/golden/noise). */
#include "engine/ops/step_math.h"
#include "engine/sampling/noise.h"
#include "engine/weights/weights.h"
#include "proto/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NUMBERS_MAX 1024
#define TOLERANCE   2e-6 /* absolute: float32 norms, angles and sines there, float64 here */

static int64_t member(const json_t *list, size_t i)
{
    return json_integer_value(json_array_get(list, i));
}

static struct noise_options options_of(const json_t *item)
{
    const json_t *shape = json_object_get(item, "shape"), *resize = json_object_get(item, "resize");

    return (struct noise_options){
        .rng = (enum rng_kind)term_from_name(TERM_RNG,
                                             json_string_value(json_object_get(item, "rng"))),
        .seed = json_integer_value(json_object_get(item, "seed")),
        .subseed = json_integer_value(json_object_get(item, "subseed")),
        .subseed_strength = json_number_value(json_object_get(item, "strength")),
        .channels = member(shape, 0),
        .h = member(shape, 1),
        .w = member(shape, 2),
        .resize_h = member(resize, 1),
        .resize_w = member(resize, 2)};
}

static void assert_recorded(const struct weights *w, const char *key, const char *part,
                            const float *got)
{
    float want[NUMBERS_MAX];
    struct tensor t;
    char name[64];

    snprintf(name, sizeof name, "%s.%s", key, part);
    assert_true(weights_find(w, name, &t) && tensor_count(&t) <= NUMBERS_MAX);
    tensor_to_f32(&t, want);
    for (int64_t i = 0; i < tensor_count(&t); i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= TOLERANCE))
            fail_msg("%s[%d]: %.9g, the web UI has %.9g", name, (int)i, (double)got[i],
                     (double)want[i]);
}

static void variation_and_resize_start_as_the_web_ui_and_leave_the_stream_alone(void **state)
{
    float values[NUMBERS_MAX], scratch[2 * NUMBERS_MAX];
    struct weights *w;
    json_t *index;
    struct err e;

    (void)state;
    if (weights_open(GOLDEN_DIR "/noise/variation.safetensors", &w, &e) != 0 ||
        json_read_file(GOLDEN_DIR "/noise/variation.json", &index, &e) != 0)
        fail_msg("%s", e.text);
    for (size_t i = 0; i < json_array_size(index); i++) {
        const json_t *item = json_array_get(index, i);
        const char *key = json_string_value(json_object_get(item, "key"));
        struct noise_options o = options_of(item);
        struct noise z;

        assert_true(noise_scratch_floats(&o) <= 2 * NUMBERS_MAX);
        noise_init(&z, &o);
        noise_first(&z, values, scratch);
        assert_recorded(w, key, "first", values);
        noise_next(&z, values);
        assert_recorded(w, key, "second", values);
    }
    assert_true(json_array_size(index) >= 12);
    json_decref(index);
    weights_close(w);
}

static void plain_noise_is_the_generators_own_and_needs_no_scratch(void **state)
{
    struct noise_options o = {
        .seed = 11, .channels = 4, .h = 3, .w = 5, .resize_h = 3, .resize_w = 5};
    float got[60], want[60];
    struct torch_rng g;
    struct noise z;

    (void)state;
    assert_int_equal(noise_scratch_floats(&o), 0); /* its own size is no resize */
    noise_init(&z, &o);
    torch_rng_init(&g, 11);
    noise_first(&z, got, NULL);
    torch_rng_normal(&g, want, 60);
    assert_memory_equal(got, want, sizeof got);
    noise_next(&z, got);
    torch_rng_normal(&g, want, 60);
    assert_memory_equal(got, want, sizeof got);
}

/* In torch the angle of two numbers is 0 or half a turn, and slerp is NaN. */
static void a_latent_of_one_row_is_mixed_without_nan(void **state)
{
    struct noise_options o = {
        .seed = 1, .subseed = 2, .subseed_strength = 0.5, .channels = 4, .h = 1, .w = 8};
    float values[32], scratch[32];
    struct noise z;

    (void)state;
    noise_init(&z, &o);
    noise_first(&z, values, scratch);
    for (int i = 0; i < 32; i++)
        assert_true(isfinite(values[i]) && fabsf(values[i]) < 6);
}

static void a_draw_that_is_left_to_a_device_is_the_streams_next(void **state)
{
    const struct noise_options o = {.rng = RNG_NV, .seed = 5, .channels = 4, .h = 3, .w = 5};
    struct noise_options cpu = o;
    float first[60], second[60], left[60];
    struct noise z;
    uint32_t draw;

    (void)state;
    noise_init(&z, &o);
    noise_first(&z, first, NULL);
    noise_next(&z, second);
    noise_init(&z, &o);
    noise_first(&z, first, NULL);
    assert_true(noise_skip(&z, &draw));
    for (uint32_t i = 0; i < 60; i++)
        left[i] = philox_number(5, draw, i);
    assert_memory_equal(left, second, sizeof left);
    noise_next(&z, second);
    assert_true(second[0] == philox_number(5, draw + 1, 0));
    cpu.rng = RNG_CPU;
    noise_init(&z, &cpu);
    assert_false(noise_skip(&z, &draw));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variation_and_resize_start_as_the_web_ui_and_leave_the_stream_alone),
        cmocka_unit_test(plain_noise_is_the_generators_own_and_needs_no_scratch),
        cmocka_unit_test(a_latent_of_one_row_is_mixed_without_nan),
        cmocka_unit_test(a_draw_that_is_left_to_a_device_is_the_streams_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
