/*
 * Which files of a folder make a model: those that the engine may read, no more, so that a folder
 * with four variants of its weights is not sent four times.
 *
 *     TRY(folder_files("/models/sd15", FOLDER_MODEL, add, user, e));   // "unet/config.json", ...
 */
#ifndef JOBS_FOLDER_FILES_H
#define JOBS_FOLDER_FILES_H

#include "proto/err.h"

enum folder_kind {
    FOLDER_MODEL,  /* diffusers: model_index.json and the parts' folders */
    FOLDER_CONFIG, /* the same without weights */
    FOLDER_PART    /* config.json and weights in the folder itself: a VAE */
};

/*
 * Calls f with each path relative to the folder. Of weights the plain ones or shards, else those of
 * the first variant there is (fp16, bf16, fp32). Stops at f's first error. ERR_MISSING, ERR_IO.
 */
int folder_files(const char *folder, enum folder_kind kind,
                 int (*f)(void *user, const char *path, struct err *e), void *user, struct err *e);

#endif
