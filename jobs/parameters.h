/*
 * The text that AUTOMATIC1111 1.10 writes into a picture's `parameters` chunk, key order and
 * quoting included, so that its own parser and every gallery reads ours.
 */
#ifndef JOBS_PARAMETERS_H
#define JOBS_PARAMETERS_H

#include "jobs/task.h"

/*
 * Appends prompt, "Negative prompt: ..." unless empty, and one line of "key: value" (sources:
 * create_infotext in its modules/processing.py, quote in modules/infotext_utils.py). The line says
 * RNG: CPU, since its reader otherwise assumes noise drawn on a GPU. Not reversible for every
 * prompt, there as here: white space at the ends of lines is lost, and a line of a prompt that
 * starts with "Negative prompt:" begins the negative one.
 *
 *   t           passed task_check
 *   model_name  shown as Model: the folder's name
 *   model_hash  SHA-256 (hex) of the U-Net's weights file; its first 10 digits become Model hash
 *   version     shown as Version. Must not read as a version number below 1.8, for which the web
 *               UI's reader switches its own old behaviours on: "Lithograph 0.1.0" does not
 */
void parameters_text(const struct task *t, const char *model_name, const char *model_hash,
                     const char *version, struct buf *ret_text);

#endif
