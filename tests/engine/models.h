/* Models for tests and benches: from the path of a folder or file, and a U-Net from numbers to
 * numbers. */
#ifndef TESTS_ENGINE_MODELS_H
#define TESTS_ENGINE_MODELS_H

#include "engine/checkpoint/model.h"

/* As model_load() without a budget; errors are checkpoint_open()'s too. */
static inline int open_model(const char *path, struct ops *o, struct model **ret_model,
                             struct err *e)
{
    const struct checkpoint_options options = {.model = path};
    struct checkpoint *c = NULL;
    int rc = 0;

    TRY(checkpoint_open(&options, &c, e));
    TRY(model_load(c, o, 0, ret_model, e));
out:
    checkpoint_close(c);
    return rc;
}

/* unet_run() from and to the host's numbers, at training step t. */
static inline int unet_forward(struct ops *o, struct unet *u, float *y, const float *x,
                               const struct extent *s, float t, const struct unet_text *texts,
                               struct err *e)
{
    const struct unet_config *c = unet_config(u);
    int64_t n_in = extent_rows(s) * c->in_channels, n_out = extent_rows(s) * c->out_channels;
    const struct step_block block = {.timestep = t};
    struct step_place place = {0};
    size_t mark = arena_mark(o->arena);
    struct act *in, *out;
    int rc = 0;

    TRY(scratch(o, n_in, &in, e));
    TRY(scratch(o, n_out, &out, e));
    TRY(scratch_bytes(o, step_bytes(0, 0), &place.block, e));
    TRY(o->put(o, in, x, n_in, e));
    TRY(o->step->set(o, &place, &block, e));
    TRY(unet_run(u, out, in, s, &place, texts, e));
    TRY(o->step->end(o, e));
    TRY(o->get(o, y, out, n_out, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

#endif
