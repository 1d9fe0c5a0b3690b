/*
 * Samplers: one function each, all over the same callback. A sampler turns noise into a latent by
 * calling the denoiser n times; guidance, networks and batches are the callback's business.
 *
 * Equal to the diffusers scheduler of the same kind, step by step, in float32: DDIMScheduler,
 * EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler.
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
    float *scratch; /* [sampler_scratch_floats(sampler, size)] */

    /*
     * The model's raw output (as its prediction type says) for x, already scaled for the model, at
     * schedule->timesteps[step]. out: [size].
     */
    int (*denoise)(void *user, const float *x_scaled, int step, float timestep, float *out,
                   struct err *e);
    /* Standard normal numbers for the step, in the latent's layout. Called in order, when one is
     * needed. */
    int (*noise)(void *user, float *out, struct err *e);
    /* After each step, with the latent; return non-zero to stop with ERR_CANCELLED. May be NULL. */
    int (*after_step)(void *user, int step, const float *x);
    void *user;
};

size_t sampler_scratch_floats(enum sampler_id sampler, size_t size);

int sampler_run(struct sampler_run *r, struct err *e);

#endif
