/*
 * The samplers themselves, one function each, and what they share. For sampler.c and the files of
 * this folder; others call sampler_run.
 *
 * Arrays of a run are [size] numbers; scratch is cut into pieces of that length, r->scratch + k
 * size. Scalars are rounded to float32 after each operation, as torch's 0-dimensional tensors are,
 * and sums are taken in the order of the class that a sampler is equal to.
 */
#ifndef ENGINE_SAMPLING_SAMPLERS_INNER_H
#define ENGINE_SAMPLING_SAMPLERS_INNER_H

#include "engine/sampling/sampler.h"

int run_ddim(struct sampler_run *r, struct err *e);
int run_ddpm(struct sampler_run *r, struct err *e);
int run_lcm(struct sampler_run *r, struct err *e);
int run_tcd(struct sampler_run *r, struct err *e);
int run_pndm(struct sampler_run *r, struct err *e);
int run_euler(struct sampler_run *r, struct err *e);
int run_euler_a(struct sampler_run *r, struct err *e);
int run_lms(struct sampler_run *r, struct err *e);
int run_heun(struct sampler_run *r, struct err *e);
int run_dpm2(struct sampler_run *r, struct err *e);
int run_dpm2_a(struct sampler_run *r, struct err *e);
int run_dpmpp_2s_a(struct sampler_run *r, struct err *e);
int run_dpmpp_sde(struct sampler_run *r, struct err *e);
int run_dpmpp_3m_sde(struct sampler_run *r, struct err *e);
int run_dpmpp_2m(struct sampler_run *r, struct err *e);
int run_dpmpp_2m_sde(struct sampler_run *r, struct err *e);
int run_unipc(struct sampler_run *r, struct err *e);
int run_deis(struct sampler_run *r, struct err *e);

/* float32 functions of scalars, rounded once from float64. */
float log_f32(float x);
float exp_f32(float x);
float expm1_f32(float x);
float log_numpy(float x); /* as numpy rounds it: schedule_inner.h */

/* x, or the end of -range..range that it is beyond. NaN stays. */
float clip_f32(float x, float range);

/* Piece k of the scratch. */
float *piece(const struct sampler_run *r, int k);

/* out = the model's output at x and entry `step`, x as the model takes it. out may not be x. */
int call_plain(struct sampler_run *r, int step, const float *x, float *out, struct err *e);

/*
 * The same for an exploding latent x at the noise level sigma: the model sees it at unit size.
 * scaled: scratch.
 */
int call_scaled(struct sampler_run *r, int step, const float *x, float sigma, float *scaled,
                float *out, struct err *e);

/* In place: the model's output for an exploding x at sigma becomes the predicted picture. */
void picture_exploding(const struct schedule *s, float sigma, const float *x, float *out,
                       size_t size);

/* x += factor times the next noise times s_noise. noise: scratch. */
int add_drawn(struct sampler_run *r, float factor, float *noise, float *x, struct err *e);

/* Ends an entry: after_step. ERR_CANCELLED if it says so. */
int finish_step(struct sampler_run *r, int step, struct err *e);

/* ---- over the log SNR */

/* A noise level as shares of picture and noise in the latent, and their log ratio. */
struct level {
    float alpha, sigma, lambda; /* lambda = log(alpha / sigma); infinite at no noise */
};

/* Of one of s->sigmas: alpha is 1 for an exploding latent. */
struct level level_of(const struct schedule *s, float sigma);

/* out = the predicted picture at entry `step`. scaled: scratch, for an exploding latent. */
int call_picture(struct sampler_run *r, int step, float *scaled, float *out, struct err *e);

#endif
