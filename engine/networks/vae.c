#include "engine/networks/vae_parts.h"

#define NAME_SIZE 96

static struct resnet_config resnet_config(const struct vae_config *c, int64_t in, int64_t out)
{
    return (struct resnet_config){
        .in = in, .out = out, .groups = c->groups, .eps = VAE_EPS, .act = c->act};
}

/* Two generations of names: to_q, ..., to_out.0, and query, key, value, proj_attn. */
static void load_attention(struct vae_mid *m, struct loader *ld, int64_t channels, const char *half)
{
    bool old = loader_has(ld, "%s.mid_block.attentions.0.query.weight", half);
    char at[NAME_SIZE];

    snprintf(at, sizeof at, "%s.mid_block.attentions.0", half);
    m->norm = loader_norm(ld, channels, "%s.group_norm", at);
    m->q = loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "query" : "to_q");
    m->k = loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "key" : "to_k");
    m->v = loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "value" : "to_v");
    m->out =
        loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "proj_attn" : "to_out.0");
}

static void load_mid(struct vae_mid *m, struct loader *ld, const struct vae_config *c,
                     const char *half)
{
    int64_t channels = c->channels[c->levels - 1];
    struct resnet_config rc = resnet_config(c, channels, channels);
    char name[NAME_SIZE];

    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s.mid_block.resnets.%d", half, i);
        resnet_load(&m->resnets[i], ld, &rc, name);
    }
    if (c->mid_attention)
        load_attention(m, ld, channels, half);
}

/* sampler: its name, "upsamplers" or "downsamplers"; NULL: the level has none. */
static void load_level(struct vae_level *l, struct loader *ld, const struct vae_config *c,
                       int n_resnets, const char *block, const char *sampler)
{
    char name[NAME_SIZE];

    l->resnets = loader_items(ld, (size_t)n_resnets, sizeof *l->resnets);
    l->n_resnets = l->resnets != NULL ? n_resnets : 0;
    for (int i = 0; i < l->n_resnets; i++) {
        struct resnet_config rc = resnet_config(c, i == 0 ? l->in : l->out, l->out);

        snprintf(name, sizeof name, "%s.resnets.%d", block, i);
        resnet_load(&l->resnets[i], ld, &rc, name);
    }
    if (sampler != NULL)
        l->sampler = loader_conv(ld, l->out, l->out, 3, "%s.%s.0.conv", block, sampler);
}

static void load_encoder(struct vae_half *h, struct loader *ld, const struct vae_config *c)
{
    const int last = c->levels - 1, moments = 2 * c->latent_channels;
    char block[NAME_SIZE];

    h->conv_in = loader_conv(ld, 3, c->channels[0], 3, "encoder.conv_in");
    for (int i = 0; i <= last; i++) {
        h->levels[i].in = c->channels[i > 0 ? i - 1 : 0];
        h->levels[i].out = c->channels[i];
        snprintf(block, sizeof block, "encoder.down_blocks.%d", i);
        load_level(&h->levels[i], ld, c, c->layers, block, i < last ? "downsamplers" : NULL);
    }
    load_mid(&h->mid, ld, c, "encoder");
    h->norm_out = loader_norm(ld, c->channels[last], "encoder.conv_norm_out");
    h->conv_out = loader_conv(ld, c->channels[last], moments, 3, "encoder.conv_out");
    if (c->quant_conv)
        h->quant = loader_conv(ld, moments, moments, 1, "quant_conv");
}

static void load_decoder(struct vae_half *h, struct loader *ld, const struct vae_config *c)
{
    const int last = c->levels - 1;
    char block[NAME_SIZE];

    if (c->post_quant_conv)
        h->quant = loader_conv(ld, c->latent_channels, c->latent_channels, 1, "post_quant_conv");
    h->conv_in = loader_conv(ld, c->latent_channels, c->channels[last], 3, "decoder.conv_in");
    load_mid(&h->mid, ld, c, "decoder");
    for (int i = 0; i <= last; i++) {
        h->levels[i].in = c->channels[i > 0 ? last - i + 1 : last];
        h->levels[i].out = c->channels[last - i];
        snprintf(block, sizeof block, "decoder.up_blocks.%d", i);
        load_level(&h->levels[i], ld, c, c->layers + 1, block, i < last ? "upsamplers" : NULL);
    }
    h->norm_out = loader_norm(ld, c->channels[0], "decoder.conv_norm_out");
    h->conv_out = loader_conv(ld, c->channels[0], 3, 3, "decoder.conv_out");
}

int vae_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
             struct vae **ret_vae, struct err *e)
{
    struct loader ld = {
        .ops = o, .weights = p->weights, .budget_bytes = budget_bytes, .bytes = *bytes, .e = e};
    struct vae *v = calloc(1, sizeof *v);
    int rc = 0;

    if (v == NULL)
        return err_set(e, ERR_OOM, "%s: no memory", p->where);
    v->ops = o;
    TRY(vae_config_read(p->where, p->config, &v->config, e));
    load_encoder(&v->encoder, &ld, &v->config);
    load_decoder(&v->decoder, &ld, &v->config);
    TRY(ld.rc);
    *bytes = ld.bytes;
    *ret_vae = v;
    v = NULL;
out:
    vae_close(v);
    return rc;
}

static void half_done(struct vae_half *h, struct ops *o)
{
    for (int i = 0; i < CONFIG_LEVELS_MAX; i++) {
        for (int j = 0; j < h->levels[i].n_resnets; j++)
            resnet_done(&h->levels[i].resnets[j], o);
        free(h->levels[i].resnets);
        conv_layer_free(o, h->levels[i].sampler);
    }
    resnet_done(&h->mid.resnets[0], o);
    resnet_done(&h->mid.resnets[1], o);
    o->norm_free(o, h->mid.norm);
    linear_layer_free(o, h->mid.q);
    linear_layer_free(o, h->mid.k);
    linear_layer_free(o, h->mid.v);
    linear_layer_free(o, h->mid.out);
    o->norm_free(o, h->norm_out);
    conv_layer_free(o, h->quant);
    conv_layer_free(o, h->conv_in);
    conv_layer_free(o, h->conv_out);
}

void vae_close(struct vae *v)
{
    if (v == NULL)
        return;
    half_done(&v->encoder, v->ops);
    half_done(&v->decoder, v->ops);
    free(v);
}

const struct vae_config *vae_config(const struct vae *v)
{
    return &v->config;
}

int vae_factor(const struct vae *v)
{
    return 1 << (v->config.levels - 1);
}
