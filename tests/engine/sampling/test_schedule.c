/* What a model's scheduler_config.json says: defaults by class, overrides, refusals. */
#include "engine/sampling/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BETAS "\"beta_start\": 0.00085, \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\""
/* As SD 1.5 was published: no timestep_spacing, no prediction_type. */
#define SD15                                                                                       \
    "{\"_class_name\": \"PNDMScheduler\", " BETAS                                                  \
    ", \"num_train_timesteps\": 1000, \"set_alpha_to_one\": false, \"skip_prk_steps\": true, "     \
    "\"steps_offset\": 1, \"trained_betas\": null, \"clip_sample\": false}"

static struct schedule_config *parse(const char *json)
{
    struct schedule_config *c;
    struct err e;

    if (schedule_config_parse("m/scheduler_config.json", json, strlen(json), &c, &e) != 0)
        fail_msg("%s", e.text);
    return c;
}

static struct schedule schedule_of(const char *json, enum sampler_id sampler,
                                   enum scheduler_id scheduler, int steps)
{
    struct schedule_config *c = parse(json);
    struct schedule s;
    struct err e;

    if (schedule_init(
            &s, c,
            &(struct schedule_options){.sampler = sampler, .scheduler = scheduler, .steps = steps},
            &e) != 0)
        fail_msg("%s", e.text);
    schedule_config_free(c);
    return s;
}

static void assert_timesteps(const struct schedule *s, const float *want, int n)
{
    assert_int_equal(s->n, n);
    for (int i = 0; i < n; i++)
        if (s->timesteps[i] != want[i])
            fail_msg("time step %d is %g, not %g", i, (double)s->timesteps[i], (double)want[i]);
}

/* Parsing or the schedule of 10 steps is ERR_INPUT, with these words and the file's name. */
static void assert_refused(const char *json, enum sampler_id sampler, enum scheduler_id scheduler,
                           const char *words)
{
    struct schedule_config *c = NULL;
    struct schedule s = {0};
    struct err e;
    int rc = schedule_config_parse("m/scheduler_config.json", json, strlen(json), &c, &e);

    if (rc == 0)
        rc = schedule_init(
            &s, c,
            &(struct schedule_options){.sampler = sampler, .scheduler = scheduler, .steps = 10},
            &e);
    if (rc != ERR_INPUT)
        fail_msg("%s was accepted", json);
    if (!strstr(e.text, words) || !strstr(e.text, "m/scheduler_config.json"))
        fail_msg("'%s' does not name the file and '%s'", e.text, words);
    assert_null(s.timesteps);
    schedule_config_free(c);
}

static void a_file_without_spacing_means_leading_for_ddim_and_linspace_for_euler(void **state)
{
    struct schedule ddim = schedule_of(SD15, SAMPLER_DDIM, SCHEDULER_AUTOMATIC, 4);
    struct schedule euler = schedule_of(SD15, SAMPLER_EULER, SCHEDULER_AUTOMATIC, 4);

    (void)state;
    assert_timesteps(&ddim, (float[]){751, 501, 251, 1}, 4);
    assert_timesteps(&euler, (float[]){999, 666, 333, 0}, 4);
    assert_true(ddim.init_noise_sigma == 1);
    assert_true(euler.init_noise_sigma == euler.sigmas[0]);
    schedule_done(&ddim);
    schedule_done(&euler);
}

static void an_empty_file_takes_each_classs_defaults(void **state)
{
    struct schedule s = schedule_of("{}", SAMPLER_DDIM, SCHEDULER_UNIFORM, 2);

    (void)state;
    assert_true(s.clip && s.clip_range == 1 && s.final_alpha_cumprod == 1);
    assert_int_equal(s.prediction, PREDICTION_EPSILON);
    assert_float_equal(s.alphas_cumprod[0], 1 - 0.0001f, 1e-7);
    schedule_done(&s);
    s = schedule_of("{}", SAMPLER_DPMPP_2M, SCHEDULER_UNIFORM, 20);
    assert_true(s.order == 2 && !s.heun && s.euler_last && s.sigmas[20] == 0);
    schedule_done(&s);
}

