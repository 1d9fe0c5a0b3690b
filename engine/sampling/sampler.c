#include "engine/sampling/sampler_inner.h"

/* Each sampler, and how many arrays it keeps. */
static const struct {
    struct value (*run)(struct entry *n);
    int kept;
} samplers[SAMPLER_COUNT] = {
    [SAMPLER_DDIM] = {run_ddim, 0},
    [SAMPLER_DDPM] = {run_ddpm, 0},
    [SAMPLER_PNDM] = {run_pndm, 5},
    [SAMPLER_LMS] = {run_lms, 4},
    [SAMPLER_HEUN] = {run_heun, 2},
    [SAMPLER_EULER] = {run_euler, 0},
    [SAMPLER_EULER_A] = {run_euler_a, 0},
    [SAMPLER_DPM2] = {run_dpm2, 1},
    [SAMPLER_DPM2_A] = {run_dpm2_a, 1},
    [SAMPLER_DPMPP_2S_A] = {run_dpmpp_2s_a, 1},
    [SAMPLER_DPMPP_2M] = {run_dpmpp_2m, 2},
    [SAMPLER_DPMPP_2M_SDE] = {run_dpmpp_2m_sde, 2},
    [SAMPLER_DPMPP_3M_SDE] = {run_dpmpp_3m_sde, 3},
    [SAMPLER_DPMPP_SDE] = {run_dpmpp_sde, 1},
    [SAMPLER_UNIPC] = {run_unipc, 5},
    [SAMPLER_DEIS] = {run_deis, 3},
    [SAMPLER_LCM] = {run_lcm, 0},
    [SAMPLER_TCD] = {run_tcd, 0},
};

int sampler_kept(enum sampler_id sampler)
{
    return samplers[sampler].kept;
}

void sampler_entry(const struct schedule *schedule, int step, struct sampler_entry *ret_entry)
{
    struct entry n = {.schedule = schedule,
                      .step = step,
                      .age = step - schedule->first,
                      .program = &ret_entry->program,
                      .divisor = 1};

    ret_entry->program.n = 0;
    n.x = program_array(n.program, ARRAY_X);
    n.model = program_model(n.program);
    ret_entry->x = samplers[schedule->sampler].run(&n);
    ret_entry->divisor = n.divisor;
    ret_entry->draws = n.draws;
}
