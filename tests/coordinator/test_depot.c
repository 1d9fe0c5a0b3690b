#include "coordinator/depot.h"
#include "proto/hash_memo.h"
#include "tests/coordinator/fixture.h"

#include <poll.h>
#include <sys/stat.h>

struct place {
    char *dir, *models;
    struct library *library;
    struct depot *depot;
    struct depot_result last;
};

static void last_done(struct place *p)
{
    asset_answer_done(&p->last.answer);
    buf_done(&p->last.frame);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct buf path = {0};

    p->dir = temporary_folder();
    buf_printf(&path, "%s/models", p->dir);
    p->models = buf_detach(&path);
    mkdir(p->models, 0700);
    MUST(library_open((const char *const[]){p->models}, 1, &p->library, e));
    MUST(depot_open(p->dir, p->library, &p->depot, e));
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    last_done(p);
    depot_close(p->depot);
    library_close(p->library);
    remove_tree(p->dir);
    free(p->models);
    free(p->dir);
    free(p);
    return 0;
}

/* models/NAME, with the folders above it; its hash. */
static void put(const struct place *p, const char *name, const char *text,
                char ret_hex[HASH_HEX_SIZE])
{
    struct buf path = {0};
    FILE *file;

    buf_printf(&path, "%s/%s", p->models, name);
    for (char *slash = path.data + strlen(p->models) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path.data, 0700);
        *slash = '/';
    }
    file = fopen(buf_text(&path), "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    if (ret_hex)
        MUST(hash_bytes(text, strlen(text), ret_hex, e));
    buf_done(&path);
}

static struct depot_result *next(struct place *p)
{
    struct pollfd fd = {.fd = depot_fd(p->depot), .events = POLLIN};

    last_done(p);
    while (!depot_next(p->depot, &p->last))
        if (poll(&fd, 1, 60000) != 1)
            fail_msg("the depot does not answer");
    return &p->last;
}

static const struct asset_answer *ask(struct place *p, enum asset_role role, const char *name)
{
    MUST(depot_ask(p->depot, role, name, e));
    return &next(p)->answer;
}

/* The text of a part, or NULL and why it is gone. */
static char *want(struct place *p, const char *sha256, uint64_t offset, uint32_t bytes,
                  char **ret_why)
{
    struct msg_want w = {.offset = offset, .bytes = bytes};
    struct peer peer = peer_named("w");
    struct depot_result *r;
    char *text = NULL;
    struct msg m;

    *ret_why = NULL;
    memcpy(w.sha256, sha256, HASH_HEX_SIZE);
    MUST(depot_send(p->depot, &peer, &w, e));
    r = next(p);
    assert_true(r->is_frame && peer_equal(&r->peer, &peer));
    MUST(msg_decode(r->frame.data, r->frame.size, &m, e));
    if (m.type == MSG_CHUNK)
        text = strndup(m.chunk.data, m.chunk.data_size);
    else
        *ret_why = strdup(m.gone.text);
    msg_done(&m);
    return text;
}

static uint64_t hashed(struct place *p)
{
    return depot_progress(p->depot).hashed_files;
}

static void a_file_is_read_once_and_again_when_it_changed(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];

    put(p, "m.safetensors", "weights", hex);
    assert_string_equal(ask(p, ASSET_MODEL, "m")->sha256, hex);
    assert_string_equal(p->last.answer.label, "m.safetensors");
    ask(p, ASSET_MODEL, "m");
    depot_close(p->depot); /* over a restart too */
    MUST(depot_open(p->dir, p->library, &p->depot, e));
    assert_string_equal(ask(p, ASSET_MODEL, "m")->sha256, hex);
    assert_int_equal(hashed(p), 0);
    put(p, "m.safetensors", "WEIGHTS", hex); /* as many bytes */
    assert_string_equal(ask(p, ASSET_MODEL, "m")->sha256, hex);
    ask(p, ASSET_MODEL, "none");
    assert_int_equal(hashed(p), 1);
    assert_int_equal(p->last.answer.failure.code, ERR_MISSING);
}

/* A worker beside the coordinator goes by the same stamp. The file is old enough to be settled. */
static void what_was_read_is_shared_with_workers_of_this_machine(void **state)
{
    const char *models = SOURCE_DIR "/models", *file = "/sticker-128/unet/config.json";
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];
    struct hash_memo *memo;
    struct buf path = {0};

    depot_close(p->depot);
    library_close(p->library);
    MUST(library_open(&models, 1, &p->library, e));
    MUST(depot_open(p->dir, p->library, &p->depot, e));
    assert_int_equal(ask(p, ASSET_MODEL, "sticker-128")->failure.code, 0);
    buf_printf(&path, "%s/hashes", p->dir);
    MUST(hash_memo_new(buf_text(&path), &memo, e));
    path.size = 0;
    buf_printf(&path, "%s%s", models, file);
    MUST(hash_memo_file(memo, buf_text(&path), hex, e));
    assert_int_equal(hash_memo_read_bytes(memo), 0);
    hash_memo_free(memo);
    buf_done(&path);
}

