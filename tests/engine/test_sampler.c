/*
 * Every recorded run of diffusers' schedulers on the analytic model (tests/golden/samplers): time
 * steps, sigmas, and the latent after each step.
 */
#include "engine/sampler.h"
#include "engine/weights.h"
#include "proto/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define GOLDEN_SEED      64
#define SIZE             (4 * 4 * 6)
#define STEPS_MAX        11
#define LATENT_TOLERANCE 1e-4 /* relative L2 */
#define SIGMA_TOLERANCE  1e-5 /* relative; so for Karras' fractional time steps */

struct run {
    struct torch_rng rng;
    float trajectory[(STEPS_MAX + 1) * SIZE];
    int calls, stop_after;
};

/* 0.8 tanh(x) + 0.1 sin(t / 100), what the recording used for a U-Net. */
static int analytic_model(void *user, const float *x, int call, int step, float timestep,
                          float *out, struct err *e)
{
    struct run *run = user;
    float wave = 0.1f * sinf(timestep / 100.0f);

    (void)e;
    assert_int_equal(call, run->calls++);
    assert_int_equal(step, call);
    for (size_t i = 0; i < SIZE; i++)
        out[i] = 0.8f * tanhf(x[i]) + wave;
    return 0;
}

static int draw(void *user, float *out, struct err *e)
{
    struct run *run = user;

    (void)e;
    torch_rng_normal(&run->rng, out, SIZE);
    return 0;
}

static int keep(void *user, int step, float *x)
{
    struct run *run = user;

    memcpy(run->trajectory + (size_t)(step + 1) * SIZE, x, SIZE * sizeof *x);
    return run->stop_after && step + 1 == run->stop_after;
}

static int render(const struct schedule *s, struct run *run, struct err *e)
{
    float x[SIZE], scratch[2 * SIZE];
    struct sampler_run r = {.schedule = s,
                            .x = x,
                            .size = SIZE,
                            .scratch = scratch,
                            .denoise = analytic_model,
                            .noise = draw,
                            .after_step = keep,
                            .user = run};

    assert_true(sampler_scratch_floats(s->sampler, SIZE) <= 2 * SIZE);
    torch_rng_init(&run->rng, GOLDEN_SEED);
    torch_rng_normal(&run->rng, x, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        x[i] *= s->init_noise_sigma;
    memcpy(run->trajectory, x, sizeof x);
    return sampler_run(&r, e);
}

static void golden_array(const struct weights *w, const char *key, const char *part, float *ret,
                         int64_t n)
{
    struct tensor t;
    char name[96];

    snprintf(name, sizeof name, "%s.%s", key, part);
    if (!weights_find(w, name, &t))
        fail_msg("%s is not in %s", name, weights_path(w));
    assert_int_equal(tensor_count(&t), n);
    tensor_to_f32(&t, ret);
}

static void assert_relative(const char *what, const float *got, const float *want, int n,
                            double tolerance)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * fabs((double)want[i])))
            fail_msg("%s[%d]: %.9g, diffusers has %.9g", what, i, (double)got[i], (double)want[i]);
}

static void check_run(const struct weights *w, const char *key, const struct schedule *s)
{
    float sigmas[STEPS_MAX + 1], timesteps[STEPS_MAX], want[(STEPS_MAX + 1) * SIZE];
    bool fractional = s->timesteps[0] != 0 && s->sampler == SAMPLER_EULER;
    struct run run = {0};
    struct err e;

    golden_array(w, key, "timesteps", timesteps, s->n);
    assert_relative(key, s->timesteps, timesteps, s->n, fractional ? SIGMA_TOLERANCE : 0);
    if (s->sampler != SAMPLER_DDIM) {
        golden_array(w, key, "sigmas", sigmas, s->n + 1);
        assert_relative(key, s->sigmas, sigmas, s->n + 1, SIGMA_TOLERANCE);
    }
    if (render(s, &run, &e) != 0)
        fail_msg("%s: %s", key, e.text);
    assert_int_equal(run.calls, s->n);
    golden_array(w, key, "latents", want, (s->n + 1) * SIZE);
    for (int step = 0; step <= s->n; step++) {
        double error = 0, norm = 0;
        for (int i = step * SIZE; i < (step + 1) * SIZE; i++) {
            double d = (double)run.trajectory[i] - (double)want[i];
            error += d * d;
            norm += (double)want[i] * (double)want[i];
        }
        if (!(error <= LATENT_TOLERANCE * LATENT_TOLERANCE * norm))
            fail_msg("%s: latent after step %d is off by %.3g", key, step, sqrt(error / norm));
    }
}

