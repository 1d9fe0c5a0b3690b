/*
 * What a model's scheduler_config.json means to one sampler: its keys, the defaults of the
 * sampler's class for those it lacks, everything checked. Inside schedule.h's room: callers outside
 * use schedule_init.
 */
#ifndef ENGINE_SAMPLING_SCHEDULE_CONFIG_H
#define ENGINE_SAMPLING_SCHEDULE_CONFIG_H

#include "engine/sampling/schedule.h"

enum spacing { SPACING_LEADING, SPACING_TRAILING, SPACING_LINSPACE };
enum beta_schedule { BETA_LINEAR, BETA_SCALED_LINEAR, BETA_SQUAREDCOS };

/* How a sampler walks, and so which keys it has. */
enum family {
    FAMILY_ALPHA,  /* over products of alphas at whole time steps: ddim, ddpm, pndm, lcm, tcd */
    FAMILY_SIGMA,  /* k-diffusion's of diffusers: Euler, Heun, LMS, KDPM2 */
    FAMILY_LAMBDA, /* over the log SNR: DPMSolverMultistep, UniPC, DEIS */
    FAMILY_WEB,    /* the web UI's own, without a diffusers class */
};

/* One sampler's class; constant. */
struct sampler_class {
    const char *name; /* diffusers class, or k-diffusion function */
    enum family family;
    bool two_calls;   /* two denoiser calls in each step but one that ends at no noise */
    bool leading;     /* spaces its time steps so by default; else linspace */
    bool has_sample;  /* takes prediction_type sample */
    bool has_zero;    /* has rescale_betas_zero_snr */
    bool has_options; /* has use_karras_sigmas and its like */
};

struct schedule_settings {
    const char *where; /* the file, for errors; borrowed from the config */
    const struct sampler_class *class;
    enum scheduler_id scheduler; /* resolved: never automatic */
    bool web;                    /* sigmas are the web UI's, not the class's */
    /* noise process */
    int n_train; /* training steps */
    double beta_start, beta_end;
    enum beta_schedule beta_schedule;
    const double *trained_betas; /* [n_train] or NULL; borrowed from the config */
    bool zero_snr;               /* rescale_betas_zero_snr */
    enum prediction prediction;
    /* time steps */
    enum spacing spacing;
    int steps_offset;            /* training steps */
    int original_steps;          /* lcm, tcd: of the distillation */
    double sigma_min, sigma_max; /* of the chosen range; 0: the schedule's own */
    bool last_sigma_min;         /* final_sigmas_type is sigma_min, not zero */
    double lambda_min_clipped;   /* dpmpp: log SNR / 2; -INFINITY: nothing is clipped */
    /* one step */
    bool clip, alpha_to_one;
    double clip_range;           /* latent units */
    double timestep_scaling;     /* lcm */
    enum ddpm_variance variance; /* ddpm */
    int order;
    bool heun, bh1; /* dpmpp's, unipc's solver_type */
    bool euler_at_final, lower_order_final;
};

/* o: what the render asks for. ERR_INPUT names the file, key and value that do not fit. */
int schedule_settings_read(const struct schedule_config *c, const struct schedule_options *o,
                           struct schedule_settings *ret_s, struct err *e);

#endif
