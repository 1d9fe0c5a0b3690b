/* A small render of a recorded model, for tests of whole pictures; they change what they are about.
 */
#ifndef TESTS_ENGINE_SMALL_RENDER_H
#define TESTS_ENGINE_SMALL_RENDER_H

#include "engine/engine.h"

static inline struct render small_render(int steps, int width, int height)
{
    return (struct render){.prompt = "a red apple",
                           .negative_prompt = "blurry",
                           .sampler = SAMPLER_EULER,
                           .scheduler = SCHEDULER_AUTOMATIC,
                           .steps = steps,
                           .width = width,
                           .height = height,
                           .cfg_scale = 5,
                           .seed = 7};
}

#endif
