/* What a checkpoint in one file is, told from names and shapes alone, at the sizes that people use.
 */
#include "engine/checkpoint/checkpoint_layout.h"
#include "engine/checkpoint/family.h"
#include "tests/engine/folders.h"

static char path[FOLDER_SIZE];

static int make_path(void **state)
{
    (void)state;
    mkdir(BINARY_DIR "/models-test", 0777);
    snprintf(path, sizeof path, BINARY_DIR "/models-test/family-%ld.safetensors", (long)getpid());
    return 0;
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static json_t *recorded(const char *family)
{
    char file[FOLDER_SIZE];
    json_t *root = NULL;

    snprintf(file, sizeof file, GOLDEN_DIR "/families/%s.json", family);
    assert_ok(json_read_file(file, &root, e));
    return root;
}

/* What is changed of the recorded tensors. */
struct change {
    int in_channels;  /* of the U-Net; 0: as recorded */
    const char *more; /* a tensor of one number more; NULL: none */
    const char *set;  /* a tensor whose numbers are not zeros: -1, 1, -1, ... times spread */
    float spread;
    const char *without; /* tensors whose names begin so are left out; NULL: none */
};

static void add_tensor(json_t *header, const char *name, const json_t *shape, size_t *at,
                       const struct change *how, json_t **ret_offsets)
{
    json_t *copy = json_deep_copy(shape), *offsets;
    size_t n = 1;

    if (how->in_channels != 0 && strcmp(name, "model.diffusion_model.input_blocks.0.0.weight") == 0)
        json_array_set_new(copy, 1, json_integer(how->in_channels));
    for (size_t i = 0; i < json_array_size(copy); i++)
        n *= (size_t)json_integer_value(json_array_get(copy, i));
    offsets = json_pack("[I, I]", (json_int_t)*at, (json_int_t)(*at + 2 * n));
    *at += 2 * n;
    *ret_offsets = offsets;
    json_object_set_new(
        header, name,
        json_pack("{s:s, s:o, s:o}", "dtype", "F16", "shape", copy, "data_offsets", offsets));
}

/* A normal number as float16, rounded towards zero. */
static uint16_t half(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits >> 16 & 0x8000) | (((bits & 0x7fffffff) >> 13) - (112u << 10)));
}

static void set_numbers(FILE *f, size_t data, const json_t *offsets, float spread)
{
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));

    assert_int_equal(fseek(f, (long)(data + begin), SEEK_SET), 0);
    for (size_t i = 0; i < (end - begin) / 2; i++) {
        uint16_t h = half(i % 2 ? spread : -spread);

        assert_int_equal(fwrite(&h, sizeof h, 1, f), 1);
    }
}

/* A file of the recorded tensors, all zeros, which takes no room on the disk. */
static void write_sparse(const json_t *family, const struct change *how)
{
    json_t *header = json_object(), *group, *name, *offsets, *set = NULL;
    size_t at = 0, i, j;
    uint64_t size;
    char *text;
    FILE *f;

    json_array_foreach(json_object_get(family, "tensors"), i, group)
    {
        json_array_foreach(json_object_get(group, "names"), j, name)
        {
            const char *s = json_string_value(name);

            if (how->without != NULL && strncmp(s, how->without, strlen(how->without)) == 0)
                continue;
            add_tensor(header, s, json_object_get(group, "shape"), &at, how, &offsets);
            if (how->set != NULL && strcmp(s, how->set) == 0)
                set = offsets;
        }
    }
    if (how->more != NULL) {
        json_t *one = json_pack("[i]", 1);

        add_tensor(header, how->more, one, &at, how, &offsets);
        json_decref(one);
    }
    text = json_dumps(header, JSON_COMPACT);
    size = strlen(text);
    unlink(path);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&size, sizeof size, 1, f), 1);
    assert_int_equal(fwrite(text, 1, size, f), size);
    if (how->set != NULL) {
        assert_non_null(set);
        set_numbers(f, sizeof size + size, set, how->spread);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path, (off_t)(sizeof size + size + at)), 0);
    free(text);
    json_decref(header);
}

static struct checkpoint *open_as(const char *config)
{
    struct checkpoint *c = NULL;

    assert_ok(
        checkpoint_open(&(struct checkpoint_options){.model = path, .config = config}, &c, e));
    return c;
}

static void assert_refused_as(const char *config, int code, const char *part1, const char *part2)
{
    struct checkpoint *c = NULL;
    struct err e = {0};

    assert_int_equal(
        checkpoint_open(&(struct checkpoint_options){.model = path, .config = config}, &c, &e),
        code);
    if (strstr(e.text, part1) == NULL || strstr(e.text, part2) == NULL)
        fail_msg("'%s' names not '%s' and '%s'", e.text, part1, part2);
}

