#include "engine/checkpoint/ldm_config.h"

#include <stdarg.h>
#include <string.h>

#define BLOCKS_MAX 1024 /* of anything that is counted */

#define CURE "give the configuration of its training with the model (config)"

/* The first failure is kept, later questions are answered with 0. */
struct shapes {
    const struct weights *w;
    const char *prefix;
    struct err *e;
    int rc;
};

static bool find(const struct shapes *s, struct tensor *ret_t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool find(const struct shapes *s, struct tensor *ret_t, const char *format, ...)
{
    char name[WEIGHTS_NAME_SIZE], whole[2 * WEIGHTS_NAME_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    snprintf(whole, sizeof whole, "%s%s", s->prefix, name);
    return weights_find(s->w, whole, ret_t);
}

/* Number i of the shape of a tensor of that rank; an error if there is no such tensor. */
static int64_t side(struct shapes *s, int rank, int i, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static int64_t side(struct shapes *s, int rank, int i, const char *format, ...)
{
    char name[WEIGHTS_NAME_SIZE];
    struct tensor t;
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (s->rc != 0)
        return 0;
    if (!find(s, &t, "%s", name))
        s->rc = err_set(s->e, ERR_INPUT, "%s: tensor '%s%s' is missing", weights_path(s->w),
                        s->prefix, name);
    else if (t.rank != rank)
        s->rc = err_set(s->e, ERR_INPUT, "%s: tensor '%s%s' has %d dimensions, %d are needed",
                        weights_path(s->w), s->prefix, name, t.rank, rank);
    return s->rc == 0 ? t.shape[i] : 0;
}

static void put(json_t *config, const char *key, int64_t value)
{
    json_object_set_new(config, key, json_integer(value));
}

/* ---- U-Net */

struct unet_shape {
    int levels;
    int64_t channels[CONFIG_LEVELS_MAX];
    int layers[CONFIG_LEVELS_MAX], depth[CONFIG_LEVELS_MAX]; /* transformer blocks; 0: none */
    int up_depth[CONFIG_LEVELS_MAX];                         /* entry 0 is the lowest level */
    int64_t text_width;
    bool linear;
};

/* Transformer blocks of the transformer of that name; 0: there is none. */
static int depth_of(struct shapes *s, const char *name, struct unet_shape *u)
{
    struct tensor t;
    int n = 0;

    if (!find(s, &t, "%s.proj_in.weight", name))
        return 0;
    u->linear = t.rank == 2;
    while (n < BLOCKS_MAX && find(s, &t, "%s.transformer_blocks.%d.norm1.weight", name, n))
        n++;
    u->text_width = side(s, 2, 1, "%s.transformer_blocks.0.attn2.to_k.weight", name);
    return n;
}

static int refuse_uneven(struct shapes *s, const char *name)
{
    return s->rc =
               err_set(s->e, ERR_INPUT,
                       "%s: '%s%s' differs from the other blocks of its level: distilled U-Nets "
                       "of uneven shape are not implemented",
                       weights_path(s->w), s->prefix, name);
}

/* Input block n as one more resnet of the level. */
static void add_layer(struct shapes *s, struct unet_shape *u, int n, int level)
{
    char name[48];
    int64_t channels = side(s, 4, 0, "input_blocks.%d.0.in_layers.2.weight", n);
    int depth;

    snprintf(name, sizeof name, "input_blocks.%d.1", n);
    depth = depth_of(s, name, u);
    if (u->layers[level] == 0) {
        u->channels[level] = channels;
        u->depth[level] = depth;
    } else if (s->rc == 0 && (u->channels[level] != channels || u->depth[level] != depth)) {
        refuse_uneven(s, name);
    }
    u->layers[level]++;
}

static void walk_down(struct shapes *s, struct unet_shape *u)
{
    int level = 0;
    struct tensor t;

    for (int n = 1; s->rc == 0 && n < BLOCKS_MAX; n++) {
        if (find(s, &t, "input_blocks.%d.0.in_layers.2.weight", n))
            add_layer(s, u, n, level);
        else if (level + 1 < CONFIG_LEVELS_MAX && find(s, &t, "input_blocks.%d.0.op.weight", n))
            level++;
        else
            break;
    }
    u->levels = level + 1;
    for (int i = 0; s->rc == 0 && i < u->levels; i++)
        if (u->layers[i] == 0)
            s->rc = err_set(s->e, ERR_INPUT, "%s: '%sinput_blocks': level %d has no resnet",
                            weights_path(s->w), s->prefix, i);
}

static void walk_up(struct shapes *s, struct unet_shape *u)
{
    int n = 0, last = u->levels - 1, middle;
    char name[48];

    middle = depth_of(s, "middle_block.1", u);
    if (s->rc == 0 && (middle == 0 || (u->depth[last] != 0 && u->depth[last] != middle)))
        refuse_uneven(s, "middle_block.1");
    for (int i = 0; s->rc == 0 && i < u->levels; i++)
        for (int j = 0; s->rc == 0 && j <= u->layers[last - i]; j++, n++) {
            int depth;

            snprintf(name, sizeof name, "output_blocks.%d.1", n);
            depth = depth_of(s, name, u);
            if (j == 0)
                u->up_depth[i] = depth;
            if (depth != u->up_depth[i] ||
                (depth != 0 && u->depth[last - i] != 0 && depth != u->depth[last - i]))
                refuse_uneven(s, name);
        }
    for (int i = 0; i < u->levels; i++)
        if (u->depth[last - i] == 0 && u->up_depth[i] != 0)
            refuse_uneven(s, "output_blocks");
}

/* The transformers of levels without attention are never built; the lowest level's count is the
 * middle's too. */
static void put_levels(struct shapes *s, const struct unet_shape *u, json_t *config)
{
    json_t *channels = json_array(), *layers = json_array(), *blocks = json_array();
    json_t *down = json_array(), *up = json_array();
    struct unet_shape unused = {0};

    for (int i = 0; i < u->levels; i++) {
        int depth = i == u->levels - 1 ? depth_of(s, "middle_block.1", &unused) : u->depth[i];

        json_array_append_new(channels, json_integer(u->channels[i]));
        json_array_append_new(layers, json_integer(u->layers[i]));
        json_array_append_new(blocks, json_integer(depth > 0 ? depth : 1));
        json_array_append_new(
            down, json_string(u->depth[i] > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        json_array_append_new(up,
                              json_string(u->up_depth[i] > 0 ? "CrossAttnUpBlock2D" : "UpBlock2D"));
    }
    json_object_set_new(config, "block_out_channels", channels);
    json_object_set_new(config, "layers_per_block", layers);
    json_object_set_new(config, "transformer_layers_per_block", blocks);
    json_object_set_new(config, "down_block_types", down);
    json_object_set_new(config, "up_block_types", up);
    json_object_set_new(config, "use_linear_projection", json_boolean(u->linear));
    put(config, "cross_attention_dim", u->text_width);
}

static void put_heads(struct shapes *s, const struct unet_shape *u, const json_t *rules,
                      json_t *config)
{
    int64_t width = json_integer_value(json_object_get(rules, "unet_head_width"));
    json_t *heads;

    if (width == 0)
        return; /* the published block states their number */
    heads = json_array();
    for (int i = 0; i < u->levels; i++) {
        int64_t n = u->channels[i] / width;
        bool needed = u->depth[i] > 0 || i == u->levels - 1;

        if (s->rc == 0 && needed && u->channels[i] % width != 0)
            s->rc = err_set(s->e, ERR_INPUT,
                            "%s: the U-Net's level %d has %lld channels, no multiple of the "
                            "published width of heads, %lld: " CURE,
                            weights_path(s->w), i, (long long)u->channels[i], (long long)width);
        json_array_append_new(heads, json_integer(n > 0 ? n : 1));
    }
    json_object_set_new(config, "attention_head_dim", heads);
}

/* SDXL's pooled text and six sizes. */
static void put_added(struct shapes *s, int64_t pooled_width, json_t *config)
{
    struct tensor t;
    int64_t width;

    if (!find(s, &t, "label_emb.0.0.weight"))
        return;
    width = side(s, 2, 1, "label_emb.0.0.weight");
    if (s->rc == 0 && (width <= pooled_width || (width - pooled_width) % UNET_TIME_IDS != 0))
        s->rc = err_set(s->e, ERR_INPUT,
                        "%s: '%slabel_emb.0.0.weight' takes %lld numbers, which are not the pooled "
                        "text's %lld and %d sizes",
                        weights_path(s->w), s->prefix, (long long)width, (long long)pooled_width,
                        UNET_TIME_IDS);
    json_object_set_new(config, "addition_embed_type", json_string("text_time"));
    put(config, "addition_time_embed_dim", (width - pooled_width) / UNET_TIME_IDS);
    put(config, "projection_class_embeddings_input_dim", width);
}

int ldm_unet_config(const struct weights *w, const char *prefix, const json_t *published,
                    const json_t *rules, int64_t pooled_width, json_t **ret_config, struct err *e)
{
    struct shapes s = {.w = w, .prefix = prefix, .e = e};
    json_t *config = json_deep_copy(published);
    struct unet_shape u = {0};

    put(config, "in_channels", side(&s, 4, 1, "input_blocks.0.0.weight"));
    put(config, "out_channels", side(&s, 4, 0, "out.2.weight"));
    put(config, "time_embedding_dim", side(&s, 2, 0, "time_embed.0.weight"));
    walk_down(&s, &u);
    walk_up(&s, &u);
    put_levels(&s, &u, config);
    put_heads(&s, &u, rules, config);
    put_added(&s, pooled_width, config);
    if (s.rc == 0)
        *ret_config = config;
    else
        json_decref(config);
    return s.rc;
}

/* ---- VAE */

/* A level's resnet in the decoder; levels are counted from the picture. */
static bool find_up(const struct shapes *s, bool original, int levels, int level, int j,
                    struct tensor *ret_t)
{
    if (original)
        return find(s, ret_t, "decoder.up.%d.block.%d.conv2.weight", level, j);
    return find(s, ret_t, "decoder.up_blocks.%d.resnets.%d.conv2.weight", levels - 1 - level, j);
}

static int count_levels(const struct shapes *s, bool original)
{
    struct tensor t;
    int n = 0;

    while (n < CONFIG_LEVELS_MAX &&
           (original ? find(s, &t, "decoder.up.%d.block.0.conv2.weight", n)
                     : find(s, &t, "decoder.up_blocks.%d.resnets.0.conv2.weight", n)))
        n++;
    return n;
}

static void put_vae_levels(struct shapes *s, bool original, json_t *config)
{
    json_t *channels = json_array(), *down = json_array(), *up = json_array();
    int levels = count_levels(s, original), layers = 0;
    struct tensor t;

    for (int i = 0; i < levels; i++) {
        if (find_up(s, original, levels, i, 0, &t))
            json_array_append_new(channels, json_integer(t.rank == 4 ? t.shape[0] : 0));
        json_array_append_new(down, json_string("DownEncoderBlock2D"));
        json_array_append_new(up, json_string("UpDecoderBlock2D"));
    }
    while (layers < BLOCKS_MAX && find_up(s, original, levels, 0, layers, &t))
        layers++;
    json_object_set_new(config, "block_out_channels", channels);
    json_object_set_new(config, "down_block_types", down);
    json_object_set_new(config, "up_block_types", up);
    put(config, "layers_per_block", layers - 1);
}

int ldm_vae_config(const struct weights *w, const char *prefix, bool original,
                   const json_t *published, json_t **ret_config, struct err *e)
{
    struct shapes s = {.w = w, .prefix = prefix, .e = e};
    json_t *config = json_deep_copy(published);
    struct tensor t;

    put(config, "latent_channels", side(&s, 4, 1, "decoder.conv_in.weight"));
    put(config, "in_channels", side(&s, 4, 1, "encoder.conv_in.weight"));
    put(config, "out_channels", side(&s, 4, 0, "decoder.conv_out.weight"));
    put_vae_levels(&s, original, config);
    json_object_set_new(config, "use_quant_conv", json_boolean(find(&s, &t, "quant_conv.weight")));
    json_object_set_new(config, "use_post_quant_conv",
                        json_boolean(find(&s, &t, "post_quant_conv.weight")));
    if (s.rc == 0)
        *ret_config = config;
    else
        json_decref(config);
    return s.rc;
}

/* ---- text encoders */

static int64_t rule(const json_t *rules, const char *part, const char *what)
{
    char key[64];

    snprintf(key, sizeof key, "%s_%s", part, what);
    return json_integer_value(json_object_get(rules, key));
}

/* Original files of SD 2 have one layer more than is used. */
static int64_t layers_used(int64_t layers, int64_t published)
{
    if (published == 0)
        return layers;
    return layers >= published ? published : layers - 1;
}

static void put_clip(struct shapes *s, bool open, const char *part, const json_t *rules,
                     json_t *config)
{
    const char *layer = open ? "transformer.resblocks" : "encoder.layers";
    const char *norm = open ? "ln_1" : "layer_norm1", *fc = open ? "mlp.c_fc" : "mlp.fc1";
    const char *tokens = open ? "token_embedding.weight" : "embeddings.token_embedding.weight";
    const char *positions = open ? "positional_embedding" : "embeddings.position_embedding.weight";
    int64_t width = side(s, 2, 1, "%s", tokens), head_width = rule(rules, part, "head_width");
    int64_t layers = 0;
    struct tensor t;

    while (layers < BLOCKS_MAX && find(s, &t, "%s.%lld.%s.weight", layer, (long long)layers, norm))
        layers++;
    put(config, "vocab_size", side(s, 2, 0, "%s", tokens));
    put(config, "max_position_embeddings", side(s, 2, 0, "%s", positions));
    put(config, "hidden_size", width);
    put(config, "intermediate_size", side(s, 2, 0, "%s.0.%s.weight", layer, fc));
    put(config, "num_hidden_layers", layers_used(layers, rule(rules, part, "layers")));
    put(config, "num_attention_heads", width / head_width);
    if (s->rc == 0 && width % head_width != 0)
        s->rc = err_set(s->e, ERR_INPUT,
                        "%s: the %s is %lld wide, no multiple of the published width of heads, "
                        "%lld: " CURE,
                        weights_path(s->w), part, (long long)width, (long long)head_width);
}

int ldm_clip_config(const struct weights *w, const struct ldm_clip_names *names, const char *part,
                    const json_t *published, const json_t *rules, json_t **ret_config,
                    struct err *e)
{
    char prefix[WEIGHTS_NAME_SIZE];
    struct shapes s = {.w = w, .prefix = names->prefix, .e = e};
    json_t *config = json_deep_copy(published);
    struct tensor t;

    if (!names->open && !find(&s, &t, "final_layer_norm.weight")) {
        snprintf(prefix, sizeof prefix, "%stext_model.", names->prefix);
        s.prefix = prefix;
    }
    put_clip(&s, names->open, part, rules, config);
    if (names->projection)
        put(config, "projection_dim",
            names->open ? side(&s, 2, 1, "text_projection")
                        : side(&s, 2, 0, "text_projection.weight"));
    if (s.rc == 0)
        *ret_config = config;
    else
        json_decref(config);
    return s.rc;
}
