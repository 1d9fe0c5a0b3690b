/*
 * The texts of one pass of the sampler as the U-Net sees them: each encoded once before the first
 * step, its keys and values computed once for all steps, and for every call of the denoiser those
 * that it is guided by. In the backend's arena; works while planning.
 *
 *     TRY(texts_open(&t, &(struct texts_options){...}, e));
 *     n = texts_at(&t, call, branches, weights);
 *     TRY(unet_forward(u, y, x, &extent_of_n, step, branches, e));
 */
#ifndef ENGINE_TEXTS_H
#define ENGINE_TEXTS_H

#include "engine/engine.h"
#include "engine/prompts.h"

#define TEXTS_BRANCHES_MAX 2 /* of one call */

struct texts {
    bool guided; /* a negative prompt comes first */
    struct unet_text texts[TEXTS_BRANCHES_MAX];
};

/* prompts: NULL while planning. width, height: of the picture, pixels. */
int texts_open(struct texts *t, struct model *m, const struct render *r, struct prompts *prompts,
               int width, int height, struct err *e);

/* The most branches that a call has. */
int texts_most(const struct texts *t);

/*
 * The branches of a call, counted from 0: if guided the negative prompt, then the parts with their
 * weights. ret_texts, ret_weights: [TEXTS_BRANCHES_MAX]. Returns the number of branches.
 */
int texts_at(const struct texts *t, int call, struct unet_text *ret_texts, double *ret_weights);

#endif
