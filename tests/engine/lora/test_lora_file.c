/* LoRA files that do not fit, or are none, and names that lead nowhere: refused by name. */
#include "engine/lora/lora_file.h"
#include "engine/lora/lora_find.h"
#include "tests/engine/lora_files.h"

#define IN   8
#define OUT  6
#define RANK 2

/* Three layers that files may change; what they compute is of no account here. */
static struct linear_layer matrix = {.in = IN, .out = OUT};
static struct conv_layer filter = {.in = IN, .out = OUT, .kernel = 3};
static struct named_layer unet_items[] = {{"mid_block.attentions.0.proj_in", &matrix, NULL},
                                          {"conv_in", NULL, &filter}};
static struct named_layer text_items[] = {{"encoder.layers.0.mlp.fc1", &matrix, NULL}};
static const struct layer_list unet_list = {unet_items, 2, 2}, text_list = {text_items, 1, 1};

static void target_init(struct lora_target *t)
{
    *t = (struct lora_target){.layers = {[LORA_TEXT] = &text_list, [LORA_UNET] = &unet_list},
                              .text_width = 768};
    for (enum lora_part p = 0; p < LORA_PARTS; p++)
        if (t->layers[p] != NULL)
            assert_ok(lora_index_init(&t->index[p], t->layers[p], NULL, e));
}

static int open_file(const char *path, struct lora_file **ret_f, struct err *e)
{
    struct lora_target t;
    int rc;

    target_init(&t);
    rc = lora_file_open(path, "x", &t, ret_f, e);
    lora_target_done(&t);
    return rc;
}

static const float numbers[2 * 16 * IN * 9] = {1, 2, 3};

static void add(struct st_file *f, const char *name, int rank, const int64_t *shape)
{
    st_add_floats(f, name, numbers, rank, shape);
}

static void add_alpha(struct st_file *f, const char *name, float alpha)
{
    st_add_floats(f, name, &alpha, 0, NULL);
}

#define SHAPE(...)                                                                                 \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])                         \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define LINEAR "lora_unet_mid_block_attentions_0_proj_in"

static void add_good_linear(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(RANK, IN));
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK));
}

/* ---- files that do not fit */

static void up_of_another_rank(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(RANK, IN));
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK + 1));
}

static void down_for_other_inputs(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(RANK, IN + 8));
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK));
}

static void up_for_other_outputs(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(RANK, IN));
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT - 1, RANK));
}

static void flat_down_for_a_3x3_convolution(struct st_file *f)
{
    add(f, "lora_unet_conv_in.lora_down.weight", SHAPE(RANK, IN));
    add(f, "lora_unet_conv_in.lora_up.weight", SHAPE(OUT, RANK));
}

static void kernel_1_for_a_3x3_convolution(struct st_file *f)
{
    add(f, "lora_unet_conv_in.lora_down.weight", SHAPE(RANK, IN, 1, 1));
    add(f, "lora_unet_conv_in.lora_up.weight", SHAPE(OUT, RANK, 1, 1));
}

static void kernel_3_for_a_linear_layer(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(RANK, IN, 3, 3));
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK));
}

static void down_of_rank_zero(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(0, IN));
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, 0));
}

static void down_that_is_a_number(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", 0, NULL);
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK));
}

static void down_without_up(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(RANK, IN));
}

static void up_without_down(struct st_file *f)
{
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK));
}

static void alpha_alone(struct st_file *f)
{
    add_alpha(f, LINEAR ".alpha", 1);
}

static void alpha_that_is_nan(struct st_file *f)
{
    add_good_linear(f);
    add_alpha(f, LINEAR ".alpha", NAN);
}

static void alpha_of_two_numbers(struct st_file *f)
{
    add_good_linear(f);
    add(f, LINEAR ".alpha", SHAPE(2));
}

static void alpha_of_no_number(struct st_file *f)
{
    add_good_linear(f);
    add(f, LINEAR ".alpha", SHAPE(0));
}

static void alpha_twice(struct st_file *f)
{
    add_good_linear(f);
    add_alpha(f, LINEAR ".alpha", 1);
    st_note(f, "lora_adapter_metadata", "{\"unet.lora_alpha\": 2}");
}

static void notes_without_alpha(struct st_file *f)
{
    add_good_linear(f);
    st_note(f, "lora_adapter_metadata", "{\"unet.r\": 2}");
}

static void notes_that_are_a_list(struct st_file *f)
{
    add_good_linear(f);
    st_note(f, "lora_adapter_metadata", "[]");
}

