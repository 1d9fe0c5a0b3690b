/*
 * A step of the sampler as a backend runs it: noise, the U-Net's input and time, and after the
 * U-Net guidance and the sampler's update in one pass over its outputs. Latents are float32 in the
 * backend's memory (struct latent), so that nothing is copied to or from the host between steps.
 *
 * What changes from step to step (the program, scalars, whose noise is drawn, weights) lies in a
 * block of the backend's memory that set() fills; the other calls have the same arguments each
 * time, so that a recording (ops.h) of them can be run again.
 *
 *     TRY(o->step->set(o, &place, block, e));
 *     ... o->record ...
 *     TRY(o->step->noise(o, &place, e));
 *     TRY(o->step->input(o, &place, in, 0, branches, e));
 *     TRY(unet_run(...));                                 // has o->step->time in it
 *     TRY(o->step->update(o, &place, out, rescales, e));
 *     ... o->record_end ...
 *     TRY(o->step->end(o, e));
 *
 * Plain data, read by kernels too.
 */
#ifndef ENGINE_OPS_STEP_H
#define ENGINE_OPS_STEP_H

#include "engine/ops/program.h"

#include <stddef.h>

struct latent; /* float32 in the backend's memory; never defined */

#define STEP_SAMPLES_MAX  64
#define STEP_BRANCHES_MAX (STEP_SAMPLES_MAX * 65)

/* The head of a block; samples[n] and branches follow it. */
struct step_block {
    float timestep;         /* training steps */
    float divisor;          /* the U-Net sees x / divisor */
    int32_t number;         /* from 1: what `found` tells of */
    int32_t draws;          /* 1: noise() fills ARRAY_NOISE where a sample's `philox` is set */
    int32_t branches;       /* that follow the samples */
    struct program program; /* stores what the step makes; PROGRAM_MODEL: the guided answer */
};

struct step_sample {
    uint64_t seed;  /* noise(): draw `draw` of the Philox stream */
    uint32_t draw;  /* counts from 0 */
    int32_t philox; /* 0: the caller puts this sample's noise */
    int32_t first;  /* its first branch; with parts that is the negative prompt's */
    int32_t parts;  /* 0: the only branch's output is the answer */
    float share;    /* 0..1 of the rescaled answer is taken; 0: it is not rescaled */
    float rest;     /* and so much of the plain one: 1 - share */
};

/*
 * An answer is negative + sum of scaled * (part - negative). Rescaled, it gets the deviation of
 * negative + sum of weight * (part - negative), in that share (engine/pipeline/pass_step.h).
 */
struct step_branch {
    double weight;
    float scaled;
    int32_t sample;
};

/* What the backend found of one sample. */
struct step_found {
    float factor; /* of rescaling: scratch */
    int32_t bad;  /* number of the first step whose answer had NaN or Inf; 0: none */
};

/* Where a pass has its latents; all pointers into the backend's memory. */
struct step_place {
    int64_t n, pixels, channels;           /* latents [n, pixels, channels] */
    int64_t extra;                         /* numbers of a pixel's input behind the latent's */
    struct latent *arrays[PROGRAM_ARRAYS]; /* [n, pixels, channels]; NULL: not used */
    struct latent *extras;                 /* [n, pixels, extra] */
    void *block;                           /* of step_bytes(n, the most branches) */
    struct latent *found;                  /* of n struct step_found */
};

/* A row of sinusoids: half sines, half cosines. */
struct sinusoids {
    int64_t width;
    int32_t cos_first; /* 0, 1 */
    float freq_shift;
};

static inline size_t step_bytes(int64_t n, int64_t branches)
{
    return sizeof(struct step_block) + (size_t)n * sizeof(struct step_sample) +
           (size_t)branches * sizeof(struct step_branch);
}

#ifdef __CUDACC__
#define STEP_BOTH __host__ __device__
#else
#define STEP_BOTH
#endif

