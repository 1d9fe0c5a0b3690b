/* Checkpoints in one file, in the original names: the same models as the folders that they are of.
 */
#include "engine/checkpoint/family.h"
#include "engine/engine.h"
#include "tests/engine/single_file.h"

static char single_path[FOLDER_SIZE], other_path[FOLDER_SIZE];

static int make_paths(void **state)
{
    (void)state;
    mkdir(BINARY_DIR "/models-test", 0777);
    snprintf(single_path, sizeof single_path, BINARY_DIR "/models-test/single-%ld.safetensors",
             (long)getpid());
    snprintf(other_path, sizeof other_path, BINARY_DIR "/models-test/other-%ld.safetensors",
             (long)getpid());
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(single_path);
    unlink(other_path);
    return 0;
}

static const char *golden(const char *model)
{
    static char path[FOLDER_SIZE];

    snprintf(path, sizeof path, GOLDEN_DIR "/models/%s", model);
    return path;
}

static struct checkpoint *open_single(const char *config)
{
    const struct checkpoint_options o = {.model = single_path, .config = config};
    struct checkpoint *c = NULL;

    assert_ok(checkpoint_open(&o, &c, e));
    return c;
}

static void assert_refused_as(const struct checkpoint_options *o, int code, const char *part1,
                              const char *part2)
{
    struct checkpoint *c = NULL;
    struct err e = {0};

    assert_int_equal(checkpoint_open(o, &c, &e), code);
    assert_null(c);
    if (strstr(e.text, part1) == NULL || strstr(e.text, part2) == NULL)
        fail_msg("'%s' names not '%s' and '%s'", e.text, part1, part2);
}

/* SHA-256 over all tensors in order of their names: name, shape, bytes. */
static void hash_tensors(const char *path, char ret_hex[HASH_HEX_SIZE])
{
    struct weights *w = NULL;
    struct buf all = {0};
    const char *last = "";

    assert_ok(weights_open(path, &w, e));
    for (size_t n = 0; n < weights_count(w); n++) {
        const char *next = NULL;
        char shape[128];
        struct tensor t;

        for (size_t i = 0; i < weights_count(w); i++) {
            const char *name = weights_name(w, i);

            if (strcmp(name, last) > 0 && (next == NULL || strcmp(name, next) < 0))
                next = name;
        }
        assert_non_null(next);
        assert_true(weights_find(w, next, &t));
        buf_printf(&all, "%s%s", next, tensor_shape_text(&t, shape, sizeof shape));
        buf_append(&all, t.data, (size_t)tensor_count(&t) * dtype_size(t.dtype));
        last = next;
    }
    assert_ok(buf_check(&all, e));
    assert_ok(hash_bytes(all.data, all.size, ret_hex, e));
    buf_done(&all);
    weights_close(w);
}

/* The hashes are those of the oracle's models/sd1.safetensors and so on, by ldm_names.py. */
static void files_written_here_are_those_of_the_oracle(void **state)
{
    static const char *const hashes[][2] = {
        {"sd1", "1a72b39d0e1f67ff29632bd196c53a02b489998c97ad5b9ec0440db176cb2a11"},
        {"sd2", "5ff8dd176c3e0f2dc68c7117d49c038d72e5282be6fd6678e1397fc49bae8a25"},
        {"sdxl", "45da3d63a49718fc538d4dc3eb92b874a4355bcf59d779c5ee9589b0fedd560c"}};
    const struct single_options plain = {0};
    char hex[HASH_HEX_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        single_file_write(hashes[i][0], &plain, single_path);
        hash_tensors(single_path, hex);
        assert_string_equal(hex, hashes[i][1]);
    }
}

