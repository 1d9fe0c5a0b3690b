/*
 * The denoiser: diffusers' UNet2DConditionModel with cross-attention to text, any number of levels.
 * One thread at a time; a forward pass works in the backend's arena and leaves nothing there.
 *
 *     TRY(unet_open(&part.source, o, budget, &bytes, &u, e));
 *     TRY(scratch(o, unet_context_size(u, tokens), &kv, e));
 *     TRY(unet_context(u, kv, text, tokens, e));                         // once per text
 *     TRY(unet_run(u, y, x, &extent, &place, texts, e));                 // every step
 *     unet_close(u);
 */
#ifndef ENGINE_NETWORKS_UNET_H
#define ENGINE_NETWORKS_UNET_H

#include "engine/networks/transformer.h"
#include "engine/networks/unet_config.h"

struct unet;

/*
 * p: as diffusers' unet/ has it; may go away afterwards. o: outlives the network.
 * bytes: in: weights loaded by others, out: with these; ERR_OOM when it passes budget_bytes (0: no
 * limit). Other errors: ERR_INPUT with file, and tensor or key.
 */
int unet_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
              struct unet **ret_unet, struct err *e);
void unet_close(struct unet *u);

const struct unet_config *unet_config(const struct unet *u);

/*
 * Its linear layers and convolutions, as "down_blocks.0.attentions.0.proj_in". Borrowed; what is
 * added to a layer (adapter.h) counts from the next call on: also in unet_context().
 */
const struct layer_list *unet_layers(const struct unet *u);

/* Numbers that a text's keys and values take. */
int64_t unet_context_size(const struct unet *u, int64_t tokens);

/* ret_kv[unet_context_size] from text[tokens, text_width]: one text, for all steps. */
int unet_context(const struct unet *u, struct act *ret_kv, const float *text, int64_t tokens,
                 struct err *e);

/*
 * ret_added[time_width] from pooled[pooled_width] and the six numbers original height and width,
 * top and left of the crop, target height and width: SDXL's size conditioning (Podell et al. 2023,
 * section 2.2). For U-Nets whose pooled_width is not 0.
 */
int unet_added(const struct unet *u, struct act *ret_added, const float *pooled,
               const float time_ids[UNET_TIME_IDS], struct err *e);

/*
 * y[n, h, w, out_channels] from x[n, h, w, in_channels], already scaled for the model, at the
 * training step (0..n_train, may be fractional) of place's block (engine/ops/step.h), each sample
 * with its own text of texts[n], which has `added` if and only if pooled_width is not 0. Any h, w
 * from 1; sizes that do not halve evenly are treated as diffusers does. Calls of ops alone: may be
 * recorded.
 */
int unet_run(struct unet *u, struct act *y, const struct act *x, const struct extent *s,
             const struct step_place *place, const struct unet_text *texts, struct err *e);

/* Whether all of a run's calls may be recorded (ops.h). */
bool unet_recordable(const struct unet *u);

#endif
