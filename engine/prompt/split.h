/*
 * A prompt's outermost layer, as AUTOMATIC1111's stable-diffusion-webui 1.10 reads it: networks in
 * angle brackets are taken out (modules/extra_networks.py and the built-in Lora extension), then
 * AND divides what is left into parts with weights (modules/prompt_parser.py,
 * get_multicond_prompt_list).
 *
 * A negative prompt has neither: both are letters there.
 *
 *     TRY(split_parse("cat :1.2 AND dog <lora:fur:0.8>", &s, &f));
 *     ... s.parts[0].text "cat", 1.2; s.parts[1].text " dog", 1; s.loras[0] fur, 0.8, 0.8
 *     split_done(&s);
 */
#ifndef ENGINE_PROMPT_SPLIT_H
#define ENGINE_PROMPT_SPLIT_H

#include "engine/prompt/text.h"

#define SPLIT_PARTS_MAX 64
#define SPLIT_LORAS_MAX 64

struct split_part {
    struct prompt_text text;
    double weight;
    bool weighed;       /* the weight was written, */
    uint32_t weight_at; /* at this byte of the prompt */
};

/*
 * <lora:NAME:TE:UNET>, <lyco:...> the same: TE is 1 and UNET is TE where they are left out; te=X
 * and unet=X may stand anywhere and win. NAME may be "sha256:" and 64 hex digits.
 */
struct split_lora {
    char *name;      /* UTF-8, not empty; owned */
    double te, unet; /* weights in the text encoder and the U-Net; finite */
    uint32_t at;     /* byte of the prompt at which it stands */
};

/* Of things that AUTOMATIC1111 drops without a word. */
struct split_ignored {
    uint32_t at;
    char what[64]; /* UTF-8, perhaps cut */
};

struct split {
    struct split_part *parts; /* [n_parts], owned; at least 1 */
    size_t n_parts;
    struct split_lora *loras; /* [n_loras], owned; in the prompt's order, names may repeat */
    size_t n_loras;
    struct split_ignored *ignored; /* [n_ignored], owned: unknown networks and arguments */
    size_t n_ignored;
};

/*
 * ERR_INPUT: no UTF-8 or too long (text.h), a LoRA without a name or with a weight that is no
 * finite number, a hypernetwork (which AUTOMATIC1111 applies and this engine cannot), more parts or
 * LoRAs than the limits above.
 */
int split_parse(const char *prompt, struct split *ret_s, struct prompt_fault *f);

/* The whole text as one part: a negative prompt. */
int split_negative(const char *prompt, struct split *ret_s, struct prompt_fault *f);
void split_done(struct split *s);

#endif
