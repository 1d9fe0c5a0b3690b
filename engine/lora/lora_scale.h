/*
 * How strongly a LoRA file wants its changes: up(down(x)) times alpha / rank.
 *
 * Alpha is a tensor beside the layer's two (kohya-ss), or stands in the notes that diffusers writes
 * with a PEFT adapter ("lora_adapter_metadata": lora_alpha, alpha_pattern, use_rslora); without
 * either the factor is 1. Read as diffusers 0.42 and PEFT 0.21 do.
 */
#ifndef ENGINE_LORA_LORA_SCALE_H
#define ENGINE_LORA_LORA_SCALE_H

#include "engine/lora/lora_names.h"
#include "engine/weights/weights.h"

struct lora_scale {
    json_t *notes; /* owned; NULL: the file has none */
};

/* ERR_INPUT names the file: notes that are no JSON object, or of a kind that is not implemented. */
int lora_scale_init(struct lora_scale *s, const struct weights *w, struct err *e);
void lora_scale_done(struct lora_scale *s);

/* The notes' factor of one layer. name: the layer's, with dots. 1 without notes. ERR_INPUT. */
int lora_scale_noted(const struct lora_scale *s, const struct weights *w, enum lora_part part,
                     const char *name, int64_t rank, double *ret_factor, struct err *e);

/* alpha / rank of an alpha tensor: one finite number. ERR_INPUT names file and tensor. */
int lora_scale_alpha(const struct weights *w, const char *tensor, const struct tensor *alpha,
                     int64_t rank, double *ret_factor, struct err *e);

#endif