static void notes_that_are_no_json(struct st_file *f)
{
    add_good_linear(f);
    st_note(f, "lora_adapter_metadata", "{");
}

static void notes_of_dora(struct st_file *f)
{
    add_good_linear(f);
    st_note(f, "lora_adapter_metadata", "{\"unet.lora_alpha\": 2, \"unet.use_dora\": true}");
}

static void notes_with_an_expression(struct st_file *f)
{
    add_good_linear(f);
    st_note(f, "lora_adapter_metadata",
            "{\"unet.lora_alpha\": 2, \"unet.alpha_pattern\": {\"(a|b)+$\": 1}}");
}

static void unknown_module(struct st_file *f)
{
    add_good_linear(f);
    add(f, "lora_unet_mid_block_attentions_1_proj_in.lora_up.weight", SHAPE(OUT, RANK));
}

static void module_of_the_original_code_that_is_not_there(struct st_file *f)
{
    add(f, "lora_unet_input_blocks_8_1_proj_in.lora_down.weight", SHAPE(RANK, IN));
}

static void second_text_encoder(struct st_file *f)
{
    add_good_linear(f);
    add(f, "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", SHAPE(OUT, RANK));
}

static void two_for_one_place(struct st_file *f)
{
    static const float other[OUT * RANK] = {4};

    add_good_linear(f);
    st_add_floats(f, "unet.mid_block.attentions.0.proj_in.lora_B.weight", other, SHAPE(OUT, RANK));
}

static void whole_numbers(struct st_file *f)
{
    struct tensor t = {numbers, DTYPE_I32, 2, {RANK, IN}};

    st_add(f, LINEAR ".lora_down.weight", &t);
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK));
}

static void rank_five_tensor(struct st_file *f)
{
    add(f, LINEAR ".lora_down.weight", SHAPE(RANK, IN, 1, 1, 1));
    add(f, LINEAR ".lora_up.weight", SHAPE(OUT, RANK));
}

static void nothing(struct st_file *f)
{
    (void)f;
}

static const struct {
    void (*write)(struct st_file *f);
    const char *said; /* in the error */
} misfits[] = {
    {up_of_another_rank, "shape [6, 3], its layer takes [6, 2]"},
    {down_for_other_inputs,
     "shape [2, 16], its layer takes [2, 8] (this model is shaped like SD 1"},
    {up_for_other_outputs, "shape [5, 2], its layer takes [6, 2]"},
    {flat_down_for_a_3x3_convolution, "its layer takes [2, 8, 3, 3]"},
    {kernel_1_for_a_3x3_convolution, "its layer takes [2, 8, 3, 3]"},
    {kernel_3_for_a_linear_layer, "shape [2, 8, 3, 3], its layer takes [2, 8]"},
    {down_of_rank_zero, "is of rank 0"},
    {down_that_is_a_number, "is of rank 0"},
    {down_without_up, "its up is missing"},
    {up_without_down, "its down is missing"},
    {alpha_alone, "its down is missing"},
    {alpha_that_is_nan, "'" LINEAR ".alpha' is not a finite number"},
    {alpha_of_two_numbers, "must be one number"},
    {alpha_of_no_number, "must be one number"},
    {alpha_twice, "both give an alpha"},
    {notes_without_alpha, "'lora_alpha' in its notes"},
    {notes_that_are_a_list, "no JSON object"},
    {notes_that_are_no_json, "x.safetensors:1:"},
    {notes_of_dora, "DoRA"},
    {notes_with_an_expression, "a pattern that is not read here"},
    {unknown_module, "the U-Net has no module 'mid_block_attentions_1_proj_in'"},
    {module_of_the_original_code_that_is_not_there, "no module 'input_blocks_8_1_proj_in'"},
    {second_text_encoder, "changes a second text encoder (SDXL)"},
    {two_for_one_place, "for the same place"},
    {whole_numbers, "of type I32"},
    {rank_five_tensor, "its layer takes [2, 8]"},
    {nothing, "no tensors"},
};

static void what_does_not_fit_is_refused_with_file_and_tensor(void **state)
{
    char folder[FOLDER_SIZE], path[FOLDER_SIZE + 32];

    (void)state;
    lora_folder(folder, "misfits");
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    for (size_t i = 0; i < sizeof misfits / sizeof *misfits; i++) {
        struct lora_file *f = NULL;
        struct err why = {0};
        struct st_file st;

        st_begin(&st);
        misfits[i].write(&st);
        st_save(&st, path);
        assert_int_equal(open_file(path, &f, &why), ERR_INPUT);
        assert_null(f);
        if (strstr(why.text, misfits[i].said) == NULL)
            fail_msg("'%s' is not in: %s", misfits[i].said, why.text);
        assert_non_null(strstr(why.text, path));
    }
    lora_folder_remove(folder);
}