static STEP_BOTH inline struct step_sample *step_samples(const void *block)
{
    return (struct step_sample *)((uintptr_t)block + sizeof(struct step_block));
}

static STEP_BOTH inline struct step_branch *step_branches(const void *block, int64_t n)
{
    return (struct step_branch *)(step_samples(block) + n);
}

#ifndef __cplusplus
#include "proto/err.h"

#include <stdbool.h>

_Static_assert(sizeof(struct step_block) % 8 == 0, "what follows is aligned");

struct ops;
struct act;

/* n numbers behind x; NULL stays NULL. */
static inline struct latent *latent_at(const struct latent *x, int64_t n)
{
    return x == NULL ? NULL : (struct latent *)((uintptr_t)x + (size_t)n * sizeof(float));
}

/* The first step whose answer was bad in any of n samples; 0: none. */
static inline int step_first_bad(const struct step_found *found, int64_t n)
{
    int bad = 0;

    for (int64_t s = 0; s < n; s++)
        if (found[s].bad != 0 && (bad == 0 || found[s].bad < bad))
            bad = found[s].bad;
    return bad;
}

/* A backend's operations of a step; errors and planning as ops.h. */
struct step_ops {
    /* Copies n numbers from or to the host, as they are. */
    int (*put)(struct ops *o, struct latent *y, const float *x, int64_t n, struct err *e);
    int (*get)(struct ops *o, float *y, const struct latent *x, int64_t n, struct err *e);

    /*
     * The block of the next step, from the host; may be changed when it returns. Not to be
     * recorded. A backend whose work goes on after calls return waits here until no more than one
     * step before is under way: so far may the caller be ahead.
     */
    int (*set)(struct ops *o, const struct step_place *at, const struct step_block *block,
               struct err *e);
    int (*end)(struct ops *o, struct err *e); /* all of the step is queued; not to be recorded */

    /* Sets `found` to 0. */
    int (*begin)(struct ops *o, const struct step_place *at, struct err *e);

    int (*noise)(struct ops *o, const struct step_place *at, struct err *e);

    /* in[n, pixels, channels + extra]: x / divisor of branches first..first + n - 1, and extras. */
    int (*input)(struct ops *o, const struct step_place *at, struct act *in, int64_t first,
                 int64_t n, struct err *e);

    /* row[s->width]: the sinusoids of the block's time step. */
    int (*time)(struct ops *o, const struct step_place *at, struct act *row,
                const struct sinusoids *s, struct err *e);

    /*
     * Guides outputs[branches, pixels, channels] and runs the program. rescales: whether any
     * sample's share is not 0.
     */
    int (*update)(struct ops *o, const struct step_place *at, const struct act *outputs,
                  bool rescales, struct err *e);

    /* ret_bad: the first step at which any sample's answer was no number; 0: none. Waits. */
    int (*found)(struct ops *o, const struct step_place *at, int *ret_bad, struct err *e);

    /* y[n] = x / divisor + shift: a latent as the VAE's decoder takes it. */
    int (*for_vae)(struct ops *o, struct act *y, const struct latent *x, int64_t n, float divisor,
                   float shift, struct err *e);

    /*
     * ret_bytes[n] on the host: pixels x, about -1..1, as 8 bits. ret_finite: no NaN, no Inf;
     * ret_any: a byte is not 0. All three are the backend's until settle(): a device computes on
     * while bytes are on their way. x is free again for later calls. ret_bytes may be NULL while
     * planning.
     */
    int (*bytes)(struct ops *o, uint8_t *ret_bytes, const struct act *x, int64_t n,
                 bool *ret_finite, bool *ret_any, struct err *e);

    /* Waits for what bytes() is to write to `bytes`. NULL: nothing that is on its way is wanted any
     * more, nor written; never fails. */
    int (*settle)(struct ops *o, const uint8_t *bytes, struct err *e);
};
#endif

#endif
