#include "engine/checkpoint/ldm_names.h"

#include <stdio.h>
#include <string.h>

struct pair {
    const char *name, *original;
};

/* What follows if text begins with that, else NULL. */
static const char *after(const char *text, const char *beginning)
{
    size_t size = strlen(beginning);

    return strncmp(text, beginning, size) == 0 ? text + size : NULL;
}

/* The pair whose name stands at the beginning of text, up to a dot or the end. */
static const struct pair *find_pair(const struct pair *pairs, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        const char *rest = after(text, pairs[i].name);

        if (rest != NULL && (*rest == '.' || *rest == '\0'))
            return &pairs[i];
    }
    return NULL;
}

#define N(pairs) (sizeof(pairs) / sizeof *(pairs))

/* prefix, formatted middle, rest; false if that is longer than any name. */
static bool set(struct weights_place *p, const char *prefix, const char *middle, const char *rest)
{
    int n = snprintf(p->name, sizeof p->name, "%s%s%s", prefix, middle, rest);

    p->part = 0;
    p->parts = 1;
    return n > 0 && n < (int)sizeof p->name;
}

/* The same, with a pair's original for its name at the beginning of rest. */
static bool set_pair(struct weights_place *p, const char *prefix, const char *middle,
                     const struct pair *pairs, size_t n, const char *rest)
{
    const struct pair *pair = find_pair(pairs, n, rest);
    char longer[WEIGHTS_NAME_SIZE];
    int size;

    if (pair == NULL)
        return set(p, prefix, middle, rest);
    size = snprintf(longer, sizeof longer, "%s%s", middle, pair->original);
    return size < (int)sizeof longer && set(p, prefix, longer, rest + strlen(pair->name));
}

/* ---- U-Net */

static const struct pair unet_ends[] = {
    {"time_embedding.linear_1", "time_embed.0"},
    {"time_embedding.linear_2", "time_embed.2"},
    {"add_embedding.linear_1", "label_emb.0.0"},
    {"add_embedding.linear_2", "label_emb.0.2"},
    {"conv_in", "input_blocks.0.0"},
    {"conv_norm_out", "out.0"},
    {"conv_out", "out.2"},
};

static const struct pair unet_resnet[] = {
    {"norm1", "in_layers.0"},  {"conv1", "in_layers.2"},  {"time_emb_proj", "emb_layers.1"},
    {"norm2", "out_layers.0"}, {"conv2", "out_layers.3"}, {"conv_shortcut", "skip_connection"},
};

/* "BLOCKS.I.KIND.J.REST" */
struct block_name {
    bool up;
    int i, j;
    char kind[16]; /* resnets, attentions, downsamplers, upsamplers */
    const char *rest;
};

static bool read_block_name(const char *name, int levels, struct block_name *ret_b)
{
    const char *down = after(name, "down_blocks."), *up = after(name, "up_blocks.");
    int n = 0;

    if (down == NULL && up == NULL)
        return false;
    ret_b->up = up != NULL;
    if (sscanf(down != NULL ? down : up, "%d.%15[a-z].%d.%n", &ret_b->i, ret_b->kind, &ret_b->j,
               &n) != 3 ||
        n == 0 || ret_b->i < 0 || ret_b->i >= levels || ret_b->j < 0)
        return false;
    ret_b->rest = (down != NULL ? down : up) + n;
    return true;
}

static bool place_down(const struct ldm_unet_names *u, const struct block_name *b,
                       struct weights_place *p)
{
    int first = 1;
    char middle[64];

