/* Layouts of one model on disk: they give the same tensors, or say what is wrong. */
#include "engine/engine.h"
#include "tests/engine/writer.h"

#define UNET "diffusion_pytorch_model"

static struct checkpoint *open_ok(const char *path)
{
    struct checkpoint *c = NULL;

    assert_ok(checkpoint_open(&(struct checkpoint_options){.model = path}, &c, e));
    return c;
}

static void assert_refused(const char *path, int code, const char *part1, const char *part2)
{
    struct checkpoint *c = NULL;
    struct err e = {0};

    assert_int_equal(checkpoint_open(&(struct checkpoint_options){.model = path}, &c, &e), code);
    assert_null(c);
    if (strstr(e.text, part1) == NULL || strstr(e.text, part2) == NULL)
        fail_msg("'%s' names not '%s' and '%s'", e.text, part1, part2);
}

/* Every tensor of a recorded part is in the checkpoint's, with the same numbers. */
static void assert_same_part(const struct checkpoint *c, enum checkpoint_part part,
                             const char *model, const char *name)
{
    const struct weights *w = checkpoint_source(c, part)->weights;
    struct part golden = golden_part(model, name);

    for (size_t i = 0; i < weights_count(golden.weights); i++) {
        const char *tensor = weights_name(golden.weights, i);
        struct tensor want, got;

        assert_true(weights_find(golden.weights, tensor, &want));
        if (!weights_find(w, tensor, &got))
            fail_msg("%s: '%s' is not found", weights_path(w), tensor);
        assert_int_equal(got.dtype, want.dtype);
        assert_int_equal(tensor_count(&got), tensor_count(&want));
        if (memcmp(got.data, want.data, (size_t)tensor_count(&got) * dtype_size(got.dtype)) != 0)
            fail_msg("%s: '%s' has other numbers", weights_path(w), tensor);
    }
    part_close(&golden);
}

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

static void a_folder_tells_what_its_pipeline_is(void **state)
{
    static const struct {
        const char *model;
        struct checkpoint_kind kind;
    } cases[] = {{"sd1", {false, false, false}},
                 {"inpaint", {false, true, false}},
                 {"sdxl", {true, false, true}}};
    struct tokenizer *t;
    char path[FOLDER_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct checkpoint *c;

        snprintf(path, sizeof path, GOLDEN_DIR "/models/%s", cases[i].model);
        c = open_ok(path);
        assert_memory_equal(checkpoint_kind(c), &cases[i].kind, sizeof cases[i].kind);
        assert_true(cases[i].kind.xl == (checkpoint_source(c, CHECKPOINT_TEXT_2) != NULL));
        assert_non_null(checkpoint_source(c, CHECKPOINT_UNET));
        if (cases[i].kind.xl) {
            assert_true(has_file(c, "text_encoder_2/model.safetensors"));
            assert_true(has_file(c, "tokenizer_2/merges.txt"));
            assert_ok(checkpoint_tokenizer(c, 1, &t, e));
            assert_int_equal(tokenizer_pad(t), 0); /* "!" */
            tokenizer_free(t);
        }
        checkpoint_unmap(c);
        assert_null(checkpoint_source(c, CHECKPOINT_UNET));
        checkpoint_close(c);
    }
    checkpoint_close(NULL);
}

/* Moves the folder's unet weights to that name. */
static void rename_unet(const char *folder, const char *name)
{
    char from[2 * FOLDER_SIZE], to[2 * FOLDER_SIZE];

    snprintf(from, sizeof from, "%s/unet/" UNET ".safetensors", folder);
    snprintf(to, sizeof to, "%s/unet/%s", folder, name);
    assert_int_equal(rename(from, to), 0);
}

static void a_variant_serves_where_the_plain_file_is_missing(void **state)
{
    static const char *const names[] = {UNET ".fp16.safetensors", UNET ".bf16.safetensors"};
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    struct checkpoint *c;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        folder_make(folder, "sd1", "variant");
        rename_unet(folder, names[i]);
        c = open_ok(folder);
        assert_same_part(c, CHECKPOINT_UNET, "sd1", "unet");
        snprintf(path, sizeof path, "unet/%s", names[i]);
        assert_true(has_file(c, path));
        checkpoint_close(c);
    }
    /* both: the plain one */
    folder_make(folder, "sd1", "variant");
    snprintf(path, sizeof path, "%s/unet/" UNET ".fp16.safetensors", folder);
    write_file(path, "broken", 6);
    c = open_ok(folder);
    assert_true(has_file(c, "unet/" UNET ".safetensors"));
    assert_false(has_file(c, "unet/" UNET ".fp16.safetensors"));
    checkpoint_close(c);
    folder_remove(folder);
}

