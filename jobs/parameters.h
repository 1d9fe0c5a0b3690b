/*
 * The text that AUTOMATIC1111 1.10 writes into a picture's `parameters` chunk, key order and
 * quoting included, so that its own parser and every gallery reads ours.
 */
#ifndef JOBS_PARAMETERS_H
#define JOBS_PARAMETERS_H

#include "jobs/task.h"

/* What the text says beside the task. All borrowed; what may be NULL is then left out. */
struct parameters_source {
    const char *model_name; /* the folder's, or the file's without its ending */
    const char *model_hash; /* SHA-256 (hex) of the U-Net's weights file; 10 digits are shown */
    const char *vae_name;   /* of a VAE of its own, its file's ending included; may be NULL */
    const char *vae_hash;   /* SHA-256 of its file; may be NULL */
    const char *lora_hashes, *ti_hashes; /* "name: hash, name: hash"; may be NULL */
    /* Must not read as a version number below 1.8, for which the web UI's reader switches its own
     * old behaviours on: "Lithograph 0.1.0" does not. */
    const char *version;
};

/*
 * Appends prompt, "Negative prompt: ..." unless empty, and one line of "key: value" (sources:
 * create_infotext and the classes' init in its modules/processing.py, get_sigmas and initialize of
 * its samplers, quote in modules/infotext_utils.py). The line always says RNG, since its reader
 * otherwise assumes noise drawn on a GPU. Where a value decides nothing (the strength of a text's
 * picture without second pass), it is left out, as there. What the web UI has no setting for is not
 * told, or in the words of the extension that has it (CFG Rescale).
 *
 * Not reversible for every prompt, there as here: white space at the ends of lines is lost, and a
 * line of a prompt that starts with "Negative prompt:" begins the negative one.
 *
 *   t  passed task_check
 */
void parameters_text(const struct task *t, const struct parameters_source *source,
                     struct buf *ret_text);

#endif
