/* What a model folder may not be: every refusal names the file and what is wrong in it. */
#include "tests/engine/writer.h"

/* Opens the folder, which must fail with that code and a text that has all the parts. */
static void assert_refused(const char *folder, int code, const char *part1, const char *part2)
{
    struct ops *o = backend_open(0);
    struct model *m = NULL;
    struct err e = {0};

    assert_int_equal(open_model(folder, o, &m, &e), code);
    assert_null(m);
    if (strstr(e.text, part1) == NULL || strstr(e.text, part2) == NULL)
        fail_msg("'%s' names not '%s' and '%s'", e.text, part1, part2);
    o->free(o);
}

static void missing_folder_and_files_are_named(void **state)
{
    static const char *const needed[] = {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_2/config.json",
        "text_encoder_2/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer_2/merges.txt",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    };
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];

    (void)state;
    assert_refused(GOLDEN_DIR "/models/none", ERR_MISSING, "models/none", "");
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        folder_make(folder, strstr(needed[i], "_2/") != NULL ? "sdxl" : "sd1", "missing");
        snprintf(path, sizeof path, "%s/%s", folder, needed[i]);
        assert_int_equal(unlink(path), 0);
        assert_refused(folder, ERR_MISSING, needed[i], "");
    }
    folder_remove(folder);
}

static void other_pipelines_and_parts_are_refused(void **state)
{
    static const char *const others[] = {"\"StableDiffusion3Pipeline\"", "\"FluxPipeline\"",
                                         "\"StableDiffusionLatentUpscalePipeline\""};
    char folder[FOLDER_SIZE];

    (void)state;
    folder_make(folder, "sd1", "class");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        folder_set(folder, "model_index.json", "_class_name", others[i]);
        assert_refused(folder, ERR_INPUT, "model_index.json", others[i]);
        assert_refused(folder, ERR_INPUT, "StableDiffusionXLPipeline", "Inpaint");
    }
    folder_set(folder, "model_index.json", "_class_name", "\"StableDiffusionXLPipeline\"");
    assert_refused(folder, ERR_INPUT, "model_index.json", "text_encoder_2");
    folder_set(folder, "model_index.json", "_class_name", "\"StableDiffusionPipeline\"");
    folder_set(folder, "model_index.json", "vae", "[\"diffusers\", \"AutoencoderTiny\"]");
    assert_refused(folder, ERR_INPUT, "'vae'", "AutoencoderTiny");
    folder_set(folder, "model_index.json", "vae", "[\"diffusers\", \"AutoencoderKL\"]");
    folder_set(folder, "model_index.json", "text_encoder_2", "[\"transformers\", \"CLIP\"]");
    assert_refused(folder, ERR_INPUT, "model_index.json", "text_encoder_2");
    folder_make(folder, "sdxl", "class");
    folder_set(folder, "model_index.json", "requires_aesthetics_score", "true");
    assert_refused(folder, ERR_INPUT, "requires_aesthetics_score", "refiner");
    folder_set(folder, "model_index.json", "requires_aesthetics_score", NULL);
    folder_set(folder, "model_index.json", "text_encoder", "[null, null]");
    assert_refused(folder, ERR_INPUT, "model_index.json", "'text_encoder'");
    folder_remove(folder);
}

