/*
 * diffusers' Transformer2DModel: a feature map as tokens through blocks of self-attention,
 * cross-attention to the text, and a GEGLU feed-forward, each added to its input.
 *
 * Keys and values of the text do not change from step to step: transformer_context() computes them
 * once per prompt for all steps.
 *
 *     transformer_load(&t, &ld, &config, &kv_width, "mid_block.attentions.0");
 *     kv = tokens * kv_width numbers;
 *     TRY(transformer_context(&t, o, kv, text, tokens, e));            // once per text
 *     TRY(transformer_forward(&t, o, x, &extent, texts, e));           // every step
 */
#ifndef ENGINE_NETWORKS_TRANSFORMER_H
#define ENGINE_NETWORKS_TRANSFORMER_H

#include "engine/networks/layer.h"

struct transformer_config {
    int64_t channels; /* a multiple of heads and groups */
    int64_t text;     /* width of the text's states */
    int heads, blocks, groups;
};

struct attention {
    struct linear_layer *q, *k, *v, *out;
};

struct transformer_block {
    struct norm *norm1, *norm2, *norm3;
    struct attention self, cross;
    struct linear_layer *ff_in, *ff_out;
    int64_t kv_offset; /* where the block's keys and values begin, in numbers per text token */
};

struct transformer {
    struct transformer_config config;
    struct norm *norm;
    struct linear_layer *proj_in, *proj_out; /* linear, or a 1x1 convolution, which is the same */
    struct transformer_block *blocks;        /* [config.blocks], owned */

    /* What this member of a gang computes; all of it if it works alone. */
    struct range width; /* channels of its heads */
    struct range inner; /* of the feed-forward's 4 * channels */
    int heads, head_dim;
};

/*
 * Loads NAME.norm, NAME.proj_in, NAME.transformer_blocks.N...; a failure is kept in ld. kv_width:
 * in: numbers per text token that other transformers take in the shared buffer, out: with this
 * one's.
 */
void transformer_load(struct transformer *t, struct loader *ld,
                      const struct transformer_config *config, int64_t *kv_width, const char *name);
void transformer_done(struct transformer *t, struct ops *o);

/* What one sample of a batch sees of its text. Borrowed. */
struct unet_text {
    const struct act *kv;    /* [unet_context_size(u, tokens)], of unet_context() */
    int64_t tokens;          /* may differ between the samples of a batch */
    const struct act *added; /* [time_width], of unet_added(); NULL where the U-Net has none */
};

/* Fills this transformer's part of kv from text[tokens, config.text]. */
int transformer_context(const struct transformer *t, struct ops *o, struct act *kv,
                        const struct act *text, int64_t tokens, struct err *e);

/* x[n, h, w, channels] in place; texts: [n]. */
int transformer_forward(const struct transformer *t, struct ops *o, struct act *x,
                        const struct extent *s, const struct unet_text *texts, struct err *e);

#endif