/* Every key of want is in got with that value. */
static void assert_has_keys(const json_t *got, json_t *want, const char *without)
{
    const char *key;
    json_t *value;

    json_object_foreach(want, key, value)
    {
        if (strcmp(key, "sample_size") == 0 || strcmp(key, without) == 0)
            continue;
        if (!json_equal(json_object_get(got, key), value)) {
            char *text = json_dumps(json_object_get(got, key), JSON_ENCODE_ANY);

            fail_msg("'%s' is %s", key, text);
        }
    }
}

static void check_configuration(const struct checkpoint *c, const json_t *want, int in_channels)
{
    json_t *unet = json_deep_copy(json_object_get(want, "unet"));
    const struct part_source *p = checkpoint_source(c, CHECKPOINT_UNET);
    struct unet_config a, b;

    json_object_set_new(unet, "in_channels", json_integer(in_channels));
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    assert_ok(unet_config_read("recorded", unet, &a, e));
    assert_ok(unet_config_read(p->where, p->config, &b, e));
    assert_memory_equal(&a, &b, sizeof a);
    assert_has_keys(checkpoint_source(c, CHECKPOINT_VAE)->config, json_object_get(want, "vae"), "");
    /* a projection that is not there has no width */
    assert_has_keys(checkpoint_source(c, CHECKPOINT_TEXT)->config,
                    json_object_get(want, "text_encoder"), "projection_dim");
    if (json_object_get(want, "text_encoder_2") != NULL)
        assert_has_keys(checkpoint_source(c, CHECKPOINT_TEXT_2)->config,
                        json_object_get(want, "text_encoder_2"), "");
    json_decref(unet);
}

static void shapes_give_the_published_configuration(void **state)
{
    static const char *const families[] = {"sd1", "sd2", "sdxl"};

    (void)state;
    for (int i = 0; i < 3; i++)
        for (int channels = 4; channels <= 9; channels += 5) {
            const struct change how = {.in_channels = channels};
            json_t *family = recorded(families[i]);
            struct checkpoint *c;

            write_sparse(family, &how);
            c = open_as(NULL);
            check_configuration(c, json_object_get(family, "config"), channels);
            assert_true(checkpoint_kind(c)->xl == (i == 2));
            assert_true(checkpoint_kind(c)->force_zeros == (i == 2));
            assert_true(checkpoint_kind(c)->inpaint == (channels == 9));
            checkpoint_close(c);
            json_decref(family);
        }
}

static void a_tokenizer_is_the_published_one(void **state)
{
    static const char *const families[] = {"sd1", "sd2", "sdxl"};
    static const int pads[][2] = {{49407, -1}, {0, -1}, {49407, 0}};
    const struct change plain = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        json_t *family = recorded(families[i]);
        struct checkpoint *c;
        struct tokenizer *t;

        write_sparse(family, &plain);
        c = open_as(NULL);
        for (int k = 0; k < (i == 2 ? 2 : 1); k++) {
            assert_ok(checkpoint_tokenizer(c, k, &t, e));
            assert_int_equal(tokenizer_vocab_size(t), 49408);
            assert_int_equal(tokenizer_pad(t), pads[i][k]);
            tokenizer_free(t);
        }
        checkpoint_close(c);
        json_decref(family);
    }
}

static void assert_schedule(const char *config, const char *key, const char *value)
{
    struct schedule_config *schedule = NULL;
    struct checkpoint *c = open_as(config);
    char *text = json_dumps(json_object_get(c->schedule_root, key), JSON_ENCODE_ANY);

    assert_string_equal(text != NULL ? text : "missing", value);
    assert_ok(checkpoint_schedule(c, &schedule, e));
    schedule_config_free(schedule);
    free(text);
    checkpoint_close(c);
}

static void v_prediction_is_told_by_the_weights_or_a_mark(void **state)
{
    static const char norm[] =
        "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    json_t *sd1 = recorded("sd1"), *sd2 = recorded("sd2"), *sdxl = recorded("sdxl");
    struct change how = {.set = norm, .spread = 0.08f};

    (void)state;
    write_sparse(sd2, &how);
    assert_schedule(NULL, "prediction_type", "\"epsilon\"");
    how.spread = 0.1f;
    write_sparse(sd2, &how);
    assert_schedule(NULL, "prediction_type", "\"v_prediction\"");
    assert_schedule("sd2", "prediction_type", "\"epsilon\"");
    how.in_channels = 9;
    write_sparse(sd2, &how);
    assert_schedule(NULL, "prediction_type", "\"epsilon\"");
    write_sparse(sd2, &(struct change){.more = "v_pred"});
    assert_schedule(NULL, "prediction_type", "\"v_prediction\"");
    write_sparse(sd1, &how); /* SD 1's say nothing by it */
    assert_schedule(NULL, "prediction_type", "missing");
    write_sparse(sdxl, &(struct change){.more = "v_pred"});
    assert_schedule(NULL, "prediction_type", "\"v_prediction\"");
    assert_schedule(NULL, "rescale_betas_zero_snr", "missing");
    write_sparse(sdxl, &(struct change){.more = "ztsnr"});
    assert_schedule(NULL, "rescale_betas_zero_snr", "true");
    json_decref(sd1);
    json_decref(sd2);
    json_decref(sdxl);
}

