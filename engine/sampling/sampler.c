#include "engine/sampling/samplers/inner.h"

/* Each sampler, and the latents that its scratch holds. */
static const struct {
    int (*run)(struct sampler_run *r, struct err *e);
    size_t pieces;
} samplers[SAMPLER_COUNT] = {
    [SAMPLER_DDIM] = {run_ddim, 2},
    [SAMPLER_DDPM] = {run_ddpm, 2},
    [SAMPLER_PNDM] = {run_pndm, 6},
    [SAMPLER_LMS] = {run_lms, 5},
    [SAMPLER_HEUN] = {run_heun, 4},
    [SAMPLER_EULER] = {run_euler, 2},
    [SAMPLER_EULER_A] = {run_euler_a, 2},
    [SAMPLER_DPM2] = {run_dpm2, 3},
    [SAMPLER_DPM2_A] = {run_dpm2_a, 3},
    [SAMPLER_DPMPP_2S_A] = {run_dpmpp_2s_a, 3},
    [SAMPLER_DPMPP_2M] = {run_dpmpp_2m, 3},
    [SAMPLER_DPMPP_2M_SDE] = {run_dpmpp_2m_sde, 3},
    [SAMPLER_DPMPP_3M_SDE] = {run_dpmpp_3m_sde, 4},
    [SAMPLER_DPMPP_SDE] = {run_dpmpp_sde, 3},
    [SAMPLER_UNIPC] = {run_unipc, 6},
    [SAMPLER_DEIS] = {run_deis, 4},
    [SAMPLER_LCM] = {run_lcm, 2},
    [SAMPLER_TCD] = {run_tcd, 2},
};

size_t sampler_scratch_floats(enum sampler_id sampler, size_t size)
{
    return samplers[sampler].pieces * size;
}

int sampler_run(struct sampler_run *r, struct err *e)
{
    return samplers[r->schedule->sampler].run(r, e);
}
