/* Names that manifest, wire, metadata and engine share. */
#include "proto/terms.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void every_name_reads_back(void **state)
{
    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++)
        assert_int_equal(sampler_from_name(sampler_name((enum sampler_id)i)), i);
    for (int i = 0; i < SCHEDULER_COUNT; i++)
        assert_int_equal(scheduler_from_name(scheduler_name((enum scheduler_id)i)), i);
    for (int i = 0; i < PRECISION_COUNT; i++)
        assert_int_equal(precision_from_name(precision_name((enum precision)i)), i);
}

static void labels_are_automatic1111s(void **state)
{
    (void)state;
    assert_string_equal(sampler_label(SAMPLER_DPMPP_2M), "DPM++ 2M");
    assert_string_equal(sampler_label(SAMPLER_EULER_A), "Euler a");
    assert_string_equal(sampler_label(SAMPLER_DDIM), "DDIM");
    assert_string_equal(scheduler_label(SCHEDULER_KARRAS), "Karras");
    assert_string_equal(scheduler_label(SCHEDULER_AUTOMATIC), "Automatic");
}

static void what_is_not_in_the_table_has_no_id_and_no_name(void **state)
{
    (void)state;
    assert_int_equal(sampler_from_name("Euler"), -1); /* names are exact */
    assert_int_equal(scheduler_from_name(""), -1);
    assert_int_equal(precision_from_name("f64"), -1);
    assert_string_equal(sampler_name(SAMPLER_COUNT), "?");
    assert_string_equal(scheduler_label(SCHEDULER_COUNT), "?");
    assert_string_equal(precision_name(PRECISION_COUNT), "?");
}

static void assert_label(const char *text, int sampler, int scheduler)
{
    enum sampler_id got = SAMPLER_COUNT;
    int with = -2;

    if (sampler_from_label(text, &got, &with) != (sampler < 0 ? -1 : 0))
        fail_msg("'%s'", text);
    if (sampler >= 0 && ((int)got != sampler || with != scheduler))
        fail_msg("'%s' is %s with %d", text, sampler_name(got), with);
}

static void samplers_are_found_by_every_name_that_others_have_for_them(void **state)
{
    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++) {
        assert_label(sampler_name((enum sampler_id)i), i, -1);
        assert_label(sampler_label((enum sampler_id)i), i, -1);
    }
    assert_label("Euler a", SAMPLER_EULER_A, -1);
    assert_label("euler A karras", SAMPLER_EULER_A, SCHEDULER_KARRAS);
    assert_label("Euler Automatic", SAMPLER_EULER, SCHEDULER_AUTOMATIC);
    assert_label("DPM2 a Karras", SAMPLER_DPM2_A, SCHEDULER_KARRAS);
    assert_label("DPM++ 2M Karras", SAMPLER_DPMPP_2M, SCHEDULER_KARRAS);
    assert_label("dpm++ 2m sde exponential", SAMPLER_DPMPP_2M_SDE, SCHEDULER_EXPONENTIAL);
    assert_label("DPM++ 2M SGM Uniform", SAMPLER_DPMPP_2M, SCHEDULER_SGM_UNIFORM);
    assert_label("DPM++ 3M SDE Align Your Steps", SAMPLER_DPMPP_3M_SDE, SCHEDULER_ALIGN_YOUR_STEPS);
    assert_label("PLMS", SAMPLER_PNDM, -1);
    assert_label("k_dpm_2_a", SAMPLER_DPM2_A, -1);
    assert_label("eulerancestraldiscretescheduler", SAMPLER_EULER_A, -1);
    assert_label("sample_dpmpp_2s_ancestral", SAMPLER_DPMPP_2S_A, -1);
    assert_label("dpmpp_3m_sde_gpu", SAMPLER_DPMPP_3M_SDE, -1);
    assert_label("uni_pc_bh2", SAMPLER_UNIPC, -1);
    assert_label("dpmpp_2m_karras", SAMPLER_DPMPP_2M, SCHEDULER_KARRAS);
    assert_label("k_dpmpp_2m_ka", SAMPLER_DPMPP_2M, SCHEDULER_KARRAS);
    assert_label("k_dpm_2_a_ka", SAMPLER_DPM2_A, SCHEDULER_KARRAS);
    assert_label("k_dpmpp_3m_sde_exp", SAMPLER_DPMPP_3M_SDE, SCHEDULER_EXPONENTIAL);
    assert_label("DDIMParallelScheduler", SAMPLER_DDIM, -1);
    assert_label("dpmpp_2m_sde_sgm_uniform", SAMPLER_DPMPP_2M_SDE, SCHEDULER_SGM_UNIFORM);
}

