#include "engine/checkpoint/model.h"

#include <assert.h>
#include <stdlib.h>

static int open_networks(struct model *m, const struct checkpoint *c, uint64_t budget_bytes,
                         struct err *e)
{
    const struct part_source *text2 = checkpoint_source(c, CHECKPOINT_TEXT_2);
    uint64_t *bytes = &m->weight_bytes;
    int rc = 0;

    TRY(clip_open(checkpoint_source(c, CHECKPOINT_TEXT), m->ops, budget_bytes, bytes, &m->clip, e));
    if (text2 != NULL)
        TRY(clip_open(text2, m->ops, budget_bytes, bytes, &m->clip2, e));
    TRY(unet_open(checkpoint_source(c, CHECKPOINT_UNET), m->ops, budget_bytes, bytes, &m->unet, e));
    TRY(vae_open(checkpoint_source(c, CHECKPOINT_VAE), m->ops, budget_bytes, bytes, &m->vae, e));
out:
    return rc;
}

static int open_parts(struct model *m, const struct checkpoint *c, uint64_t budget_bytes,
                      struct err *e)
{
    int rc = 0;

    TRY(checkpoint_schedule(c, &m->schedule, e));
    TRY(checkpoint_tokenizer(c, 0, &m->tokenizer, e));
    if (m->kind.xl)
        TRY(checkpoint_tokenizer(c, 1, &m->tokenizer2, e));
    TRY(open_networks(m, c, budget_bytes, e));
out:
    return rc;
}

/* A tokenizer's ids and lengths must be ones that its encoder has. */
static int check_tokenizer(const struct tokenizer *t, const struct clip *clip, const char *path,
                           struct err *e)
{
    const struct clip_config *c = clip_config(clip);

    if (tokenizer_vocab_size(t) > c->vocab)
        return err_set(e, ERR_INPUT, "model '%s': the tokenizer has %d tokens, the text encoder %d",
                       path, tokenizer_vocab_size(t), c->vocab);
    if (tokenizer_max_length(t) > c->positions)
        return err_set(
            e, ERR_INPUT,
            "model '%s': the tokenizer's length is %d, the text encoder has %d positions", path,
            tokenizer_max_length(t), c->positions);
    return 0;
}

/* XL's U-Net takes the second encoder's pooled state, others take none. */
static int check_pooled(const struct model *m, const char *path, struct err *e)
{
    int wanted = unet_config(m->unet)->pooled_width;
    int pooled = m->clip2 != NULL ? clip_pooled_width(m->clip2) : 0;

    if (pooled == wanted)
        return 0;
    return err_set(e, ERR_INPUT,
                   "model '%s': the U-Net takes a pooled state of %d numbers, the second text "
                   "encoder gives %d",
                   path, wanted, pooled);
}

static int check_text(const struct model *m, const char *path, struct err *e)
{
    int width = clip_config(m->clip)->width, wanted = unet_config(m->unet)->text_width;
    int second = m->clip2 != NULL ? clip_config(m->clip2)->width : 0;
    int rc = 0;

    if (width + second != wanted)
        return second == 0 ? err_set(e, ERR_INPUT,
                                     "model '%s': the text encoder is %d wide, the U-Net's "
                                     "cross_attention_dim is %d",
                                     path, width, wanted)
                           : err_set(e, ERR_INPUT,
                                     "model '%s': the text encoders are %d and %d wide, the "
                                     "U-Net's cross_attention_dim is %d",
                                     path, width, second, wanted);
    TRY(check_pooled(m, path, e));
    TRY(check_tokenizer(m->tokenizer, m->clip, path, e));
    if (m->clip2 == NULL)
        return 0;
    TRY(check_tokenizer(m->tokenizer2, m->clip2, path, e));
    if (tokenizer_max_length(m->tokenizer) != tokenizer_max_length(m->tokenizer2))
        return err_set(e, ERR_INPUT, "model '%s': the tokenizers' lengths are %d and %d", path,
                       tokenizer_max_length(m->tokenizer), tokenizer_max_length(m->tokenizer2));
out:
    return rc;
}

/* The U-Net's channels are the latent's, or those with mask and masked picture beside them. */
static int check_latent(struct model *m, const char *path, struct err *e)
{
    const struct unet_config *unet = unet_config(m->unet);
    int latent = vae_config(m->vae)->latent_channels;

    m->masked = unet->in_channels == 2 * latent + 1;
    if ((unet->in_channels == latent || m->masked) && unet->out_channels == latent)
        return 0;
    return err_set(e, ERR_INPUT,
                   "model '%s': the U-Net takes %d channels and gives %d, the VAE has %d: this "
                   "engine implements U-Nets of %d channels, and of %d for inpainting",
                   path, unet->in_channels, unet->out_channels, latent, latent, 2 * latent + 1);
}

/* diffusers casts such a VAE to float32 where the rest is float16; it does so for SDXL alone. */
static int check_range(const struct model *m, const char *path, struct err *e)
{
    if (m->ops->precision != PRECISION_F16 || !m->kind.xl || !vae_config(m->vae)->force_upcast)
        return 0;
    return err_set(e, ERR_INPUT,
                   "model '%s': its VAE's numbers pass float16's range (force_upcast): choose "
                   "precision bf16 or auto",
                   path);
}

int model_load(const struct checkpoint *c, struct ops *o, uint64_t budget_bytes,
               struct model **ret_model, struct err *e)
{
    const char *path = checkpoint_path(c);
    struct model *m = calloc(1, sizeof *m);
    int rc = 0;

    if (m == NULL)
        return err_set(e, ERR_OOM, "model '%s': no memory", path);
    m->ops = o;
    m->kind = *checkpoint_kind(c);
    TRY(open_parts(m, c, budget_bytes, e));
    TRY(check_text(m, path, e));
    TRY(check_latent(m, path, e));
    TRY(check_range(m, path, e));
    *ret_model = m;
    m = NULL;
out:
    model_close(m);
    return rc;
}

void model_close(struct model *m)
{
    if (m == NULL)
        return;
    assert(m->loras == NULL);
    tokenizer_free(m->tokenizer);
    tokenizer_free(m->tokenizer2);
    clip_close(m->clip);
    clip_close(m->clip2);
    unet_close(m->unet);
    vae_close(m->vae);
    schedule_config_free(m->schedule);
    free(m);
}