    for (int i = 0; i < b->i; i++)
        first += u->layers[i] + 1;
    if (strcmp(b->kind, "downsamplers") == 0) {
        const char *rest = after(b->rest, "conv");

        snprintf(middle, sizeof middle, "input_blocks.%d.0.op", first + u->layers[b->i]);
        return rest != NULL && set(p, u->prefix, middle, rest);
    }
    if (strcmp(b->kind, "resnets") == 0) {
        snprintf(middle, sizeof middle, "input_blocks.%d.0.", first + b->j);
        return set_pair(p, u->prefix, middle, unet_resnet, N(unet_resnet), b->rest);
    }
    snprintf(middle, sizeof middle, "input_blocks.%d.1.", first + b->j);
    return set(p, u->prefix, middle, b->rest);
}

static bool place_up(const struct ldm_unet_names *u, const struct block_name *b,
                     struct weights_place *p)
{
    int first = 0, layers = u->layers[u->levels - 1 - b->i] + 1;
    char middle[64];

    for (int i = 0; i < b->i; i++)
        first += u->layers[u->levels - 1 - i] + 1;
    if (strcmp(b->kind, "upsamplers") == 0) {
        snprintf(middle, sizeof middle, "output_blocks.%d.%d.", first + layers - 1,
                 u->up_attention[b->i] ? 2 : 1);
        return set(p, u->prefix, middle, b->rest);
    }
    if (strcmp(b->kind, "resnets") == 0) {
        snprintf(middle, sizeof middle, "output_blocks.%d.0.", first + b->j);
        return set_pair(p, u->prefix, middle, unet_resnet, N(unet_resnet), b->rest);
    }
    snprintf(middle, sizeof middle, "output_blocks.%d.1.", first + b->j);
    return set(p, u->prefix, middle, b->rest);
}

bool ldm_unet_place(const void *names, const char *name, struct weights_place *ret_place)
{
    const struct ldm_unet_names *u = names;
    struct block_name b;
    const char *rest;

    if (find_pair(unet_ends, N(unet_ends), name) != NULL)
        return set_pair(ret_place, u->prefix, "", unet_ends, N(unet_ends), name);
    if ((rest = after(name, "mid_block.attentions.0.")) != NULL)
        return set(ret_place, u->prefix, "middle_block.1.", rest);
    if ((rest = after(name, "mid_block.resnets.0.")) != NULL)
        return set_pair(ret_place, u->prefix, "middle_block.0.", unet_resnet, N(unet_resnet), rest);
    if ((rest = after(name, "mid_block.resnets.1.")) != NULL)
        return set_pair(ret_place, u->prefix, "middle_block.2.", unet_resnet, N(unet_resnet), rest);
    if (!read_block_name(name, u->levels, &b))
        return false;
    return b.up ? place_up(u, &b, ret_place) : place_down(u, &b, ret_place);
}

/* ---- VAE */

static const struct pair vae_ends[] = {{"conv_norm_out", "norm_out"}};
static const struct pair vae_resnet[] = {{"conv_shortcut", "nin_shortcut"}};
static const struct pair vae_attention[] = {
    {"group_norm", "norm"}, {"to_q", "q"}, {"to_k", "k"}, {"to_v", "v"}, {"to_out.0", "proj_out"}};

static bool place_coder(const struct ldm_vae_names *v, const char *coder, const char *name,
                        struct weights_place *p)
{
    char middle[64];
    const char *rest;
    struct block_name b;

    for (int j = 0; j < 2; j++) {
        snprintf(middle, sizeof middle, "mid_block.resnets.%d.", j);
        if ((rest = after(name, middle)) == NULL)
            continue;
        snprintf(middle, sizeof middle, "%smid.block_%d.", coder, j + 1);
        return set_pair(p, v->prefix, middle, vae_resnet, N(vae_resnet), rest);
    }
    if ((rest = after(name, "mid_block.attentions.0.")) != NULL) {
        snprintf(middle, sizeof middle, "%smid.attn_1.", coder);
        return find_pair(vae_attention, N(vae_attention), rest) != NULL &&
               set_pair(p, v->prefix, middle, vae_attention, N(vae_attention), rest);
    }
    if (!read_block_name(name, v->levels, &b))
        return set_pair(p, v->prefix, coder, vae_ends, N(vae_ends), name);
    b.i = b.up ? v->levels - 1 - b.i : b.i;
    if (strcmp(b.kind, "resnets") == 0) {
        snprintf(middle, sizeof middle, "%s%s.%d.block.%d.", coder, b.up ? "up" : "down", b.i, b.j);
        return set_pair(p, v->prefix, middle, vae_resnet, N(vae_resnet), b.rest);
    }
    snprintf(middle, sizeof middle, "%s%s.%d.%ssample.", coder, b.up ? "up" : "down", b.i,
             b.up ? "up" : "down");
    return set(p, v->prefix, middle, b.rest);
}

