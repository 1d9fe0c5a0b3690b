/*
 * One pass of the sampler over the latents of a batch: what they start from, their texts, the steps
 * that they have in common. A render is one pass, with hires fix two. Each latent is a function of
 * its own render alone: samplers take each number for itself, and ops each sample.
 *
 * Random numbers come in diffusers' order, from one stream per pass: the encoder's for the initial
 * picture; the start's; in inpainting the encoder's for the picture without what is masked
 * (drawn also where the U-Net has no use for it); then the sampler's.
 *
 * Starts. From nothing: noise (StableDiffusionPipeline). From a picture or a latent: it, noised to
 * the level of the first step that is run (StableDiffusionImg2ImgPipeline); under a mask with
 * strength 1 from noise alone, else as before, and after each step what is outside the mask is the
 * initial latent noised to the next step (StableDiffusionInpaintPipeline). U-Nets of nine channels
 * are not blended: they see the mask and the picture without what is masked; where there is no
 * mask everything is masked, as AUTOMATIC1111 has it. SDXL's pipelines do the same.
 *
 * The engine's own file, in the backend's workspace; works while planning.
 *
 * In a gang, every member draws the same noise and takes the same steps; only the U-Net's branches
 * are shared out, and every member hears all answers.
 *
 *     TRY(pass_init(&p, &(struct pass_options){.model = m, ...}, e));
 *     TRY(pass_run(&p, starts, &prompts, e));
 *     ... pass_latent(&p, i, ...), pass_decode(&p, i, ...) ...
 *     pass_done(&p);
 */
#ifndef ENGINE_PIPELINE_PASS_H
#define ENGINE_PIPELINE_PASS_H

#include "engine/pipeline/pixels.h"
#include "engine/pipeline/render.h"
#include "engine/pipeline/texts.h"
#include "engine/sampling/noise.h"
#include "engine/sampling/sampler.h"

/* Where a pass starts; all NULL: from noise. */
struct pass_start {
    const struct pixels *picture; /* RGB, of the pass' size */
    const struct pixels *mask;    /* grey, with a picture */
    const float *latent;          /* [size], of the U-Net's scale, instead of a picture */
    enum mask_fill fill;          /* of what is masked; FILL_FILL is done in the picture */
};

/* One picture of the batch. */
struct sample {
    const struct render *render; /* borrowed */
    struct noise noise;
    struct texts texts;

    /* In the host's arena until pass_put_start: what it starts from. */
    float *x;             /* [size] its latent */
    float *clean, *start; /* [size] initial latent and start noise; NULL: not needed */
    float *mask, *masked; /* [h, w], [size]: see latent.h; NULL: there is none */
};

struct pass {
    struct model *model;         /* borrowed */
    const struct render *common; /* the first of the batch: what all agree in (render_batches) */
    double strength;             /* 0: all steps, from noise */
    struct schedule schedule;
    int width, height;             /* pixels */
    struct extent extent;          /* of one latent */
    int64_t channels, size;        /* of one latent: channels, numbers */
    int steps_before, steps_total; /* for progress: of earlier passes, of all */
    struct gang *guides;   /* borrowed; computes the branches together; NULL: alone, or planning */
    struct gang *decoders; /* borrowed; members that decode together; NULL: alone */
    int part, parts;       /* which of their parts is computed here: 0 of 1 if alone */
    bool blends;           /* what is outside of a mask is put back after each step */
    bool rescales;         /* guidance of some render is rescaled */
    size_t n;
    struct sample *samples;     /* [n], owned */
    struct unet_text *branches; /* [n * TEXTS_BRANCHES_MAX] of the current call, owned */

    /*
     * The latents, x in the backend's arena until the caller's mark is released; all else during
     * pass_run. They go in before the first step and stay: no step copies them to or from the host
     * (ARCHITECTURE.md, decision 43).
     */
    struct step_place place;
    struct step_block *block; /* of the next step, in the host's arena */
    float *draw;              /* [size] noise in torch's order, and scratch of the first */
    float *drawn;             /* [size] the same in our layout */
    float *answers;           /* [branches, size] of a gang's guides; NULL: none */
    struct act *in, *out;     /* [branches, size with the mask's channels], [branches, size] */
};

/* All borrowed until pass_done(). */
struct pass_options {
    struct model *model;
    struct embeddings *embeddings;       /* NULL: none */
    const struct render *const *renders; /* [n], of which each render_batches() with the first */
    size_t n;
    int width, height;   /* pixels, multiples of the model's latent factor */
    double strength;     /* as schedule_options */
    int steps;           /* of the whole schedule */
    int first_steps;     /* of the first pass' schedule, if this is the second; else 0 */
    struct gang *guides; /* as in struct pass */
    int part, parts;
};

/* Schedule and prompts. ERR_INPUT for what either refuses. */
int pass_init(struct pass *p, const struct pass_options *o, struct err *e);
void pass_done(struct pass *p);

/* Steps that it will run, as users count them. */
int pass_steps(const struct pass *p);

/*
 * from: [n]. prompts: NULL while planning. The pass then has its final latents. Errors as
 * engine_render(); a device's work is behind the calls, so that an ERR_OUTPUT may come at the end.
 */
int pass_run(struct pass *p, const struct pass_start *from, struct prompts *prompts, struct err *e);

/* ret_latent[size]: the i-th latent, on the host. */
int pass_latent(const struct pass *p, size_t i, float *ret_latent, struct err *e);

/*
 * Of the members that decode together (p->decoders) rank 0 gets the pixels, the others have no
 * data. pixels: RGB of the pass' size, decoded from the i-th latent. Between begin and end the
 * backend writes to all of it, and another picture may begin; who ends none calls the backend's
 * step->settle(NULL). any: a byte is not 0. ERR_OUTPUT of the end: NaN or Inf.
 */
struct decoded {
    struct pixels pixels;
    bool finite, any;
};
int pass_decode_begin(struct pass *p, size_t i, struct decoded *d, struct err *e);
int pass_decode_end(struct pass *p, struct decoded *d, struct err *e);

/* Both. */
int pass_decode(struct pass *p, size_t i, struct pixels *ret_pixels, struct err *e);

#endif
