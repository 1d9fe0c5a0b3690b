/*
 * The configuration of an original checkpoint's parts, as diffusers' config.json would have it:
 * what the shapes of the tensors tell, added to what is published of the family (engine/data).
 *
 *   w           the checkpoint
 *   prefix      of the part's tensors
 *   published   the family's block for the part
 *   rules       the family's rules (engine/data/README.md)
 *   ret_config  caller releases with json_decref
 *
 * Errors: ERR_INPUT names the tensor that is missing or that no configuration fits. Read-only; any
 * thread.
 */
#ifndef ENGINE_CHECKPOINT_LDM_CONFIG_H
#define ENGINE_CHECKPOINT_LDM_CONFIG_H

#include "engine/checkpoint/ldm_names.h"
#include "proto/json.h"

/* pooled_width: of the text encoder that feeds label_emb; not looked at where there is none. */
int ldm_unet_config(const struct weights *w, const char *prefix, const json_t *published,
                    const json_t *rules, int64_t pooled_width, json_t **ret_config, struct err *e);

/* original: ldm's names; else those of diffusers. */
int ldm_vae_config(const struct weights *w, const char *prefix, bool original,
                   const json_t *published, json_t **ret_config, struct err *e);

/* part: "text_encoder" or "text_encoder_2", which begins the names of its rules. */
int ldm_clip_config(const struct weights *w, const struct ldm_clip_names *names, const char *part,
                    const json_t *published, const json_t *rules, json_t **ret_config,
                    struct err *e);

#endif