static void of_a_folder_the_files_that_are_read_are_listed(void **state)
{
    struct place *p = *state;
    const struct asset_answer *a;

    put(p, "sd/model_index.json", "{}", NULL);
    put(p, "sd/unet/config.json", "{}", NULL);
    put(p, "sd/unet/diffusion_pytorch_model.safetensors", "plain", NULL);
    put(p, "sd/unet/diffusion_pytorch_model.fp16.safetensors", "half", NULL);
    put(p, "sd/unet/diffusion_pytorch_model.bin", "pickle", NULL);
    put(p, "sd/vae/diffusion_pytorch_model.fp16.safetensors", "half", NULL);
    put(p, "sd/vae/.hidden.json", "{}", NULL);
    put(p, "sd/safety_checker/model.safetensors", "large", NULL);
    put(p, "sd/README.md", "read me", NULL);
    a = ask(p, ASSET_MODEL, "sd");
    assert_true(a->folder);
    assert_int_equal(a->files.n, 4);
    assert_string_equal(a->files.files[0].path, "model_index.json");
    assert_string_equal(a->files.files[2].path, "unet/diffusion_pytorch_model.safetensors");
    assert_string_equal(a->files.files[3].path, "vae/diffusion_pytorch_model.fp16.safetensors");
    assert_int_equal(a->bytes, 2 + 2 + 5 + 4);
}

static void parts_are_sent_of_files_and_listings_that_are_as_they_were(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE], listing[HASH_HEX_SIZE], *text, *why;

    put(p, "sd/model_index.json", "0123456789", hex);
    memcpy(listing, ask(p, ASSET_MODEL, "sd")->sha256, sizeof listing);
    text = want(p, hex, 3, 4, &why);
    assert_string_equal(text, "3456");
    free(text);
    text = want(p, hex, 8, 4, &why); /* at the end */
    assert_string_equal(text, "89");
    free(text);
    assert_null(want(p, hex, 10, 4, &why)); /* behind it */
    free(why);
    text = want(p, listing, 0, 64, &why);
    assert_string_equal(text, hex);
    free(text);
    assert_null(
        want(p, "0000000000000000000000000000000000000000000000000000000000000000", 0, 4, &why));
    free(why);
    put(p, "sd/model_index.json", "9876543210", NULL);
    assert_null(want(p, hex, 3, 4, &why));
    assert_non_null(strstr(why, "model_index.json"));
    free(why);
}

/* What was read waits to be sent, up to 64 MiB; of the rest, some; of what is beyond, nothing. */
static void a_worker_that_wants_thousands_of_parts_costs_bounded_memory(void **state)
{
    struct place *p = *state;
    struct msg_want w = {.bytes = MSG_CHUNK_MAX};
    struct peer greedy = peer_named("greedy");
    char *text = malloc(MSG_CHUNK_MAX + 1), *part, *why;
    size_t n = 0, bytes = 0;

    memset(text, 'x', MSG_CHUNK_MAX);
    text[MSG_CHUNK_MAX] = 0;
    put(p, "sd/model_index.json", text, w.sha256);
    ask(p, ASSET_MODEL, "sd");
    for (int i = 0; i < 3000; i++)
        MUST(depot_send(p->depot, &greedy, &w, e));
    put(p, "sd/unet/config.json", "{}", NULL);
    MUST(depot_ask(p->depot, ASSET_VAE, "sd", e)); /* comes behind them */
    while (next(p)->is_frame) {
        n++;
        bytes += p->last.frame.size;
    }
    assert_in_range(n, 16, 64 + 16 + 2);
    assert_true(bytes < 100u << 20);
    part = want(p, w.sha256, 0, 4, &why);
    assert_string_equal(part, "xxxx");
    free(part);
    free(text);
}

static void a_hash_is_found_wherever_the_library_has_it(void **state)
{
    struct place *p = *state;
    struct buf name = {0};
    char hex[HASH_HEX_SIZE];

    put(p, "loras/animals/fur.safetensors", "fur", hex);
    put(p, "other.safetensors", "other", NULL);
    buf_printf(&name, "sha256:%s", hex);
    assert_int_equal(ask(p, ASSET_LORA, buf_text(&name))->failure.code, 0);
    assert_string_equal(p->last.answer.sha256, hex);
    assert_string_equal(p->last.answer.label, buf_text(&name)); /* as the prompt calls it */
    assert_string_equal(ask(p, ASSET_LORA, "fur")->sha256, hex);
    name.data[name.size - 1] = name.data[name.size - 1] == '0' ? '1' : '0';
    assert_int_equal(ask(p, ASSET_MODEL, buf_text(&name))->failure.code, ERR_MISSING);
    buf_done(&name);
}

