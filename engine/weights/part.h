/*
 * One part of a model on disk: what it is configured as and its weights. Networks open from a
 * part_source and do not know where it came from.
 *
 *     TRY(part_open(&p, "model/unet", "diffusion_pytorch_model.safetensors", e));
 *     TRY(unet_open(&p.source, o, 0, &bytes, &u, e));
 *     part_close(&p);
 */
#ifndef ENGINE_WEIGHTS_PART_H
#define ENGINE_WEIGHTS_PART_H

#include "engine/weights/weights.h"
#include "proto/json.h"

#include <limits.h>

/* What a network is opened from. All borrowed for the call. */
struct part_source {
    const char *where;             /* the configuration's file, named in errors */
    const json_t *config;          /* as the part's config.json, an object */
    const struct weights *weights; /* with diffusers' tensor names */
};

struct part {
    struct part_source source; /* of the members below */
    char *where;               /* owned */
    json_t *config;            /* owned */
    struct weights *weights;   /* owned */
};

/* "FOLDER/FILE", of PATH_MAX bytes with its NUL; ERR_ARG if that is longer. */
int part_path(char ret_path[PATH_MAX], const char *folder, const char *file, struct err *e);

/*
 * FOLDER/config.json and the weights FOLDER/NAME.safetensors, file being "NAME.safetensors". Where
 * that is missing, the first of these is taken: NAME.safetensors.index.json with its shards, then
 * NAME.VARIANT.safetensors, then NAME.safetensors.index.VARIANT.json, VARIANT being fp16, bf16 or
 * fp32.
 * ERR_MISSING, ERR_INPUT name the file.
 */
int part_open(struct part *ret_p, const char *folder, const char *file, struct err *e);
void part_close(struct part *p);

#endif
