/*
 * Where a model is on this machine: a path, or a name in the model library. The places are those
 * that litho-worker searches, in the same order.
 *
 *     TRY(models_find("sticker-128", NULL, &folder, e));
 */
#ifndef JOBS_CLI_MODELS_H
#define JOBS_CLI_MODELS_H

#include "proto/buf.h"
#include "proto/err.h"

/*
 * model: a name, or a path (holds '/'). models: the library named on the command line, or NULL:
 * LITHO_MODELS (colon separated), else ./models, else beside the programs. Replaces ret_folder's
 * content. ERR_MISSING names the places.
 */
int models_find(const char *model, const char *models, struct buf *ret_folder, struct err *e);

/*
 * What --model means: a folder becomes its absolute path, so that it holds for the workers too; any
 * other word stays a library name. Replaces *model_name, which is freed.
 */
int model_resolve(const char *model, char **model_name, struct err *e);

#endif
