/*
 * What one pass of a render is conditioned on: its prompts, read by AUTOMATIC1111's grammar
 * (engine/prompt/), as texts of tokens, and which of them hold at which step.
 *
 * Everything about texts is known from conditioning_new() on, also while the backend plans; states
 * are computed one text at a time. A distinct text is encoded by its own: another text of the same
 * prompt changes neither its chunks nor its states (the web UI fills the shorter texts of an edited
 * prompt with empty chunks, and takes its mean of emphasis over all of them).
 *
 * Belongs to the thread of the model's backend.
 *
 *     TRY(conditioning_new(m, &(struct conditioning_request){.prompt = "[cat:dog:0.5]",
 *                                                            .steps = 20, .guided = true}, &c, e));
 *     for (int i = 0; i < conditioning_texts(c); i++)
 *         TRY(conditioning_encode(c, &prompts, i, states, NULL, e));
 *     conditioning_at(c, call, &g);        // for each call of the denoiser
 *     conditioning_free(c);
 */
#ifndef ENGINE_TEXT_CONDITIONING_H
#define ENGINE_TEXT_CONDITIONING_H

#include "engine/prompt/check.h"
#include "engine/prompt/split.h"
#include "engine/text/embedding.h"
#include "engine/text/prompts.h"

#define GUIDANCE_PARTS_MAX      SPLIT_PARTS_MAX
#define CONDITIONING_CHUNKS_MAX 16384 /* over all texts of a pass */

struct conditioning;

/* All borrowed for the call, but for `embeddings`' folders. */
struct conditioning_request {
    const char *prompt, *negative_prompt; /* UTF-8; NULL: empty */
    int steps; /* 1..: calls of the denoiser that edits count by, as in the web UI: the sampler's
                  steps, twice as many for those that call twice a step (heun, dpm2, dpm2_a,
                  dpmpp_2s_a, dpmpp_sde); of img2img all steps, also those that are not run */
    int hires_steps; /* the same of hires fix's second pass, if that is the pass; else 0 */
    enum emphasis emphasis;
    int clip_skip;                 /* 1.. (0: 1); the web UI's; of SDXL 1 and 2 are the same */
    bool guided;                   /* false: no negative prompt is read */
    struct embeddings *embeddings; /* refreshed here; NULL: none */
};

/*
 * ERR_INPUT: "prompt, column 12: ..." for what is wrong in a prompt; a clip_skip beyond the layers;
 * an embedding that does not fit the model, by file; more chunks than the limit.
 */
int conditioning_new(const struct model *m, const struct conditioning_request *r,
                     struct conditioning **ret_c, struct err *e);
void conditioning_free(struct conditioning *c);

/* Distinct texts over all steps; 1.. */
int conditioning_texts(const struct conditioning *c);

/* Tokens of a text, 0..texts - 1: 77 times its chunks. */
int64_t conditioning_tokens(const struct conditioning *c, int text);

/*
 * ret_states [tokens, prompts_width], ret_pooled [prompts_pooled_width], NULL where that is 0: of
 * the first chunk. Of SDXL's empty negative prompt both are zeros if the model asks for that
 * (force_zeros_for_empty_prompt; also where AUTOMATIC1111 does so). LoRAs must be applied before.
 * Works in the backend's arena; while the backend plans, reserves what that takes, and cache may be
 * NULL. Errors as prompts_encode().
 */
int conditioning_encode(const struct conditioning *c, struct prompts *cache, int text,
                        float *ret_states, float *ret_pooled, struct err *e);

/*
 * Classifier-free guidance over parts (Liu et al. 2022, arXiv:2206.01714), as the web UI has it:
 * negative + sum over parts of weight * cfg_scale * (part - negative), of the model's output.
 */
struct guidance_part {
    int text; /* 0..texts - 1 */
    double weight;
};
struct guidance {
    int negative;   /* a text; -1: not guided */
    size_t n_parts; /* 1..; 1 if not guided, unless AND is used */
    struct guidance_part parts[GUIDANCE_PARTS_MAX];
};

/* What holds at call `call` of the denoiser, counted from 0 in this pass. */
void conditioning_at(const struct conditioning *c, int call, struct guidance *ret_g);

/* The prompt's LoRAs, by name; weights summed. Borrowed. */
const struct lora_use *conditioning_loras(const struct conditioning *c, size_t *ret_n);

/* The embeddings that the texts use, by name and file. Borrowed. */
struct conditioning_embedding {
    const char *name, *path;
};
const struct conditioning_embedding *conditioning_embeddings(const struct conditioning *c,
                                                             size_t *ret_n);

#endif
