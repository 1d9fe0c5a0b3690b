#include "engine/vae.h"

#include "engine/resnet.h"

#include <math.h>

#define VAE_EPS   1e-6f /* of all its group norms; diffusers sets it in code */
#define NAME_SIZE 96

struct up {
    int64_t channels;
    struct resnet *resnets; /* [layers + 1], owned */
    int n_resnets;
    struct conv_layer *sampler; /* NULL at the last level */
};

struct vae {
    struct vae_config config;
    struct ops *ops; /* borrowed */
    struct conv_layer *post_quant, *conv_in, *conv_out;
    struct resnet mid[2];
    struct norm attention_norm;
    struct linear_layer *q, *k, *v, *out; /* NULL without mid_attention */
    struct up ups[CONFIG_LEVELS_MAX];
    struct norm norm_out;
};

static int read_config(const char *path, const json_t *root, struct vae_config *ret_config,
                       struct err *e)
{
    /* The encoder's own, the training's size, and a hint for float16. */
    static const char *const harmless[] = {"in_channels", "sample_size", "force_upcast",
                                           "use_quant_conv", NULL};
    struct vae_config v = {0};
    struct config c = {0};
    int rc = 0;

    TRY(config_init(&c, path, root, "AutoencoderKL", e));
    v.levels = config_list(&c, "block_out_channels", 1, CONFIG_CHANNELS_MAX, v.channels);
    TRY(c.reader.rc);
    v.layers = config_int(&c, "layers_per_block", 1, 64, 1);
    v.latent_channels = config_int(&c, "latent_channels", 1, 1024, 4);
    v.groups = config_int(&c, "norm_num_groups", 1, CONFIG_CHANNELS_MAX, 32);
    v.act = config_activation(&c, "act_fn", "silu");
    v.scaling_factor = config_real(&c, "scaling_factor", 0.18215);
    v.shift_factor = config_real(&c, "shift_factor", 0);
    v.post_quant_conv = config_bool(&c, "use_post_quant_conv", true);
    v.mid_attention = config_bool(&c, "mid_block_add_attention", true);
    config_only_number(&c, "out_channels", 3);
    for (int i = 0; i < v.levels; i++) {
        const char *up = config_list_string(&c, "up_block_types", v.levels, i);
        const char *down = config_list_string(&c, "down_block_types", v.levels, i);

        if (up != NULL && strcmp(up, "UpDecoderBlock2D") != 0)
            config_refuse(&c, "up_block_types", "this engine implements UpDecoderBlock2D");
        if (down != NULL && strcmp(down, "DownEncoderBlock2D") != 0)
            config_refuse(&c, "down_block_types", "this engine implements DownEncoderBlock2D");
        if (v.channels[i] % v.groups != 0)
            config_refuse(&c, "norm_num_groups", "%d channels are not divisible by it",
                          v.channels[i]);
    }
    if (v.scaling_factor <= 0)
        config_refuse(&c, "scaling_factor", "it must be positive");
    TRY(config_finish(&c, harmless));
    *ret_config = v;
out:
    config_done(&c);
    return rc;
}

static struct resnet_config resnet_config(const struct vae_config *c, int64_t in, int64_t out)
{
    return (struct resnet_config){
        .in = in, .out = out, .groups = c->groups, .eps = VAE_EPS, .act = c->act};
}

/* Two generations of names: to_q, ..., to_out.0, and query, key, value, proj_attn. */
static void load_attention(struct vae *v, struct loader *ld, int64_t channels)
{
    const char *at = "decoder.mid_block.attentions.0";
    bool old = loader_has(ld, "%s.query.weight", at);

    loader_norm(ld, &v->attention_norm, channels, "%s.group_norm", at);
    v->q = loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "query" : "to_q");
    v->k = loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "key" : "to_k");
    v->v = loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "value" : "to_v");
    v->out =
        loader_linear(ld, channels, channels, true, "%s.%s", at, old ? "proj_attn" : "to_out.0");
}

