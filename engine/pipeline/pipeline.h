/*
 * One picture from one model: canvas, passes of the sampler, decoding. The engine's own file;
 * engine.h is the interface to others.
 *
 *     struct pipeline p = {.model = m};
 *     TRY(pipeline_plan(&p, &render, &plan, e));
 *     TRY(workspace_init(&workspace, m->ops, &plan, e));
 *     TRY(pipeline_run(&p, &render, NULL, &image, e));
 *     pipeline_done(&p);
 */
#ifndef ENGINE_PIPELINE_PIPELINE_H
#define ENGINE_PIPELINE_PIPELINE_H

#include "engine/engine.h"
#include "engine/ops/workspace.h"
#include "engine/text/conditioning.h"

/* What the renders of one model share. Zeroed memory with a model is valid. */
struct pipeline {
    struct model *model;           /* borrowed */
    struct embeddings *embeddings; /* borrowed; NULL: none */
    struct prompts prompts;
    struct used_embedding {
        char *name, *path; /* owned */
    } * used;              /* [n_used], owned; of the last plan or run */
    size_t n_used;
};
void pipeline_done(struct pipeline *p);

/*
 * The memory that the render takes (workspace.h), with its LoRAs on the model and the backend made
 * ready for its shapes; the backend has no arenas afterwards. ERR_INPUT for what this model cannot
 * render, with the reason.
 */
int pipeline_plan(struct pipeline *p, const struct render *r, struct workspace *ret_plan,
                  struct err *e);

/*
 * In the backend's workspace, of the planned size and empty. ret_latent: the final latent
 * [channels, h, w] in torch's order, before the VAE, for tests; may be NULL. Errors as
 * engine_render().
 */
int pipeline_run(struct pipeline *p, const struct render *r, float *ret_latent,
                 struct image *ret_image, struct err *e);

#endif
