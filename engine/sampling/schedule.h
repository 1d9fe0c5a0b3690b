/*
 * Noise schedules: a model's scheduler_config.json, and the time steps and sigmas of one render.
 *
 * Keys that the file lacks take the default of the sampler's diffusers class, as diffusers'
 * from_config does: so SD 1.5's file (no timestep_spacing) means leading for ddim and linspace for
 * euler. (But for ddim and ddpm a file of another class means no clipping, and no alpha of 1 at the
 * end: those defaults are for pixels.) Keys that the file states stay when another sampler is
 * named; keys that the sampler's class does not have are ignored, as diffusers does. A scheduler
 * named in the task (karras, uniform, ...) overrides the file's use_karras_sigmas and its like,
 * which count with `automatic`.
 *
 * Schedulers: uniform, karras, exponential and beta are those of the sampler's diffusers class
 * (euler_a, whose class has only the first, takes EulerDiscreteScheduler's). The others are the web
 * UI's (AUTOMATIC1111 1.10, modules/sd_schedulers.py), with its time steps (fractional) and its
 * start (noise times the first sigma); a solver over the log SNR then runs on the exploding latent
 * too, as k-diffusion has it. Samplers without a diffusers class (dpmpp_2s_a, dpmpp_sde,
 * dpmpp_3m_sde) take all of them from the web UI, and no spacing from the file.
 *
 * Arithmetic follows diffusers: float32 where it has torch tensors, float64 where it has numpy.
 * Read-only after open and init: any thread.
 *
 *     TRY(schedule_config_open("model/scheduler/scheduler_config.json", &c, e));
 *     TRY(schedule_init(&s, c, &options, e));
 *     x = noise * s.init_noise_sigma;                       // text to picture
 *     schedule_add_noise(&s, s.first, x, clean, noise, n);  // picture to picture
 */
#ifndef ENGINE_SAMPLING_SCHEDULE_H
#define ENGINE_SAMPLING_SCHEDULE_H

#include "engine/sampling/optional.h"
#include "proto/err.h"
#include "proto/terms.h"

#include <stdbool.h>
#include <stddef.h>

#define SCHEDULE_TRAIN_MAX 10000      /* training steps */
#define SCHEDULE_FILE_MAX  (4u << 20) /* bytes */

enum prediction { PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE };

/* What the model's file says, and which keys it has; opaque, read-only after open. */
struct schedule_config;

/*
 * path: scheduler/scheduler_config.json. ERR_INPUT for a value that no sampler here can honour;
 * what only one sampler's class knows is checked by schedule_init. Both name file, key and value.
 */
int schedule_config_open(const char *path, struct schedule_config **ret_c, struct err *e);
int schedule_config_parse(const char *where, const char *json, size_t size,
                          struct schedule_config **ret_c, struct err *e);
void schedule_config_free(struct schedule_config *c);

/* What a render asks of its schedule. */
struct schedule_options {
    enum sampler_id sampler;
    enum scheduler_id scheduler;
    int steps;               /* 1..the model's training steps */
    struct optional eta;     /* noise that a stochastic sampler adds; unset: the sampler's own */
    struct optional s_noise; /* factor of that noise; unset: 1 */
    bool zero_snr;           /* rescale_betas_zero_snr, whatever the file says */
    bool xl;         /* the model is of SDXL's family: align_your_steps has a table for it */
    double strength; /* picture to picture: 0 < s <= 1 runs the last int(s * steps) steps, as
                        diffusers' get_timesteps; 0: all steps */
};

/* diffusers' variance_type of DDPMScheduler. */
enum ddpm_variance { VARIANCE_SMALL, VARIANCE_SMALL_LOG, VARIANCE_LARGE };

/*
 * The schedule of one render. Arrays are owned.
 *
 * A "step" in these interfaces is one entry of timesteps, and one call of the denoiser: as
 * diffusers has it, samplers of two calls per step (heun, dpm2, dpm2_a, dpmpp_2s_a, dpmpp_sde) list
 * 2 n_steps - 1 entries, and the latent between two calls is at the level of an entry too; pndm
 * lists its second time step twice.
 */
struct schedule {
    enum sampler_id sampler;
    enum prediction prediction;
    int n_steps;            /* the steps asked for, or fewer where the range holds no more */
    int n;                  /* entries of timesteps: denoiser calls of the whole list */
    int first;              /* first entry that is run; 0 unless strength says less */
    float *timesteps;       /* [n], training steps, fractional where the sampler has them so */
    float *sigmas;          /* [n + 1], noise standard deviations over signal, descending */
    float *mids;            /* [n_steps], of a step's second call; NULL: there is none */
    float *alphas_cumprod;  /* [n_train] */
    int n_train;            /* training steps */
    float init_noise_sigma; /* start latent = noise times this */
    bool by_alpha;          /* steps go by alphas_cumprod[timesteps[i]], not by sigmas */
    bool exploding;         /* the latent is clean + sigma noise; else its variance is kept */
    double eta;             /* noise of a stochastic sampler, its own where the render says none */
    float s_noise;          /* factor of all noise that is added */
    float final_alpha_cumprod;   /* of the step before step 0 */
    int stride;                  /* ddim, pndm: training steps from one time step to the next */
    bool clip;                   /* the predicted picture is clipped to +-clip_range */
    float clip_range;            /* latent units */
    enum ddpm_variance variance; /* ddpm */
    float timestep_scaling;      /* lcm */
    int order;                   /* of the multistep solvers, 1..3 */
    bool heun;                   /* dpmpp_2m, _sde: solver_type heun, else midpoint */
    bool bh1;                    /* unipc: solver_type bh1, else bh2 */
    bool euler_last;             /* dpmpp_2m, _sde: the last step is of first order */
    bool lower_order_final;      /* unipc, deis: the order falls towards the end */
};

/*
 * ERR_INPUT for what diffusers refuses or cannot do, such as ddim with karras, with the reason.
 * `automatic` is resolved as proto/terms.h says. On error *s is zeroed.
 */
int schedule_init(struct schedule *s, const struct schedule_config *c,
                  const struct schedule_options *o, struct err *e);
void schedule_done(struct schedule *s);

/*
 * Of an ancestral step between two sigmas: the sigma it goes down to, and the noise it adds to be
 * at `to`. k-diffusion's get_ancestral_step; eta 0 adds none.
 */
void schedule_ancestral(float from, float to, double eta, float *ret_down, float *ret_up);

/* Steps as users count them, 1..n_steps, that are done or under way at entry `step` (0..n-1). */
int schedule_count(const struct schedule *s, int step);

/* What shares of clean and noise make the level before step (0..schedule.n; n: clean itself). */
void schedule_shares(const struct schedule *s, int step, float *ret_clean, float *ret_noise);

/*
 * out[n] = clean with noise, both [n], in those shares, as the sampler's diffusers class has
 * add_noise at timesteps[step]. out may be clean or noise.
 */
void schedule_add_noise(const struct schedule *s, int step, float *out, const float *clean,
                        const float *noise, size_t n);

#endif
