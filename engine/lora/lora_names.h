/*
 * The names that LoRA files give to what they change, in the three spellings that are around:
 *
 *   kohya-ss     lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight   .alpha beside it;
 *                lora_te_, or lora_te1_ and lora_te2_ for SDXL's two text encoders; for SDXL's
 *                U-Net also the names of the original code, lora_unet_input_blocks_4_1_proj_in
 *   PEFT         unet.down_blocks.0.attentions.0.proj_in.lora_A.weight, also lora_A.default.weight,
 *                base_model.model.down_blocks..., text_encoder.text_model.encoder...
 *   diffusers    unet.down_blocks.0...attn1.processor.to_q_lora.down.weight, .lora.down.weight,
 *                text_encoder...q_proj.lora_linear_layer.down.weight
 *
 * Modules are compared with '_' for every '.', which is how kohya-ss writes them.
 */
#ifndef ENGINE_LORA_LORA_NAMES_H
#define ENGINE_LORA_LORA_NAMES_H

#include "engine/networks/layer.h"
#include "engine/networks/unet_config.h"

enum lora_part { LORA_TEXT, LORA_TEXT_2, LORA_UNET, LORA_PARTS };

/* "text encoder", "second text encoder", "U-Net". Static. */
const char *lora_part_name(enum lora_part part);

enum lora_what { LORA_DOWN, LORA_UP, LORA_ALPHA };

#define LORA_MODULE_SIZE 256

struct lora_key {
    enum lora_part part;
    enum lora_what what;
    char module[LORA_MODULE_SIZE]; /* '_' for '.', without the part's prefix and "text_model_" */
};

/*
 * What a tensor's name says. ERR_INPUT names the file `where` and the tensor: kinds of LoRA that
 * are not implemented (LoHa, LoKr, DoRA, ...) by their kind, and what is no part of a LoRA.
 */
int lora_key_read(const char *where, const char *tensor, struct lora_key *ret_key, struct err *e);

/* A part's layers by the modules' names above. Zeroed memory is an empty index. */
struct lora_index {
    struct lora_alias {
        char *module; /* owned */
        size_t layer; /* place in the list */
    } * items;        /* owned; sorted by module */
    size_t n;
};

/* unet: its configuration, for the names of the original code too; NULL: not a U-Net. ERR_OOM. */
int lora_index_init(struct lora_index *x, const struct layer_list *layers,
                    const struct unet_config *unet, struct err *e);
void lora_index_done(struct lora_index *x);

/* False: there is no such module. */
bool lora_index_find(const struct lora_index *x, const char *module, size_t *ret_layer);

#endif