static void assert_same_parts(const struct checkpoint *c, const char *model)
{
    struct checkpoint *folder = NULL;

    assert_ok(checkpoint_open(&(struct checkpoint_options){.model = golden(model)}, &folder, e));
    assert_memory_equal(checkpoint_kind(c), checkpoint_kind(folder),
                        sizeof(struct checkpoint_kind));
    for (int p = 0; p < CHECKPOINT_PARTS; p++) {
        const struct part_source *got = checkpoint_source(c, (enum checkpoint_part)p);
        const struct part_source *want = checkpoint_source(folder, (enum checkpoint_part)p);

        assert_int_equal(got != NULL, want != NULL);
        if (want == NULL)
            continue;
        for (size_t i = 0; i < weights_count(want->weights); i++) {
            const char *name = weights_name(want->weights, i);
            struct tensor a, b;
            char longer[288];

            assert_true(weights_find(want->weights, name, &a));
            snprintf(longer, sizeof longer, "text_model.%s", name);
            if (!weights_find(got->weights, name, &b) && !weights_find(got->weights, longer, &b))
                fail_msg("%s: '%s' is not found", model, name);
            assert_int_equal(a.dtype, b.dtype);
            assert_int_equal(tensor_count(&a), tensor_count(&b));
            assert_int_equal(a.shape[0], b.shape[0]);
            if (memcmp(a.data, b.data, (size_t)tensor_count(&a) * dtype_size(a.dtype)) != 0)
                fail_msg("%s: '%s' has other numbers", model, name);
        }
    }
    checkpoint_close(folder);
}

static void every_tensor_is_found_under_its_original_name(void **state)
{
    static const struct {
        const char *model;
        struct single_options options;
    } cases[] = {
        {"sd1", {.extras = true}},     {"sd1", {.bare_text = true}}, {"sd1", {.sgm = true}},
        {"inpaint", {.extras = true}}, {"sd2", {.extras = true}},    {"sd2", {.sgm = true}},
        {"sdxl", {.extras = true}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct checkpoint *c;

        single_file_write(cases[i].model, &cases[i].options, single_path);
        c = open_single(golden(cases[i].model));
        assert_same_parts(c, cases[i].model);
        checkpoint_close(c);
    }
}

/* One step, of a prompt alone or of a picture whose lower half is painted anew. */
static struct image render_as(const struct engine_options *o, bool inpaint)
{
    static uint8_t grey[64 * 64 * 3], lower[64 * 64];
    struct render r = {.prompt = "a red apple!",
                       .negative_prompt = "blurry",
                       .sampler = SAMPLER_EULER,
                       .scheduler = SCHEDULER_AUTOMATIC,
                       .steps = 1,
                       .width = 64,
                       .height = 64,
                       .cfg_scale = 3,
                       .seed = 5};
    struct image image = {0};
    struct engine *g = NULL;

    if (inpaint) {
        memset(grey, 128, sizeof grey);
        memset(lower + sizeof lower / 2, 255, sizeof lower / 2);
        r.init = (struct picture_in){64, 64, grey};
        r.inpaint.mask = (struct picture_in){64, 64, lower};
        r.denoising_strength = 1;
    }
    assert_ok(engine_open(o, &g, e));
    assert_ok(engine_render(g, (const struct render *[]){&r}, 1, &image, e));
    engine_close(g);
    return image;
}

static struct image render_of(const struct engine_options *o)
{
    return render_as(o, false);
}

static void a_picture_of_the_file_equals_that_of_the_folder(void **state)
{
    static const char *const models[] = {"sd1", "sd2", "sdxl", "inpaint"};
    const struct single_options plain = {.extras = true};

    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        bool inpaint = strcmp(models[i], "inpaint") == 0;
        struct engine_options o = {.model = golden(models[i]), .threads = 2};
        struct image want = render_as(&o, inpaint), got;

        single_file_write(models[i], &plain, single_path);
        o = (struct engine_options){
            .model = single_path, .config = golden(models[i]), .threads = 2};
        got = render_as(&o, inpaint);
        assert_memory_equal(got.pixels, want.pixels, 64 * 64 * 3);
        image_done(&got);
        image_done(&want);
    }
}

static void numbers_may_be_f32_f16_or_bf16(void **state)
{
    const struct single_options f16 = {0}, f32 = {.other_type = true, .dtype = DTYPE_F32},
                                bf16 = {.other_type = true, .dtype = DTYPE_BF16};
    struct engine_options o = {.model = single_path, .config = golden("sd1"), .threads = 2};
    struct image want, got;

    (void)state;
    single_file_write("sd1", &f16, single_path);
    want = render_of(&o);
    single_file_write("sd1", &f32, single_path);
    got = render_of(&o);
    assert_memory_equal(got.pixels, want.pixels, 64 * 64 * 3);
    image_done(&got);
    single_file_write("sd1", &bf16, single_path);
    got = render_of(&o);
    assert_memory_not_equal(got.pixels, want.pixels, 64 * 64 * 3);
    image_done(&got);
    image_done(&want);
}