static void config_values_that_are_not_implemented_are_refused(void **state)
{
    static const char *const cases[][3] = {
        {"unet/config.json", "act_fn", "\"mish\""},
        {"unet/config.json", "resnet_time_scale_shift", "\"scale_shift\""},
        {"unet/config.json", "class_embed_type", "\"timestep\""},
        {"unet/config.json", "addition_embed_type", "\"text_image\""},
        {"unet/config.json", "dual_cross_attention", "true"},
        {"unet/config.json", "center_input_sample", "true"},
        {"unet/config.json", "only_cross_attention", "[false, true, false, false]"},
        {"unet/config.json", "num_attention_heads", "8"},
        {"unet/config.json", "mid_block_type", "\"UNetMidBlock2D\""},
        {"unet/config.json", "mid_block_scale_factor", "2"},
        {"unet/config.json", "time_embedding_type", "\"fourier\""},
        {"unet/config.json", "downsample_padding", "2"},
        {"unet/config.json", "conv_in_kernel", "4"},
        {"unet/config.json", "norm_num_groups", "7"},
        {"unet/config.json", "norm_num_groups", "0"},
        {"unet/config.json", "attention_head_dim", "[8, 8, 8]"},
        {"unet/config.json", "attention_head_dim", "7"},
        {"unet/config.json", "block_out_channels", "[]"},
        {"unet/config.json", "block_out_channels", "[32, 64, 64, -64]"},
        {"unet/config.json", "block_out_channels", "[32, 64, 64, 1e99]"},
        {"unet/config.json", "layers_per_block", "\"two\""},
        {"unet/config.json", "down_block_types", "[\"DownBlock2D\"]"},
        {"unet/config.json", "up_block_types",
         "[\"UpBlock2D\", \"UpBlock2D\", \"UpBlock2D\", \"AttnUpBlock2D\"]"},
        {"unet/config.json", "cross_attention_dim", "[32, 32, 32, 64]"},
        {"unet/config.json", "a_key_of_the_future", "1"},
        {"unet/config.json", "_class_name", "\"UNet3DConditionModel\""},
        {"vae/config.json", "latents_mean", "[0.1, 0.2, 0.3, 0.4]"},
        {"vae/config.json", "scaling_factor", "0"},
        {"vae/config.json", "scaling_factor", "\"0.18\""},
        {"vae/config.json", "out_channels", "4"},
        {"vae/config.json", "up_block_types",
         "[\"AttnUpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\", "
         "\"UpDecoderBlock2D\"]"},
        {"text_encoder/config.json", "hidden_act", "\"relu\""},
        {"text_encoder/config.json", "num_attention_heads", "5"},
        {"text_encoder/config.json", "model_type", "\"t5\""},
        {"text_encoder/config.json", "use_attention_mask", "true"},
        {"text_encoder/config.json", "hidden_size", "1000000000"},
    };
    char folder[FOLDER_SIZE], key[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder_make(folder, "sd1", "config");
        folder_set(folder, cases[i][0], cases[i][1], cases[i][2]);
        snprintf(key, sizeof key, "'%s'", cases[i][1]);
        assert_refused(folder, ERR_INPUT, cases[i][0], key);
    }
    folder_remove(folder);
}

static void keys_that_old_files_lack_take_diffusers_defaults(void **state)
{
    static const char *const unet[] = {"act_fn",
                                       "attention_type",
                                       "conv_in_kernel",
                                       "conv_out_kernel",
                                       "downsample_padding",
                                       "flip_sin_to_cos",
                                       "freq_shift",
                                       "layers_per_block",
                                       "mid_block_type",
                                       "norm_eps",
                                       "num_class_embeds",
                                       "resnet_time_scale_shift",
                                       "time_embedding_type",
                                       "attention_head_dim",
                                       "transformer_layers_per_block"};
    static const char *const vae[] = {"scaling_factor", "shift_factor", "use_post_quant_conv",
                                      "mid_block_add_attention", "latents_mean"};
    struct ops *o = backend_open(0);
    struct model *m = NULL;
    char folder[FOLDER_SIZE];

    (void)state;
    folder_make(folder, "sd1", "defaults");
    for (size_t i = 0; i < sizeof unet / sizeof *unet; i++)
        folder_set(folder, "unet/config.json", unet[i], NULL);
    for (size_t i = 0; i < sizeof vae / sizeof *vae; i++)
        folder_set(folder, "vae/config.json", vae[i], NULL);
    assert_ok(open_model(folder, o, &m, e));
    assert_int_equal(unet_config(m->unet)->heads[3], 8);
    assert_int_equal(unet_config(m->unet)->layers[0], 2);
    assert_true(unet_config(m->unet)->cos_first);
    assert_float_equal(vae_config(m->vae)->scaling_factor, 0.18215, 0);
    model_close(m);
    o->free(o);
    folder_remove(folder);
}