static void what_names_another_sampler_is_not_taken_for_one_of_ours(void **state)
{
    static const char *const others[] = {"",
                                         "Euler ",
                                         "Euler b",
                                         "Restart",
                                         "Karras",
                                         "DPM++ 2M SDE Heun",
                                         "DPM adaptive",
                                         "Euler-Karras"};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_label(others[i], -1, -1);
}

/* The samplers of AUTOMATIC1111 1.10's API, of ComfyUI's KSampler, and of diffusers 0.42. */
static const char *const theirs[] = {"k_dpmpp_2m",
                                     "k_dpmpp_sde",
                                     "k_dpmpp_2m_sde",
                                     "k_dpmpp_2m_sde_heun",
                                     "k_dpmpp_2s_a",
                                     "k_dpmpp_3m_sde",
                                     "k_euler_a",
                                     "k_euler_ancestral",
                                     "k_euler",
                                     "k_lms",
                                     "k_heun",
                                     "k_dpm_2",
                                     "k_dpm_2_a",
                                     "k_dpm_fast",
                                     "k_dpm_ad",
                                     "restart",
                                     "ddim",
                                     "ddim_cfgpp",
                                     "plms",
                                     "unipc",
                                     "k_lcm",
                                     "k_lms_ka",
                                     "k_dpm_2_ka",
                                     "k_dpm_2_a_ka",
                                     "k_dpmpp_2s_a_ka",
                                     "k_dpmpp_2m_ka",
                                     "k_dpmpp_sde_ka",
                                     "k_dpmpp_2m_sde_ka",
                                     "k_dpmpp_2m_sde_heun_ka",
                                     "k_dpmpp_2m_sde_heun_exp",
                                     "k_dpmpp_3m_sde_ka",
                                     "k_dpmpp_3m_sde_exp", /* ComfyUI: */
                                     "euler",
                                     "euler_cfg_pp",
                                     "euler_ancestral",
                                     "euler_ancestral_cfg_pp",
                                     "heun",
                                     "heunpp2",
                                     "exp_heun_2_x0",
                                     "exp_heun_2_x0_sde",
                                     "dpm_2",
                                     "dpm_2_ancestral",
                                     "lms",
                                     "dpm_fast",
                                     "dpm_adaptive",
                                     "dpmpp_2s_ancestral",
                                     "dpmpp_2s_ancestral_cfg_pp",
                                     "dpmpp_sde",
                                     "dpmpp_sde_gpu",
                                     "dpmpp_2m",
                                     "dpmpp_2m_cfg_pp",
                                     "dpmpp_2m_sde",
                                     "dpmpp_2m_sde_gpu",
                                     "dpmpp_2m_sde_heun",
                                     "dpmpp_2m_sde_heun_gpu",
                                     "dpmpp_3m_sde",
                                     "dpmpp_3m_sde_gpu",
                                     "ddpm",
                                     "lcm",
                                     "ipndm",
                                     "ipndm_v",
                                     "deis",
                                     "cfgpp_ud10_ab",
                                     "res_multistep",
                                     "res_multistep_cfg_pp",
                                     "res_multistep_ancestral",
                                     "res_multistep_ancestral_cfg_pp",
                                     "gradient_estimation",
                                     "gradient_estimation_cfg_pp",
                                     "er_sde",
                                     "seeds_2",
                                     "seeds_3",
                                     "sa_solver",
                                     "sa_solver_pece",
                                     "ddim",
                                     "uni_pc",
                                     "uni_pc_bh2", /* diffusers: */
                                     "CMStochasticIterativeScheduler",
                                     "CosineDPMSolverMultistepScheduler",
                                     "DDIMInverseScheduler",
                                     "DDIMParallelScheduler",
                                     "DDIMScheduler",
                                     "DDPMParallelScheduler",
                                     "DDPMScheduler",
                                     "DEISMultistepScheduler",
                                     "DPMSolverMultistepInverseScheduler",
                                     "DPMSolverMultistepScheduler",
                                     "DPMSolverSDEScheduler",
                                     "DPMSolverSinglestepScheduler",
                                     "EDMDPMSolverMultistepScheduler",
                                     "EDMEulerScheduler",
                                     "EulerAncestralDiscreteScheduler",
                                     "EulerDiscreteScheduler",
                                     "FlowMatchEulerDiscreteScheduler",
                                     "FlowMatchHeunDiscreteScheduler",
                                     "HeunDiscreteScheduler",
                                     "IPNDMScheduler",
                                     "KDPM2AncestralDiscreteScheduler",
                                     "KDPM2DiscreteScheduler",
                                     "KarrasVeScheduler",
                                     "LCMScheduler",
                                     "LMSDiscreteScheduler",
                                     "PNDMScheduler",
                                     "RePaintScheduler",
                                     "SASolverScheduler",
                                     "ScoreSdeVeScheduler",
                                     "TCDScheduler",
                                     "UnCLIPScheduler",
                                     "UniPCMultistepScheduler"};

