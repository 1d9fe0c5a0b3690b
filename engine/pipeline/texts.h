/*
 * The texts of one pass of the sampler as the U-Net sees them: each encoded once before the first
 * step, its keys and values computed once for all steps, and for every call of the denoiser those
 * that it is guided by.
 *
 * SDXL's size conditioning is that of diffusers' StableDiffusionXLPipeline by default: original and
 * target size are the picture's, nothing is cropped; the negative prompt has the same.
 *
 *     TRY(texts_new(&t, m, embeddings, render, steps, 0, e));   // reads the prompts
 *     TRY(model_loras(m, loras, n, e));                         // of t.conditioning
 *     TRY(texts_encode(&t, m, prompts, 512, 512, e));           // in the backend's arena
 *     n = texts_at(&t, call, branches, &guidance);
 *     TRY(unet_run(u, y, x, &extent_of_n, &place, branches, e));
 *     texts_done(&t);
 */
#ifndef ENGINE_PIPELINE_TEXTS_H
#define ENGINE_PIPELINE_TEXTS_H

#include "engine/pipeline/render.h"
#include "engine/text/conditioning.h"

#define TEXTS_BRANCHES_MAX (1 + GUIDANCE_PARTS_MAX) /* of one call */

struct texts {
    struct conditioning *conditioning; /* owned */
    bool guided;                       /* a negative prompt comes first */
    struct unet_text *texts;           /* [conditioning_texts], owned; in the arena behind it */
};

/*
 * steps: of the pass' schedule; first_steps: of the first pass' if this is the second, else 0.
 * embeddings: NULL: none. Without guidance (cfg_scale 1 or less) there is no negative prompt, but
 * where AND or a weight asks for it. Errors as conditioning_new().
 */
int texts_new(struct texts *t, const struct model *m, struct embeddings *embeddings,
              const struct render *r, int steps, int first_steps, struct err *e);
void texts_done(struct texts *t);

/* Works while planning, with prompts NULL. width, height: of the picture, pixels. */
int texts_encode(struct texts *t, const struct model *m, struct prompts *prompts, int width,
                 int height, struct err *e);

/* The most branches that a call has. */
int texts_most(const struct texts *t);

/*
 * The branches of a call, counted from 0: if guided the negative prompt, then the parts that
 * ret_guidance tells of. ret_branches: [TEXTS_BRANCHES_MAX]. Returns the number of branches.
 */
int texts_at(const struct texts *t, int call, struct unet_text *ret_branches,
             struct guidance *ret_guidance);

#endif
