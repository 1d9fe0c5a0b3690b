#include "engine/networks/unet_parts.h"

#define NAME_SIZE 96

static struct resnet_config resnet_config(const struct unet_config *c, int64_t in, int64_t out)
{
    return (struct resnet_config){.in = in,
                                  .out = out,
                                  .time = c->time_width,
                                  .groups = c->groups,
                                  .cut = true,
                                  .eps = c->eps,
                                  .act = c->act};
}

static struct transformer_config transformer_config(const struct unet_config *c, int level)
{
    return (struct transformer_config){.channels = c->channels[level],
                                       .text = c->text_width,
                                       .heads = c->heads[level],
                                       .blocks = c->transformer_blocks[level],
                                       .groups = c->groups};
}

static void block_alloc(struct block *b, struct loader *ld, int layers, int64_t channels,
                        bool attention)
{
    b->channels = channels;
    b->resnets = loader_items(ld, (size_t)layers, sizeof *b->resnets);
    if (attention)
        b->transformers = loader_items(ld, (size_t)layers, sizeof *b->transformers);
    b->layers = ld->rc == 0 ? layers : 0;
}

static void load_down(struct unet *u, struct loader *ld, int level)
{
    const struct unet_config *c = &u->config;
    struct transformer_config tc = transformer_config(c, level);
    struct block *b = &u->down[level];
    int64_t in = c->channels[level > 0 ? level - 1 : 0];
    char name[NAME_SIZE];

    block_alloc(b, ld, c->layers[level], c->channels[level], c->down_attention[level]);
    for (int i = 0; i < b->layers; i++) {
        struct resnet_config rc = resnet_config(c, i == 0 ? in : b->channels, b->channels);

        snprintf(name, sizeof name, "down_blocks.%d.resnets.%d", level, i);
        resnet_load(&b->resnets[i], ld, &rc, name);
        snprintf(name, sizeof name, "down_blocks.%d.attentions.%d", level, i);
        if (b->transformers != NULL)
            transformer_load(&b->transformers[i], ld, &tc, &u->kv_width, name);
    }
    if (level + 1 < c->levels)
        b->sampler = loader_conv(ld, b->channels, b->channels, 3,
                                 "down_blocks.%d.downsamplers.0.conv", level);
}

static void load_mid(struct unet *u, struct loader *ld)
{
    const struct unet_config *c = &u->config;
    int64_t channels = c->channels[c->levels - 1];
    struct transformer_config tc = transformer_config(c, c->levels - 1);
    struct resnet_config rc = resnet_config(c, channels, channels);

    block_alloc(&u->mid, ld, 2, channels, true);
    if (ld->rc != 0)
        return;
    resnet_load(&u->mid.resnets[0], ld, &rc, "mid_block.resnets.0");
    transformer_load(&u->mid.transformers[0], ld, &tc, &u->kv_width, "mid_block.attentions.0");
    resnet_load(&u->mid.resnets[1], ld, &rc, "mid_block.resnets.1");
}

/* Up block i works at the level that down block levels - 1 - i left, and takes its skips in
 * reverse. */
static void load_up(struct unet *u, struct loader *ld, int i)
{
    const struct unet_config *c = &u->config;
    int level = c->levels - 1 - i;
    struct transformer_config tc = transformer_config(c, level);
    struct block *b = &u->up[i];
    int64_t below = c->channels[i == 0 ? level : level + 1]; /* of what comes in */
    int64_t skip_last = c->channels[level > 0 ? level - 1 : 0];
    char name[NAME_SIZE];

    block_alloc(b, ld, c->layers[level] + 1, c->channels[level], c->up_attention[i]);
    for (int j = 0; j < b->layers; j++) {
        int64_t hidden = j == 0 ? below : b->channels;
        int64_t skip = j == b->layers - 1 ? skip_last : b->channels;
        struct resnet_config rc = resnet_config(c, hidden + skip, b->channels);

        snprintf(name, sizeof name, "up_blocks.%d.resnets.%d", i, j);
        resnet_load(&b->resnets[j], ld, &rc, name);
        snprintf(name, sizeof name, "up_blocks.%d.attentions.%d", i, j);
        if (b->transformers != NULL)
            transformer_load(&b->transformers[j], ld, &tc, &u->kv_width, name);
    }
    if (level > 0)
        b->sampler =
            loader_conv(ld, b->channels, b->channels, 3, "up_blocks.%d.upsamplers.0.conv", i);
}

