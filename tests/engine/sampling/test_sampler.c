/*
 * Every recorded run on the analytic model: of diffusers' schedulers (tests/golden/samplers: time
 * steps, sigmas, the latent after each step) and of the web UI's samplers (tests/golden/a1111).
 *
 *     test_engine_sampler FOLDER SEED    # the same for another recording, FOLDER/samplers
 */
#include "engine/sampling/rng.h"
#include "engine/sampling/sampler.h"
#include "engine/weights/weights.h"
#include "proto/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SIZE             (4 * 4 * 6)
#define STEPS_MAX        64
#define LATENT_TOLERANCE 1e-4 /* relative L2 */
#define SIGMA_TOLERANCE  1e-5 /* relative; so for fractional time steps from 1 on */

static const char *folder = GOLDEN_DIR;
static uint64_t seed = 64;

/* Names of recordings, and how we call the same. */
static const struct {
    const char *name;
    enum sampler_id sampler;
    enum scheduler_id scheduler;
} names[] = {
    {"ddim", SAMPLER_DDIM, SCHEDULER_UNIFORM},
    {"ddpm", SAMPLER_DDPM, SCHEDULER_UNIFORM},
    {"pndm", SAMPLER_PNDM, SCHEDULER_UNIFORM},
    {"lms", SAMPLER_LMS, SCHEDULER_UNIFORM},
    {"heun", SAMPLER_HEUN, SCHEDULER_UNIFORM},
    {"heun_karras", SAMPLER_HEUN, SCHEDULER_KARRAS},
    {"euler", SAMPLER_EULER, SCHEDULER_UNIFORM},
    {"euler_karras", SAMPLER_EULER, SCHEDULER_KARRAS},
    {"euler_exponential", SAMPLER_EULER, SCHEDULER_EXPONENTIAL},
    {"euler_beta", SAMPLER_EULER, SCHEDULER_BETA},
    {"euler_a", SAMPLER_EULER_A, SCHEDULER_UNIFORM},
    {"dpm2", SAMPLER_DPM2, SCHEDULER_UNIFORM},
    {"dpm2_a", SAMPLER_DPM2_A, SCHEDULER_UNIFORM},
    {"dpmpp_2m", SAMPLER_DPMPP_2M, SCHEDULER_UNIFORM},
    {"dpmpp_2m_karras", SAMPLER_DPMPP_2M, SCHEDULER_KARRAS},
    {"dpmpp_2m_sde_karras", SAMPLER_DPMPP_2M_SDE, SCHEDULER_KARRAS},
    {"unipc", SAMPLER_UNIPC, SCHEDULER_UNIFORM},
    {"deis", SAMPLER_DEIS, SCHEDULER_UNIFORM},
    {"lcm", SAMPLER_LCM, SCHEDULER_UNIFORM},
    {"tcd", SAMPLER_TCD, SCHEDULER_UNIFORM},
};

/* The web UI's functions. */
static const struct {
    const char *name;
    enum sampler_id sampler;
} web_names[] = {
    {"euler", SAMPLER_EULER},
    {"euler_ancestral", SAMPLER_EULER_A},
    {"heun", SAMPLER_HEUN},
    {"lms", SAMPLER_LMS},
    {"dpm_2", SAMPLER_DPM2},
    {"dpm_2_ancestral", SAMPLER_DPM2_A},
    {"dpmpp_2s_ancestral", SAMPLER_DPMPP_2S_A},
    {"dpmpp_2m", SAMPLER_DPMPP_2M},
    {"dpmpp_2m_sde", SAMPLER_DPMPP_2M_SDE},
    {"dpmpp_3m_sde", SAMPLER_DPMPP_3M_SDE},
    {"dpmpp_sde", SAMPLER_DPMPP_SDE},
};

