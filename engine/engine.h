/*
 * Stable Diffusion: text to picture. A `struct engine` is one loaded model and renders many
 * pictures; a render is one generation. The engine knows no network, job or file name template.
 *
 * Thread rules: an engine belongs to one thread at a time. engine_options.cancel may be set from
 * another thread or a signal handler's thread.
 *
 *     TRY(engine_open(&(struct engine_options){.model = "models/sticker-128", .threads = 2}, &g,
 * e)); TRY(engine_render(g, &(struct render){.prompt = "a pizza", ...}, &image, e));
 *     image_done(&image);
 *     engine_close(g);
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "proto/err.h"
#include "proto/hash.h"
#include "proto/terms.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

enum backend { BACKEND_CPU, BACKEND_REF };

struct engine_options {
    const char *model; /* diffusers folder, holding model_index.json */
    enum backend backend;
    enum precision precision;
    int threads;           /* 1..; the picture does not depend on it */
    uint64_t memory_bytes; /* budget for weights and one render; 0: no limit */
};

/*
 * Opens a diffusers StableDiffusionPipeline folder. All files are read and checked: a missing file
 * or tensor, a wrong shape, a config value the engine cannot honour is an error that names it
 * (ERR_MISSING, ERR_INPUT). ERR_OOM: the weights do not fit the budget.
 */
int engine_open(const struct engine_options *o, struct engine **ret_engine, struct err *e);
void engine_close(struct engine *g);

/* "cpu": pictures are equal byte for byte within a class and precision. Borrowed. */
const char *engine_device_class(const struct engine *g);

/* The class that engine_open would report on this machine, without a model. Static. */
const char *engine_probe_class(enum backend backend);

/* SHA-256 of every file of the model that decides pixels, computed at the first call and kept. */
struct model_file {
    const char *path; /* relative to the model folder: "unet/config.json" */
    char sha256[HASH_HEX_SIZE];
};
int engine_files(struct engine *g, const struct model_file **ret_files, size_t *ret_n,
                 struct err *e);

/* SHA-256 of the U-Net's weights file: what AUTOMATIC1111 would call the model's hash. */
int engine_model_hash(struct engine *g, char ret_hex[HASH_HEX_SIZE], struct err *e);

struct render {
    const char *prompt, *negative_prompt; /* UTF-8 */
    enum sampler_id sampler;
    enum scheduler_id scheduler;
    int steps;         /* 1..1000 */
    int width, height; /* pixels; multiples of the model's latent factor (8) */
    double cfg_scale;  /* <= 1: no guidance */
    int64_t seed;

    /* After each step (step counts from 1); may be NULL. */
    void (*progress)(void *user, int step, int steps);
    void *user;
    const atomic_bool
        *cancel; /* when it becomes true the render ends with ERR_CANCELLED; may be NULL */
};

/* Bytes that the render will take at its peak, weights included. ERR_INPUT for what cannot be
 * rendered. */
int engine_plan(struct engine *g, const struct render *r, uint64_t *ret_bytes, struct err *e);

struct image {
    int width, height; /* pixels */
    uint8_t *pixels;   /* [height, width, 3] RGB; owned */
    bool black;        /* every number is 0 */
};
void image_done(struct image *image);

/*
 * Renders one picture. Latents and pixels are functions of the model's files, the render's fields
 * and the device class alone. ERR_OUTPUT: NaN or Inf. ERR_OOM: over the budget, with the numbers.
 */
int engine_render(struct engine *g, const struct render *r, struct image *ret_image, struct err *e);

#endif
