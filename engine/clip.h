/*
 * CLIP's text encoder (Radford et al. 2021), transformers' CLIPTextModel: token ids to states.
 * One thread at a time; works in the backend's arena and leaves nothing there.
 *
 *     TRY(clip_open(&part.source, o, budget, &bytes, &c, e));
 *     TRY(clip_encode(c, states, ids, 1, 77, e));
 *     clip_close(c);
 */
#ifndef ENGINE_CLIP_H
#define ENGINE_CLIP_H

#include "engine/layer.h"

struct clip;

struct clip_config {
    int vocab, positions; /* rows of the two embeddings */
    int width, inner;     /* hidden_size, intermediate_size */
    int layers, heads;
    float eps;
    enum activation act;
};

/* Arguments and errors as unet_open(). Tensor names with and without "text_model." are read. */
int clip_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
              struct clip **ret_clip, struct err *e);
void clip_close(struct clip *c);

const struct clip_config *clip_config(const struct clip *c);

/*
 * Its linear layers, as "encoder.layers.0.self_attn.q_proj", without "text_model.". Borrowed; what
 * is added to a layer (adapter.h) counts from the next call on.
 */
const struct layer_list *clip_layers(const struct clip *c);

/*
 * states[n, tokens, width] after the last layer and the final norm, from ids[n, tokens], each
 * 0..vocab-1 (else ERR_INPUT); tokens: 1..positions.
 */
int clip_encode(const struct clip *c, float *states, const int32_t *ids, int64_t n, int64_t tokens,
                struct err *e);

#endif
