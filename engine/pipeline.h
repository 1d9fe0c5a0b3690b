/*
 * One picture from one model: canvas, passes of the sampler, decoding. The engine's own file;
 * engine.h is the interface to others.
 *
 *     TRY(pipeline_plan(m, &render, &bytes, e));
 *     TRY(arena_init(&arena, bytes, e));
 *     TRY(pipeline_run(m, &prompts, &arena, &render, NULL, &image, e));
 */
#ifndef ENGINE_PIPELINE_H
#define ENGINE_PIPELINE_H

#include "engine/engine.h"
#include "engine/prompts.h"

/*
 * Arena bytes that the render takes, and the backend made ready for its shapes. ERR_INPUT for what
 * this model cannot render, with the reason.
 */
int pipeline_plan(struct model *m, const struct render *r, size_t *ret_bytes, struct err *e);

/*
 * arena: of the planned size, empty. ret_latent: the final latent [channels, h, w] in torch's
 * order, before the VAE, for tests; may be NULL. Errors as engine_render().
 */
int pipeline_run(struct model *m, struct prompts *prompts, struct arena *arena,
                 const struct render *r, float *ret_latent, struct image *ret_image, struct err *e);

#endif