bool ldm_vae_place(const void *names, const char *name, struct weights_place *ret_place)
{
    const struct ldm_vae_names *v = names;
    const char *rest;

    if ((rest = after(name, "encoder.")) != NULL)
        return place_coder(v, "encoder.", rest, ret_place);
    if ((rest = after(name, "decoder.")) != NULL)
        return place_coder(v, "decoder.", rest, ret_place);
    return set(ret_place, v->prefix, "", name); /* quant_conv, post_quant_conv */
}

/* ---- text encoders */

static const struct pair clip_ends[] = {
    {"embeddings.token_embedding.weight", "token_embedding.weight"},
    {"embeddings.position_embedding.weight", "positional_embedding"},
    {"final_layer_norm", "ln_final"},
    {"text_projection.weight", "text_projection"},
};

static const struct pair clip_layer[] = {
    {"layer_norm1", "ln_1"},
    {"layer_norm2", "ln_2"},
    {"mlp.fc1", "mlp.c_fc"},
    {"mlp.fc2", "mlp.c_proj"},
    {"self_attn.out_proj", "attn.out_proj"},
};

const char *const ldm_clip_transposed[] = {"text_projection.weight", NULL};

/* "self_attn.k_proj.bias" of one layer: the second third of attn.in_proj_bias. */
static bool place_packed(const char *prefix, const char *middle, const char *rest,
                         struct weights_place *p)
{
    static const char order[] = "qkv";
    const char *part = strchr(order, *rest),
               *kind = *rest != '\0' ? after(rest + 1, "_proj.") : NULL;
    char longer[96];

    if (part == NULL || kind == NULL)
        return false;
    snprintf(longer, sizeof longer, "%sattn.in_proj_", middle);
    if (!set(p, prefix, longer, kind))
        return false;
    p->part = (int)(part - order);
    p->parts = 3;
    return true;
}

static bool place_open(const struct ldm_clip_names *c, const char *name, struct weights_place *p)
{
    const char *rest = after(name, "encoder.layers."), *packed;
    char middle[64];
    int i, n = 0;

    if (rest == NULL)
        return find_pair(clip_ends, N(clip_ends), name) != NULL &&
               set_pair(p, c->prefix, "", clip_ends, N(clip_ends), name);
    if (sscanf(rest, "%d.%n", &i, &n) != 1 || n == 0)
        return false;
    rest += n;
    snprintf(middle, sizeof middle, "transformer.resblocks.%d.", i);
    packed = after(rest, "self_attn.");
    if (packed != NULL && after(packed, "out_proj") == NULL)
        return place_packed(c->prefix, middle, packed, p);
    return find_pair(clip_layer, N(clip_layer), rest) != NULL &&
           set_pair(p, c->prefix, middle, clip_layer, N(clip_layer), rest);
}

bool ldm_clip_place(const void *names, const char *name, struct weights_place *ret_place)
{
    const struct ldm_clip_names *c = names;
    const char *rest = after(name, "text_model.");

    if (strcmp(name, "text_projection.weight") == 0 && !c->projection)
        return false;
    if (!c->open)
        return set(ret_place, c->prefix, "", name);
    return place_open(c, rest != NULL ? rest : name, ret_place);
}