/*
 * A model of SD 1's kind that its published configuration fits: groups of 32 divide the VAE's
 * channels, the text encoder is 64 wide and knows all of CLIP's tokens.
 */
static void enlarge(const char *name, struct tensor *t)
{
    for (int d = 0; d < t->rank && d < 2; d++) {
        int64_t *side = &t->shape[d];

        if (strncmp(name, "first_stage_model.", 18) == 0)
            *side *= *side == 16 || *side == 32 || *side == 48 ? 2 : 1;
        else if (strncmp(name, "cond_stage_model.", 17) == 0)
            *side = *side == 734 ? 49408 : *side == 32 || *side == 128 ? 2 * *side : *side;
        else if (d == 1 && (strstr(name, "attn2.to_k") != NULL || strstr(name, "attn2.to_v")))
            *side = 64;
    }
}

static void a_file_of_a_published_kind_needs_nothing_beside_it(void **state)
{
    const struct single_options large = {.enlarge = enlarge};
    struct engine_options o = {.model = single_path, .threads = 2};
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    struct image want, got;

    (void)state;
    single_file_write("sd1", &large, single_path);
    got = render_of(&o);
    folder_make(folder, "sd1", "published");
    folder_set(folder, "unet/config.json", "norm_num_groups", "32");
    folder_set(folder, "unet/config.json", "cross_attention_dim", "64");
    folder_set(folder, "vae/config.json", "norm_num_groups", "32");
    folder_set(folder, "vae/config.json", "block_out_channels", "[32, 64, 64, 96]");
    folder_set(folder, "text_encoder/config.json", "hidden_size", "64");
    folder_set(folder, "text_encoder/config.json", "intermediate_size", "256");
    folder_set(folder, "text_encoder/config.json", "num_attention_heads", "1");
    folder_set(folder, "text_encoder/config.json", "vocab_size", "49408");
    snprintf(path, sizeof path, "%s/tokenizer", folder);
    folder_remove(path);
    o.config = folder;
    want = render_of(&o);
    assert_memory_equal(got.pixels, want.pixels, 64 * 64 * 3);
    image_done(&got);
    image_done(&want);
    folder_remove(folder);
}

static void widths_that_no_published_model_has_ask_for_a_configuration(void **state)
{
    static const struct {
        const char *model, *what;
    } cases[] = {{"sd1", "the text_encoder is 32 wide"},
                 {"sd2", "the text_encoder is 48 wide"},
                 {"sdxl", "the text_encoder is 32 wide"}};
    const struct single_options plain = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        single_file_write(cases[i].model, &plain, single_path);
        assert_refused_as(&(struct checkpoint_options){.model = single_path}, ERR_INPUT,
                          cases[i].what, "(config)");
    }
}

/* The first error of opening the whole model. */
static void assert_model_refused(const char *model, const char *without, const char *part1,
                                 const char *part2)
{
    const struct single_options o = {.without = without};
    const struct checkpoint_options source = {.model = single_path, .config = golden(model)};
    struct ops *ops = backend_open(0);
    struct checkpoint *c = NULL;
    struct model *m = NULL;
    struct err e = {0};

    single_file_write(model, &o, single_path);
    if (checkpoint_open(&source, &c, &e) == 0)
        assert_int_equal(model_load(c, ops, 0, &m, &e), ERR_INPUT);
    assert_null(m);
    if (strstr(e.text, part1) == NULL || strstr(e.text, part2) == NULL ||
        strstr(e.text, single_path) == NULL)
        fail_msg("'%s' names not '%s' and '%s'", e.text, part1, part2);
    checkpoint_close(c);
    ops->free(ops);
}