static void ddim_on_a_file_of_another_class_does_not_clip_latents(void **state)
{
    static const char xl[] = "{" BETAS ", \"_class_name\": \"EulerDiscreteScheduler\"}";
    static const char own[] = "{" BETAS ", \"_class_name\": \"DDIMScheduler\"}";
    struct schedule s = schedule_of(xl, SAMPLER_DDIM, SCHEDULER_UNIFORM, 2);

    (void)state;
    assert_true(!s.clip && s.final_alpha_cumprod == s.alphas_cumprod[0]);
    schedule_done(&s);
    s = schedule_of(own, SAMPLER_DDIM, SCHEDULER_UNIFORM, 2);
    assert_true(s.clip && s.final_alpha_cumprod == 1);
    schedule_done(&s);
}

static void karras_in_the_file_counts_for_automatic_and_yields_to_a_named_scheduler(void **state)
{
    const char *json = "{" BETAS ", \"use_karras_sigmas\": true}";
    struct schedule automatic = schedule_of(json, SAMPLER_EULER, SCHEDULER_AUTOMATIC, 5);
    struct schedule named = schedule_of(json, SAMPLER_EULER, SCHEDULER_KARRAS, 5);
    struct schedule uniform = schedule_of(json, SAMPLER_EULER, SCHEDULER_UNIFORM, 5);

    (void)state;
    assert_memory_equal(automatic.sigmas, named.sigmas, 6 * sizeof(float));
    assert_true(uniform.sigmas[2] != named.sigmas[2]);
    schedule_done(&automatic);
    schedule_done(&named);
    schedule_done(&uniform);
}

static void euler_a_takes_eulers_karras_sigmas(void **state)
{
    struct schedule a = schedule_of(SD15, SAMPLER_EULER_A, SCHEDULER_KARRAS, 7);
    struct schedule b = schedule_of(SD15, SAMPLER_EULER, SCHEDULER_KARRAS, 7);

    (void)state;
    assert_memory_equal(a.sigmas, b.sigmas, 8 * sizeof(float));
    assert_memory_equal(a.timesteps, b.timesteps, 7 * sizeof(float));
    assert_true(a.sigmas[7] == 0);
    schedule_done(&a);
    schedule_done(&b);
}

static void sigma_min_and_sigma_max_bound_karras_alone(void **state)
{
    const char *json = "{" BETAS ", \"sigma_min\": 0.1, \"sigma_max\": 10}";
    struct schedule karras = schedule_of(json, SAMPLER_DPMPP_2M, SCHEDULER_KARRAS, 5);
    struct schedule uniform = schedule_of(json, SAMPLER_EULER, SCHEDULER_UNIFORM, 5);

    (void)state;
    assert_float_equal(karras.sigmas[0], 10, 1e-5);
    assert_float_equal(karras.sigmas[4], 0.1, 1e-6);
    assert_float_equal(uniform.sigmas[0], 14.6146, 1e-4);
    schedule_done(&karras);
    schedule_done(&uniform);
}

static void final_sigmas_type_sigma_min_ends_at_the_first_training_sigma(void **state)
{
    const char *json = "{" BETAS ", \"final_sigmas_type\": \"sigma_min\"}";
    struct schedule s = schedule_of(json, SAMPLER_DPMPP_2M, SCHEDULER_UNIFORM, 20);

    (void)state;
    assert_float_equal(s.sigmas[20], 0.0291675, 1e-6);
    assert_false(s.euler_last);
    schedule_done(&s);
    s = schedule_of(json, SAMPLER_DPMPP_2M, SCHEDULER_UNIFORM, 14);
    assert_true(s.euler_last); /* lower_order_final below 15 steps */
    schedule_done(&s);
}

