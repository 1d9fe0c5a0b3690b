/*
 * What may be rendered, and what together. render.h has render_batches().
 */
#ifndef ENGINE_PIPELINE_BATCH_H
#define ENGINE_PIPELINE_BATCH_H

#include "engine/checkpoint/model.h"
#include "engine/pipeline/render.h"

/* Renders that go together; borrowed for the call. Each render_batches() with the first. */
struct batch {
    const struct render *const *renders; /* [n] */
    size_t n;                            /* 1..ENGINE_BATCH_MAX */
};

/* ERR_ARG if there are none, or too many. */
int batch_check_count(const struct batch *b, struct err *e);

/* ERR_INPUT for a render that this model cannot make, ERR_ARG for renders that do not go together.
 */
int batch_check(const struct model *m, const struct batch *b, struct err *e);

#endif