/* Writes the golden U-Net as shards STEM-00001-of-N.safetensors and so on, and their index. */
static void shard_unet(const char *folder, int n, const char *stem, const char *index)
{
    struct part unet = golden_part("sd1", "unet");
    json_t *map = json_object(), *root = json_pack("{s:{}, s:o}", "metadata", "weight_map", map);
    char name[128], path[3 * FOLDER_SIZE];
    struct tensor t;
    char *text;

    snprintf(path, sizeof path, "%s/unet/" UNET ".safetensors", folder);
    assert_int_equal(unlink(path), 0);
    for (int k = 0; k < n; k++) {
        struct writer w = {0};

        snprintf(name, sizeof name, "%s-%05d-of-%05d.safetensors", stem, k + 1, n);
        for (size_t i = (size_t)k; i < weights_count(unet.weights); i += (size_t)n) {
            const char *tensor = weights_name(unet.weights, i);

            assert_true(weights_find(unet.weights, tensor, &t));
            writer_add(&w, tensor, &t);
            json_object_set_new(map, tensor, json_string(name));
        }
        snprintf(path, sizeof path, "%s/unet/%s", folder, name);
        writer_save(&w, path);
    }
    text = json_dumps(root, 0);
    snprintf(path, sizeof path, "%s/unet/%s", folder, index);
    write_file(path, text, strlen(text));
    free(text);
    json_decref(root);
    part_close(&unet);
}

static void shards_give_the_tensors_that_their_index_lists(void **state)
{
    char folder[FOLDER_SIZE];
    struct checkpoint *c;
    struct model_file const *files;
    struct engine *g = NULL;
    size_t n;

    (void)state;
    folder_make(folder, "sd1", "shards");
    shard_unet(folder, 3, UNET, UNET ".safetensors.index.json");
    c = open_ok(folder);
    assert_same_part(c, CHECKPOINT_UNET, "sd1", "unet");
    assert_true(has_file(c, "unet/" UNET ".safetensors.index.json"));
    assert_true(has_file(c, "unet/" UNET "-00003-of-00003.safetensors"));
    checkpoint_close(c);
    assert_ok(engine_open(&(struct engine_options){.model = folder, .threads = 1}, &g, e));
    assert_ok(engine_files(g, &files, &n, e));
    assert_int_equal(n, 12 + 3);
    engine_close(g);

    folder_make(folder, "sd1", "shards");
    shard_unet(folder, 2, UNET ".fp16", UNET ".safetensors.index.fp16.json");
    c = open_ok(folder);
    assert_same_part(c, CHECKPOINT_UNET, "sd1", "unet");
    assert_true(has_file(c, "unet/" UNET ".fp16-00002-of-00002.safetensors"));
    checkpoint_close(c);
    folder_remove(folder);
}

static void the_hash_of_a_sharded_model_is_that_of_its_shards_hashes(void **state)
{
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE], got[HASH_HEX_SIZE], want[HASH_HEX_SIZE];
    char both[2 * HASH_HEX_SIZE];
    struct engine *g = NULL;

    (void)state;
    folder_make(folder, "sd1", "hash");
    shard_unet(folder, 2, UNET, UNET ".safetensors.index.json");
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/unet/" UNET "-%05d-of-00002.safetensors", folder, i + 1);
        assert_ok(hash_file(path, both + i * (HASH_HEX_SIZE - 1), e));
    }
    assert_ok(hash_bytes(both, strlen(both), want, e));
    assert_ok(engine_open(&(struct engine_options){.model = folder, .threads = 1}, &g, e));
    assert_ok(engine_model_hash(g, got, e));
    assert_string_equal(got, want);
    engine_close(g);
    folder_remove(folder);
}

/* Puts another value for the tensor into the index's map; NULL: takes it out. */
static void set_shard(const char *folder, const char *tensor, const char *value)
{
    char path[2 * FOLDER_SIZE], *text;
    json_t *root = NULL, *map;

    snprintf(path, sizeof path, "%s/unet/" UNET ".safetensors.index.json", folder);
    assert_ok(json_read_file(path, &root, e));
    map = json_object_get(root, "weight_map");
    if (value == NULL)
        json_object_del(map, tensor);
    else
        json_object_set_new(map, tensor, json_loads(value, JSON_DECODE_ANY, NULL));
    text = json_dumps(root, 0);
    write_file(path, text, strlen(text));
    free(text);
    json_decref(root);
}