struct run {
    const struct schedule *schedule;
    struct torch_rng rng;
    float clean[SIZE], noise[SIZE]; /* of picture to picture */
    bool blends;                    /* the second half is the clean picture's after each step */
    float trajectory[(2 * STEPS_MAX + 1) * SIZE]; /* the start, then after each entry */
};

/* 0.8 tanh(x) + 0.1 sin(t / 100), what the recording used for a U-Net. */
static void analytic_model(const float *x, float divisor, float timestep, float *out)
{
    float wave = 0.1f * sinf(timestep / 100.0f);

    for (size_t i = 0; i < SIZE; i++)
        out[i] = 0.8f * tanhf(x[i] / divisor) + wave;
}

/* What masked inpainting does: the second half is the clean picture at the next step's level. */
static void blend(const struct run *run, int step, float *x)
{
    float level[SIZE];

    schedule_add_noise(run->schedule, step + 1, level, run->clean, run->noise, SIZE);
    memcpy(x + SIZE / 2, level + SIZE / 2, SIZE / 2 * sizeof *x);
}

static void keep(struct run *run, int step, float *x)
{
    if (run->blends)
        blend(run, step, x);
    memcpy(run->trajectory + (size_t)(step - run->schedule->first + 1) * SIZE, x, SIZE * sizeof *x);
}

/* One entry of the schedule, over arrays of which the first is the latent. */
static void run_entry(struct run *run, int step, float *const arrays[PROGRAM_ARRAYS])
{
    const struct schedule *s = run->schedule;
    struct sampler_entry n;
    float answer[SIZE];

    sampler_entry(s, step, &n);
    program_store(&n.program, ARRAY_X, n.x);
    analytic_model(arrays[ARRAY_X], n.divisor, s->timesteps[step], answer);
    if (n.draws)
        torch_rng_normal(&run->rng, arrays[ARRAY_NOISE], SIZE);
    program_apply(&n.program, arrays, 0, SIZE, answer);
    keep(run, step, arrays[ARRAY_X]);
}

/* Text to picture, or with a strength picture to picture of sines. */
static void render(struct run *run, const struct schedule *s, bool from_picture)
{
    float memory[PROGRAM_ARRAYS][SIZE], *arrays[PROGRAM_ARRAYS], *x = memory[ARRAY_X];

    assert_true(ARRAY_KEPT + sampler_kept(s->sampler) <= PROGRAM_ARRAYS);
    memset(memory, 0xff, sizeof memory); /* NaN: what is read must have been written */
    for (int i = 0; i < PROGRAM_ARRAYS; i++)
        arrays[i] = i < ARRAY_KEPT + sampler_kept(s->sampler) ? memory[i] : NULL;
    run->schedule = s;
    torch_rng_init(&run->rng, seed);
    torch_rng_normal(&run->rng, run->noise, SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        run->clean[i] = sinf((float)i);
        x[i] = run->noise[i] * s->init_noise_sigma;
    }
    if (from_picture)
        schedule_add_noise(s, s->first, x, run->clean, run->noise, SIZE);
    memcpy(run->trajectory, x, SIZE * sizeof *x);
    for (int step = s->first; step < s->n; step++)
        run_entry(run, step, arrays);
}

/* ---- comparing with a recording */

static struct weights *open_arrays(const char *name)
{
    struct weights *w;
    struct err e;
    char path[512];

    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
    if (weights_open(path, &w, &e) != 0)
        fail_msg("%s", e.text);
    return w;
}

static json_t *open_index(const char *name)
{
    json_t *root;
    struct err e;
    char path[512];

    snprintf(path, sizeof path, "%s/%s.json", folder, name);
    if (json_read_file(path, &root, &e) != 0)
        fail_msg("%s", e.text);
    return root;
}

static bool has_array(const struct weights *w, const char *key, const char *part)
{
    struct tensor t;
    char name[128];

    snprintf(name, sizeof name, "%s%s", key, part);
    return weights_find(w, name, &t);
}

