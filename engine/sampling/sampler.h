/*
 * Samplers: one function each. A sampler says what an entry of the schedule does to a latent, as a
 * program (engine/ops/program.h) that the backend runs behind the denoiser; guidance, networks,
 * batches and where the numbers lie are the caller's business.
 *
 * Equal to the diffusers scheduler of the same kind, step by step, in float32: DDIMScheduler
 * (eta 0), EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler.
 * Sums and products are taken in its order, each number for itself: layout, threads and device do
 * not change a bit.
 *
 *     for (int step = s.first; step < s.n; step++) {
 *         sampler_entry(&s, step, &n);
 *         program_store(&n.program, ARRAY_X, n.x);
 *         ... n.draws: normal numbers to ARRAY_NOISE ...
 *         ... the model's answer for x / n.divisor at s.timesteps[step] ...
 *         ... run n.program ...
 *     }
 *
 * Before the first entry x is noise times s.init_noise_sigma, or what schedule_add_noise gives at
 * s.first. The content of kept arrays does not matter then.
 */
#ifndef ENGINE_SAMPLING_SAMPLER_H
#define ENGINE_SAMPLING_SAMPLER_H

#include "engine/ops/program.h"
#include "engine/sampling/schedule.h"

#include <stdbool.h>

struct sampler_entry {
    /*
     * Stores what the sampler remembers; x is not stored yet, so that the caller may go on with it,
     * as masked inpainting does: what the sampler remembers stays, as in diffusers.
     */
    struct program program;
    struct value x; /* the latent before entry step + 1 */
    float divisor;  /* the model sees x / divisor */
    bool draws;     /* reads ARRAY_NOISE: one draw for each entry that says so, in order */
};

/* Arrays that the sampler keeps, from ARRAY_KEPT on. */
int sampler_kept(enum sampler_id sampler);

/*
 * What entry `step`, schedule->first..n - 1, does; a pure function. The model's raw output (as its
 * prediction type says) is PROGRAM_MODEL.
 */
void sampler_entry(const struct schedule *schedule, int step, struct sampler_entry *ret_entry);

#endif
