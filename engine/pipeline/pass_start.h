/* How a pass begins, and its random numbers; pass.c's other half. */
#ifndef ENGINE_PIPELINE_PASS_START_H
#define ENGINE_PIPELINE_PASS_START_H

#include "engine/pipeline/pass.h"

/* ERR_CANCELLED if a render of the batch was cancelled, else 0. */
int pass_cancelled(const struct pass *p, struct err *e);

/* The next [size] normal numbers of the sample's stream, in our layout. */
void pass_draw(struct pass *p, struct sample *s, float *out);

/*
 * Fills the samples' x with the latents before the first step, and what inpainting needs
 * afterwards. from: [n]. Memory of the host's arena stays in use.
 */
int pass_begin(struct pass *p, const struct pass_start *from, struct err *e);

#endif