static void
zero_terminal_snr_leaves_no_signal_for_ddim_and_a_finite_sigma_for_the_others(void **state)
{
    const char *json = "{" BETAS ", \"rescale_betas_zero_snr\": true, \"timestep_spacing\": "
                       "\"trailing\", \"prediction_type\": \"v_prediction\"}";
    struct schedule ddim = schedule_of(json, SAMPLER_DDIM, SCHEDULER_UNIFORM, 5);
    struct schedule euler = schedule_of(json, SAMPLER_EULER, SCHEDULER_UNIFORM, 5);

    (void)state;
    assert_true(ddim.alphas_cumprod[999] == 0);
    assert_float_equal(ddim.alphas_cumprod[0], 1 - 0.00085, 1e-6);
    assert_float_equal(euler.sigmas[0], 4096, 0.01);
    schedule_done(&ddim);
    schedule_done(&euler);
    assert_refused("{\"rescale_betas_zero_snr\": true, \"timestep_spacing\": \"trailing\", "
                   "\"clip_sample\": false}",
                   SAMPLER_DDIM, SCHEDULER_UNIFORM, "rescale_betas_zero_snr");
}

static void cosine_and_trained_betas_are_honoured(void **state)
{
    struct schedule s = schedule_of("{\"beta_schedule\": \"squaredcos_cap_v2\"}", SAMPLER_DDIM,
                                    SCHEDULER_UNIFORM, 5);

    (void)state;
    assert_float_equal(1 - s.alphas_cumprod[0], 4.128e-5, 1e-7);
    assert_float_equal(s.alphas_cumprod[500], 0.493, 1e-3);
    schedule_done(&s);
    s = schedule_of("{\"num_train_timesteps\": 3, \"trained_betas\": [0.5, 0.5, 0.25]}",
                    SAMPLER_EULER, SCHEDULER_UNIFORM, 3);
    assert_true(s.alphas_cumprod[0] == 0.5f && s.alphas_cumprod[2] == 0.1875f);
    assert_true(s.sigmas[2] == 1);
    schedule_done(&s);
}

static void lambda_min_clipped_drops_the_noisiest_steps_and_minus_infinity_none(void **state)
{
    struct schedule s = schedule_of("{" BETAS ", \"lambda_min_clipped\": -Infinity}",
                                    SAMPLER_DPMPP_2M, SCHEDULER_UNIFORM, 4);

    (void)state;
    assert_true(s.timesteps[0] == 999);
    schedule_done(&s);
    s = schedule_of("{" BETAS ", \"lambda_min_clipped\": -1.0}", SAMPLER_DPMPP_2M,
                    SCHEDULER_UNIFORM, 4);
    assert_true(s.sigmas[0] <= expf(1.0f) && s.sigmas[0] > 2.7f);
    schedule_done(&s);
}

/* Entries that a sampler lists for so many steps. */
static int entries(const struct schedule *s, enum sampler_id sampler, int steps)
{
    if (s->mids)
        return 2 * steps - 1;
    return sampler == SAMPLER_PNDM && steps > 1 ? steps + 1 : steps;
}

static void trailing_spacing_has_exactly_the_steps_asked_for(void **state)
{
    const char *json = "{" BETAS ", \"timestep_spacing\": \"trailing\"}";

    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++) {
        enum sampler_id sampler = (enum sampler_id)i;
        struct schedule s;

        if (sampler == SAMPLER_LCM || sampler == SAMPLER_TCD)
            continue; /* no more than 50 */
        s = schedule_of(json, sampler, SCHEDULER_UNIFORM, 61);
        /* numpy's arange has 62 there, the last at -1 */
        assert_int_equal(s.n_steps, 61);
        assert_int_equal(s.n, entries(&s, sampler, 61));
        assert_true(s.timesteps[0] == 999 && s.timesteps[s.n - 1] >= 0);
        schedule_done(&s);
    }
}

static void sigmas_descend_for_every_sampler_and_any_number_of_steps(void **state)
{
    static const int steps[] = {1, 2, 3, 20, 50, 150, 998};

    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++)
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            enum sampler_id sampler = (enum sampler_id)i;
            struct schedule s;

            if ((sampler == SAMPLER_LCM || sampler == SAMPLER_TCD) && steps[k] > 50)
                continue;
            s = schedule_of(SD15, sampler, SCHEDULER_AUTOMATIC, steps[k]);
            assert_int_equal(s.n, entries(&s, sampler, steps[k]));
            assert_int_equal(schedule_count(&s, 0), 1);
            assert_int_equal(schedule_count(&s, s.n - 1), steps[k]);
            /* between two calls an ancestral step may go below its end; lists repeat others */
            for (int j = 0; j < s.n; j++)
                assert_true(s.sigmas[j + 1] < s.sigmas[j] || (s.n > steps[k] && j % 2 == 1));
            schedule_done(&s);
        }
}

