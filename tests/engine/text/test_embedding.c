/* Textual inversion: names in tokens, files of every kind, folders that change; states against
 * transformers with the vectors put into its table. */
#include "engine/text/conditioning.h"

#include "engine/text/chunks.h"
#include "proto/json.h"
#include "tests/engine/models.h"
#include "tests/engine/nets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WIDTH 32 /* of models/sd1 */

static struct ops *ops;
static struct model *model;
static char folder[256], other[256];

static int open_all(void **state)
{
    (void)state;
    ops = backend_open(1);
    assert_ok(open_model(GOLDEN_DIR "/models/sd1", ops, &model, e));
    snprintf(folder, sizeof folder, BINARY_DIR "/embeddings-%ld", (long)getpid());
    snprintf(other, sizeof other, BINARY_DIR "/embeddings-%ld-2", (long)getpid());
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    model_close(model);
    ops->free(ops);
    return 0;
}

/* A folder with files, each a name and what it holds: a recorded file's path, or NULL for words. */
static void put_file(const char *where, const char *name, const char *from)
{
    struct buf data = {0};
    char path[512];
    FILE *f;

    assert_true(mkdir(where, 0777) == 0 || errno == EEXIST);
    if (from != NULL)
        assert_ok(buf_read_file(&data, from, 1 << 20, e));
    else
        buf_puts(&data, "no such thing");
    snprintf(path, sizeof path, "%s/%s", where, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data.data, 1, data.size, f), data.size);
    assert_int_equal(fclose(f), 0);
    buf_done(&data);
}

/* A safetensors file of float32 numbers: "NAME [rows, columns]" texts, each tensor filled by ones
 * but for its first number. */