static void embeddings_are_known_by_their_names(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];

    put(p, "embeddings/bad.safetensors", "bad", hex);
    put(p, "embeddings/worse.pt", "pickle", NULL);
    assert_int_equal(ask(p, ASSET_NAMES, "")->files.n, 1);
    assert_string_equal(p->last.answer.files.files[0].path, "bad");
    assert_string_equal(ask(p, ASSET_EMBEDDING, "bad")->sha256, hex);
}

static void names_that_lead_elsewhere_are_not_looked_up(void **state)
{
    struct place *p = *state;

    put(p, "m.safetensors", "weights", NULL);
    assert_int_equal(ask(p, ASSET_LORA, "../m")->failure.code, ERR_INPUT);
    assert_int_equal(ask(p, ASSET_EMBEDDING, "../m")->failure.code, ERR_INPUT);
    assert_int_equal(ask(p, ASSET_MODEL, "../models/m")->failure.code, ERR_INPUT);
    assert_int_equal(ask(p, ASSET_INIT, "relative.png")->failure.code, ERR_MISSING);
    assert_int_equal(ask(p, ASSET_INIT, "/dev/zero")->failure.code, ERR_INPUT); /* no file */
}

static void what_is_no_picture_is_not_sent_as_one(void **state)
{
    struct place *p = *state;
    struct buf path = {0};
    char hex[HASH_HEX_SIZE], *why;

    put(p, "secret", "key", hex);
    put(p, "a.png", "\x89PNG and so on", NULL);
    buf_printf(&path, "%s/secret", p->models);
    assert_int_equal(ask(p, ASSET_INIT, buf_text(&path))->failure.code, ERR_INPUT);
    assert_null(want(p, hex, 0, 3, &why));
    free(why);
    path.size -= strlen("secret");
    buf_puts(&path, "a.png");
    assert_int_equal(ask(p, ASSET_MASK, buf_text(&path))->failure.code, 0);
    buf_done(&path);
}

static void a_lora_is_found_by_its_path_if_it_is_one(void **state)
{
    static const char lora[] = "\2\0\0\0\0\0\0\0{}";
    struct place *p = *state;
    struct buf path = {0};
    FILE *file;

    put(p, "secret.safetensors", "a key of some length", NULL);
    buf_printf(&path, "%s/secret.safetensors", p->models);
    assert_int_equal(ask(p, ASSET_LORA, buf_text(&path))->failure.code, ERR_INPUT);
    assert_int_equal(ask(p, ASSET_EMBEDDING, buf_text(&path))->failure.code, ERR_INPUT);
    file = fopen(buf_text(&path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(lora, 1, sizeof lora - 1, file), sizeof lora - 1);
    fclose(file);
    assert_int_equal(ask(p, ASSET_LORA, buf_text(&path))->failure.code, 0);
    assert_int_equal(p->last.answer.bytes, sizeof lora - 1);
    assert_string_equal(p->last.answer.label, "secret.safetensors");
    assert_int_equal(ask(p, ASSET_EMBEDDING, buf_text(&path))->failure.code, 0);
    buf_puts(&path, ".not");
    assert_int_equal(ask(p, ASSET_LORA, buf_text(&path))->failure.code, ERR_MISSING);
    buf_done(&path);
}

static void a_damaged_index_is_begun_anew(void **state)
{
    struct place *p = *state;
    char hex[HASH_HEX_SIZE];

    put(p, "m.safetensors", "weights", hex);
    depot_close(p->depot);
    put(p, "../files.db",
        "this is no database, and long enough to be looked at as one by SQLite "
        "this is no database, and long enough to be looked at as one by SQLite",
        NULL);
    MUST(depot_open(p->dir, p->library, &p->depot, e));
    assert_string_equal(ask(p, ASSET_MODEL, "m")->sha256, hex);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_read_once_and_again_when_it_changed),
        TEST(what_was_read_is_shared_with_workers_of_this_machine),
        TEST(of_a_folder_the_files_that_are_read_are_listed),
        TEST(parts_are_sent_of_files_and_listings_that_are_as_they_were),
        TEST(a_worker_that_wants_thousands_of_parts_costs_bounded_memory),
        TEST(a_hash_is_found_wherever_the_library_has_it),
        TEST(embeddings_are_known_by_their_names),
        TEST(names_that_lead_elsewhere_are_not_looked_up),
        TEST(what_is_no_picture_is_not_sent_as_one),
        TEST(a_lora_is_found_by_its_path_if_it_is_one),
        TEST(a_damaged_index_is_begun_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