/* Every scheduler goes with every sampler that steps by sigmas, and no other. */
static void schedulers_of_the_web_ui_go_with_every_sampler_over_sigmas(void **state)
{
    struct schedule_config *c = parse(SD15);
    struct err e;

    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++)
        for (int k = SCHEDULER_KARRAS; k < SCHEDULER_COUNT; k++) {
            struct schedule_options o = {
                .sampler = (enum sampler_id)i, .scheduler = (enum scheduler_id)k, .steps = 9};
            bool alphas = i == SAMPLER_DDIM || i == SAMPLER_DDPM || i == SAMPLER_PNDM ||
                          i == SAMPLER_LCM || i == SAMPLER_TCD;
            struct schedule s;

            assert_int_equal(schedule_init(&s, c, &o, &e), alphas ? ERR_INPUT : 0);
            if (!alphas) {
                assert_int_equal(s.n_steps, 9);
                assert_int_equal(s.n, s.mids ? 17 + (k == SCHEDULER_KL_OPTIMAL) : 9);
            }
            schedule_done(&s);
        }
    schedule_config_free(c);
}

static void align_your_steps_has_a_table_of_its_own_for_sdxl(void **state)
{
    struct schedule_options o = {
        .sampler = SAMPLER_EULER, .scheduler = SCHEDULER_ALIGN_YOUR_STEPS, .steps = 11};
    struct schedule_config *c = parse(SD15);
    struct schedule sd, xl;
    struct err e;

    (void)state;
    assert_int_equal(schedule_init(&sd, c, &o, &e), 0);
    o.xl = true;
    assert_int_equal(schedule_init(&xl, c, &o, &e), 0);
    assert_float_equal(sd.sigmas[1], 6.475, 1e-6);
    assert_float_equal(xl.sigmas[1], 6.315, 1e-6);
    assert_float_equal(xl.sigmas[10], 0.029, 1e-8);
    schedule_done(&sd);
    schedule_done(&xl);
    schedule_config_free(c);
}

/* ---- picture to picture */

static struct schedule from_picture(enum sampler_id sampler, int steps, double strength)
{
    struct schedule_options o = {
        .sampler = sampler, .scheduler = SCHEDULER_UNIFORM, .steps = steps, .strength = strength};
    struct schedule_config *c = parse(SD15);
    struct schedule s;
    struct err e;

    if (schedule_init(&s, c, &o, &e) != 0)
        fail_msg("%s", e.text);
    schedule_config_free(c);
    return s;
}

static void a_strength_runs_the_last_whole_part_of_the_steps(void **state)
{
    static const struct {
        enum sampler_id sampler;
        int steps;
        double strength;
        int first;
    } cases[] = {{SAMPLER_EULER, 8, 0.75, 2}, {SAMPLER_EULER, 8, 0.3, 6},
                 {SAMPLER_EULER, 8, 1, 0},    {SAMPLER_EULER, 10, 0.29, 8},
                 {SAMPLER_HEUN, 8, 0.75, 4},  {SAMPLER_DPM2_A, 8, 0.3, 12},
                 {SAMPLER_PNDM, 8, 0.5, 4}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct schedule s = from_picture(cases[i].sampler, cases[i].steps, cases[i].strength);
        assert_int_equal(s.first, cases[i].first);
        schedule_done(&s);
    }
}

