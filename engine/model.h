/*
 * A diffusers folder, loaded: the parts of one StableDiffusionPipeline on one backend.
 * Belongs to the thread of its backend.
 *
 *     TRY(model_open("models/sticker-128", ops, 0, &m, e));
 *     vae_decode(m->vae, ...);
 *     model_close(m);
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "engine/clip.h"
#include "engine/schedule.h"
#include "engine/tokenizer.h"
#include "engine/unet.h"
#include "engine/vae.h"

struct model {
    struct ops *ops; /* borrowed; outlives the model */
    struct tokenizer *tokenizer;
    struct clip *clip;
    struct unet *unet;
    struct vae *vae;
    struct schedule_config *schedule;
    uint64_t weight_bytes; /* of all networks, as float32 */
};

/*
 * Reads and checks every part, and that the parts fit each other. ERR_MISSING, ERR_INPUT name file
 * and tensor or key; ERR_OOM: the weights pass budget_bytes (0: no limit).
 */
int model_open(const char *folder, struct ops *o, uint64_t budget_bytes, struct model **ret_model,
               struct err *e);
void model_close(struct model *m);

/*
 * The files of the folder that decide pixels, relative and sorted; those a model may lack are
 * marked. Ends with a NULL path.
 */
struct model_part {
    const char *path;
    bool optional;
};
const struct model_part *model_parts(void);

#endif
