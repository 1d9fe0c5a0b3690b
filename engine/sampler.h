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
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include "engine/rng.h"
#include "engine/schedule.h"
#include "proto/err.h"

#include <stddef.h>

struct sampler_run {
    const struct schedule *schedule;
    float *x;    /* [size] latent, any layout; in: noise times init_noise_sigma, out: the result */
    size_t size; /* numbers */
    float *scratch; /* [sampler_scratch_floats(sampler, size)], overlapping nothing */

    /*
     * The model's raw output (as its prediction type says) for x_scaled, already scaled for the
     * model, at timestep = schedule->timesteps[step]. x_scaled and out: [size].
     */
    int (*denoise)(void *user, const float *x_scaled, int step, float timestep, float *out,
                   struct err *e);
    /*
     * Standard normal numbers for the step, in the latent's layout. Called in order, by euler_a
     * once in each step after its denoise; NULL is right for the samplers without noise.
     */
    int (*noise)(void *user, float *out, struct err *e);
    /* After each step, counted from 0, with the latent; non-zero stops with ERR_CANCELLED. May be
     * NULL. */
    int (*after_step)(void *user, int step, const float *x);
    void *user;
};

/* Numbers of scratch that a run of that size needs. */
size_t sampler_scratch_floats(enum sampler_id sampler, size_t size);

/* Runs all steps. Errors: those of the callbacks, and ERR_CANCELLED. */
int sampler_run(struct sampler_run *r, struct err *e);

#endif