static void noise_is_added_as_the_samplers_latent_has_it(void **state)
{
    const float clean[2] = {1, -2}, noise[2] = {0.5f, 3};
    struct schedule euler = from_picture(SAMPLER_EULER, 8, 0.75);
    struct schedule ddim = from_picture(SAMPLER_DDIM, 8, 0.75);
    struct schedule dpm = from_picture(SAMPLER_DPMPP_2M, 8, 0.75);
    float sigma = euler.sigmas[2], a = ddim.alphas_cumprod[(int)ddim.timesteps[2]], x[2];

    (void)state;
    schedule_add_noise(&euler, 2, x, clean, noise, 2);
    assert_float_equal(x[1], -2 + 3 * sigma, 1e-5);
    schedule_add_noise(&ddim, 2, x, clean, noise, 2);
    assert_float_equal(x[1], -2 * sqrtf(a) + 3 * sqrtf(1 - a), 1e-6);
    sigma = dpm.sigmas[2];
    schedule_add_noise(&dpm, 2, x, clean, noise, 2);
    assert_float_equal(x[1], (-2 + 3 * sigma) / sqrtf(sigma * sigma + 1), 1e-6);
    schedule_add_noise(&euler, 8, x, clean, noise, 2);
    assert_memory_equal(x, clean, sizeof x);
    schedule_done(&euler);
    schedule_done(&ddim);
    schedule_done(&dpm);
}

static void assert_options_refused(struct schedule_options o, const char *words)
{
    struct schedule_config *c = parse(SD15);
    struct schedule s;
    struct err e;

    assert_int_equal(schedule_init(&s, c, &o, &e), ERR_INPUT);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    assert_null(s.timesteps);
    schedule_config_free(c);
}