/* At most max numbers of an array; returns how many it has. */
static int64_t golden_array(const struct weights *w, const char *key, const char *part, float *ret,
                            int64_t max)
{
    struct tensor t;
    char name[128];

    snprintf(name, sizeof name, "%s%s", key, part);
    if (!weights_find(w, name, &t))
        fail_msg("%s is not in %s", name, weights_path(w));
    assert_true(tensor_count(&t) <= max);
    tensor_to_f32(&t, ret);
    return tensor_count(&t);
}

static void assert_relative(const char *what, const char *kind, const float *got, const float *want,
                            int n, double tolerance)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * fabs((double)want[i])))
            fail_msg("%s: %s[%d]: %.9g, recorded is %.9g", what, kind, i, (double)got[i],
                     (double)want[i]);
}

static double relative_error(const float *got, const float *want)
{
    double error = 0, norm = 0;

    for (int i = 0; i < SIZE; i++) {
        double d = (double)got[i] - (double)want[i];
        error += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return sqrt(error / norm);
}

static double worst; /* relative error of a latent so far */

static void assert_latent(const char *key, int after, const float *got, const float *want)
{
    double error = relative_error(got, want);

    if (!(error <= LATENT_TOLERANCE))
        fail_msg("%s: latent after %d steps is off by %.3g", key, after, error);
    worst = fmax(worst, error);
}

/* Whole time steps are equal; those between are differences of float32 logarithms. */
static void check_lists(const struct weights *w, const char *key, const struct schedule *s)
{
    float want[2 * STEPS_MAX + 3];

    assert_int_equal(golden_array(w, key, ".timesteps", want, 2 * STEPS_MAX), s->n);
    for (int i = 0; i < s->n; i++) {
        float t = s->timesteps[i];
        bool whole = t == floorf(t) && want[i] == floorf(want[i]);
        double tolerance = whole ? 0 : SIGMA_TOLERANCE * fmax(1, fabs((double)want[i]));

        if (!(fabs((double)t - (double)want[i]) <= tolerance))
            fail_msg("%s: time step[%d]: %.9g, recorded is %.9g", key, i, (double)t,
                     (double)want[i]);
    }
    if (s->by_alpha || !has_array(w, key, ".sigmas"))
        return;
    assert_true(golden_array(w, key, ".sigmas", want, 2 * STEPS_MAX + 3) > s->n);
    assert_relative(key, "sigma", s->sigmas, want, s->n + 1, SIGMA_TOLERANCE);
}

static void check_run(const struct weights *w, const json_t *item, const struct schedule *s)
{
    const char *key = json_string_value(json_object_get(item, "key"));
    static float want[(2 * STEPS_MAX + 1) * SIZE];
    struct run run = {.blends = json_is_true(json_object_get(item, "blends"))};
    int n = s->n - s->first;

    check_lists(w, key, s);
    render(&run, s, json_object_get(item, "strength") != NULL);
    assert_int_equal(golden_array(w, key, ".latents", want, (2 * STEPS_MAX + 1) * SIZE),
                     (n + 1) * SIZE);
    for (int step = 0; step <= n; step++)
        assert_latent(key, step, run.trajectory + step * SIZE, want + step * SIZE);
}

/* A recorded run's schedule, through its configuration as JSON. */
static struct schedule item_schedule(const json_t *item, enum sampler_id sampler,
                                     enum scheduler_id scheduler)
{
    const json_t *eta = json_object_get(item, "eta"), *s_noise = json_object_get(item, "s_noise");
    struct schedule_options o = {.sampler = sampler,
                                 .scheduler = scheduler,
                                 .steps = (int)json_integer_value(json_object_get(item, "steps")),
                                 .eta = {eta != NULL, json_number_value(eta)},
                                 .s_noise = {s_noise != NULL, json_number_value(s_noise)},
                                 .zero_snr = json_is_true(json_object_get(item, "zero_snr")),
                                 .strength = json_number_value(json_object_get(item, "strength"))};
    struct schedule_config *c;
    struct schedule s;
    struct buf text = {0};
    struct err e;

    json_canonical(json_object_get(item, "config"), &text);
    if (schedule_config_parse("case", buf_text(&text), text.size, &c, &e) != 0 ||
        schedule_init(&s, c, &o, &e) != 0)
        fail_msg("%s", e.text);
    schedule_config_free(c);
    buf_done(&text);
    return s;
}

/* All recorded runs of one name; returns their number. */
static int check_recorded(const char *name, enum sampler_id sampler, enum scheduler_id scheduler)
{
    json_t *index = open_index("samplers/index");
    struct weights *w;
    char path[128];
    int checked = 0;

    snprintf(path, sizeof path, "samplers/%s", name);
    w = open_arrays(path);
    worst = 0;
    for (size_t i = 0; i < json_array_size(index); i++) {
        const json_t *item = json_array_get(index, i);
        struct schedule s;

        if (strcmp(json_string_value(json_object_get(item, "sampler")), name) != 0 ||
            json_object_get(item, "refused"))
            continue;
        s = item_schedule(item, sampler, scheduler);
        check_run(w, item, &s);
        schedule_done(&s);
        checked++;
    }
    print_message("%s: %d runs, latents within %.2g\n", name, checked, worst);
    json_decref(index);
    weights_close(w);
    return checked;
}

static void every_recorded_run_of_diffusers_is_followed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(check_recorded(names[i].name, names[i].sampler, names[i].scheduler) >= 6);
}

