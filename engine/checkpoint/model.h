/*
 * A checkpoint, loaded: the parts of one Stable Diffusion pipeline on one backend.
 * Belongs to the thread of its backend.
 *
 *     TRY(model_load(checkpoint, ops, 0, &m, e));
 *     vae_decode(m->vae, ...);
 *     model_close(m);
 */
#ifndef ENGINE_CHECKPOINT_MODEL_H
#define ENGINE_CHECKPOINT_MODEL_H

#include "engine/checkpoint/checkpoint.h"
#include "engine/networks/clip.h"
#include "engine/networks/unet.h"
#include "engine/networks/vae.h"
#include "engine/sampling/schedule.h"
#include "engine/tokenizer/tokenizer.h"

struct loras;

struct model {
    struct ops *ops;             /* borrowed; outlives the model */
    struct checkpoint_kind kind; /* XL or not, inpainting pipeline or not */
    struct tokenizer *tokenizer;
    struct tokenizer *tokenizer2; /* XL; else NULL */
    struct clip *clip;
    struct clip *clip2; /* XL's second encoder, whose pooled state goes to the U-Net; else NULL */
    struct unet *unet;
    struct vae *vae;
    struct schedule_config *schedule;
    bool masked;         /* the U-Net takes mask and masked picture too: 2 * latent + 1 channels */
    struct loras *loras; /* from model_lora_folders() to model_lora_done() (lora.h); else NULL */
    uint64_t weight_bytes; /* of all networks, and of the LoRAs on them */
};

/*
 * Reads and checks every part, and that the parts fit each other; the checkpoint may be closed
 * afterwards. ERR_MISSING, ERR_INPUT name file and tensor or key; ERR_OOM: the weights pass
 * budget_bytes (0: no limit).
 */
int model_load(const struct checkpoint *c, struct ops *o, uint64_t budget_bytes,
               struct model **ret_model, struct err *e);

/* NULL is legal. LoRAs must be off: model_lora_done() (lora.h) before it. */
void model_close(struct model *m);

#endif