static void indexes_that_lie_are_refused(void **state)
{
    static const char index[] = UNET ".safetensors.index.json";
    /* what stands for conv_in.weight's shard, and what the error says */
    static const char *const cases[][2] = {
        {"\"../../sd2.safetensors\"", "not a name in this folder"},
        {"\"/etc/passwd\"", "not a name in this folder"},
        {"\"..\"", "not a name in this folder"},
        {"\"\"", "not a name in this folder"},
        {"7", "is not a name"},
        {"null", "is not a name"},
        {"[]", "is not a name"},
    };
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE], shard[2 * FOLDER_SIZE];
    struct buf good = {0}, file = {0};
    char *swapped;

    (void)state;
    folder_make(folder, "sd1", "lies");
    shard_unet(folder, 2, UNET, index);
    snprintf(path, sizeof path, "%s/unet/%s", folder, index);
    read_file(path, &good);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_shard(folder, "conv_in.weight", cases[i][0]);
        assert_refused(folder, ERR_INPUT, index, cases[i][1]);
    }
    set_shard(folder, "conv_in.weight", "\"none.safetensors\"");
    assert_refused(folder, ERR_MISSING, "unet/none.safetensors", index);
    write_file(path, "{\"weight_map\": []}", 18);
    assert_refused(folder, ERR_INPUT, index, "weight_map");
    /* the other shard */
    swapped = strstr(good.data, "00001-of");
    assert_non_null(swapped);
    swapped[4] = '2';
    write_file(path, good.data, good.size);
    assert_refused(folder, ERR_INPUT, index, "where the index has it");
    swapped[4] = '1';
    write_file(path, good.data, good.size);
    snprintf(shard, sizeof shard, "%s/unet/" UNET "-00002-of-00002.safetensors", folder);
    read_file(shard, &file);
    write_file(shard, file.data, file.size - 3);
    assert_refused(folder, ERR_INPUT, "00002-of-00002", "truncated");
    unlink(shard);
    assert_refused(folder, ERR_MISSING, "00002-of-00002", index);
    buf_done(&good);
    buf_done(&file);
    folder_remove(folder);
}

static void a_tensor_that_the_index_leaves_out_is_missing(void **state)
{
    struct ops *o = backend_open(0);
    struct model *m = NULL;
    struct err e = {0};
    char folder[FOLDER_SIZE];

    (void)state;
    folder_make(folder, "sd1", "left");
    shard_unet(folder, 2, UNET, UNET ".safetensors.index.json");
    set_shard(folder, "conv_out.bias", NULL);
    assert_int_equal(open_model(folder, o, &m, &e), ERR_INPUT);
    assert_non_null(strstr(e.text, "index.json: tensor 'conv_out.bias' is missing"));
    o->free(o);
    folder_remove(folder);
}

static void pickles_are_refused_with_the_cure(void **state)
{
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];

    (void)state;
    folder_make(folder, "sd1", "torch");
    rename_unet(folder, UNET ".bin");
    assert_refused(folder, ERR_INPUT, UNET ".bin", "a pickle");
    assert_refused(folder, ERR_INPUT, "convert it to .safetensors", "");
    folder_make(folder, "sd1", "torch");
    snprintf(path, sizeof path, "%s/unet/" UNET ".safetensors", folder);
    write_file(path, "PK\3\4\0\0\10\10\0\0\0\0", 12); /* torch's zip under another name */
    assert_refused(folder, ERR_INPUT, UNET ".safetensors", "a pickle");
    write_file(path, "\x80\2}q\1.        ", 12);
    assert_refused(folder, ERR_INPUT, UNET ".safetensors", "a pickle");
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_tells_what_its_pipeline_is),
        cmocka_unit_test(a_variant_serves_where_the_plain_file_is_missing),
        cmocka_unit_test(shards_give_the_tensors_that_their_index_lists),
        cmocka_unit_test(the_hash_of_a_sharded_model_is_that_of_its_shards_hashes),
        cmocka_unit_test(indexes_that_lie_are_refused),
        cmocka_unit_test(a_tensor_that_the_index_leaves_out_is_missing),
        cmocka_unit_test(pickles_are_refused_with_the_cure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
