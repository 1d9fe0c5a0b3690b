/* Configuration files of published models are read as they are; what is not honoured is refused. */
#include "tests/engine/nets.h"

#include "engine/networks/unet_config.h"
#include "engine/networks/vae_config.h"

static json_t *read_golden(const char *name)
{
    json_t *root = NULL;
    char path[512];

    snprintf(path, sizeof path, GOLDEN_DIR "/configs/%s.json", name);
    assert_ok(json_read_file(path, &root, e));
    return root;
}

static void unets_of_every_published_family_are_read(void **state)
{
    static const struct {
        const char *name;
        int in, levels, heads0, text, blocks_last, pooled;
    } want[] = {
        {"unet-sd15", 4, 4, 8, 768, 1, 0},
        {"unet-sd15-inpainting", 9, 4, 8, 768, 1, 0},
        {"unet-sd21", 4, 4, 5, 1024, 1, 0},
        {"unet-sd2-inpainting", 9, 4, 5, 1024, 1, 0},
        {"unet-sd-turbo", 4, 4, 5, 1024, 1, 0},
        {"unet-sdxl", 4, 3, 5, 2048, 10, 1280},
        {"unet-sdxl-turbo", 4, 3, 5, 2048, 10, 1280},
        {"unet-sdxl-inpainting", 9, 3, 5, 2048, 10, 1280},
    };

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        json_t *root = read_golden(want[i].name);
        struct unet_config c;

        assert_ok(unet_config_read(want[i].name, root, &c, e));
        json_decref(root);
        assert_int_equal(c.in_channels, want[i].in);
        assert_int_equal(c.levels, want[i].levels);
        assert_int_equal(c.heads[0], want[i].heads0);
        assert_int_equal(c.text_width, want[i].text);
        assert_int_equal(c.transformer_blocks[c.levels - 1], want[i].blocks_last);
        assert_int_equal(c.pooled_width, want[i].pooled);
        assert_int_equal(c.added_time_width, want[i].pooled > 0 ? 256 : 0);
        assert_int_equal(c.down_attention[0], want[i].levels == 4);
    }
}

static void vaes_of_every_published_family_are_read(void **state)
{
    static const struct {
        const char *name;
        double scaling;
        bool upcast;
    } want[] = {
        {"vae-sd15", 0.18215, true},           {"vae-sd21", 0.18215, true},
        {"vae-ft-mse", 0.18215, true},         {"vae-sdxl", 0.13025, true},
        {"vae-sdxl-fp16-fix", 0.13025, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        json_t *root = read_golden(want[i].name);
        struct vae_config c;

        assert_ok(vae_config_read(want[i].name, root, &c, e));
        json_decref(root);
        assert_true(fabs(c.scaling_factor - want[i].scaling) < 1e-12);
        assert_int_equal(c.force_upcast, want[i].upcast);
        assert_int_equal(c.levels, 4);
        assert_true(c.quant_conv && c.post_quant_conv && c.mid_attention);
    }
}

/* The file with one member set; its error must name the member. */
static void check_refused(const char *name, const char *key, const char *json)
{
    bool unet = strncmp(name, "unet", 4) == 0;
    json_t *root = read_golden(name);
    struct unet_config u;
    struct vae_config v;
    struct err e;

    json_object_set_new(root, key, json_loads(json, JSON_DECODE_ANY, NULL));
    assert_int_equal(unet ? unet_config_read(name, root, &u, &e)
                          : vae_config_read(name, root, &v, &e),
                     ERR_INPUT);
    assert_non_null(strstr(e.text, key));
    json_decref(root);
}

static void values_that_would_change_numbers_are_refused(void **state)
{
    (void)state;
    check_refused("unet-sdxl", "addition_embed_type", "\"text_image\"");
    check_refused("unet-sdxl", "addition_time_embed_dim", "null");
    check_refused("unet-sdxl", "addition_time_embed_dim", "255");
    check_refused("unet-sdxl", "projection_class_embeddings_input_dim", "1536");
    check_refused("unet-sdxl", "transformer_layers_per_block", "[1, 2]");
    check_refused("unet-sdxl", "transformer_layers_per_block", "[[1], [2], [10]]");
    check_refused("unet-sdxl", "reverse_transformer_layers_per_block", "[10, 2, 1]");
    check_refused("unet-sdxl", "attention_head_dim", "[5, 10, 19]");
    check_refused("unet-sd15", "num_attention_heads", "8");
    check_refused("unet-sd15", "time_cond_proj_dim", "256");
    check_refused("unet-sd15", "class_embed_type", "\"projection\"");
    check_refused("unet-sd15", "center_input_sample", "true");
    check_refused("vae-sdxl", "latents_mean", "[0.1, 0.2, 0.3, 0.4]");
    check_refused("vae-sdxl", "scaling_factor", "0");
    check_refused("vae-sdxl", "in_channels", "4");
    check_refused("vae-sdxl", "down_block_types",
                  "[\"DownEncoderBlock2D\", \"AttnDownEncoderBlock2D\", \"DownEncoderBlock2D\", "
                  "\"DownEncoderBlock2D\"]");
}

static void heads_of_levels_without_attention_are_not_looked_at(void **state)
{
    json_t *root = read_golden("unet-sdxl");
    struct unet_config c;

    (void)state;
    json_array_set_new(json_object_get(root, "attention_head_dim"), 0, json_integer(7));
    assert_ok(unet_config_read("unet-sdxl", root, &c, e));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unets_of_every_published_family_are_read),
        cmocka_unit_test(vaes_of_every_published_family_are_read),
        cmocka_unit_test(values_that_would_change_numbers_are_refused),
        cmocka_unit_test(heads_of_levels_without_attention_are_not_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