static void every_sampler_of_the_web_uis_is_one_of_ours_or_known_as_foreign(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) {
        enum sampler_id id;
        int scheduler;
        bool ours = sampler_from_label(theirs[i], &id, &scheduler) == 0;

        if (ours == sampler_is_foreign(theirs[i]))
            fail_msg("'%s' is %s", theirs[i], ours ? "both" : "neither");
    }
}

static void samplers_that_are_not_ours_are_known_as_such(void **state)
{
    static const char *const foreign[] = {"ipndm",
                                          "DPM++ 2M SDE Heun",
                                          "DPM++ 2M SDE Heun Karras",
                                          "dpmpp_2m_sde_heun_exponential",
                                          "DPM fast",
                                          "DDIM CFG++",
                                          "sample_dpm_adaptive"};
    static const char *const typos[] = {"dpmp_2m", "DPM++ 2M Fast", "eulr", "",         "p",
                                        "k_",      "restarted",     "_ka",  "Scheduler"};

    (void)state;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (!sampler_is_foreign(foreign[i]))
            fail_msg("'%s' is not known", foreign[i]);
    for (size_t i = 0; i < sizeof typos / sizeof *typos; i++)
        if (sampler_is_foreign(typos[i]))
            fail_msg("'%s' is a slip", typos[i]);
    for (int i = 0; i < SAMPLER_COUNT; i++) {
        assert_false(sampler_is_foreign(sampler_name((enum sampler_id)i)));
        assert_false(sampler_is_foreign(sampler_label((enum sampler_id)i)));
    }
}

static void schedulers_of_the_web_uis_are_ours_or_known_as_foreign(void **state)
{
    static const char *const schedulers[] = {"Automatic",   "Uniform",         "Karras",
                                             "Exponential", "Polyexponential", "SGM Uniform",
                                             "SGMUniform",  "KL Optimal",      "Align Your Steps",
                                             "Simple",      "Normal",          "DDIM",
                                             "Beta",        "simple",          "sgm_uniform",
                                             "karras",      "exponential",     "ddim_uniform",
                                             "beta",        "normal",          "linear_quadratic",
                                             "kl_optimal"};

    (void)state;
    for (size_t i = 0; i < sizeof schedulers / sizeof *schedulers; i++)
        if ((term_from_label(TERM_SCHEDULER, schedulers[i]) >= 0) ==
            scheduler_is_foreign(schedulers[i]))
            fail_msg("'%s' is neither or both", schedulers[i]);
    assert_false(scheduler_is_foreign("karas"));
    assert_false(scheduler_is_foreign(""));
}

