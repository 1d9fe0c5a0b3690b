/* A model for tests and benches, from the path of its folder or file. */
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

#endif