/* Runs that say themselves what they are, in our terms. */
static void check_more(const char *path)
{
    json_t *index = open_index(path);
    struct weights *w = open_arrays(path);

    worst = 0;
    for (size_t i = 0; i < json_array_size(index); i++) {
        const json_t *item = json_array_get(index, i);
        const char *sampler = json_string_value(json_object_get(item, "sampler"));
        const char *scheduler = json_string_value(json_object_get(item, "scheduler"));
        struct schedule s = item_schedule(item, (enum sampler_id)sampler_from_name(sampler),
                                          (enum scheduler_id)scheduler_from_name(scheduler));

        check_run(w, item, &s);
        schedule_done(&s);
    }
    print_message("%s: %zu runs, latents within %.2g\n", path, json_array_size(index), worst);
    json_decref(index);
    weights_close(w);
}

/*
 * Schedulers, predictions, picture to picture, blended latents and single classes' settings, drawn
 * at random by tests/golden/samplers/more.py.
 */
static void recorded_runs_of_diffusers_with_any_settings_are_followed(void **state)
{
    (void)state;
    check_more("samplers/more");
}

/* v-prediction, eta, s_noise and every schedule, drawn at random by tests/golden/a1111/more.py. */
static void recorded_runs_of_the_web_ui_with_any_settings_are_followed(void **state)
{
    (void)state;
    check_more("a1111/more");
}

/* ---- the web UI's */

#define WEB_CONFIG                                                                                 \
    "{\"beta_start\": 0.00085, \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\"}"

static struct schedule web_schedule(enum sampler_id sampler, enum scheduler_id scheduler, int steps)
{
    struct schedule_options o = {.sampler = sampler, .scheduler = scheduler, .steps = steps};
    struct schedule_config *c;
    struct schedule s;
    struct err e;

    if (schedule_config_parse("case", WEB_CONFIG, strlen(WEB_CONFIG), &c, &e) != 0 ||
        schedule_init(&s, c, &o, &e) != 0)
        fail_msg("%s", e.text);
    schedule_config_free(c);
    return s;
}

/* "automatic" there is k-diffusion's own, which is uniform; -1: a schedule that we do not have. */
static int web_scheduler(const json_t *item)
{
    const char *name = json_string_value(json_object_get(item, "scheduler"));

    return strcmp(name, "automatic") == 0 ? SCHEDULER_UNIFORM : scheduler_from_name(name);
}

