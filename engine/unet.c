#include "engine/unet.h"

#include "engine/resnet.h"
#include "engine/transformer.h"

#include <math.h>

#define MAX_PERIOD 10000.0 /* of the sinusoidal time embedding */
#define NAME_SIZE  96

/* One level on the way down or up, and the middle (two resnets around one transformer). */
struct block {
    int layers;
    int64_t channels;                 /* of its output */
    struct resnet *resnets;           /* [layers], owned */
    struct transformer *transformers; /* [layers], middle [layers - 1]; NULL: no attention; owned */
    struct conv_layer *sampler;       /* to the next level; NULL at the last block */
};

/* A feature map of the way down, kept for the way up. */
struct skip {
    float *values;
    struct extent extent;
    int64_t channels;
};

struct unet {
    struct unet_config config;
    struct ops *ops; /* borrowed */
    struct conv_layer *conv_in, *conv_out;
    struct linear_layer *time1, *time2;
    struct block down[CONFIG_LEVELS_MAX], mid, up[CONFIG_LEVELS_MAX];
    struct norm norm_out;
    int64_t kv_width;   /* numbers per text token, all transformers together */
    struct skip *skips; /* [skips_max], owned; a stack that is empty between passes */
    int n_skips, skips_max;
    struct layer_list list; /* all layers, by name */
};

static struct resnet_config resnet_config(const struct unet_config *c, int64_t in, int64_t out)
{
    return (struct resnet_config){.in = in,
                                  .out = out,
                                  .time = c->time_width,
                                  .groups = c->groups,
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
    loader_norm(ld, &u->norm_out, c->channels[0], "conv_norm_out");
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
    norm_done(&u->norm_out);
    conv_layer_free(o, u->conv_in);
    conv_layer_free(o, u->conv_out);
    linear_layer_free(o, u->time1);
    linear_layer_free(o, u->time2);
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

int64_t unet_context_floats(const struct unet *u, int64_t tokens)
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

static int block_context(const struct unet *u, const struct block *b, float *kv, const float *text,
                         int64_t tokens, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < block_transformers(b, u); i++)
        TRY(transformer_context(&b->transformers[i], u->ops, kv, text, tokens, e));
out:
    return rc;
}

int unet_context(const struct unet *u, float *ret_kv, const float *text, int64_t tokens,
                 struct err *e)
{
    int rc = 0;