static void options_that_a_sampler_does_not_have_are_refused(void **state)
{
    static const struct {
        struct schedule_options o;
        const char *words;
    } cases[] = {
        {{.sampler = SAMPLER_EULER, .steps = 9, .eta = {true, 0.5}}, "euler has no eta"},
        {{.sampler = SAMPLER_DDPM, .steps = 9, .eta = {true, 1}}, "ddpm has no eta"},
        {{.sampler = SAMPLER_DDIM, .steps = 9, .eta = {true, 1.5}}, "eta is 1.5"},
        {{.sampler = SAMPLER_TCD, .steps = 9, .eta = {true, -0.1}}, "eta is -0.1"},
        {{.sampler = SAMPLER_EULER, .steps = 9, .s_noise = {true, 1.1}}, "no s_noise"},
        {{.sampler = SAMPLER_EULER_A, .steps = 9, .s_noise = {true, 101}}, "s_noise is 101"},
        {{.sampler = SAMPLER_EULER, .steps = 9, .strength = 1.1}, "denoising_strength is 1.1"},
        {{.sampler = SAMPLER_EULER, .steps = 9, .strength = 0.1}, "leaves no step"},
        {{.sampler = SAMPLER_LCM, .steps = 51}, "original_inference_steps"},
        {{.sampler = SAMPLER_DPM2_A, .steps = 2, .zero_snr = true}, "use more steps"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_options_refused(cases[i].o, cases[i].words);
}

static void eta_0_and_s_noise_1_are_what_a_sampler_without_noise_does(void **state)
{
    struct schedule_options o = {
        .sampler = SAMPLER_EULER, .steps = 9, .eta = {true, 0}, .s_noise = {true, 1}};
    struct schedule_config *c = parse(SD15);
    struct schedule s;
    struct err e;

    (void)state;
    assert_int_equal(schedule_init(&s, c, &o, &e), 0);
    schedule_done(&s);
    schedule_config_free(c);
}

static void zero_snr_is_forced_on_whatever_the_class_has(void **state)
{
    struct schedule_options o = {.sampler = SAMPLER_HEUN, .steps = 9, .zero_snr = true};
    struct schedule_config *c = parse("{" BETAS ", \"rescale_betas_zero_snr\": true}");
    struct schedule forced, named;
    struct err e;

    (void)state;
    assert_int_equal(schedule_init(&forced, c, &o, &e), 0);
    o.zero_snr = false; /* the class lacks the file's key */
    assert_int_equal(schedule_init(&named, c, &o, &e), 0);
    assert_float_equal(forced.sigmas[0], 4096, 0.01);
    assert_float_equal(named.sigmas[0], 14.6146, 1e-4);
    schedule_done(&forced);
    schedule_done(&named);
    schedule_config_free(c);
}

static void settings_of_other_classes_are_ignored(void **state)
{
    const char *json = "{" BETAS ", \"algorithm_type\": \"sde-dpmsolver++\", \"solver_order\": 3, "
                       "\"thresholding\": true, \"use_karras_sigmas\": true}";
    struct schedule s = schedule_of(json, SAMPLER_EULER_A, SCHEDULER_AUTOMATIC, 5);

    (void)state;
    schedule_done(&s);
}

static void what_is_not_honoured_is_refused_by_name(void **state)
{
    static const struct {
        const char *json;
        enum sampler_id sampler;
        const char *words;
    } cases[] = {
        {"{\"beta_schedule\": \"sigmoid\"}", SAMPLER_EULER, "'beta_schedule' is \"sigmoid\""},
        {"{\"beta_start\": \"x\"}", SAMPLER_EULER, "'beta_start'"},
        {"{\"beta_end\": 1.5}", SAMPLER_EULER, "'beta_end' is 1.5"},
        {"{\"num_train_timesteps\": 100000}", SAMPLER_EULER, "'num_train_timesteps'"},
        {"{\"prediction_type\": \"flow_prediction\"}", SAMPLER_DPMPP_2M, "\"flow_prediction\""},
        {"{\"prediction_type\": \"sample\"}", SAMPLER_EULER_A, "'prediction_type'"},
        {"{\"timestep_spacing\": \"even\"}", SAMPLER_DDIM, "'timestep_spacing' is \"even\""},
        {"{\"steps_offset\": -1}", SAMPLER_DDIM, "'steps_offset'"},
        {"{\"trained_betas\": [0.1, 0.2]}", SAMPLER_DDIM, "'trained_betas'"},
        {"{\"num_train_timesteps\": 2, \"trained_betas\": [0.1, 2]}", SAMPLER_DDIM, "[1]"},
        {"{\"num_train_timesteps\": 12, \"trained_betas\": [0.9999, 0.9999, 0.9999, 0.9999, "
         "0.9999, "
         "0.9999, 0.9999, 0.9999, 0.9999, 0.9999, 0.9999, 0.9999]}",
         SAMPLER_EULER, "no signal at training step 11"},
        {"{\"thresholding\": true}", SAMPLER_DDIM, "'thresholding' is true"},
        {"{\"thresholding\": true}", SAMPLER_DPMPP_2M, "'thresholding' is true"},
        {"{\"interpolation_type\": \"log_linear\"}", SAMPLER_EULER, "'interpolation_type'"},
        {"{\"timestep_type\": \"continuous\"}", SAMPLER_EULER, "'timestep_type'"},
        {"{\"final_sigmas_type\": \"one\"}", SAMPLER_EULER, "'final_sigmas_type' is \"one\""},
        {"{\"use_karras_sigmas\": true, \"use_beta_sigmas\": true}", SAMPLER_EULER,
         "'use_beta_sigmas'"},
        {"{\"skip_prk_steps\": false}", SAMPLER_PNDM, "'skip_prk_steps' is false"},
        {"{\"variance_type\": \"learned\"}", SAMPLER_DDPM, "'variance_type'"},
        {"{\"predict_x0\": false}", SAMPLER_UNIPC, "'predict_x0' is false"},
        {"{\"disable_corrector\": [0]}", SAMPLER_UNIPC, "'disable_corrector' is [0]"},
        {"{\"lower_order_final\": false}", SAMPLER_UNIPC, "'lower_order_final' is false"},
        {"{\"solver_p\": {}}", SAMPLER_UNIPC, "'solver_p'"},
        {"{\"solver_order\": 4}", SAMPLER_DEIS, "'solver_order'"},
        {"{\"prediction_type\": \"sample\"}", SAMPLER_DPM2, "'prediction_type'"},
        {"{\"prediction_type\": \"sample\"}", SAMPLER_PNDM, "'prediction_type'"},
        {"{\"use_lu_lambdas\": true}", SAMPLER_DPMPP_2M, "'use_lu_lambdas'"},
        {"{\"use_flow_sigmas\": true}", SAMPLER_DPMPP_2M, "'use_flow_sigmas'"},
        {"{\"algorithm_type\": \"sde-dpmsolver++\"}", SAMPLER_DPMPP_2M, "sde-dpmsolver++"},
        {"{\"solver_order\": 3}", SAMPLER_DPMPP_2M, "'solver_order' is 3"},
        {"{\"solver_type\": \"rk\"}", SAMPLER_DPMPP_2M, "'solver_type' is \"rk\""},
        {"{\"variance_type\": \"learned\"}", SAMPLER_DPMPP_2M, "'variance_type'"},
        {"{\"sigma_min\": 3, \"sigma_max\": 2}", SAMPLER_EULER, "'sigma_min' is 3"},
        {"{\"clip_sample\": 1}", SAMPLER_DDIM, "'clip_sample'"},
        {"{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\"}", SAMPLER_EULER, "FlowMatch"},
        {"[]", SAMPLER_EULER, "object"},
        {"{", SAMPLER_EULER, "1:1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].json, cases[i].sampler, SCHEDULER_AUTOMATIC, cases[i].words);
}

static void refuse_render(enum sampler_id sampler, enum scheduler_id scheduler, int steps,
                          const char *words)
{
    struct schedule_config *c = parse(SD15);
    struct schedule s;
    struct err e;

    assert_int_equal(schedule_init(&s, c,
                                   &(struct schedule_options){
                                       .sampler = sampler, .scheduler = scheduler, .steps = steps},
                                   &e),
                     ERR_INPUT);
    if (!strstr(e.text, words))
        fail_msg("'%s' does not say '%s'", e.text, words);
    assert_null(s.timesteps);
    schedule_config_free(c);
}

static void renders_that_diffusers_refuses_or_spoils_are_refused(void **state)
{
    (void)state;
    refuse_render(SAMPLER_DDIM, SCHEDULER_KARRAS, 10, "no karras");
    refuse_render(SAMPLER_EULER, SCHEDULER_UNIFORM, 0, "1 to 1000");
    refuse_render(SAMPLER_EULER, SCHEDULER_UNIFORM, 1001, "1 to 1000");
    refuse_render(SAMPLER_DDIM, SCHEDULER_UNIFORM, 1000, "steps_offset 1");
}

static void a_missing_file_is_named(void **state)
{
    struct schedule_config *c;
    struct err e;

    (void)state;
    assert_int_equal(schedule_config_open("no/such/scheduler_config.json", &c, &e), ERR_MISSING);
    assert_non_null(strstr(e.text, "no/such/scheduler_config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_without_spacing_means_leading_for_ddim_and_linspace_for_euler),
        cmocka_unit_test(an_empty_file_takes_each_classs_defaults),
        cmocka_unit_test(ddim_on_a_file_of_another_class_does_not_clip_latents),
        cmocka_unit_test(karras_in_the_file_counts_for_automatic_and_yields_to_a_named_scheduler),
        cmocka_unit_test(euler_a_takes_eulers_karras_sigmas),
        cmocka_unit_test(sigma_min_and_sigma_max_bound_karras_alone),
        cmocka_unit_test(final_sigmas_type_sigma_min_ends_at_the_first_training_sigma),
        cmocka_unit_test(
            zero_terminal_snr_leaves_no_signal_for_ddim_and_a_finite_sigma_for_the_others),
        cmocka_unit_test(cosine_and_trained_betas_are_honoured),
        cmocka_unit_test(lambda_min_clipped_drops_the_noisiest_steps_and_minus_infinity_none),
        cmocka_unit_test(trailing_spacing_has_exactly_the_steps_asked_for),
        cmocka_unit_test(sigmas_descend_for_every_sampler_and_any_number_of_steps),
        cmocka_unit_test(schedulers_of_the_web_ui_go_with_every_sampler_over_sigmas),
        cmocka_unit_test(align_your_steps_has_a_table_of_its_own_for_sdxl),
        cmocka_unit_test(a_strength_runs_the_last_whole_part_of_the_steps),
        cmocka_unit_test(noise_is_added_as_the_samplers_latent_has_it),
        cmocka_unit_test(options_that_a_sampler_does_not_have_are_refused),
        cmocka_unit_test(eta_0_and_s_noise_1_are_what_a_sampler_without_noise_does),
        cmocka_unit_test(zero_snr_is_forced_on_whatever_the_class_has),
        cmocka_unit_test(settings_of_other_classes_are_ignored),
        cmocka_unit_test(what_is_not_honoured_is_refused_by_name),
        cmocka_unit_test(renders_that_diffusers_refuses_or_spoils_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
