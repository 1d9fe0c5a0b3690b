/*
 * Noise schedules: a model's scheduler_config.json, and the time steps and sigmas of one render.
 *
 * Keys that the file lacks take the default of the sampler's diffusers class, as diffusers'
 * from_config does: so SD 1.5's file (no timestep_spacing) means leading for ddim and linspace for
 * euler. Keys that the file states stay when another sampler is named; a scheduler named in the
 * task (karras, uniform) overrides the file's use_karras_sigmas.
 */
#ifndef ENGINE_SCHEDULE_H
#define ENGINE_SCHEDULE_H

#include "proto/err.h"
#include "proto/terms.h"

#include <stdbool.h>

#define SCHEDULE_TRAIN_MAX 10000 /* training steps */

enum prediction { PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE };

/* What the model's file says, and which keys it has; opaque, read-only after open. */
struct schedule_config;

/* path: scheduler/scheduler_config.json. A value that the engine cannot honour is an error that
 * names it. */
int schedule_config_open(const char *path, struct schedule_config **ret_c, struct err *e);
int schedule_config_parse(const char *where, const char *json, size_t size,
                          struct schedule_config **ret_c, struct err *e);
void schedule_config_free(struct schedule_config *c);

/* The schedule of one render. Arrays are owned. */
struct schedule {
    enum sampler_id sampler;
    enum prediction prediction;
    int n;                 /* denoiser calls */
    float *timesteps;      /* [n], training steps, fractional where the sampler has them so */
    float *sigmas;         /* [n + 1], noise standard deviations; for ddim see alphas */
    float *alphas_cumprod; /* [n_train] */
    int n_train;
    float init_noise_sigma;    /* start latent = noise times this */
    float final_alpha_cumprod; /* ddim: of the step before step 0 */
};

/*
 * steps: 1..n_train. ERR_INPUT for what diffusers refuses or cannot do, such as ddim with karras,
 * with the reason. `automatic` is resolved as proto/terms.h says.
 */
int schedule_init(struct schedule *s, const struct schedule_config *c, enum sampler_id sampler,
                  enum scheduler_id scheduler, int steps, struct err *e);
void schedule_done(struct schedule *s);

#endif