static void put_tensors(const char *name, const char *header, size_t n, float first)
{
    uint64_t size = strlen(header);
    char path[512];
    FILE *f;

    assert_true(mkdir(folder, 0777) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&size, sizeof size, 1, f), 1);
    assert_int_equal(fwrite(header, 1, size, f), size);
    for (size_t i = 0; i < n; i++) {
        float x = i == 0 ? first : 1;

        assert_int_equal(fwrite(&x, sizeof x, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
}

static void remove_folder(const char *path)
{
    char command[600];

    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static struct embeddings *open_folders(void)
{
    static const char *folders[3];
    struct embeddings *db = NULL;

    folders[0] = folder;
    folders[1] = other;
    assert_ok(embeddings_new(folders, &db, e));
    return db;
}

/* "name:tokens", or "-": what stands at the beginning of text. */
static void check_found(struct embeddings *db, const char *text, const char *want)
{
    const struct tokenizer *const tokenizers[2] = {model->tokenizer, NULL};
    const struct embedding *m;
    struct buf got = {0};
    int32_t *ids;
    size_t n, length;

    assert_ok(embeddings_refresh(db, tokenizers, e));
    assert_ok(tokenizer_encode(model->tokenizer, text, strlen(text), &ids, &n, e));
    m = embeddings_find(db, 0, ids, n, &length);
    if (m != NULL)
        buf_printf(&got, "%s:%zu", m->name, length);
    assert_string_equal(m != NULL ? buf_text(&got) : "-", want);
    buf_done(&got);
    free(ids);
}

static void the_longest_name_is_found_in_any_case(void **state)
{
    struct embeddings *db = open_folders();

    (void)state;
    put_file(folder, "red.safetensors", NULL);
    put_file(folder, "red fox.safetensors", NULL);
    put_file(folder, "red fox cub.SafeTensors", NULL);
    put_file(folder, "notes.txt", NULL);
    put_file(folder, ".safetensors", NULL);
    put_file(folder, "\xff.safetensors", NULL);
    check_found(db, "a red fox", "-");
    check_found(db, "red fox cubs", "red fox:2");
    check_found(db, "RED  Fox CUB and", "red fox cub:4");
    check_found(db, "red", "red:1");
    check_found(db, "redfox", "-");
    check_found(db, "notes", "-");
    embeddings_free(db);
    remove_folder(folder);
}

static void a_changed_folder_is_seen_by_the_next_refresh(void **state)
{
    struct embeddings *db = open_folders();
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    struct timespec now[2];

    (void)state;
    check_found(db, "fox", "-"); /* no folder yet */
    put_file(folder, "owl.safetensors", NULL);
    check_found(db, "fox", "-");
    clock_gettime(CLOCK_REALTIME, &now[0]);
    now[1] = now[0];
    assert_int_equal(utimensat(AT_FDCWD, folder, now, 0), 0);
    check_found(db, "fox", "-");
    put_file(folder, "fox.safetensors", NULL); /* within one tick of the clock */
    assert_int_equal(utimensat(AT_FDCWD, folder, now, 0), 0);
    check_found(db, "fox", "fox:1");
    assert_int_equal(utimensat(AT_FDCWD, folder, old, 0), 0);
    check_found(db, "owl", "owl:1");
    put_file(folder, "cat.safetensors", NULL);
    check_found(db, "cat", "cat:1");
    remove_folder(folder);
    check_found(db, "cat", "-");
    embeddings_free(db);
}

static void the_first_folder_wins_and_a_file_wins_over_a_pickle(void **state)
{
    const struct tokenizer *const tokenizers[2] = {model->tokenizer, NULL};
    struct embeddings *db = open_folders();
    const struct embedding *m;
    int32_t *ids;
    size_t n, length;

    (void)state;
    put_file(folder, "fox.pt", NULL);
    put_file(folder, "fox.safetensors", NULL);
    put_file(folder, "owl.bin", NULL);
    put_file(other, "Fox.safetensors", NULL);
    put_file(other, "cat.safetensors", NULL);
    assert_ok(embeddings_refresh(db, tokenizers, e));
    assert_ok(tokenizer_encode(model->tokenizer, "fox", 3, &ids, &n, e));
    m = embeddings_find(db, 0, ids, n, &length);
    assert_non_null(m);
    assert_false(m->pickle);
    assert_memory_equal(m->path, folder, strlen(folder));
    assert_int_equal(m->path[strlen(folder)], '/');
    free(ids);
    check_found(db, "cat", "cat:1");
    check_found(db, "owl", "owl:1");
    embeddings_free(db);
    remove_folder(folder);
    remove_folder(other);
}

static int request(struct embeddings *db, const char *prompt, struct conditioning **ret_c,
                   struct err *e)
{
    return conditioning_new(
        model, &(struct conditioning_request){.prompt = prompt, .steps = 1, .embeddings = db},
        ret_c, e);
}

static void refuse(struct embeddings *db, const char *prompt, const char *want)
{
    struct conditioning *c = NULL;
    struct err e = {0};

    assert_int_equal(request(db, prompt, &c, &e), ERR_INPUT);
    if (strstr(e.text, want) == NULL || strstr(e.text, folder) == NULL)
        fail_msg("'%s' is not about '%s'", e.text, want);
}

static void files_that_do_not_fit_are_refused_only_when_used(void **state)
{
    struct embeddings *db = open_folders();
    struct conditioning *c = NULL;

    (void)state;
    put_tensors("owl.safetensors",
                "{\"emb_params\":{\"dtype\":\"F32\",\"shape\":[1,8],\"data_offsets\":[0,32]}}", 8,
                1);
    put_tensors("cat.safetensors",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,8],\"data_offsets\":[0,32]},"
                "\"b\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[32,64]}}",
                16, 1);
    put_tensors("dog.safetensors",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[76,32],\"data_offsets\":[0,9728]}}", 76 * 32,
                1);
    put_tensors("horse.safetensors",
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[32],\"data_offsets\":[0,128]}}", 32, NAN);
    put_tensors("pizza.safetensors",
                "{\"a\":{\"dtype\":\"I32\",\"shape\":[1,32],\"data_offsets\":[0,128]}}", 32, 1);
    put_file(folder, "castle.pt", NULL);
    put_file(folder, "river.safetensors", GOLDEN_DIR "/conditioning/sdxl/moss.safetensors");
    put_file(folder, "forest.safetensors", NULL);
    assert_ok(request(db, "a red fox", &c, e));
    conditioning_free(c);
    refuse(db, "an owl", "is for a text encoder 8 wide; this model's is 32 wide");
    refuse(db, "a cat", "has 2 tensors instead of one");
    refuse(db, "a dog", "has 76 vectors; a prompt holds 1 to 75");
    refuse(db, "a horse", "holds NaN or Inf");
    refuse(db, "a pizza", "no list of vectors of numbers");
    refuse(db, "a castle", "is a pickle");
    refuse(db, "a river", "is for two text encoders; this model has one, 32 wide");
    refuse(db, "a forest", "forest.safetensors");
    embeddings_free(db);
    remove_folder(folder);
}

static void check_recorded(const char *file)
{
    struct embeddings *db = open_folders();
    const struct conditioning_embedding *used;
    struct prompts cache = {0};
    struct conditioning *c = NULL;
    struct weights *w = NULL;
    float states[77 * WIDTH], *want;
    struct arena arena, host;
    struct tensor t;
    json_t *root = NULL;
    double error;
    size_t n;

    assert_int_equal(clip_config(model->clip)->width, WIDTH);
    assert_ok(json_read_file(GOLDEN_DIR "/embedding/case.json", &root, e));
    assert_ok(weights_open(GOLDEN_DIR "/embedding/mystyle-result.safetensors", &w, e));
    put_file(folder, "mystyle.safetensors", file);
    assert_ok(request(db, json_string_value(json_object_get(root, "prompt")), &c, e));
    used = conditioning_embeddings(c, &n);
    assert_int_equal(n, 1);
    assert_string_equal(used[0].name, "mystyle");
    assert_non_null(strstr(used[0].path, "/mystyle.safetensors"));
    assert_ok(arena_init(&arena, 4 << 20, e));
    assert_ok(arena_init(&host, 4 << 20, e));
    ops->arena = &arena;
    ops->host = &host;
    assert_ok(conditioning_encode(c, &cache, 0, states, NULL, e));
    want = golden_floats(w, "text", &t);
    error = relative_l2(states, want, 77 * WIDTH);
    print_message("%.2e\n", error);
    assert_true(error < NET_TOLERANCE);
    free(want);
    arena_done(&arena);
    arena_done(&host);
    prompts_done(&cache);
    conditioning_free(c);
    weights_close(w);
    json_decref(root);
    embeddings_free(db);
    remove_folder(folder);
}

static void states_with_both_styles_of_file_equal_transformers(void **state)
{
    (void)state;
    check_recorded(GOLDEN_DIR "/embedding/mystyle.safetensors");
    check_recorded(GOLDEN_DIR "/embedding/mystyle-diffusers.safetensors");
}

static struct chunks make(struct embeddings *db, struct embedding_uses *uses, const char *text)
{
    struct prompt_text t = {0};
    struct weighted a = {0};
    struct chunks c = {0};
    struct chunker k;

    assert_int_equal(prompt_text_init(&t, text, NULL), 0);
    assert_int_equal(weighted_parse(&t, &a, NULL), 0);
    assert_ok(chunker_init(&k, model->tokenizer, db, 0, uses, e));
    assert_ok(chunks_make(&k, &a, 100, &c, e));
    weighted_done(&a);
    prompt_text_done(&t);
    return c;
}

static void vectors_stay_together_and_move_with_their_tokens(void **state)
{
    const struct tokenizer *const tokenizers[2] = {model->tokenizer, NULL};
    struct embedding_uses uses = {.widths = {WIDTH, 0}, .max_vectors = 75};
    struct embeddings *db = open_folders();
    struct buf text = {0};
    struct chunks c;

    (void)state;
    put_file(folder, "mystyle.safetensors", GOLDEN_DIR "/embedding/mystyle.safetensors");
    assert_ok(embeddings_refresh(db, tokenizers, e));
    for (int i = 0; i < 74; i++) /* two vectors do not fit behind 74 tokens */
        buf_puts(&text, "a ");
    buf_puts(&text, "(mystyle:1.5)");
    c = make(db, &uses, buf_text(&text));
    assert_int_equal(c.n, 2);
    assert_int_equal(c.n_fixes, 1);
    assert_int_equal(c.fixes[0].chunk, 1);
    assert_int_equal(c.fixes[0].at, 1);
    assert_int_equal(c.ids[77 + 1], 0);
    assert_true(c.weights[77 + 1] == 1.5f && c.weights[77 + 2] == 1.5f && c.weights[77 + 3] == 1);
    chunks_done(&c);
    text.size = 0;
    for (int i = 0; i < 70; i++)
        buf_puts(&text, i == 69 ? "a, " : "a ");
    buf_puts(&text, "b mystyle b b"); /* 71 tokens, 4 more that fit, and one that does not */
    c = make(db, &uses, buf_text(&text));
    assert_int_equal(c.n, 2);
    assert_int_equal(c.n_fixes, 1);
    assert_int_equal(c.fixes[0].chunk, 1);
    assert_int_equal(c.fixes[0].at, 2);
    assert_int_equal(c.ids[77 + 2], 0);
    assert_int_equal(c.ids[77 + 3], 0);
    chunks_done(&c);
    assert_int_equal(uses.n, 1); /* read once */
    embedding_uses_done(&uses);
    buf_done(&text);
    embeddings_free(db);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_name_is_found_in_any_case),
        cmocka_unit_test(a_changed_folder_is_seen_by_the_next_refresh),
        cmocka_unit_test(the_first_folder_wins_and_a_file_wins_over_a_pickle),
        cmocka_unit_test(files_that_do_not_fit_are_refused_only_when_used),
        cmocka_unit_test(states_with_both_styles_of_file_equal_transformers),
        cmocka_unit_test(vectors_stay_together_and_move_with_their_tokens),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