static void tensor_of_wrong_shape_is_named_with_both_shapes(void **state)
{
    char folder[FOLDER_SIZE];

    (void)state;
    folder_make(folder, "sd1", "shape");
    folder_set(folder, "unet/config.json", "block_out_channels", "[32, 64, 64, 128]");
    assert_refused(folder, ERR_INPUT, "down_blocks.3.resnets.0", "[128");
    folder_make(folder, "sd1", "shape");
    folder_set(folder, "text_encoder/config.json", "vocab_size", "900");
    assert_refused(folder, ERR_INPUT, "token_embedding", "[734, 32]");
    folder_remove(folder);
}

static void rename_conv_in(const char *name, char ret_name[256])
{
    if (strcmp(name, "decoder.conv_in.weight") == 0)
        snprintf(ret_name, 256, "decoder.conv_on.weight");
}

static void missing_tensor_is_named(void **state)
{
    const struct rewrite how = {.rename = rename_conv_in};
    char folder[FOLDER_SIZE];

    (void)state;
    folder_make(folder, "sd1", "tensor");
    folder_rewrite(folder, "vae/diffusion_pytorch_model.safetensors", &how);
    assert_refused(folder, ERR_INPUT, "vae/diffusion_pytorch_model.safetensors",
                   "decoder.conv_in.weight");
    folder_remove(folder);
}

static void truncated_weights_are_refused(void **state)
{
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    struct buf file = {0};

    (void)state;
    folder_make(folder, "sd1", "truncated");
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    read_file(path, &file);
    for (int i = 0; i < 4; i++) {
        write_file(path, file.data, (const size_t[]){0, 7, 5000, file.size - 2}[i]);
        assert_refused(folder, ERR_INPUT, "diffusion_pytorch_model.safetensors", "");
    }
    buf_done(&file);
    folder_remove(folder);
}

static void parts_that_do_not_fit_each_other_are_refused(void **state)
{
    char folder[FOLDER_SIZE], from[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    static const char *const files[] = {"text_encoder/config.json",
                                        "text_encoder/model.safetensors"};

    (void)state;
    folder_make(folder, "sd1", "fit");
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        snprintf(from, sizeof from, GOLDEN_DIR "/models/sd2/%s", files[i]);
        unlink(path);
        assert_int_equal(symlink(from, path), 0);
    }
    assert_refused(folder, ERR_INPUT, "48", "cross_attention_dim is 32");
    folder_remove(folder);
}

/* Gives sd1's U-Net in the folder another number of channels to take, with weights of zeros. */
static void set_in_channels(const char *folder, int channels)
{
    static const float zeros[32 * 16 * 9];
    struct part unet = golden_part("sd1", "unet");
    struct writer w = {0};
    char path[2 * FOLDER_SIZE], text[16];
    struct tensor t;

    for (size_t i = 0; i < weights_count(unet.weights); i++) {
        const char *name = weights_name(unet.weights, i);

        assert_true(weights_find(unet.weights, name, &t));
        if (strcmp(name, "conv_in.weight") == 0)
            t = (struct tensor){
                .data = zeros, .dtype = DTYPE_F32, .rank = 4, .shape = {32, channels, 3, 3}};
        writer_add(&w, name, &t);
    }
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", folder);
    writer_save(&w, path);
    part_close(&unet);
    snprintf(text, sizeof text, "%d", channels);
    folder_set(folder, "unet/config.json", "in_channels", text);
}

static void unets_take_the_latent_or_mask_and_masked_picture_too(void **state)
{
    char folder[FOLDER_SIZE];

    (void)state;
    for (int channels = 4; channels <= 9; channels++) {
        struct ops *o = backend_open(0);
        struct model *m = NULL;

        folder_make(folder, "sd1", "channels");
        set_in_channels(folder, channels);
        if (channels == 4 || channels == 9) {
            assert_ok(open_model(folder, o, &m, e));
            assert_true(m->masked == (channels == 9));
            model_close(m);
        } else {
            assert_refused(folder, ERR_INPUT, "the U-Net takes", "of 9 for inpainting");
        }
        o->free(o);
    }
    folder_remove(folder);
}

