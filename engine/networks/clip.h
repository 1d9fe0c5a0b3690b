/*
 * CLIP's text encoder (Radford et al. 2021; OpenCLIP's too): transformers' CLIPTextModel and
 * CLIPTextModelWithProjection. Token ids to states, and to one pooled state of the whole text.
 * Of a gang's members each holds a part of the layers (shard.h), and all must call alike; the
 * embeddings, which only the host reads, are whole.
 * One thread at a time; works in the backend's arena and leaves nothing there.
 *
 *     TRY(clip_open(&part.source, o, budget, &bytes, &c, e));
 *     TRY(clip_encode(c, states, NULL, &(struct clip_text){.ids = ids, .tokens = 77}, 0, true, e));
 *     clip_close(c);
 */
#ifndef ENGINE_NETWORKS_CLIP_H
#define ENGINE_NETWORKS_CLIP_H

#include "engine/networks/layer.h"

struct clip;

struct clip_config {
    int vocab, positions; /* rows of the two embeddings */
    int width, inner;     /* hidden_size, intermediate_size */
    int layers, heads;
    int projection; /* width of the pooled state after text_projection; 0: there is none */
    int eos;        /* eos_token_id; 2 is the mark of files older than transformers 4.31 */
    float eps;
    enum activation act;
};

/* Arguments and errors as unet_open(). Tensor names with and without "text_model." are read. */
int clip_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
              struct clip **ret_clip, struct err *e);
void clip_close(struct clip *c);

const struct clip_config *clip_config(const struct clip *c);

/* A vector of width numbers in place of the token embedding at position `at`: textual inversion. */
struct clip_vector {
    int at; /* 0..tokens-1 */
    const float *values;
};

/* One text. All borrowed for the call. */
struct clip_text {
    const int32_t *ids; /* [tokens], each 0..vocab-1, also where a vector stands */
    int64_t tokens;     /* 1..positions */
    const struct clip_vector *vectors;
    size_t n_vectors;
};

/* Numbers in the pooled state: the projection's, or else the encoder's width. */
int clip_pooled_width(const struct clip *c);

/*
 * Its linear layers, as "encoder.layers.0.self_attn.q_proj", without "text_model.". Borrowed; what
 * is added to a layer (adapter.h) counts from the next call on.
 */
const struct layer_list *clip_layers(const struct clip *c);

/*
 * states[tokens, width]: after leaving out the `skip` last layers (0: none of them, at most all),
 * through the final norm if `norm` is set. transformers' hidden_states[-1 - skip] is without it.
 *
 * pooled[clip_pooled_width]; NULL: not wanted, and layers left out are then not run. The last
 * layer's normed state at the end of the text, through text_projection if the model has one. The
 * end is the first eos; for the old mark 2 the first of the highest id (transformers, PR 24773).
 *
 * ERR_INPUT for ids, positions or skip outside their bounds.
 */
int clip_encode(const struct clip *c, float *states, float *pooled, const struct clip_text *text,
                int skip, bool norm, struct err *e);

#endif