/* All recorded runs of one sampler, through its configuration as JSON; returns their number. */
static int check_recorded(const char *name, enum sampler_id sampler, enum scheduler_id scheduler)
{
    struct weights *w;
    json_t *index;
    struct err e;
    char path[512];
    int checked = 0;

    snprintf(path, sizeof path, "%s/samplers/%s.safetensors", GOLDEN_DIR, name);
    if (weights_open(path, &w, &e) != 0 ||
        json_read_file(GOLDEN_DIR "/samplers/index.json", &index, &e) != 0)
        fail_msg("%s", e.text);
    for (size_t i = 0; i < json_array_size(index); i++) {
        const json_t *item = json_array_get(index, i);
        struct schedule_config *c;
        struct schedule s;
        struct buf text = {0};

        if (strcmp(json_string_value(json_object_get(item, "sampler")), name) != 0)
            continue;
        json_canonical(json_object_get(item, "config"), &text);
        if (schedule_config_parse("case", buf_text(&text), text.size, &c, &e) != 0 ||
            schedule_init(&s, c,
                          &(struct schedule_options){
                              .sampler = sampler,
                              .scheduler = scheduler,
                              .steps = (int)json_integer_value(json_object_get(item, "steps"))},
                          &e) != 0)
            fail_msg("%s", e.text);
        check_run(w, json_string_value(json_object_get(item, "key")), &s);
        schedule_done(&s);
        schedule_config_free(c);
        buf_done(&text);
        checked++;
    }
    json_decref(index);
    weights_close(w);
    return checked;
}

static void ddim_follows_every_recorded_run(void **state)
{
    (void)state;
    assert_int_equal(check_recorded("ddim", SAMPLER_DDIM, SCHEDULER_UNIFORM), 18);
}

static void euler_follows_every_recorded_run(void **state)
{
    (void)state;
    assert_int_equal(check_recorded("euler", SAMPLER_EULER, SCHEDULER_UNIFORM), 18);
}

static void euler_karras_follows_every_recorded_run(void **state)
{
    (void)state;
    assert_int_equal(check_recorded("euler_karras", SAMPLER_EULER, SCHEDULER_KARRAS), 18);
}

static void euler_a_follows_every_recorded_run_and_draws_in_order(void **state)
{
    (void)state;
    assert_int_equal(check_recorded("euler_a", SAMPLER_EULER_A, SCHEDULER_AUTOMATIC), 18);
}

static void dpmpp_2m_follows_every_recorded_run(void **state)
{
    (void)state;
    assert_int_equal(check_recorded("dpmpp_2m", SAMPLER_DPMPP_2M, SCHEDULER_UNIFORM), 18);
}

static void dpmpp_2m_is_karras_by_default_and_follows_every_recorded_run(void **state)
{
    (void)state;
    assert_int_equal(check_recorded("dpmpp_2m_karras", SAMPLER_DPMPP_2M, SCHEDULER_AUTOMATIC), 18);
}

static void a_callback_that_says_stop_ends_the_run(void **state)
{
    static const enum sampler_id samplers[] = {SAMPLER_DDIM, SAMPLER_EULER, SAMPLER_EULER_A,
                                               SAMPLER_DPMPP_2M};
    struct schedule_config *c;
    struct schedule s;
    struct err e;

    (void)state;
    assert_int_equal(schedule_config_parse("case", "{}", 2, &c, &e), 0);
    for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++) {
        struct run run = {.stop_after = 3};

        assert_int_equal(
            schedule_init(&s, c, &(struct schedule_options){.sampler = samplers[i], .steps = 8},
                          &e),
            0);
        assert_int_equal(render(&s, &run, &e), ERR_CANCELLED);
        assert_int_equal(run.calls, 3);
        assert_non_null(strstr(e.text, "3 of 8"));
        schedule_done(&s);
    }
    schedule_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ddim_follows_every_recorded_run),
        cmocka_unit_test(euler_follows_every_recorded_run),
        cmocka_unit_test(euler_karras_follows_every_recorded_run),
        cmocka_unit_test(euler_a_follows_every_recorded_run_and_draws_in_order),
        cmocka_unit_test(dpmpp_2m_follows_every_recorded_run),
        cmocka_unit_test(dpmpp_2m_is_karras_by_default_and_follows_every_recorded_run),
        cmocka_unit_test(a_callback_that_says_stop_ends_the_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