static void other_kinds_are_refused_by_their_name(void **state)
{
    static const char *const kinds[][2] = {
        {LINEAR ".hada_w1_a", "LoHa"},
        {LINEAR ".lokr_w2", "LoKr"},
        {LINEAR ".dora_scale", "DoRA"},
        {"unet.mid_block.attentions.0.proj_in.lora_magnitude_vector.weight", "DoRA"},
        {LINEAR ".lora_mid.weight", "Tucker"},
        {LINEAR ".diff", "whole differences of weights"},
        {LINEAR ".diff_b", "whole differences of biases"},
        {LINEAR ".oft_blocks", "OFT"},
        {LINEAR ".on_input", "(IA)3"},
        {LINEAR ".w_norm", "norms"},
        {"unet.mid_block.attentions.0.proj_in.lora_B.bias", "biases"},
        {"model.diffusion_model.input_blocks.0.0.weight", "a whole model"},
        {"emb_params", "embedding"},
        {"bundle_emb.word.string_to_param.*", "bundled embeddings"},
        {LINEAR ".weight", "no part of a LoRA"},
        {"anything", "no part of a LoRA"},
        {"_lora.down.weight", "no part of a LoRA"},
        {"unet.conv_in.processor.to_z_lora.down.weight", "no part of a LoRA"},
        {"", "no part of a LoRA"},
    };
    struct lora_key key;

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct err why = {0};

        assert_int_equal(lora_key_read("f", kinds[i][0], &key, &why), ERR_INPUT);
        if (strstr(why.text, kinds[i][1]) == NULL)
            fail_msg("'%s' is not in: %s", kinds[i][1], why.text);
    }
}

