#include "engine/networks/unet_config.h"

/*
 * Keys that decide no number at inference: sizes of the training, dropouts, widths of unused parts,
 * the averaging of weights during training. upcast_attention: everything is float32;
 * use_linear_projection: the same numbers either way.
 */
static const char *const harmless[] = {"sample_size",
                                       "dropout",
                                       "addition_embed_type_num_heads",
                                       "upcast_attention",
                                       "decay",
                                       "inv_gamma",
                                       "use_linear_projection",
                                       "min_decay",
                                       "power",
                                       "optimization_step",
                                       "update_after_step",
                                       "use_ema_warmup",
                                       NULL};

/* CrossAttn... or plain block; anything else is refused. */
static bool block_has_attention(struct config *c, const char *key, const char *type,
                                const char *with, const char *without)
{
    if (type == NULL)
        return false;
    if (strcmp(type, with) != 0 && strcmp(type, without) != 0)
        config_refuse(c, key, "this engine implements %s and %s", with, without);
    return strcmp(type, with) == 0;
}

static void read_blocks(struct config *c, struct unet_config *u)
{
    for (int i = 0; i < u->levels; i++) {
        u->down_attention[i] = block_has_attention(
            c, "down_block_types", config_list_string(c, "down_block_types", u->levels, i),
            "CrossAttnDownBlock2D", "DownBlock2D");
        u->up_attention[i] = block_has_attention(
            c, "up_block_types", config_list_string(c, "up_block_types", u->levels, i),
            "CrossAttnUpBlock2D", "UpBlock2D");
    }
    config_only_string(c, "mid_block_type", "UNetMidBlock2DCrossAttn");
    config_per_level(c, "layers_per_block", 1, 64, 2, u->levels, u->layers);
    config_per_level(c, "transformer_layers_per_block", 1, 64, 1, u->levels, u->transformer_blocks);
}

/* The middle works at the last level. */
static bool has_attention(const struct unet_config *u, int level)
{
    int last = u->levels - 1;

    return level == last || u->down_attention[level] || u->up_attention[last - level];
}

/*
 * attention_head_dim is the number of heads: a misnomer that diffusers keeps, and it refuses
 * num_attention_heads as well.
 */
static void read_attention(struct config *c, struct unet_config *u)
{
    int widths[CONFIG_LEVELS_MAX];

    config_per_level(c, "attention_head_dim", 1, 1024, 8, u->levels, u->heads);
    config_per_level(c, "cross_attention_dim", 1, CONFIG_CHANNELS_MAX, 1280, u->levels, widths);
    u->text_width = widths[0];
    for (int i = 0; i < u->levels; i++) {
        if (has_attention(u, i) && u->channels[i] % u->heads[i] != 0)
            config_refuse(c, "attention_head_dim", "%d channels are not divisible by %d heads",
                          u->channels[i], u->heads[i]);
        if (widths[i] != u->text_width)
            config_refuse(c, "cross_attention_dim", "one text encoder has one width");
    }
}

static void read_resnets(struct config *c, struct unet_config *u)
{
    u->groups = config_int(c, "norm_num_groups", 1, CONFIG_CHANNELS_MAX, 32);
    u->eps = (float)config_real(c, "norm_eps", 1e-5);
    u->act = config_activation(c, "act_fn", "silu");
    for (int i = 0; i < u->levels; i++)
        if (u->channels[i] % u->groups != 0)
            config_refuse(c, "norm_num_groups", "%d channels are not divisible by it",
                          u->channels[i]);
    config_only_string(c, "resnet_time_scale_shift", "default");
    config_only_number(c, "resnet_out_scale_factor", 1);
    config_only_number(c, "mid_block_scale_factor", 1);
    u->downsample_padding = config_int(c, "downsample_padding", 0, 1, 1);
}

static bool sinusoidal_width(const struct unet_config *u, int width)
{
    return width % 2 == 0 && (float)(width / 2) - u->freq_shift > 0;
}

static void read_time(struct config *c, struct unet_config *u)
{
    u->time_width =
        config_int(c, "time_embedding_dim", 1, 4 * CONFIG_CHANNELS_MAX, 4 * u->channels[0]);
    u->cos_first = config_bool(c, "flip_sin_to_cos", true);
    u->freq_shift = (float)config_real(c, "freq_shift", 0);
    config_only_string(c, "time_embedding_type", "positional");
    if (!sinusoidal_width(u, u->channels[0]))
        config_refuse(c, "block_out_channels",
                      "the first is the width of the sinusoidal embedding, even and above twice "
                      "freq_shift");
}

/* Of SDXL alone. Widths that are stated without the type are of nothing. */
static void read_added(struct config *c, struct unet_config *u)
{
    const char *type = config_string(c, "addition_embed_type", "");
    int width = config_int(c, "addition_time_embed_dim", 0, CONFIG_CHANNELS_MAX, 0);
    int in = config_int(c, "projection_class_embeddings_input_dim", 0, 16 * CONFIG_CHANNELS_MAX, 0);

    if (*type == 0)
        return;
    if (strcmp(type, "text_time") != 0)
        config_refuse(c, "addition_embed_type", "this engine implements text_time");
    if (!sinusoidal_width(u, width))
        config_refuse(c, "addition_time_embed_dim", "it must be even and above twice freq_shift");
    if (in <= UNET_TIME_IDS * width)
        config_refuse(c, "projection_class_embeddings_input_dim",
                      "it is the width of the pooled text and of %d sinusoidal embeddings of %d",
                      UNET_TIME_IDS, width);
    u->added_time_width = width;
    u->pooled_width = in - UNET_TIME_IDS * width;
}

int unet_config_read(const char *path, const json_t *root, struct unet_config *ret_config,
                     struct err *e)
{
    struct unet_config u = {0};
    struct config c = {0};
    int rc = 0;

    TRY(config_init(&c, path, root, "UNet2DConditionModel", e));
    u.in_channels = config_int(&c, "in_channels", 1, 1024, 4);
    u.out_channels = config_int(&c, "out_channels", 1, 1024, 4);
    u.levels = config_list(&c, "block_out_channels", 1, CONFIG_CHANNELS_MAX, u.channels);
    TRY(c.reader.rc);
    read_blocks(&c, &u);
    read_attention(&c, &u);
    read_resnets(&c, &u);
    read_time(&c, &u);
    read_added(&c, &u);
    u.conv_in_kernel = config_int(&c, "conv_in_kernel", 1, 15, 3);
    u.conv_out_kernel = config_int(&c, "conv_out_kernel", 1, 15, 3);
    if (u.conv_in_kernel % 2 == 0)
        config_refuse(&c, "conv_in_kernel", "an even kernel changes the latent's size");
    if (u.conv_out_kernel % 2 == 0)
        config_refuse(&c, "conv_out_kernel", "an even kernel changes the latent's size");
    config_only_string(&c, "attention_type", "default");
    TRY(config_finish(&c, harmless));
    *ret_config = u;
out:
    config_done(&c);
    return rc;
}