static void load_mid(struct vae *v, struct loader *ld)
{
    int64_t channels = v->config.channels[v->config.levels - 1];
    struct resnet_config rc = resnet_config(&v->config, channels, channels);

    resnet_load(&v->mid[0], ld, &rc, "decoder.mid_block.resnets.0");
    if (v->config.mid_attention)
        load_attention(v, ld, channels);
    resnet_load(&v->mid[1], ld, &rc, "decoder.mid_block.resnets.1");
}

static void load_up(struct vae *v, struct loader *ld, int i)
{
    const struct vae_config *c = &v->config;
    int level = c->levels - 1 - i;
    int64_t in = c->channels[level < c->levels - 1 ? level + 1 : level];
    struct up *u = &v->ups[i];
    char name[NAME_SIZE];

    u->channels = c->channels[level];
    u->resnets = loader_items(ld, (size_t)c->layers + 1, sizeof *u->resnets);
    u->n_resnets = u->resnets != NULL ? c->layers + 1 : 0;
    for (int j = 0; j < u->n_resnets; j++) {
        struct resnet_config rc = resnet_config(c, j == 0 ? in : u->channels, u->channels);

        snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.%d", i, j);
        resnet_load(&u->resnets[j], ld, &rc, name);
    }
    if (level > 0)
        u->sampler = loader_conv(ld, u->channels, u->channels, 3,
                                 "decoder.up_blocks.%d.upsamplers.0.conv", i);
}

static void load_all(struct vae *v, struct loader *ld)
{
    const struct vae_config *c = &v->config;

    if (c->post_quant_conv)
        v->post_quant =
            loader_conv(ld, c->latent_channels, c->latent_channels, 1, "post_quant_conv");
    v->conv_in =
        loader_conv(ld, c->latent_channels, c->channels[c->levels - 1], 3, "decoder.conv_in");
    load_mid(v, ld);
    for (int i = 0; i < c->levels; i++)
        load_up(v, ld, i);
    loader_norm(ld, &v->norm_out, c->channels[0], "decoder.conv_norm_out");
    v->conv_out = loader_conv(ld, c->channels[0], 3, 3, "decoder.conv_out");
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
    TRY(read_config(p->where, p->config, &v->config, e));
    load_all(v, &ld);
    TRY(ld.rc);
    *bytes = ld.bytes;
    *ret_vae = v;
    v = NULL;
out:
    vae_close(v);
    return rc;
}

