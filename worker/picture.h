/*
 * A finished picture: its PNG file with the two text chunks that tell how to make it again,
 * `parameters` (AUTOMATIC1111's text) and `litho` (canonical JSON, jobs/SPEC.md). The bytes are a
 * function of the task, the model's files and the device class alone: no time, no worker.
 */
#ifndef WORKER_PICTURE_H
#define WORKER_PICTURE_H

#include "engine/engine.h"
#include "jobs/task.h"
#include "proto/buf.h"
#include "proto/hash.h"

struct picture {
    struct buf png;             /* the file; owned */
    char sha256[HASH_HEX_SIZE]; /* of the file */
    char *device_class;         /* owned */
    const char *precision;      /* static */
    double load_seconds;        /* opening the model, 0 when it was resident */
    double render_seconds;      /* prompt to PNG */
    bool black;
};

void picture_done(struct picture *p);

/* What a picture says about the model that made it. All borrowed. */
struct picture_model {
    const char *path;               /* of its folder or file, whose name is the model's */
    const struct model_file *files; /* [n_files] */
    size_t n_files;
    const struct model_file *assets; /* [n_assets]: what else decided the pixels, by name */
    size_t n_assets;
    const char *hash; /* SHA-256 of the U-Net's weights, hex */
    /* As struct parameters_source has them; may be NULL. */
    const char *vae_name, *vae_hash, *lora_hashes, *ti_hashes;
    const char *device_class;
    enum precision precision; /* that it computed in, whatever the task asked for */
};

/* Seconds are the caller's to fill in. ret_p: picture_done(). */
int picture_make(const struct task *t, const struct picture_model *model, const struct image *image,
                 struct picture *ret_p, struct err *e);

#endif
