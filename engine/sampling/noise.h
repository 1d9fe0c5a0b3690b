/*
 * The noise of one picture, drawn in order from its own seed: first the start latent, then what the
 * sampler asks for. Numbers come as torch draws them, for a latent [channels, h, w].
 *
 * Equal to AUTOMATIC1111's ImageRNG (modules/rng.py, 1.10) and, without variation and resize, to
 * diffusers with torch.Generator. Two features of it change the start latent alone:
 *
 * Variation: the start is slerped towards that of a second seed. The angle is taken separately for
 * each column of each channel: torch's norm and sum run over dimension 1 of [channels, h, w]. Where
 * the columns are alike as a whole (mean cosine above 0.9995) the web UI mixes linearly, with its
 * weights swapped, and so do we. Where one column pair is parallel (a latent one row high), slerp
 * divides 0 by 0 in torch; here that column is mixed linearly.
 *
 * Seed resize: the noise of another picture size is drawn, and laid centred over the start of this
 * size, cropped where it is larger.
 *
 * Neither moves the stream: later draws are what would follow the plain start latent. Where others
 * are drawn before the start (an encoder's), the other seed and the other size leave out as many:
 * each gives what its own picture starts with.
 *
 *     noise_init(&z, &(struct noise_options){.seed = 7, .channels = 4, .h = 64, .w = 64});
 *     noise_first(&z, start, scratch);  // scratch: [noise_scratch_floats(&options)]
 *     noise_next(&z, draw);
 */
#ifndef ENGINE_SAMPLING_NOISE_H
#define ENGINE_SAMPLING_NOISE_H

#include "engine/sampling/rng.h"
#include "proto/terms.h"

#include <stdbool.h>

struct noise_options {
    enum rng_kind rng;
    int64_t seed, subseed;
    double subseed_strength;    /* 0..1; 0: no variation */
    int before;                 /* latents drawn from the stream before the start: noise_next */
    int64_t channels, h, w;     /* of the latent */
    int64_t resize_h, resize_w; /* of the latent whose noise is laid in; either 0: none */
};

struct noise {
    struct noise_options options;
    struct torch_rng torch; /* the stream of the seed: rng cpu */
    struct philox philox;   /* rng nv */
};

void noise_init(struct noise *z, const struct noise_options *o);

/* Numbers of scratch that noise_first needs; may be 0. */
size_t noise_scratch_floats(const struct noise_options *o);

/* The start latent, [channels, h, w]. To be called once, after `before` calls of noise_next. */
void noise_first(struct noise *z, float *ret_values, float *scratch);

/*
 * The next draw is left to who can make it of the seed and the draw's number (philox_number in
 * engine/ops/step_math.h): true and the number, if the stream is such a one.
 */
bool noise_skip(struct noise *z, uint32_t *ret_draw);

/* The next [channels, h, w] standard normal numbers of the seed's stream. */
void noise_next(struct noise *z, float *ret_values);

#endif