static void sdxl_has_two_encoders_that_fit_its_unet(void **state)
{
    struct ops *o = backend_open(0);
    struct model *m = NULL;
    char folder[FOLDER_SIZE];

    (void)state;
    assert_ok(open_model(GOLDEN_DIR "/models/sdxl", o, &m, e));
    assert_true(m->kind.xl && m->kind.force_zeros && !m->masked);
    assert_int_equal(clip_config(m->clip)->width + clip_config(m->clip2)->width,
                     unet_config(m->unet)->text_width);
    assert_int_equal(clip_pooled_width(m->clip2), unet_config(m->unet)->pooled_width);
    assert_int_equal(tokenizer_pad(m->tokenizer), tokenizer_eos(m->tokenizer));
    assert_int_equal(tokenizer_pad(m->tokenizer2), 0);
    model_close(m);
    o->free(o);

    folder_make(folder, "sdxl", "pooled"); /* 256 = 76 + 6 * 30 */
    folder_set(folder, "unet/config.json", "addition_time_embed_dim", "30");
    assert_refused(folder, ERR_INPUT, "a pooled state of 76 numbers", "encoder gives 64");
    folder_make(folder, "sdxl", "pooled");
    folder_set(folder, "model_index.json", "_class_name", "\"StableDiffusionPipeline\"");
    folder_set(folder, "model_index.json", "text_encoder_2", "null");
    folder_set(folder, "model_index.json", "tokenizer_2", "null");
    folder_set(folder, "model_index.json", "force_zeros_for_empty_prompt", NULL);
    assert_refused(folder, ERR_INPUT, "the text encoder is 32 wide", "cross_attention_dim is 96");
    folder_make(folder, "sdxl", "pooled");
    folder_set(folder, "tokenizer_2/tokenizer_config.json", "model_max_length", "76");
    assert_refused(folder, ERR_INPUT, "the tokenizers' lengths are 77 and 76", "");
    folder_remove(folder);
}

/* Resident and all bytes of the mappings of a folder's safetensors files. */
static void mapped(const char *folder, long *ret_resident, long *ret_all)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[2 * FOLDER_SIZE];
    bool inside = false;
    long kib;

    *ret_resident = *ret_all = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strchr(line, '-') != NULL && strstr(line, "kB") == NULL)
            inside = strstr(line, folder) != NULL && strstr(line, ".safetensors") != NULL;
        else if (inside && sscanf(line, "Size: %ld kB", &kib) == 1)
            *ret_all += kib;
        else if (inside && sscanf(line, "Rss: %ld kB", &kib) == 1)
            *ret_resident += kib;
    }
    assert_int_equal(fclose(f), 0);
}

static void a_loaded_model_keeps_no_pages_of_its_files(void **state)
{
    const char *folder = SOURCE_DIR "/models/sticker-128";
    struct checkpoint *c = NULL;
    struct model *m = NULL;
    struct ops *o = NULL;
    long resident, all;
    struct err e = {0};

    (void)state;
    assert_int_equal(ops_cpu_new(1, PRECISION_F32, &o, &e), 0);
    assert_int_equal(checkpoint_open(&(struct checkpoint_options){.model = folder}, &c, &e), 0);
    assert_int_equal(model_load(c, o, 0, &m, &e), 0);
    mapped(folder, &resident, &all);
    assert_true(all > 10000);
    assert_true(resident < all / 10); /* headers, and what was mapped around small tensors */
    model_close(m);
    checkpoint_close(c);
    o->free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_folder_and_files_are_named),
        cmocka_unit_test(other_pipelines_and_parts_are_refused),
        cmocka_unit_test(config_values_that_are_not_implemented_are_refused),
        cmocka_unit_test(keys_that_old_files_lack_take_diffusers_defaults),
        cmocka_unit_test(tensor_of_wrong_shape_is_named_with_both_shapes),
        cmocka_unit_test(missing_tensor_is_named),
        cmocka_unit_test(truncated_weights_are_refused),
        cmocka_unit_test(parts_that_do_not_fit_each_other_are_refused),
        cmocka_unit_test(unets_take_the_latent_or_mask_and_masked_picture_too),
        cmocka_unit_test(sdxl_has_two_encoders_that_fit_its_unet),
        cmocka_unit_test(a_loaded_model_keeps_no_pages_of_its_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
