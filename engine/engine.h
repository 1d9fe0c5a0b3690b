/*
 * Stable Diffusion: text to picture. A `struct engine` is one loaded model and renders many
 * pictures; a render is one generation. The engine knows no network, job or file name template.
 *
 * Thread rules: an engine belongs to one thread at a time. engine_options.cancel may be set from
 * another thread or a signal handler's thread.
 *
 *     struct engine_options o = {.model = "models/sticker-128", .threads = 2};
 *
 *     TRY(engine_open(&o, &g, e));
 *     TRY(engine_render(g, renders, n, images, e));
 *     ... image_done(&images[i]) ...
 *     engine_close(g);
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "engine/lora/lora_info.h"
#include "engine/pipeline/render.h"
#include "proto/err.h"
#include "proto/hash_memo.h"
#include "proto/terms.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

enum backend { BACKEND_CPU, BACKEND_REF, BACKEND_CUDA };

struct engine_options {
    const char *model; /* diffusers folder, or a single-file checkpoint (.safetensors) */
    /* Path of a folder whose JSON files describe a model in one file, or the name of a family
     * ("sdxl-turbo"); NULL: the published configuration of its family. */
    const char *config;
    const char *vae; /* diffusers folder or file of another VAE; NULL: the model's own */
    /* Where prompts' <lora:name:weight> and embeddings are found as NAME.safetensors: folders, the
     * first that has it wins; lists end with NULL, NULL: none. Must outlive the engine. */
    const char *const *lora_folders, *const *embedding_folders;
    /* Instead of lora_folders, if not NULL: the file that prompts call `name`. user: borrowed. */
    int (*lora_path)(void *user, const char *name, char ret_path[PATH_MAX], struct err *e);
    void *lora_user;
    enum backend backend;
    int device; /* of BACKEND_CUDA, 0.. */
    enum precision precision;
    int threads;              /* 1..; the picture does not depend on it */
    uint64_t memory_bytes;    /* budget for weights and one render; 0: no limit */
    struct hash_memo *hashes; /* of files that are read for engine_files(); borrowed for the
                                 engine's life; NULL: each engine reads them */
    /* Tensor parallel: which part of the U-Net's layers is loaded, of how many; 0 of 0: all. */
    int shard, shards;
};

/*
 * Opens a checkpoint (checkpoint.h says which). All files are read and checked: a missing file or
 * tensor, a wrong shape, a config value the engine cannot honour is an error that names it
 * (ERR_MISSING, ERR_INPUT). ERR_OOM: the weights do not fit the budget.
 */
int engine_open(const struct engine_options *o, struct engine **ret_engine, struct err *e);
void engine_close(struct engine *g);

/* "cpu", "cpu-amx": pictures are equal byte for byte within a class and precision. Borrowed. */
const char *engine_device_class(const struct engine *g);

/* What it computes in: PRECISION_F32, PRECISION_BF16 or PRECISION_F16. Where a CPU has no bf16, one
 * that was opened for it computes in f32. */
enum precision engine_precision(const struct engine *g);

/*
 * What the device's libraries were found to do with many samples or rows in one call: shapes whose
 * bytes stay those of single ones, and are computed so; shapes that are not; algorithms passed over
 * for it. CUDA alone tries; from the engine's thread.
 */
struct engine_trials {
    int64_t whole, apart, refused;
};
struct engine_trials engine_trials(const struct engine *g);

/* What it would compute in, had it been opened for `asked`; PRECISION_COUNT: it would be refused.
 */
enum precision engine_computes(const struct engine *g, enum precision asked);

/* The class that a CPU's engine opened on this machine would report, without a model. Static. */
const char *engine_probe_class(enum backend backend, enum precision precision);

/* What a device makes of a precision that is asked of it, without a model. */
struct engine_offer {
    enum precision asked;
    enum precision computed; /* PRECISION_AUTO: that depends on the model */
    char device_class[192];  /* of auto that depends on the model: with "auto" for the precision */
};

/* ret_offers: [PRECISION_COUNT], of which *ret_n that it does not refuse. Errors as
 * ops_cuda_probe() (engine/ops/cuda.h) has them. */
int engine_offers(enum backend backend, int device, struct engine_offer *ret_offers, size_t *ret_n,
                  struct err *e);

/* A CUDA device, without a model; errors as ops_cuda_probe() (engine/ops/cuda.h) has them. */
struct engine_device {
    char text[256];         /* for people: name, memory, compute capability, driver */
    char device_class[192]; /* for PRECISION_AUTO, which depends on the model: see engine_offer */
    uint64_t memory_bytes;
};
int engine_probe_cuda(int device, struct engine_device *ret_d, struct err *e);
/* How many there are, 1 or more; else the reason, as an error. */
int engine_count_cuda(int *ret_n, struct err *e);

/* SHA-256 of every file of the model that decides pixels, computed at the first call (or known to
 * engine_options.hashes) and kept. */
struct model_file {
    const char *path; /* in the model folder: "unet/config.json"; as checkpoint_file's name */
    char sha256[HASH_HEX_SIZE];
};
int engine_files(struct engine *g, const struct model_file **ret_files, size_t *ret_n,
                 struct err *e);

/*
 * What AUTOMATIC1111 would call the model's hash: SHA-256 of the file with the U-Net's weights; of
 * shards, the SHA-256 of their hashes in order of name.
 */
int engine_model_hash(struct engine *g, char ret_hex[HASH_HEX_SIZE], struct err *e);

/* Bytes that the batch of n renders will take at its peak, weights included. ERR_INPUT for what
 * cannot be rendered. ERR_ARG: renders that do not go together. */
int engine_plan(struct engine *g, const struct render *const *renders, size_t n,
                uint64_t *ret_bytes, struct err *e);

/* Bytes of the weights, those of the LoRAs of the last render or plan included: a part of what
 * engine_plan says. */
uint64_t engine_weight_bytes(const struct engine *g);

/* Those of the last render or plan, sorted by name. Returns how many. */
size_t engine_loras(const struct engine *g, struct lora_info ret_loras[ENGINE_LORAS_MAX]);

/* An embedding that a render used. */
struct embedding_info {
    const char *name, *path;
    char sha256[HASH_HEX_SIZE]; /* of the file; AUTOMATIC1111 lists 12 digits under "TI hashes" */
};

/*
 * Those of render i of the last batch or plan, in the prompts' order. Borrowed until the next
 * batch, plan or call. ERR_MISSING, ERR_IO: a file cannot be read any more.
 */
int engine_embeddings(struct engine *g, size_t i, const struct embedding_info **ret_infos,
                      size_t *ret_n, struct err *e);

/*
 * Renders a batch of n pictures, 1..ENGINE_BATCH_MAX: all or none. Latents and pixels are functions
 * of the model's files, the render's own fields and the device class alone, not of the others in
 * the batch. ret_images: [n]. ERR_OUTPUT: NaN or Inf in one of them. ERR_OOM: over the budget, with
 * the numbers. ERR_ARG: renders that do not go together. ERR_CANCELLED: one of them was.
 * ERR_LOST: a member of the gang went away.
 */
int engine_render(struct engine *g, const struct render *const *renders, size_t n,
                  struct image *ret_images, struct err *e);

#endif