static void what_is_missing_is_named_in_the_files_own_spelling(void **state)
{
    static const char *const missing[][2] = {
        {"sd1", "model.diffusion_model.input_blocks.3.0.op.weight"},
        {"sd1", "model.diffusion_model.input_blocks.4.0.in_layers.2.bias"},
        {"sd1", "model.diffusion_model.input_blocks.4.0.skip_connection.weight"},
        {"sd1", "model.diffusion_model.input_blocks.4.0.emb_layers.1.weight"},
        {"sd1", "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"},
        {"sd1", "model.diffusion_model.middle_block.2.out_layers.3.weight"},
        {"sd1", "model.diffusion_model.output_blocks.2.1.conv.weight"},
        {"sd1", "model.diffusion_model.output_blocks.5.2.conv.bias"},
        {"sd1", "model.diffusion_model.out.2.weight"},
        {"sd1", "model.diffusion_model.time_embed.2.weight"},
        {"sdxl", "model.diffusion_model.label_emb.0.0.weight"},
        {"sd1", "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.bias"},
        {"sd2", "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"},
        {"sd2", "cond_stage_model.model.transformer.resblocks.2.mlp.c_fc.bias"},
        {"sd2", "cond_stage_model.model.positional_embedding"},
        {"sdxl", "conditioner.embedders.1.model.text_projection"},
        {"sdxl", "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"},
        {"sd1", "first_stage_model.decoder.up.3.block.0.conv1.weight"},
        {"sd1", "first_stage_model.decoder.up.1.upsample.conv.weight"},
        {"sd1", "first_stage_model.decoder.mid.attn_1.q.weight"},
        {"sd1", "first_stage_model.decoder.norm_out.weight"},
        {"sd1", "first_stage_model.post_quant_conv.weight"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        assert_model_refused(missing[i][0], missing[i][1], missing[i][1], "is missing");
    assert_model_refused("sd1", "cond_stage_model.", "'cond_stage_model.transformer.",
                         "is missing");
    assert_model_refused("sdxl", "conditioner.", "'conditioner.embedders.", "is missing");
    assert_model_refused("sd1", "first_stage_model.", "'first_stage_model.", "is missing");
}

static void a_shape_that_does_not_fit_is_named_in_the_files_own_spelling(void **state)
{
    const struct single_options plain = {0};
    const struct checkpoint_options source = {.model = single_path, .config = golden("sd1")};
    struct ops *ops = backend_open(0);
    struct checkpoint *c = NULL;
    struct model *m = NULL;
    struct err why = {0};

    (void)state;
    single_file_write("inpaint", &plain, single_path); /* 32, 32, 64, 64; sd1: 32, 64, 64, 64 */
    assert_ok(checkpoint_open(&source, &c, e));
    assert_int_equal(model_load(c, ops, 0, &m, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "'cond_stage_model.transformer.text_model.encoder.layers.2"));
    checkpoint_close(c);
    ops->free(ops);
}

static void broken_files_are_refused(void **state)
{
    static const char zip[] = "PK\3\4 and so on, as torch.save writes", gguf[] = "GGUF\3 and so on";
    const struct checkpoint_options o = {.model = single_path};
    const struct single_options plain = {0};
    struct buf file = {0};
    char ckpt[FOLDER_SIZE + 8];

    (void)state;
    single_file_write("sd1", &plain, single_path);
    read_file(single_path, &file);
    write_file(single_path, file.data, file.size - 1);
    assert_refused_as(&o, ERR_INPUT, single_path, "truncated");
    write_file(single_path, zip, sizeof zip);
    assert_refused_as(&o, ERR_INPUT, "a pickle", "convert it to .safetensors");
    write_file(single_path, gguf, sizeof gguf);
    assert_refused_as(&o, ERR_INPUT, single_path, "not a safetensors file");
    snprintf(ckpt, sizeof ckpt, "%.*s.ckpt", (int)strlen(single_path) - 12, single_path);
    write_file(ckpt, "what may it be", 14);
    assert_refused_as(&(struct checkpoint_options){.model = ckpt}, ERR_INPUT, ".ckpt", "a pickle");
    unlink(ckpt);
    assert_refused_as(&(struct checkpoint_options){.model = ckpt}, ERR_MISSING, ".ckpt", "");
    buf_done(&file);
}

static void config_is_for_files_and_must_be_there(void **state)
{
    const struct single_options plain = {0};

    (void)state;
    single_file_write("sd1", &plain, single_path);
    assert_refused_as(&(struct checkpoint_options){.model = single_path, .config = "/nowhere/sd1"},
                      ERR_MISSING, "'/nowhere/sd1'", "neither a folder here nor a family");
    assert_refused_as(
        &(struct checkpoint_options){.model = single_path, .config = GOLDEN_DIR "/models"},
        ERR_MISSING, "model_index.json", "");
    assert_refused_as(&(struct checkpoint_options){.model = single_path, .config = golden("sdxl")},
                      ERR_INPUT, "is sd1 by its tensors", "models/sdxl' does not fit");
    assert_refused_as(
        &(struct checkpoint_options){.model = GOLDEN_DIR "/models/sd1", .config = golden("sd1")},
        ERR_INPUT, "is a folder", "config");
}

static void the_files_that_decide_pixels_are_listed_with_the_models_hash(void **state)
{
    static const char *const want[] = {
        "config:model_index.json",
        "config:scheduler/scheduler_config.json",
        "config:text_encoder/config.json",
        "config:tokenizer/merges.txt",
        "config:tokenizer/special_tokens_map.json",
        "config:tokenizer/tokenizer_config.json",
        "config:tokenizer/vocab.json",
        "config:unet/config.json",
        NULL, /* the file */
        "vae:config.json",
        "vae:diffusion_pytorch_model.safetensors",
    };
    const struct single_options plain = {0};
    struct engine_options o = {.model = single_path,
                               .config = golden("sd1"),
                               .vae = GOLDEN_DIR "/models/inpaint/vae",
                               .threads = 1};
    char hex[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    const struct model_file *files;
    struct engine *g = NULL;
    size_t n;

    (void)state;
    single_file_write("sd1", &plain, single_path);
    assert_ok(engine_open(&o, &g, e));
    assert_ok(engine_files(g, &files, &n, e));
    assert_int_equal(n, sizeof want / sizeof *want);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(files[i].path,
                            want[i] != NULL ? want[i] : strrchr(single_path, '/') + 1);
    assert_ok(hash_file(single_path, hex, e));
    assert_string_equal(files[8].sha256, hex);
    assert_ok(engine_model_hash(g, hash, e));
    assert_string_equal(hash, hex);
    engine_close(g);
}

/* ---- another VAE */

static bool has_file(const struct checkpoint *c, const char *name)
{
    const struct checkpoint_file *files;
    size_t n;

    files = checkpoint_files(c, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].name, name) == 0)
            return true;
    return false;
}

/* model: path of the model whose VAE is replaced by inpaint's. */
static void assert_other_vae(const char *model, const char *config, const char *vae)
{
    const struct checkpoint_options o = {.model = model, .config = config, .vae = vae};
    const struct part_source *got;
    struct checkpoint *c = NULL;
    struct part want = golden_part("inpaint", "vae");

    assert_ok(checkpoint_open(&o, &c, e));
    got = checkpoint_source(c, CHECKPOINT_VAE);
    for (size_t i = 0; i < weights_count(want.weights); i++) {
        const char *name = weights_name(want.weights, i);
        struct tensor a, b;

        assert_true(weights_find(want.weights, name, &a));
        if (!weights_find(got->weights, name, &b))
            fail_msg("%s: '%s' is not found", vae, name);
        assert_int_equal(tensor_count(&a), tensor_count(&b));
        assert_memory_equal(a.data, b.data, (size_t)tensor_count(&a) * 2);
    }
    assert_true(json_number_value(json_object_get(got->config, "scaling_factor")) == 0.18215);
    assert_int_equal(json_integer_value(json_object_get(got->config, "norm_num_groups")), 8);
    /* the model's own configuration counts where the file has none */
    assert_true(has_file(c, config != NULL ? "config:vae/config.json" : "vae/config.json") ==
                (strstr(vae, ".safetensors") != NULL));
    assert_false(has_file(c, "vae/diffusion_pytorch_model.safetensors"));
    checkpoint_close(c);
    part_close(&want);
}

static void write_vae(const char *prefix)
{
    const struct single_options plain = {0};
    struct single s = {.options = &plain};

    single_vae(&s, "inpaint", prefix);
    writer_save(&s.writer, other_path);
}

static void another_vae_may_be_a_folder_or_a_file_in_either_names(void **state)
{
    const struct single_options plain = {0};
    const char *sd1 = GOLDEN_DIR "/models/sd1";
    static const char *const vaes[] = {
        GOLDEN_DIR "/models/inpaint/vae",
        GOLDEN_DIR "/models/inpaint",
        GOLDEN_DIR "/models/inpaint/vae/diffusion_pytorch_model.safetensors",
    };

    (void)state;
    single_file_write("sd1", &plain, single_path);
    for (size_t i = 0; i < sizeof vaes / sizeof *vaes; i++) {
        assert_other_vae(sd1, NULL, vaes[i]);
        assert_other_vae(single_path, sd1, vaes[i]);
    }
    write_vae("");
    assert_other_vae(sd1, NULL, other_path);
    assert_other_vae(single_path, sd1, other_path);
    write_vae("first_stage_model.");
    assert_other_vae(sd1, NULL, other_path);
    single_file_write("inpaint", &plain, other_path); /* a whole checkpoint */
    assert_other_vae(sd1, NULL, other_path);
}

static void a_model_without_vae_renders_with_another(void **state)
{
    const struct single_options without = {.without = "first_stage_model."};
    struct engine_options o = {.model = single_path,
                               .config = golden("sd1"),
                               .vae = GOLDEN_DIR "/models/inpaint/vae",
                               .threads = 2};
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    struct image want, got;

    (void)state;
    single_file_write("sd1", &without, single_path);
    got = render_of(&o);
    folder_make(folder, "sd1", "vae");
    snprintf(path, sizeof path, "%s/vae", folder);
    folder_remove(path);
    folder_link(GOLDEN_DIR "/models/inpaint/vae", path);
    want = render_of(&(struct engine_options){.model = folder, .threads = 2});
    assert_memory_equal(got.pixels, want.pixels, 64 * 64 * 3);
    image_done(&got);
    image_done(&want);
    folder_remove(folder);
}

static void what_is_no_vae_is_refused(void **state)
{
    const char *sd1 = GOLDEN_DIR "/models/sd1";
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];

    (void)state;
    assert_refused_as(&(struct checkpoint_options){.model = sd1,
                                                   .vae = GOLDEN_DIR
                                                   "/models/sd1/text_encoder/model.safetensors"},
                      ERR_INPUT, "text_encoder/model.safetensors", "holds no VAE");
    assert_refused_as(&(struct checkpoint_options){.model = sd1, .vae = "/nowhere"}, ERR_MISSING,
                      "/nowhere", "");
    write_vae("");
    assert_refused_as(&(struct checkpoint_options){.model = other_path}, ERR_INPUT, "a VAE",
                      "(vae)");
    folder_make(folder, "sd1", "novae");
    snprintf(path, sizeof path, "%s/vae", folder);
    folder_remove(path);
    assert_refused_as(&(struct checkpoint_options){.model = folder, .vae = other_path}, ERR_MISSING,
                      "vae/config.json", "");
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_written_here_are_those_of_the_oracle),
        cmocka_unit_test(every_tensor_is_found_under_its_original_name),
        cmocka_unit_test(a_picture_of_the_file_equals_that_of_the_folder),
        cmocka_unit_test(numbers_may_be_f32_f16_or_bf16),
        cmocka_unit_test(a_file_of_a_published_kind_needs_nothing_beside_it),
        cmocka_unit_test(widths_that_no_published_model_has_ask_for_a_configuration),
        cmocka_unit_test(what_is_missing_is_named_in_the_files_own_spelling),
        cmocka_unit_test(a_shape_that_does_not_fit_is_named_in_the_files_own_spelling),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(config_is_for_files_and_must_be_there),
        cmocka_unit_test(the_files_that_decide_pixels_are_listed_with_the_models_hash),
        cmocka_unit_test(another_vae_may_be_a_folder_or_a_file_in_either_names),
        cmocka_unit_test(a_model_without_vae_renders_with_another),
        cmocka_unit_test(what_is_no_vae_is_refused),
    };

    return cmocka_run_group_tests(tests, make_paths, remove_files);
}