static void a_family_can_be_named(void **state)
{
    json_t *sd2 = recorded("sd2"), *sdxl = recorded("sdxl");
    const struct change plain = {0};

    (void)state;
    write_sparse(sd2, &plain);
    assert_schedule("sd2-v", "prediction_type", "\"v_prediction\"");
    assert_schedule("sd-turbo", "timestep_spacing", "\"trailing\"");
    assert_refused_as("sdxl-turbo", ERR_INPUT, "is sd2 by its tensors", "'sdxl-turbo'");
    assert_refused_as("sd9", ERR_MISSING, "'sd9'", "sd-turbo, sd1, sd2, sd2-v, sdxl, sdxl-turbo");
    write_sparse(sdxl, &plain);
    assert_schedule("sdxl-turbo", "timestep_spacing", "\"trailing\"");
    assert_schedule(NULL, "timestep_spacing", "\"leading\"");
    assert_refused_as("sd1", ERR_INPUT, "is sdxl by its tensors", "'sd1'");
    json_decref(sd2);
    json_decref(sdxl);
}

static void other_models_are_refused_by_what_they_are(void **state)
{
    static const struct {
        const char *family;
        struct change how;
        const char *kind;
    } cases[] = {
        {"sdxl", {.without = "conditioner.embedders.0."}, "embedders.0.transformer.text_model"},
        {"sdxl", {.more = "edm_mean"}, "Playground 2.5"},
        {"sd2", {.more = "depth_model.model.pretrained.weight"}, "depth to image"},
        {"sd2", {.more = "embedder.model.ln_final.weight"}, "unCLIP"},
        {"sd2", {.more = "model.diffusion_model.label_emb.0.0.weight"}, "class embeddings"},
        {"sd2", {.more = "model.diffusion_model.label_emb.weight"}, "class embeddings"},
        {"sd1", {.more = "cond_stage_model.roberta.embeddings.weight"}, "AltDiffusion"},
        {"sd1",
         {.more = "model.diffusion_model.joint_blocks.0.context_block.x"},
         "Stable Diffusion 3"},
        {"sd1", {.more = "double_blocks.0.img_attn.norm.key_norm.scale"}, "Flux"},
        {"sd1", {.more = "lora_unet_down_blocks_0.lora_down.weight"}, "LoRA"},
        {"sd1", {.more = "control_model.time_embed.0.weight"}, "ControlNet"},
        {"sd1", {.without = "model.diffusion_model."}, "'model.diffusion_model.input_blocks.0.0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *family = recorded(cases[i].family);

        write_sparse(family, &cases[i].how);
        assert_refused_as(NULL, ERR_INPUT, path, cases[i].kind);
        json_decref(family);
    }
}

static void the_refiner_and_uneven_networks_are_refused(void **state)
{
    json_t *sdxl = recorded("sdxl"), *group, *name;
    size_t i, j;

    (void)state;
    /* a block with one transformer layer less than its neighbour, as distilled models have it */
    write_sparse(sdxl,
                 &(struct change){
                     .without = "model.diffusion_model.input_blocks.8.1.transformer_blocks.9."});
    assert_refused_as(NULL, ERR_INPUT, "input_blocks.8.1", "distilled");
    write_sparse(
        sdxl,
        &(struct change){.without = "model.diffusion_model.middle_block.1.transformer_blocks.9."});
    assert_refused_as(NULL, ERR_INPUT, "middle_block.1", "distilled");
    /* the refiner has the second encoder in the first's place */
    json_array_foreach(json_object_get(sdxl, "tensors"), i, group)
    {
        json_array_foreach(json_object_get(group, "names"), j, name)
        {
            const char *from = "conditioner.embedders.1.", *s = json_string_value(name);
            char to[256];

            if (strncmp(s, from, strlen(from)) == 0) {
                snprintf(to, sizeof to, "conditioner.embedders.0.%s", s + strlen(from));
                json_string_set(name, to);
            } else if (strncmp(s, "conditioner.embedders.0.", 24) == 0) {
                snprintf(to, sizeof to, "other.%s", s);
                json_string_set(name, to);
            }
        }
    }
    write_sparse(sdxl, &(struct change){0});
    assert_refused_as(NULL, ERR_INPUT, "SDXL's refiner", "");
    json_decref(sdxl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_give_the_published_configuration),
        cmocka_unit_test(a_tokenizer_is_the_published_one),
        cmocka_unit_test(v_prediction_is_told_by_the_weights_or_a_mark),
        cmocka_unit_test(a_family_can_be_named),
        cmocka_unit_test(other_models_are_refused_by_what_they_are),
        cmocka_unit_test(the_refiner_and_uneven_networks_are_refused),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
