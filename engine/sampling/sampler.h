/*
 * Samplers: one function each, all over the same callback. A sampler turns noise into a latent by
 * calling the denoiser n times; guidance, networks and batches are the callback's business.
 *
 * Equal to the diffusers scheduler of the same kind, step by step, in float32: DDIMScheduler
 * (eta 0), EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler.
 * Sums and products are taken in its order, each number for itself: layout and threads do not
 * change a bit.
 *
 *     struct sampler_run r = {.schedule = &s, .x = x, .size = n, .scratch = t,
 *                             .denoise = unet, .noise = draw, .user = me};
 *     TRY(sampler_run(&r, e));
 */
#ifndef ENGINE_SAMPLING_SAMPLER_H
#define ENGINE_SAMPLING_SAMPLER_H

#include "engine/sampling/rng.h"
#include "engine/sampling/schedule.h"
#include "proto/err.h"

#include <stddef.h>

struct sampler_run {
    const struct schedule *schedule;
    float *x;       /* [size] latent, any layout; in: noise times init_noise_sigma, or what
                       schedule_add_noise gives at schedule->first; out: the result */
    size_t size;    /* numbers */
    float *scratch; /* [sampler_scratch_floats(sampler, size)], overlapping nothing */

    /*
     * The model's raw output (as its prediction type says) for x_scaled, already scaled for the
     * model, at timestep = schedule->timesteps[step]. x_scaled and out: [size]. call counts from 0
     * in this run: step - schedule->first.
     */
    int (*denoise)(void *user, const float *x_scaled, int call, int step, float timestep,
                   float *out, struct err *e);
    /*
     * Standard normal numbers for the step, in the latent's layout. Called in order, by euler_a
     * once in each step after its denoise; NULL is right for the samplers without noise.
     */
    int (*noise)(void *user, float *out, struct err *e);
    /*
     * After each step (entry of schedule->timesteps), with the latent as it is before step + 1. It
     * may change x, as masked inpainting does: what the sampler remembers of earlier steps stays,
     * as in diffusers. Non-zero stops with ERR_CANCELLED. May be NULL.
     */
    int (*after_step)(void *user, int step, float *x);
    void *user;
};

/* Numbers of scratch that a run of that size needs. */
size_t sampler_scratch_floats(enum sampler_id sampler, size_t size);

/* Runs the steps from schedule->first on. Errors: those of the callbacks, and ERR_CANCELLED. */
int sampler_run(struct sampler_run *r, struct err *e);

#endif
