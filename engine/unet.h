/*
 * The denoiser: diffusers' UNet2DConditionModel with cross-attention to text, any number of levels.
 * One thread at a time; a forward pass works in the backend's arena and leaves nothing there.
 *
 *     TRY(unet_open("unet", o, budget, &u, e));
 *     kv = floats(unet_context_floats(u, n, tokens));
 *     TRY(unet_context(u, kv, text, n, tokens, e));                      // once per prompt
 *     TRY(unet_forward(u, y, x, &extent, t, kv, tokens, e));             // every step
 *     unet_close(u);
 */
#ifndef ENGINE_UNET_H
#define ENGINE_UNET_H

#include "engine/layer.h"
#include "engine/unet_config.h"

struct unet;

/*
 * folder: holds config.json and diffusion_pytorch_model.safetensors. o: outlives the network.
 * bytes: in: weights loaded by others, out: with these; ERR_OOM when it passes budget_bytes (0: no
 * limit). Other errors: ERR_MISSING, ERR_INPUT with file, and tensor or key.
 */
int unet_open(const char *folder, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
              struct unet **ret_unet, struct err *e);
void unet_close(struct unet *u);

const struct unet_config *unet_config(const struct unet *u);

/* Numbers that the text's keys and values take, for n prompts of that many tokens. */
int64_t unet_context_floats(const struct unet *u, int64_t n, int64_t tokens);

/* ret_kv[unet_context_floats] from text[n, tokens, text_width]. */
int unet_context(const struct unet *u, float *ret_kv, const float *text, int64_t n, int64_t tokens,
                 struct err *e);

/*
 * y[n, h, w, out_channels] from x[n, h, w, in_channels], already scaled for the model, at training
 * step t (0..n_train, may be fractional). Any h, w from 1; sizes that do not halve evenly are
 * treated as diffusers does.
 */
int unet_forward(struct unet *u, float *y, const float *x, const struct extent *s, float t,
                 const float *kv, int64_t tokens, struct err *e);

#endif