static void load_ends(struct unet *u, struct loader *ld)
{
    const struct unet_config *c = &u->config;

    u->conv_in = loader_conv(ld, c->in_channels, c->channels[0], c->conv_in_kernel, "conv_in");
    u->time1 = loader_linear(ld, c->channels[0], c->time_width, true, "time_embedding.linear_1");
    u->time2 = loader_linear(ld, c->time_width, c->time_width, true, "time_embedding.linear_2");
    if (c->pooled_width > 0) {
        int64_t in = c->pooled_width + UNET_TIME_IDS * c->added_time_width;

        u->added1 = loader_linear(ld, in, c->time_width, true, "add_embedding.linear_1");
        u->added2 = loader_linear(ld, c->time_width, c->time_width, true, "add_embedding.linear_2");
    }
    u->norm_out = loader_norm(ld, c->channels[0], "conv_norm_out");
    u->conv_out = loader_conv(ld, c->channels[0], c->out_channels, c->conv_out_kernel, "conv_out");
    u->skips_max = 1;
    for (int i = 0; i < c->levels; i++)
        u->skips_max += c->layers[i] + 1;
    u->skips = loader_items(ld, (size_t)u->skips_max, sizeof *u->skips);
}

int unet_open(const struct part_source *p, struct ops *o, uint64_t budget_bytes, uint64_t *bytes,
              struct unet **ret_unet, struct err *e)
{
    struct loader ld = {
        .ops = o, .weights = p->weights, .budget_bytes = budget_bytes, .bytes = *bytes, .e = e};
    struct unet *u = calloc(1, sizeof *u);
    int rc = 0;

    if (u == NULL)
        return err_set(e, ERR_OOM, "%s: no memory", p->where);
    u->ops = o;
    ld.layers = &u->list;
    TRY(unet_config_read(p->where, p->config, &u->config, e));
    load_ends(u, &ld);
    for (int i = 0; i < u->config.levels; i++)
        load_down(u, &ld, i);
    load_mid(u, &ld);
    for (int i = 0; i < u->config.levels; i++)
        load_up(u, &ld, i);
    TRY(ld.rc);
    *bytes = ld.bytes;
    *ret_unet = u;
    u = NULL;
out:
    unet_close(u);
    return rc;
}

static void block_done(struct block *b, struct ops *o)
{
    for (int i = 0; i < b->layers; i++) {
        resnet_done(&b->resnets[i], o);
        if (b->transformers != NULL)
            transformer_done(&b->transformers[i], o);
    }
    free(b->resnets);
    free(b->transformers);
    conv_layer_free(o, b->sampler);
}

void unet_close(struct unet *u)
{
    struct ops *o;

    if (u == NULL)
        return;
    o = u->ops;
    for (int i = 0; i < CONFIG_LEVELS_MAX; i++) {
        block_done(&u->down[i], o);
        block_done(&u->up[i], o);
    }
    block_done(&u->mid, o);
    u->ops->norm_free(u->ops, u->norm_out);
    conv_layer_free(o, u->conv_in);
    conv_layer_free(o, u->conv_out);
    linear_layer_free(o, u->time1);
    linear_layer_free(o, u->time2);
    linear_layer_free(o, u->added1);
    linear_layer_free(o, u->added2);
    free(u->skips);
    layer_list_done(&u->list);
    free(u);
}

const struct unet_config *unet_config(const struct unet *u)
{
    return &u->config;
}

const struct layer_list *unet_layers(const struct unet *u)
{
    return &u->list;
}

int64_t unet_context_size(const struct unet *u, int64_t tokens)
{
    return tokens * u->kv_width;
}

/* Transformers of a block that are loaded: the middle has one for two resnets. */
static int block_transformers(const struct block *b, const struct unet *u)
{
    if (b->transformers == NULL)
        return 0;
    return b == &u->mid ? 1 : b->layers;
}

static int block_context(const struct unet *u, const struct block *b, struct act *kv,
                         const struct act *text, int64_t tokens, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < block_transformers(b, u); i++)
        TRY(transformer_context(&b->transformers[i], u->ops, kv, text, tokens, e));
out:
    return rc;
}

int unet_context(const struct unet *u, struct act *ret_kv, const float *text, int64_t tokens,
                 struct err *e)
{
    int64_t n = tokens * u->config.text_width;
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    struct act *states;
    int rc = 0;

    TRY(scratch(o, n, &states, e));
    TRY(o->put(o, states, text, n, e));
    for (int i = 0; i < u->config.levels; i++) {
        TRY(block_context(u, &u->down[i], ret_kv, states, tokens, e));
        TRY(block_context(u, &u->up[i], ret_kv, states, tokens, e));
    }
    TRY(block_context(u, &u->mid, ret_kv, states, tokens, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
