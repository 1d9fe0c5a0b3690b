/*
 * The samplers themselves, one function each, and what they share. For sampler.c and the files of
 * samplers/; others call sampler_entry.
 *
 * A sampler writes the program (engine/ops/program.h) of one entry of the schedule and returns the
 * latent before the next. It keeps nothing itself: what it remembers lies in the kept arrays, whose
 * places follow from the entry's age. Scalars are rounded to float32 after each operation, as
 * torch's 0-dimensional tensors are, and sums are taken in the order of the class that a sampler is
 * equal to.
 */
#ifndef ENGINE_SAMPLING_SAMPLER_INNER_H
#define ENGINE_SAMPLING_SAMPLER_INNER_H

#include "engine/sampling/sampler.h"

/* An entry under construction. */
struct entry {
    const struct schedule *schedule;
    int step; /* of the schedule's entries */
    int age;  /* entries that were run before */
    struct program *program;
    struct value x, model; /* the latent at its start, and the model's answer */
    float divisor;         /* the model sees x / divisor; 1 unless set */
    bool draws;            /* add_drawn() was called */
};

struct value run_ddim(struct entry *n);
struct value run_ddpm(struct entry *n);
struct value run_lcm(struct entry *n);
struct value run_tcd(struct entry *n);
struct value run_pndm(struct entry *n);
struct value run_euler(struct entry *n);
struct value run_euler_a(struct entry *n);
struct value run_lms(struct entry *n);
struct value run_heun(struct entry *n);
struct value run_dpm2(struct entry *n);
struct value run_dpm2_a(struct entry *n);
struct value run_dpmpp_2s_a(struct entry *n);
struct value run_dpmpp_sde(struct entry *n);
struct value run_dpmpp_3m_sde(struct entry *n);
struct value run_dpmpp_2m(struct entry *n);
struct value run_dpmpp_2m_sde(struct entry *n);
struct value run_unipc(struct entry *n);
struct value run_deis(struct entry *n);

/* float32 functions of scalars, rounded once from float64. */
float log_f32(float x);
float exp_f32(float x);
float expm1_f32(float x);
float log_numpy(float x); /* as numpy rounds it: schedule_inner.h */

/* ---- arithmetic of values */

static inline struct value add(struct entry *n, struct value a, struct value b)
{
    return program_add(n->program, a, b);
}

static inline struct value sub(struct entry *n, struct value a, struct value b)
{
    return program_sub(n->program, a, b);
}

/* a * by, in either order. */
static inline struct value scale(struct entry *n, float by, struct value a)
{
    return program_scale(n->program, a, by);
}

/* a / by. */
static inline struct value over(struct entry *n, struct value a, float by)
{
    return program_over(n->program, a, by);
}

/* Kept array k as it is now, and a new content for it. */
static inline struct value kept(struct entry *n, int k)
{
    return program_array(n->program, ARRAY_KEPT + k);
}

static inline void keep(struct entry *n, int k, struct value a)
{
    program_store(n->program, ARRAY_KEPT + k, a);
}

/* The place, among `places` that are used in turn, of what was kept at the entry of that age. */
static inline int place_of(int age, int places)
{
    return age % places;
}

/* A predicted picture, clipped where the schedule says so. */
struct value clipped(struct entry *n, struct value picture);

/*
 * The picture predicted for an exploding latent at the noise level sigma, which the model sees at
 * unit size.
 */
struct value picture_exploding(struct entry *n, float sigma);

/* x + factor times the entry's noise times s_noise. */
struct value add_drawn(struct entry *n, struct value x, float factor);

/* ---- over the log SNR */

/* A noise level as shares of picture and noise in the latent, and their log ratio. */
struct level {
    float alpha, sigma, lambda; /* lambda = log(alpha / sigma); infinite at no noise */
};

/* Of one of s->sigmas: alpha is 1 for an exploding latent. */
struct level level_of(const struct schedule *s, float sigma);

/* The predicted picture at the entry's level, for either kind of latent. */
struct value picture_at_level(struct entry *n);

#endif
