/*
 * One model on disk, whatever its layout: parts to open networks from, tokenizers, the scheduler's
 * configuration, and the files that decide pixels. It loads nothing: struct model does.
 *
 * A diffusers folder of a Stable Diffusion or Stable Diffusion XL pipeline, text to picture, image
 * to image or inpainting; weights as one file, shards with an index, or a variant (part.h).
 *
 * Or one .safetensors file with the names of the original checkpoints (latent-diffusion for SD 1
 * and 2, generative-models for SDXL). What its shapes do not tell follows the published
 * configuration of its family (family.h), or a configuration that is named. Tensors that are not
 * asked for (model_ema., alphas_cumprod, position_ids, logit_scale, ...) are left alone; one that
 * is missing is an error that names it as the file would.
 *
 * Another VAE may take the place of the model's own: a folder, or a file in original or diffusers'
 * names, whose groups and scaling are then as those of the model's own.
 *
 * Pickles (.ckpt, .pt, .bin) are refused, by their bytes too.
 *
 * Read-only after open: any thread.
 *
 *     TRY(checkpoint_open(&(struct checkpoint_options){.model = "models/sticker-128"}, &c, e));
 *     TRY(unet_open(checkpoint_source(c, CHECKPOINT_UNET), o, 0, &bytes, &u, e));
 *     TRY(checkpoint_tokenizer(c, 0, &t, e));
 *     checkpoint_close(c);
 */
#ifndef ENGINE_CHECKPOINT_CHECKPOINT_H
#define ENGINE_CHECKPOINT_CHECKPOINT_H

#include "engine/sampling/schedule.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/part.h"

struct checkpoint;

enum checkpoint_part {
    CHECKPOINT_TEXT,
    CHECKPOINT_TEXT_2, /* SDXL's second encoder, with a projection */
    CHECKPOINT_UNET,
    CHECKPOINT_VAE,
    CHECKPOINT_PARTS
};

struct checkpoint_options {
    const char *model;  /* folder or file */
    const char *config; /* of a file: the path, with a slash, of a diffusers folder whose JSON files
                           (and tokenizers, if it has them) decide, or the name of a family; NULL:
                           the file's own family */
    const char *vae; /* folder (of a VAE, or a pipeline with one) or file; NULL: the model's own */
};

/*
 * Opens and checks what says how the model is made; weights are mapped, their shapes are checked by
 * the networks. ERR_MISSING, ERR_INPUT name the file, and what is wrong in it.
 */
int checkpoint_open(const struct checkpoint_options *o, struct checkpoint **ret_c, struct err *e);
void checkpoint_close(struct checkpoint *c);

/* The path that was asked for; borrowed. */
const char *checkpoint_path(const struct checkpoint *c);

/* Borrowed until checkpoint_unmap; NULL if the model has no such part: TEXT_2 unless it is XL. */
const struct part_source *checkpoint_source(const struct checkpoint *c, enum checkpoint_part part);

/* What the pipeline is: model_index.json's class and keys. */
struct checkpoint_kind {
    bool xl;          /* two text encoders, pooled state, size conditioning */
    bool inpaint;     /* an inpainting pipeline; whether its U-Net has nine channels is its own */
    bool force_zeros; /* XL: the states of an empty negative prompt are zeros */
};
const struct checkpoint_kind *checkpoint_kind(const struct checkpoint *c);

/* i: 0 the tokenizer of TEXT, 1 that of TEXT_2. Caller frees. */
int checkpoint_tokenizer(const struct checkpoint *c, int i, struct tokenizer **ret_t,
                         struct err *e);

/* Caller frees. */
int checkpoint_schedule(const struct checkpoint *c, struct schedule_config **ret_c, struct err *e);

/* A file whose bytes decide pixels. */
struct checkpoint_file {
    char *name;    /* relative to the model's folder: "unet/config.json"; of a model in one file its
                      own; what config and vae brought begins with "config:" and "vae:" */
    char *path;    /* where it is */
    bool denoiser; /* holds weights of the U-Net */
};

/* Sorted by name. Borrowed. */
const struct checkpoint_file *checkpoint_files(const struct checkpoint *c, size_t *ret_n);

/* Lets go of the weights, once the networks are open: sources are NULL from here on. */
void checkpoint_unmap(struct checkpoint *c);

#endif
