/*
 * The text that AUTOMATIC1111 1.10 writes into a picture's `parameters` chunk, key order and
 * quoting included, so that its own parser and every gallery reads ours.
 */
#ifndef JOBS_PARAMETERS_H
#define JOBS_PARAMETERS_H

#include "jobs/task.h"

/*
 *   model_name  shown as Model: the folder's name
 *   model_hash  SHA-256 (hex) of the U-Net's weights file; its first 10 digits become Model hash
 *   version     shown as Version
 */
void parameters_text(const struct task *t, const char *model_name, const char *model_hash,
                     const char *version, struct buf *ret_text);

#endif