    for (int i = 0; i < u->config.levels; i++) {
        TRY(block_context(u, &u->down[i], ret_kv, text, tokens, e));
        TRY(block_context(u, &u->up[i], ret_kv, text, tokens, e));
    }
    TRY(block_context(u, &u->mid, ret_kv, text, tokens, e));
out:
    return rc;
}

/*
 * Sinusoids of t, of Ho et al. 2020 as diffusers' get_timestep_embedding writes them, rounded to
 * float32 where it has float32: width / 2 sines, and as many cosines before or after them. The same
 * row n times. The functions are the float64 ones: libm's float32 ones differ in the last bit
 * between processors with and without fused multiply-add, and a device class spans both.
 */
static void sinusoids(const struct unet_config *c, float t, int64_t n, float *ret_rows)
{
    int64_t width = c->channels[0], half = width / 2;

    for (int64_t i = 0; i < half; i++) {
        float exponent = (float)-log(MAX_PERIOD) * (float)i / ((float)half - c->freq_shift);
        float angle = t * (float)exp((double)exponent);
        float sine = (float)sin((double)angle), cosine = (float)cos((double)angle);

        ret_rows[i] = c->cos_first ? cosine : sine;
        ret_rows[half + i] = c->cos_first ? sine : cosine;
    }
    for (int64_t i = 1; i < n; i++)
        memcpy(ret_rows + i * width, ret_rows, (size_t)width * sizeof *ret_rows);
}

/* ret_temb[n, time_width]: the time embedding, with the activation that every resnet begins with.
 */
static int embed_time(const struct unet *u, float *ret_temb, float t, int64_t n, struct err *e)
{
    const struct unet_config *c = &u->config;
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    float *rows, *hidden;
    int rc = 0;

    TRY(scratch(o, n * c->channels[0], &rows, e));
    TRY(scratch(o, n * c->time_width, &hidden, e));
    if (!o->planning)
        sinusoids(c, t, n, rows);
    TRY(linear_layer_forward(o, hidden, rows, u->time1, n, c->act, NULL, e));
    TRY(linear_layer_forward(o, ret_temb, hidden, u->time2, n, c->act, NULL, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* The state of one forward pass. */
struct pass {
    struct extent extent; /* of the current level */
    const float *temb;
    const struct unet_text *texts; /* [n] */
    float *hidden;                 /* the map of the way up, large enough for every level */
    int64_t room;                  /* numbers in hidden */
};

static int skip_push(struct unet *u, const struct extent *s, int64_t channels, float **ret_values,
                     struct err *e)
{
    int rc = scratch(u->ops, extent_rows(s) * channels, ret_values, e);

    if (rc != 0)
        return rc;
    u->skips[u->n_skips++] = (struct skip){*ret_values, *s, channels};
    return 0;
}

/* Half the size, rounded up. Without padding the zeros are below and right only. */
static int down_sample(struct unet *u, struct pass *p, const struct block *b, const float *x,
                       struct err *e)
{
    int pad = u->config.downsample_padding;
    const int pads[4] = {pad, 1, pad, 1};
    struct extent in = p->extent;
    float *y;
    int rc = 0;

    if (in.h + pad < 2 || in.w + pad < 2)
        return err_set(e, ERR_INPUT, "a map of %lld x %lld is too small to halve without padding",
                       (long long)in.w, (long long)in.h);
    p->extent.h = (in.h + pad + 1 - 3) / 2 + 1;
    p->extent.w = (in.w + pad + 1 - 3) / 2 + 1;
    TRY(skip_push(u, &p->extent, b->channels, &y, e));
    TRY(conv_layer_forward(u->ops, y, x, b->sampler, in.n, in.h, in.w, 2, pads, NULL, NULL, e));
out:
    return rc;
}

static int down_block(struct unet *u, struct pass *p, const struct block *b, struct err *e)
{
    struct ops *o = u->ops;
    int rc = 0;

    for (int i = 0; i < b->layers; i++) {
        const float *x = u->skips[u->n_skips - 1].values;
        float *y;

        TRY(skip_push(u, &p->extent, b->channels, &y, e));
        TRY(resnet_forward(&b->resnets[i], o, y, extent_rows(&p->extent) * b->channels, x,
                           &p->extent, p->temb, e));
        if (b->transformers != NULL)
            TRY(transformer_forward(&b->transformers[i], o, y, &p->extent, p->texts, e));
    }
    if (b->sampler != NULL)
        TRY(down_sample(u, p, b, u->skips[u->n_skips - 1].values, e));
out:
    return rc;
}

static int mid_block(struct unet *u, struct pass *p, struct err *e)
{
    struct ops *o = u->ops;
    int64_t size = extent_rows(&p->extent) * u->mid.channels;
    size_t mark = arena_mark(o->arena);
    float *x;
    int rc = 0;

    TRY(scratch(o, size, &x, e));
    TRY(resnet_forward(&u->mid.resnets[0], o, x, size, u->skips[u->n_skips - 1].values, &p->extent,
                       p->temb, e));
    TRY(transformer_forward(&u->mid.transformers[0], o, x, &p->extent, p->texts, e));
    TRY(resnet_forward(&u->mid.resnets[1], o, p->hidden, p->room, x, &p->extent, p->temb, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

/* To the size of the next skip, which is not always twice this one. */
static int up_sample(struct unet *u, struct pass *p, const struct block *b, struct err *e)
{
    static const int pad[4] = {1, 1, 1, 1};
    const struct extent in = p->extent;
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    float *large;
    int rc = 0;

    p->extent = u->skips[u->n_skips - 1].extent;
    TRY(scratch(o, extent_rows(&p->extent) * b->channels, &large, e));
    TRY(o->upsample(o, large, p->hidden, in.n, in.h, in.w, b->channels, p->extent.h, p->extent.w,
                    e));
    TRY(conv_layer_forward(o, p->hidden, large, b->sampler, in.n, p->extent.h, p->extent.w, 1, pad,
                           NULL, NULL, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int up_layer(struct unet *u, struct pass *p, const struct block *b, int i, struct err *e)
{
    const struct resnet *r = &b->resnets[i];
    const struct skip *skip = &u->skips[--u->n_skips];
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    float *joined;
    int rc = 0;

    TRY(scratch(o, extent_rows(&p->extent) * r->config.in, &joined, e));
    TRY(o->concat(o, joined, p->hidden, skip->values, extent_rows(&p->extent),
                  r->config.in - skip->channels, skip->channels, e));
    TRY(resnet_forward(r, o, p->hidden, p->room, joined, &p->extent, p->temb, e));
    if (b->transformers != NULL)
        TRY(transformer_forward(&b->transformers[i], o, p->hidden, &p->extent, p->texts, e));
out:
    arena_release(o->arena, mark);
    return rc;
}

static int up_block(struct unet *u, struct pass *p, const struct block *b, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < b->layers; i++)
        TRY(up_layer(u, p, b, i, e));
    if (b->sampler != NULL)
        TRY(up_sample(u, p, b, e));
out:
    return rc;
}

/* Numbers of the largest map on the way up: each level's, with the channels of the one below too.
 */
static int64_t hidden_floats(const struct unet *u, const struct extent *s)
{
    const struct unet_config *c = &u->config;
    struct extent at = *s;
    int64_t largest = 0;

    for (int i = 0; i < c->levels; i++) {
        int64_t channels = c->channels[i];

        if (i + 1 < c->levels && c->channels[i + 1] > channels)
            channels = c->channels[i + 1];
        if (extent_rows(&at) * channels > largest)
            largest = extent_rows(&at) * channels;
        at.h = (at.h + 1) / 2;
        at.w = (at.w + 1) / 2;
    }
    return largest;
}

int unet_forward(struct unet *u, float *y, const float *x, const struct extent *s, float t,
                 const struct unet_text *texts, struct err *e)
{
    const struct unet_config *c = &u->config;
    const int in = c->conv_in_kernel / 2, out_ = c->conv_out_kernel / 2;
    const int pad_in[4] = {in, in, in, in}, pad_out[4] = {out_, out_, out_, out_};
    struct pass p = {.extent = *s, .texts = texts};
    struct ops *o = u->ops;
    size_t mark = arena_mark(o->arena);
    float *temb, *first;
    int rc = 0;

    u->n_skips = 0;
    TRY(scratch(o, s->n * c->time_width, &temb, e));
    TRY(embed_time(u, temb, t, s->n, e));
    p.temb = temb;
    p.room = hidden_floats(u, s);
    TRY(scratch(o, p.room, &p.hidden, e));
    TRY(skip_push(u, s, c->channels[0], &first, e));
    TRY(conv_layer_forward(o, first, x, u->conv_in, s->n, s->h, s->w, 1, pad_in, NULL, NULL, e));
    for (int i = 0; i < c->levels; i++)
        TRY(down_block(u, &p, &u->down[i], e));
    TRY(mid_block(u, &p, e));
    for (int i = 0; i < c->levels; i++)
        TRY(up_block(u, &p, &u->up[i], e));
    TRY(o->group_norm(o, p.hidden, p.hidden, u->norm_out.gamma, u->norm_out.beta, s->n,
                      extent_pixels(s), c->channels[0], c->groups, c->eps, c->act, e));
    TRY(conv_layer_forward(o, y, p.hidden, u->conv_out, s->n, s->h, s->w, 1, pad_out, NULL, NULL,
                           e));
out:
    arena_release(o->arena, mark);
    return rc;
}