static void every_eta_is_within_its_bounds_and_scales_a_noise_that_is_added(void **state)
{
    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++) {
        double eta = sampler_eta((enum sampler_id)i);

        assert_true(isnan(eta) || (eta >= 0 && eta <= ETA_MAX));
        assert_true(isnan(eta) || sampler_adds_noise((enum sampler_id)i));
    }
    assert_true(isnan(sampler_eta(SAMPLER_EULER)) && !sampler_adds_noise(SAMPLER_EULER));
    assert_true(isnan(sampler_eta(SAMPLER_DDPM)) && sampler_adds_noise(SAMPLER_DDPM));
}

static void schedulers_are_found_by_label(void **state)
{
    (void)state;
    assert_int_equal(term_from_label(TERM_SCHEDULER, "SGM Uniform"), SCHEDULER_SGM_UNIFORM);
    assert_int_equal(term_from_label(TERM_SCHEDULER, "kl optimal"), SCHEDULER_KL_OPTIMAL);
    assert_int_equal(term_from_label(TERM_SCHEDULER, "kl_optimal"), SCHEDULER_KL_OPTIMAL);
    assert_int_equal(term_from_label(TERM_SCHEDULER, "turbo"), -1);
}

static void automatic_is_what_the_web_ui_takes_for_a_sampler(void **state)
{
    static const enum sampler_id karras[] = {SAMPLER_DPM2, SAMPLER_DPM2_A, SAMPLER_DPMPP_2S_A,
                                             SAMPLER_DPMPP_2M, SAMPLER_DPMPP_SDE};
    enum scheduler_id want[SAMPLER_COUNT];

    (void)state;
    for (int i = 0; i < SAMPLER_COUNT; i++)
        want[i] = SCHEDULER_UNIFORM;
    for (size_t i = 0; i < sizeof karras / sizeof *karras; i++)
        want[karras[i]] = SCHEDULER_KARRAS;
    want[SAMPLER_DPMPP_2M_SDE] = want[SAMPLER_DPMPP_3M_SDE] = SCHEDULER_EXPONENTIAL;
    for (int i = 0; i < SAMPLER_COUNT; i++) {
        enum sampler_id id = (enum sampler_id)i;
        assert_int_equal(scheduler_resolve(id, SCHEDULER_AUTOMATIC), want[i]);
        assert_int_equal(scheduler_resolve(id, SCHEDULER_UNIFORM), SCHEDULER_UNIFORM);
        assert_int_equal(scheduler_resolve(id, SCHEDULER_KARRAS), SCHEDULER_KARRAS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_reads_back),
        cmocka_unit_test(labels_are_automatic1111s),
        cmocka_unit_test(what_is_not_in_the_table_has_no_id_and_no_name),
        cmocka_unit_test(samplers_are_found_by_every_name_that_others_have_for_them),
        cmocka_unit_test(what_names_another_sampler_is_not_taken_for_one_of_ours),
        cmocka_unit_test(every_sampler_of_the_web_uis_is_one_of_ours_or_known_as_foreign),
        cmocka_unit_test(samplers_that_are_not_ours_are_known_as_such),
        cmocka_unit_test(schedulers_of_the_web_uis_are_ours_or_known_as_foreign),
        cmocka_unit_test(every_eta_is_within_its_bounds_and_scales_a_noise_that_is_added),
        cmocka_unit_test(schedulers_are_found_by_label),
        cmocka_unit_test(automatic_is_what_the_web_ui_takes_for_a_sampler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