static void every_recorded_schedule_of_the_web_ui_is_equal(void **state)
{
    json_t *index = open_index("a1111/samplers"), *cases = json_object_get(index, "cases");
    struct weights *w = open_arrays("a1111/samplers");
    int checked = 0;

    (void)state;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i);
        const char *key = json_string_value(json_object_get(item, "key"));
        int scheduler = web_scheduler(item);
        float want[STEPS_MAX + 1];
        struct schedule s;

        if (json_object_get(item, "sampler") || scheduler < 0)
            continue;
        s = web_schedule(SAMPLER_DPMPP_3M_SDE, (enum scheduler_id)scheduler,
                         (int)json_integer_value(json_object_get(item, "steps")));
        assert_int_equal(golden_array(w, key, "", want, STEPS_MAX + 1), s.n + 1);
        assert_relative(key, "sigma", s.sigmas, want, s.n + 1, SIGMA_TOLERANCE);
        assert_true(s.init_noise_sigma == s.sigmas[0]);
        schedule_done(&s);
        checked++;
    }
    assert_true(checked >= 11 * 4);
    json_decref(index);
    weights_close(w);
}

/* The latent before each of the web UI's steps, and the result. */
static void check_web_run(const struct weights *w, const char *key, const struct schedule *s)
{
    static float want[(STEPS_MAX + 1) * SIZE];
    struct run run = {0};
    int64_t n = golden_array(w, key, "", want, (STEPS_MAX + 1) * SIZE) / SIZE;

    render(&run, s, false);
    assert_int_equal(n, s->n_steps + 1);
    for (int step = 0; step < n; step++) {
        int entry = s->mids ? 2 * step : step;
        entry = entry < s->n ? entry : s->n;
        assert_latent(key, step, run.trajectory + entry * SIZE, want + step * SIZE);
    }
}

/*
 * Samplers without a diffusers class with all four schedulers; the others with the one that
 * diffusers lacks.
 */
static void every_recorded_run_of_the_web_ui_is_followed(void **state)
{
    json_t *index = open_index("a1111/samplers"), *cases = json_object_get(index, "cases");
    struct weights *w = open_arrays("a1111/samplers");
    int checked = 0;

    (void)state;
    worst = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i);
        const char *name = json_string_value(json_object_get(item, "sampler"));
        enum scheduler_id scheduler = (enum scheduler_id)web_scheduler(item);

        for (size_t k = 0; name && k < sizeof web_names / sizeof *web_names; k++) {
            enum sampler_id sampler = web_names[k].sampler;
            bool own = sampler == SAMPLER_DPMPP_2S_A || sampler == SAMPLER_DPMPP_SDE ||
                       sampler == SAMPLER_DPMPP_3M_SDE;
            struct schedule s;

            if (strcmp(name, web_names[k].name) != 0 ||
                (!own && scheduler != SCHEDULER_SGM_UNIFORM))
                continue;
            s = web_schedule(sampler, scheduler,
                             (int)json_integer_value(json_object_get(item, "steps")));
            check_web_run(w, json_string_value(json_object_get(item, "key")), &s);
            schedule_done(&s);
            checked++;
        }
    }
    print_message("web UI: %d runs, latents within %.2g\n", checked, worst);
    assert_true(checked >= 3 * 8 + 8 * 2);
    json_decref(index);
    weights_close(w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_run_of_diffusers_is_followed),
        cmocka_unit_test(recorded_runs_of_diffusers_with_any_settings_are_followed),
        cmocka_unit_test(recorded_runs_of_the_web_ui_with_any_settings_are_followed),
        cmocka_unit_test(every_recorded_schedule_of_the_web_ui_is_equal),
        cmocka_unit_test(every_recorded_run_of_the_web_ui_is_followed),
    };

    if (argc == 3) {
        folder = argv[1];
        seed = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
