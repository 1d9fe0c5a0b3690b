/*
 * Pictures from one model: canvas, passes of the sampler, decoding; a batch goes through all of it
 * together. Inside the engine; engine.h is the interface to others.
 *
 *     struct pipeline p = {.model = m};
 *     TRY(pipeline_plan(&p, &batch, &plan, e));
 *     TRY(workspace_init(&workspace, m->ops, &plan, e));
 *     TRY(pipeline_run(&p, &batch, NULL, images, e));
 *     pipeline_done(&p);
 */
#ifndef ENGINE_PIPELINE_PIPELINE_H
#define ENGINE_PIPELINE_PIPELINE_H

#include "engine/ops/workspace.h"
#include "engine/pipeline/batch.h"
#include "engine/pipeline/render.h"
#include "engine/text/conditioning.h"

/* An embedding that a render used; owned. */
struct used_embedding {
    char *name, *path;
};

/* What the renders of one model share. Zeroed memory with a model is valid. */
struct pipeline {
    struct model *model;           /* borrowed */
    struct embeddings *embeddings; /* borrowed; NULL: none */
    struct prompts prompts;
    struct used_embeddings {
        struct used_embedding *items; /* [n], owned */
        size_t n;
    } * used; /* [n_used], owned: of each render of the last plan or run */
    size_t n_used;
};
void pipeline_done(struct pipeline *p);

/*
 * The memory that the batch takes (workspace.h), with its LoRAs on the model and the backend made
 * ready for its shapes; the backend has no arenas afterwards. ERR_INPUT for what this model cannot
 * render, with the reason. ERR_ARG: renders that do not go together.
 */
int pipeline_plan(struct pipeline *p, const struct batch *b, struct workspace *ret_plan,
                  struct err *e);

/*
 * In the backend's workspace, of the planned size and empty. ret_latents: the final latents
 * [n, channels, h, w] in torch's order, before the VAE, for tests; may be NULL. ret_images: [n],
 * empty from a member of a gang that does not lead. Errors as engine_render().
 */
int pipeline_run(struct pipeline *p, const struct batch *b, float *ret_latents,
                 struct image *ret_images, struct err *e);

#endif
