/* What the option --model names. Where a model is: jobs/library.h. */
#ifndef JOBS_CLI_MODELS_H
#define JOBS_CLI_MODELS_H

#include "proto/err.h"

/*
 * A folder or file becomes its absolute path, so that it holds for the workers too; any other word
 * stays a library name. Replaces *model_name, which is freed; on failure it stays.
 */
int model_resolve(const char *model, char **model_name, struct err *e);

#endif
