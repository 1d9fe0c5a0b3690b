/*
 * What a picture is asked for with, and what comes back: the part of engine.h that the pipeline
 * reads. Plain data, borrowed for the call that takes it.
 *
 *     struct render r = {.prompt = "a cat", .steps = 20, .width = 512, .height = 512,
 *                        .cfg_scale = 7, .seed = 1};
 *     render_size(&r, &width, &height);
 */
#ifndef ENGINE_PIPELINE_RENDER_H
#define ENGINE_PIPELINE_RENDER_H

#include "engine/sampling/optional.h"
#include "proto/terms.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gang; /* engine/gang/gang.h */

/* A picture that a render starts from. Borrowed for the render; NULL pixels: there is none. */
struct picture_in {
    int width, height;
    const uint8_t *pixels; /* RGB [height, width, 3]; of a mask: grey [height, width] */
};

#define RENDER_SIDE_MAX 16384 /* pixels, of every picture here */

/* What is repainted of the initial picture. */
struct inpaint {
    struct picture_in mask; /* of the initial picture's size; white is repainted */
    double blur;            /* standard deviation, pixels; 0..64 */
    bool invert;            /* black is repainted */
    enum mask_fill fill;
    bool full_res;        /* the part around the mask is rendered at full width and height */
    int full_res_padding; /* pixels around it, of the initial picture */
};

#define HIRES_SCALE_MAX 16

/* A second pass at a larger size; of text to picture alone. */
struct hires {
    double scale;      /* 1..HIRES_SCALE_MAX; 0 with width and height 0: no second pass */
    int width, height; /* of the final picture, pixels, multiples of 8, instead of scale; one of
                          them 0: by the first picture's ratio */
    enum upscaler upscaler;
    int steps; /* of the second pass' schedule, of which denoising_strength says how many run; 0: as
                  many as the first */
};

/* Zero is every field's default, where 0 is not a value that it could have. */
struct render {
    const char *prompt, *negative_prompt; /* UTF-8, AUTOMATIC1111's grammar */
    enum emphasis emphasis;
    int clip_skip; /* AUTOMATIC1111's: 1 (or 0) the last layer, 2 the one before it */
    enum sampler_id sampler;
    enum scheduler_id scheduler;
    int steps;               /* 1..1000 */
    struct optional eta;     /* noise that a stochastic sampler adds; unset: the sampler's own */
    struct optional s_noise; /* factor of that noise; unset: 1 */
    bool rescale_betas_zero_snr; /* whatever the model's scheduler file says */
    int width, height; /* pixels; multiples of the model's latent factor (8); of the first pass */
    double cfg_scale;  /* <= 1: no guidance */
    double guidance_rescale; /* 0..1, Lin et al. 2023 (arXiv:2305.08891), section 3.4 */
    int64_t seed;
    enum rng_kind rng;
    int64_t subseed;
    double subseed_strength;                   /* 0..1 */
    int seed_resize_width, seed_resize_height; /* pixels; 0: the render's own size */

    struct picture_in init;    /* img2img; NULL pixels: text to picture */
    enum resize_mode resize;   /* of init to width x height */
    double denoising_strength; /* 0..1: of img2img, inpainting and the second pass */
    struct inpaint inpaint;
    int outpaint_left, outpaint_right, outpaint_top, outpaint_bottom; /* pixels around width x
                                                                         height, multiples of 8 */
    struct hires hires;
    int vae_tile; /* side of the VAE's tiles, pixels, a multiple of 64; 0: the whole picture */

    /*
     * The gang that renders this picture, NULL: this engine alone. Its size is the engine's shards
     * times 1, or 2 for guidance split over two; member r holds shard r % shards. All members call
     * with equal fields. Rank 0 gets the picture, the others an image without pixels.
     */
    struct gang *gang;

    /* After each step of all passes (step counts from 1), of a device when it is queued: up to two
     * steps early. May be NULL. */
    void (*progress)(void *user, int step, int steps);
    void *user;
    const atomic_bool *cancel; /* once true, the render ends with ERR_CANCELLED; may be NULL */
};

/*
 * Pixels of the picture that the render makes: with outpainting and the second pass; with
 * inpaint.full_res those of the initial picture.
 */
void render_size(const struct render *r, int *ret_width, int *ret_height);

/*
 * Whether the two may be parts of one batch: they agree in all that steps and sizes depend on,
 * while prompts, seeds, guidance and pictures are each one's own. Their LoRAs must be the same too,
 * which only the engine knows (ERR_ARG).
 */
bool render_batches(const struct render *a, const struct render *b);

#define ENGINE_BATCH_MAX 64 /* renders of one batch */

struct image {
    int width, height; /* pixels */
    uint8_t *pixels;   /* [height, width, 3] RGB; owned */
    bool black;        /* every number that was decoded is 0 */
};
void image_done(struct image *image);

#endif
