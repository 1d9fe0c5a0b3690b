/*
 * What a model's scheduler_config.json means to one sampler: its keys, the defaults of the
 * sampler's diffusers class for those it lacks, everything checked. Inside schedule.h's room:
 * callers outside use schedule_init.
 */
#ifndef ENGINE_SCHEDULE_CONFIG_H
#define ENGINE_SCHEDULE_CONFIG_H

#include "engine/schedule.h"

enum spacing { SPACING_LEADING, SPACING_TRAILING, SPACING_LINSPACE };
enum beta_schedule { BETA_LINEAR, BETA_SCALED_LINEAR, BETA_SQUAREDCOS };

struct schedule_settings {
    const char *where; /* the file, for errors; borrowed from the config */
    /* noise process */
    int n_train; /* training steps */
    double beta_start, beta_end;
    enum beta_schedule beta_schedule;
    const double *trained_betas; /* [n_train] or NULL; borrowed from the config */
    bool zero_snr;               /* rescale_betas_zero_snr */
    enum prediction prediction;
    /* time steps */
    enum spacing spacing;
    int steps_offset; /* training steps */
    bool karras;
    double sigma_min, sigma_max; /* of Karras' range; 0: the schedule's own */
    bool last_sigma_min;         /* final_sigmas_type is sigma_min, not zero */
    /* ddim */
    bool clip, alpha_to_one;
    double clip_range; /* latent units */
    /* dpmpp_2m */
    int order;
    bool heun, euler_at_final, lower_order_final;
    double lambda_min_clipped; /* log SNR / 2; -INFINITY: nothing is clipped */
};

/* scheduler: resolved or automatic. ERR_INPUT names the file, key and value that do not fit. */
int schedule_settings_read(const struct schedule_config *c, enum sampler_id sampler,
                           enum scheduler_id scheduler, struct schedule_settings *ret_s,
                           struct err *e);

#endif