static void names_say_part_module_and_place(void **state)
{
    static const struct {
        const char *name;
        enum lora_part part;
        enum lora_what what;
        const char *module;
    } names[] = {
        {"lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", LORA_TEXT, LORA_ALPHA,
         "encoder_layers_0_mlp_fc1"},
        {"lora_te2_text_model_encoder_layers_31_self_attn_q_proj.lora_up.weight", LORA_TEXT_2,
         LORA_UP, "encoder_layers_31_self_attn_q_proj"},
        {"lora_te2_text_projection.lora_down.weight", LORA_TEXT_2, LORA_DOWN, "text_projection"},
        {"text_encoder_2.text_model.encoder.layers.0.self_attn.k_proj.lora_A.weight", LORA_TEXT_2,
         LORA_DOWN, "encoder_layers_0_self_attn_k_proj"},
        {"text_encoder_2.encoder.layers.0.self_attn.to_out_lora.up.weight", LORA_TEXT_2, LORA_UP,
         "encoder_layers_0_self_attn_out_proj"},
        {"text_encoder.text_projection.lora.down.weight", LORA_TEXT, LORA_DOWN, "text_projection"},
        {"text_model.encoder.layers.1.mlp.fc2.lora_linear_layer.up.weight", LORA_TEXT, LORA_UP,
         "encoder_layers_1_mlp_fc2"},
        {"base_model.model.unet.conv_in.lora_B.style.weight", LORA_UNET, LORA_UP, "conv_in"},
        {"mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight",
         LORA_UNET, LORA_DOWN, "mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"},
        {"diffusion_model.input_blocks.4.1.proj_in.lora_up.weight", LORA_UNET, LORA_UP,
         "input_blocks_4_1_proj_in"},
        {"lora_unet_label_emb_0_2.lora_down.weight", LORA_UNET, LORA_DOWN, "label_emb_0_2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lora_key key = {0};

        assert_ok(lora_key_read("f", names[i].name, &key, e));
        assert_int_equal(key.part, names[i].part);
        assert_int_equal(key.what, names[i].what);
        assert_string_equal(key.module, names[i].module);
    }
}

static void names_of_any_length_are_read_within_bounds(void **state)
{
    static const char *const endings[] = {".lora_down.weight", "to_out_lora.up.weight", ".alpha"};
    char name[600];
    struct lora_key key;

    (void)state;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        for (int n = 0; n < 500; n++) {
            memset(name, 'a', sizeof name);
            snprintf(name + n, sizeof name - (size_t)n, "%s", endings[i]);
            if (lora_key_read("f", name, &key, NULL) == 0)
                assert_true(strlen(key.module) < sizeof key.module);
            else
                assert_true(n > 200);
        }
}

static void same_numbers_under_two_names_count_once(void **state)
{
    char folder[FOLDER_SIZE], path[FOLDER_SIZE + 32];
    struct lora_file *f = NULL;
    struct st_file st;

    (void)state;
    lora_folder(folder, "twice");
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    st_begin(&st);
    add_good_linear(&st);
    add(&st, "unet.mid_block.attentions.0.proj_in.lora_A.weight", SHAPE(RANK, IN));
    add(&st, "unet.mid_block.attentions.0.proj_in.lora_B.weight", SHAPE(OUT, RANK));
    add(&st, "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", SHAPE(1, IN, 1, 1));
    add(&st, "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", SHAPE(OUT, 1, 1, 1));
    add_alpha(&st, "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", 3);
    st_save(&st, path);
    assert_ok(open_file(path, &f, e));
    assert_int_equal(f->n_changes[LORA_UNET], 1);
    assert_int_equal(f->n_changes[LORA_TEXT], 1);
    assert_int_equal(f->changes[LORA_UNET][0].rank, RANK);
    assert_true(f->changes[LORA_UNET][0].scale == 1);
    assert_int_equal(f->changes[LORA_UNET][1].rank, 0);
    assert_true(f->changes[LORA_TEXT][0].scale == 3);
    lora_file_close(f);
    lora_folder_remove(folder);
}

static void hashes_are_of_the_file_and_of_what_is_behind_its_header(void **state)
{
    static const char noted[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    char folder[FOLDER_SIZE], path[FOLDER_SIZE + 32], hex[HASH_HEX_SIZE];

    (void)state;
    lora_folder(folder, "hashes");
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    for (int i = 0; i < 3; i++) {
        struct lora_file *f = NULL;
        struct buf bytes = {0};
        struct st_file st;
        size_t data = sizeof(float) * (RANK * IN + OUT * RANK);

        st_begin(&st);
        add_good_linear(&st);
        if (i > 0)
            st_note(&st, "sshs_model_hash", i == 1 ? noted : "../../etc/passwd");
        st_save(&st, path);
        assert_ok(open_file(path, &f, e));
        assert_ok(hash_file(path, hex, e));
        assert_string_equal(f->sha256, hex);
        read_file(path, &bytes);
        assert_ok(hash_bytes(bytes.data + bytes.size - data, data, hex, e));
        assert_string_equal(f->data_hash, i == 1 ? noted : hex);
        buf_done(&bytes);
        lora_file_close(f);
    }
    lora_folder_remove(folder);
}

/* ---- damage */

/* One of a file's bytes at random; more often a letter of the header for another of it. */
static void damage(struct buf *file, uint64_t header, uint32_t *state)
{
    size_t at, from;

    *state = *state * 1664525u + 1013904223u;
    at = sizeof header + (*state >> 8) % header;
    *state = *state * 1664525u + 1013904223u;
    from = sizeof header + (*state >> 8) % header;
    if (*state % 5 == 0)
        file->data[(*state >> 8) % file->size] = (char)(*state >> 3);
    else
        file->data[at] = file->data[from];
}

static void damaged_file_is_read_or_refused_with_its_name(void **state)
{
    char folder[FOLDER_SIZE], path[FOLDER_SIZE + 32];
    struct buf whole = {0}, file = {0};
    uint32_t random = 7;
    uint64_t header;
    int refused = 0;
    struct st_file st;

    (void)state;
    lora_folder(folder, "damage");
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    st_begin(&st);
    add_good_linear(&st);
    add_alpha(&st, LINEAR ".alpha", 1);
    add(&st, "unet.conv_in.lora_A.weight", SHAPE(RANK, IN, 3, 3));
    add(&st, "unet.conv_in.lora_B.weight", SHAPE(OUT, RANK, 1, 1));
    st_save(&st, path);
    read_file(path, &whole);
    memcpy(&header, whole.data, sizeof header);
    for (int i = 0; i < 1000; i++) {
        struct lora_file *f = NULL;
        struct err why = {0};

        file.size = 0;
        buf_append(&file, whole.data, whole.size);
        for (int j = 0; j <= i % 3; j++)
            damage(&file, header, &random);
        write_file(path, file.data, file.size);
        if (open_file(path, &f, &why) != 0) {
            refused++;
            assert_non_null(strstr(why.text, path));
        }
        lora_file_close(f);
    }
    assert_in_range(refused, 500, 999);
    buf_done(&whole);
    buf_done(&file);
    lora_folder_remove(folder);
}

/* ---- names */

static void touch(const char *folder, const char *file)
{
    char path[PATH_MAX];

    assert_ok(part_path(path, folder, file, e));
    write_file(path, "", 0);
}

static void subfolder(const char *folder, const char *name)
{
    char path[PATH_MAX];

    assert_ok(part_path(path, folder, name, e));
    assert_int_equal(mkdir(path, 0777), 0);
}

static void check_found(const char *const *folders, const char *name, const char *folder,
                        const char *file)
{
    char path[PATH_MAX], want[PATH_MAX];

    assert_ok(lora_find(folders, name, path, e));
    assert_ok(part_path(want, folder, file, e));
    assert_string_equal(path, want);
}

static void name_is_found_in_the_first_folder_that_has_it_or_below(void **state)
{
    char one[FOLDER_SIZE], two[FOLDER_SIZE];
    const char *const folders[] = {"no such folder", one, two, NULL};
    char path[PATH_MAX];
    struct err why = {0};

    (void)state;
    lora_folder(one, "one");
    lora_folder(two, "two");
    subfolder(one, "sub");
    subfolder(one, "sub/deep");
    subfolder(one, "other");
    subfolder(one, "folder.safetensors");
    subfolder(one, ".hidden");
    touch(one, "a.safetensors");
    touch(one, "sub/a.safetensors");
    touch(one, "sub/b.safetensors");
    touch(two, "b.safetensors");
    touch(two, "c v1.5.safetensors");
    touch(one, "sub/deep/d.safetensors");
    touch(one, ".hidden/e.safetensors");
    touch(one, "sub/f.safetensors");
    touch(one, "other/f.safetensors");
    touch(one, "g.pt");
    touch(two, "g.safetensors");
    touch(two, "h.ckpt");
    check_found(folders, "a", one, "a.safetensors");
    check_found(folders, "b", one, "sub/b.safetensors");
    check_found(folders, "c v1.5", two, "c v1.5.safetensors");
    check_found(folders, "g", two, "g.safetensors");
    check_found(folders, "h", two, "h.ckpt");
    assert_int_equal(lora_find(folders, "d", path, &why), ERR_MISSING);
    assert_int_equal(lora_find(folders, "e", path, &why), ERR_MISSING);
    assert_int_equal(lora_find(folders, "folder", path, &why), ERR_MISSING);
    assert_non_null(strstr(why.text, one));
    assert_non_null(strstr(why.text, two));
    assert_int_equal(lora_find(folders, "f", path, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "sub/f.safetensors"));
    assert_non_null(strstr(why.text, "other/f.safetensors"));
    assert_int_equal(lora_find(NULL, "a", path, &why), ERR_MISSING);
    lora_folder_remove(one);
    lora_folder_remove(two);
}

static void name_cannot_leave_its_folders(void **state)
{
    static const char *const names[] = {"",      ".",           "..",    "../a",
                                        "sub/a", "/etc/passwd", "..\\a", ".hidden"};
    const char *const folders[] = {GOLDEN_DIR "/lora", NULL};
    char path[PATH_MAX], longest[400];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(lora_find(folders, names[i], path, NULL), ERR_INPUT);
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(lora_find(folders, longest, path, NULL), ERR_INPUT);
}

static void pickle_is_refused_with_the_reason(void **state)
{
    char folder[FOLDER_SIZE], path[FOLDER_SIZE + 32];
    struct lora_file *f = NULL;
    struct err why = {0};

    (void)state;
    lora_folder(folder, "pickle");
    snprintf(path, sizeof path, "%s/x.pt", folder);
    write_file(path, "PK\3\4 and so on", 14);
    assert_int_equal(open_file(path, &f, &why), ERR_INPUT);
    assert_non_null(strstr(why.text, "pickle"));
    lora_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_is_refused_with_file_and_tensor),
        cmocka_unit_test(other_kinds_are_refused_by_their_name),
        cmocka_unit_test(names_say_part_module_and_place),
        cmocka_unit_test(names_of_any_length_are_read_within_bounds),
        cmocka_unit_test(same_numbers_under_two_names_count_once),
        cmocka_unit_test(hashes_are_of_the_file_and_of_what_is_behind_its_header),
        cmocka_unit_test(damaged_file_is_read_or_refused_with_its_name),
        cmocka_unit_test(name_is_found_in_the_first_folder_that_has_it_or_below),
        cmocka_unit_test(name_cannot_leave_its_folders),
        cmocka_unit_test(pickle_is_refused_with_the_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