void vae_close(struct vae *v)
{
    struct ops *o;

    if (v == NULL)
        return;
    o = v->ops;
    for (int i = 0; i < CONFIG_LEVELS_MAX; i++) {
        for (int j = 0; j < v->ups[i].n_resnets; j++)
            resnet_done(&v->ups[i].resnets[j], o);
        free(v->ups[i].resnets);
        conv_layer_free(o, v->ups[i].sampler);
    }
    resnet_done(&v->mid[0], o);
    resnet_done(&v->mid[1], o);
    norm_done(&v->attention_norm);
    norm_done(&v->norm_out);
    linear_layer_free(o, v->q);
    linear_layer_free(o, v->k);
    linear_layer_free(o, v->v);
    linear_layer_free(o, v->out);
    conv_layer_free(o, v->post_quant);
    conv_layer_free(o, v->conv_in);
    conv_layer_free(o, v->conv_out);
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

/* x += out(attention(norm(x))), one head as wide as the map. */
static int attend(const struct vae *v, float *x, const struct extent *s, struct err *e)
{
    int64_t channels = v->config.channels[v->config.levels - 1], rows = extent_rows(s);
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    float *normed, *q, *k, *w;
    int rc = 0;

    TRY(scratch(o, rows * channels, &normed, e));
    TRY(scratch(o, rows * channels, &q, e));
    TRY(scratch(o, rows * channels, &k, e));
    TRY(scratch(o, rows * channels, &w, e));
    TRY(o->group_norm(o, normed, x, v->attention_norm.gamma, v->attention_norm.beta, s->n,
                      extent_pixels(s), channels, v->config.groups, VAE_EPS, ACT_NONE, e));
    TRY(linear_layer_forward(o, q, normed, v->q, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, k, normed, v->k, rows, ACT_NONE, NULL, e));
    TRY(linear_layer_forward(o, w, normed, v->v, rows, ACT_NONE, NULL, e));
    TRY(o->attention(o, normed, q, k, w, s->n, extent_pixels(s), extent_pixels(s), 1, (int)channels,
                     1.0f / sqrtf((float)channels), false, e));
    TRY(linear_layer_forward(o, x, normed, v->out, rows, ACT_NONE, x, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* a holds the latent's map and the result; b is scratch of the same size. */
static int mid_block(const struct vae *v, float *a, float *b, const struct extent *s, struct err *e)
{
    int rc = 0;

    TRY(resnet_forward(&v->mid[0], v->ops, b, a, s, NULL, e));
    if (v->config.mid_attention)
        TRY(attend(v, b, s, e));
    TRY(resnet_forward(&v->mid[1], v->ops, a, b, s, NULL, e));
out:
    return rc;
}

/* From *x to *x, through the other of the two maps; doubles the extent. */
static int up_block(const struct vae *v, const struct up *u, float **x, float **other,
                    struct extent *s, struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1};
    struct ops *o = v->ops;
    float *t;
    int rc = 0;

    for (int i = 0; i < u->n_resnets; i++) {
        TRY(resnet_forward(&u->resnets[i], o, *other, *x, s, NULL, e));
        t = *x;
        *x = *other;
        *other = t;
    }
    if (u->sampler == NULL)
        return 0;
    TRY(o->upsample(o, *other, *x, s->n, s->h, s->w, u->channels, 2 * s->h, 2 * s->w, e));
    s->h *= 2;
    s->w *= 2;
    TRY(conv_layer_forward(o, *x, *other, u->sampler, s->n, s->h, s->w, 1, pad, NULL, NULL, e));
out:
    return rc;
}

/* Numbers of the largest map: each level's, with the channels of the one below too. */
static int64_t map_floats(const struct vae *v, const struct extent *s)
{
    const struct vae_config *c = &v->config;
    int64_t rows = extent_rows(s), largest = 0;

    for (int level = c->levels - 1; level >= 0; level--, rows *= 4) {
        int64_t channels = c->channels[level];

        if (level + 1 < c->levels && c->channels[level + 1] > channels)
            channels = c->channels[level + 1];
        if (rows * channels > largest)
            largest = rows * channels;
    }
    return largest;
}

int vae_decode(const struct vae *v, float *y, const float *z, const struct extent *s, struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1}, none[4] = {0};
    const struct vae_config *c = &v->config;
    struct extent at = *s;
    struct ops *o = v->ops;
    size_t mark = arena_mark(o->arena);
    float *a, *b, *quant;
    int rc = 0;

    TRY(scratch(o, map_floats(v, s), &a, e));
    TRY(scratch(o, map_floats(v, s), &b, e));
    if (v->post_quant != NULL) {
        TRY(scratch(o, extent_rows(s) * c->latent_channels, &quant, e));
        TRY(conv_layer_forward(o, quant, z, v->post_quant, s->n, s->h, s->w, 1, none, NULL, NULL,
                               e));
        z = quant;
    }
    TRY(conv_layer_forward(o, a, z, v->conv_in, s->n, s->h, s->w, 1, pad, NULL, NULL, e));
    TRY(mid_block(v, a, b, s, e));
    for (int i = 0; i < c->levels; i++)
        TRY(up_block(v, &v->ups[i], &a, &b, &at, e));
    TRY(o->group_norm(o, a, a, v->norm_out.gamma, v->norm_out.beta, at.n, extent_pixels(&at),
                      c->channels[0], c->groups, VAE_EPS, c->act, e));
    TRY(conv_layer_forward(o, y, a, v->conv_out, at.n, at.h, at.w, 1, pad, NULL, NULL, e));
out:
    arena_release(o->arena, mark);
    return rc;
}
