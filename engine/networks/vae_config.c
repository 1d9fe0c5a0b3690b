#include "engine/networks/vae_config.h"

/* The size of the training's pictures. */
static const char *const harmless[] = {"sample_size", NULL};

static void read_blocks(struct config *c, const struct vae_config *v)
{
    for (int i = 0; i < v->levels; i++) {
        const char *up = config_list_string(c, "up_block_types", v->levels, i);
        const char *down = config_list_string(c, "down_block_types", v->levels, i);

        if (up != NULL && strcmp(up, "UpDecoderBlock2D") != 0)
            config_refuse(c, "up_block_types", "this engine implements UpDecoderBlock2D");
        if (down != NULL && strcmp(down, "DownEncoderBlock2D") != 0)
            config_refuse(c, "down_block_types", "this engine implements DownEncoderBlock2D");
        if (v->channels[i] % v->groups != 0)
            config_refuse(c, "norm_num_groups", "%d channels are not divisible by it",
                          v->channels[i]);
    }
}

int vae_config_read(const char *path, const json_t *root, struct vae_config *ret_config,
                    struct err *e)
{
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
    v.quant_conv = config_bool(&c, "use_quant_conv", true);
    v.post_quant_conv = config_bool(&c, "use_post_quant_conv", true);
    v.mid_attention = config_bool(&c, "mid_block_add_attention", true);
    v.force_upcast = config_bool(&c, "force_upcast", true);
    config_only_number(&c, "in_channels", 3);
    config_only_number(&c, "out_channels", 3);
    read_blocks(&c, &v);
    if (v.scaling_factor <= 0)
        config_refuse(&c, "scaling_factor", "it must be positive");
    TRY(config_finish(&c, harmless));
    *ret_config = v;
out:
    config_done(&c);
    return rc;
}
